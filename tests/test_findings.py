"""The one result vocabulary keeps its promises to whoever renders it."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import pytest
from django.core import checks
from hypothesis import given, strategies as st

from resilience import redact
from resilience.findings import Finding, Level, Report
from resilience.hosting import Hosting

INFO = Finding("redis.sentinel", Level.INFO, "redis", "Not examined.")
OK = Finding("redis.ok", Level.OK, "redis", "Fine.")
WARNING = Finding("redis.slow", Level.WARNING, "redis", "Slow.", "Look at SLOWLOG.")
ERROR = Finding("redis.oom", Level.ERROR, "redis", "Full.", "Raise maxmemory.")
TIMEOUT = Finding("probe.timeout", Level.ERROR, "redis", "Too late.", "Ask again.")


def report(*findings: Finding, **options) -> Report:
    return Report(findings, Hosting(), 1.0, **options)


def test_levels_are_djangos():
    assert [int(level) for level in (Level.INFO, Level.WARNING, Level.ERROR)] == [
        checks.INFO,
        checks.WARNING,
        checks.ERROR,
    ]
    assert [str(level) for level in sorted(Level)] == ["ok", "info", "warning", "error"]


@pytest.mark.parametrize(
    "id", ["redis.auth-missing", "security.W009", "4_0.E001", "resilience.env.missing"]
)
def test_an_id_is_area_and_slug(id):
    assert replace(ERROR, id=id).id == id


@pytest.mark.parametrize(
    "id", ["", "redis", "redis.", ".oom", "redis.-x", "redis oom", "redis.a b", "a.b\n", "a.\x1b"]
)
def test_an_id_of_another_form_is_refused(id):
    with pytest.raises(ValueError, match=r"is not of the form area\.slug"):
        replace(ERROR, id=id)


@pytest.mark.parametrize("level", [Level.WARNING, Level.ERROR])
def test_what_is_wrong_comes_with_a_hint(level):
    assert Finding("redis.oom", level, "redis", "Full.", "Do this.").hint == "Do this."
    with pytest.raises(ValueError, match=f"redis.oom is a {level} without a hint"):
        Finding("redis.oom", level, "redis", "Full.")


@pytest.mark.parametrize("level", [Level.OK, Level.INFO])
def test_what_is_fine_needs_no_hint(level):
    finding = Finding("redis.ok", level, "redis", "Fine.")
    assert (finding.hint, finding.location, finding.cause, finding.skipped) == (
        "",
        None,
        None,
        False,
    )


def test_a_finding_does_not_change():
    facts = {"wait_ms": 12.5}
    finding = replace(ERROR, facts=facts)
    facts["wait_ms"] = 1.0
    assert finding.facts == {"wait_ms": 12.5}
    with pytest.raises(TypeError):
        finding.facts["wait_ms"] = 1.0  # type: ignore[index]
    with pytest.raises(FrozenInstanceError):
        finding.summary = "Other."  # type: ignore[misc]


def test_every_text_of_a_finding_is_masked_and_printable():
    redact.register("hunter22")
    said = "with\nhunter22\x1b"
    finding = Finding(
        "env.invalid", Level.ERROR, said, said, said, {"a\n": said, "n": 7, "yes": True}, said
    )
    safe = "with ***\\x1b"
    assert (finding.summary, finding.hint, finding.location) == (safe,) * 3
    # A subject is compared with others: what was registered in between must not change it.
    assert finding.subject == "with hunter22\\x1b"
    assert finding.facts == {"a ": safe, "n": 7, "yes": True}
    redact.reset()
    assert replace(ERROR, summary="with hunter22").summary == "with hunter22"


@pytest.mark.parametrize(
    ("fact", "kept"), [(float("nan"), "nan"), (float("-inf"), "-inf"), (1.5, 1.5)]
)
def test_a_fact_that_json_does_not_know_becomes_a_word(fact, kept):
    assert replace(OK, facts={"seconds": fact}).facts["seconds"] == kept


def test_a_root_cause_is_an_error_that_nothing_explains():
    assert ERROR.is_root_cause
    assert not replace(ERROR, cause=TIMEOUT).is_root_cause
    assert not WARNING.is_root_cause


@pytest.mark.parametrize(
    ("findings", "options", "code", "verdict"),
    [
        ((), {}, 0, "pass"),
        ((OK, WARNING), {}, 0, "pass"),
        ((OK, WARNING), {"fail_level": Level.WARNING}, 1, "fail"),
        ((OK, INFO), {"fail_level": Level.WARNING}, 0, "pass"),
        ((OK, ERROR), {}, 1, "fail"),
        ((replace(ERROR, cause=WARNING),), {}, 1, "fail"),
        ((replace(TIMEOUT, level=Level.WARNING),), {}, 0, "pass"),
        ((replace(TIMEOUT, level=Level.WARNING),), {"fail_level": Level.WARNING}, 1, "fail"),
        ((ERROR, WARNING), {"fail_level": Level.WARNING}, 1, "fail"),
        # The timeout of a subject that is not critical is an error like every other one.
        ((OK, TIMEOUT), {}, 1, "fail"),
        ((OK, TIMEOUT), {"critical": frozenset({"redis"})}, 3, "timeout"),
        ((replace(TIMEOUT, id="redis.silent"),), {"critical": frozenset({"redis"})}, 1, "fail"),
        ((TIMEOUT, ERROR), {"critical": frozenset({"redis"})}, 1, "fail"),
        ((TIMEOUT, WARNING), {"critical": frozenset({"redis"})}, 3, "timeout"),
        (
            (TIMEOUT, WARNING),
            {"critical": frozenset({"redis"}), "fail_level": Level.WARNING},
            1,
            "fail",
        ),
    ],
)
def test_the_exit_code_and_its_word(findings, options, code, verdict):
    made = report(*findings, **options)
    assert (made.exit_code, made.verdict) == (code, verdict)


@given(st.lists(st.sampled_from([OK, INFO, WARNING, ERROR])))
def test_without_a_timeout_the_worst_level_decides(findings):
    worst = max((each.level for each in findings), default=Level.OK)
    for fail_level in (Level.WARNING, Level.ERROR):
        assert report(*findings, fail_level=fail_level).exit_code == int(worst >= fail_level)


def test_count_is_of_exactly_one_level():
    made = report(OK, OK, WARNING, ERROR)
    assert [made.count(level) for level in Level] == [2, 0, 1, 1]
