"""The report for people: what is wrong first, in 80 columns, the verdict last, nothing to obey."""

from __future__ import annotations

import re
import string
from typing import Any

import pytest
from hypothesis import example, given, settings, strategies as st

from resilience.findings import Finding, Level, Report
from resilience.hosting import Hosting
from resilience.probes import runner
from resilience.render import text

OK, INFO, WARNING, ERROR = Level.OK, Level.INFO, Level.WARNING, Level.ERROR
ESCAPE = re.compile("\x1b\\[[0-9;]*m")


def finding(
    subject: str = "redis.localhost:6379/0", id: str = "a.b", level: Level = ERROR, **others: Any
) -> Finding:
    return Finding(id, level, subject, **{"summary": "It is so.", "hint": "Mend it.", **others})


def report(*findings: Finding, **others: Any) -> Report:
    return Report(findings, Hosting(), 1234.5, **others)


def lines(*findings: Finding, **options: Any) -> list[str]:
    return text.render(report(*findings), **options).splitlines()


def outage() -> tuple[Finding, ...]:
    """Redis is down, and with it a cache and the sessions in it; something else is merely odd."""
    found = [
        finding("env", "env.ok", OK, summary="3 declared variables.", hint=""),
        finding("caches.default", "cache.failed", summary="The cache does not work."),
        finding("redis.cache:6379/0", "tcp.refused", location="settings.py:7"),
        finding("sessions", "sessions.failed"),
        finding("deploy", "security.W004", WARNING),
        finding("databases.default", "database.ok", OK, facts={"version": "15.3"}),
        finding("components", "components.not-loaded", INFO, hint=""),
    ]
    needs = {"caches.default": ("redis.cache:6379/0",), "sessions": ("caches.default",)}
    return runner.link(found, needs)


OUTAGE = """\
✗ error   redis.cache:6379/0                                         tcp.refused
    at  settings.py:7
    It is so.
    fix: Mend it.
      ✗ so: caches.default (cache.failed) The cache does not work.
      ✗ so: sessions (sessions.failed) It is so.

! warning deploy                                                   security.W004
    It is so.
    fix: Mend it.

i info    components                                       components.not-loaded
    It is so.

✓ env  3 declared variables.
✓ databases.default  It is so.

FAIL: 3 errors with 1 root cause, 1 warning, 2 ok in 1.2 s (exit 1)"""


# ── the whole ───────────────────────────────────────────────────────────────────────────────────


def test_an_outage():
    assert text.render(report(*outage())) == OUTAGE


def test_an_outage__twin__without_the_links_there_are_three_root_causes():
    apart = [Finding(f.id, f.level, f.subject, f.summary, f.hint) for f in outage()]
    rendered = text.render(report(*apart))
    assert "so:" not in rendered
    assert rendered.endswith("FAIL: 3 errors, 1 warning, 2 ok in 1.2 s (exit 1)")


def test_a_cause_outside_the_report_leaves_its_symptom_standing():
    elsewhere = finding("REDIS_URL", "env.missing")
    assert lines(finding("caches.x", cause=elsewhere))[0].startswith("✗ error   caches.x ")


def test_two_findings_of_one_name_do_not_show_a_consequence_twice():
    one, two = finding("redis", summary="One."), finding("redis", summary="Two.")
    shown = "\n".join(lines(one, two, finding("cache", cause=one)))
    assert shown.count("so: cache") == 1
    assert shown.index("One.") < shown.index("so: cache") < shown.index("Two.")


def test_an_error_that_follows_from_a_warning_stands_among_the_errors():
    late = finding("redis", "probe.timeout", WARNING)
    shown = lines(finding("other", level=WARNING), late, finding("cache", cause=late))
    assert shown[0].startswith("! warning redis")
    assert "✗ so: cache" in "\n".join(shown[:5])


def test_nothing_at_all():
    assert lines() == ["PASS: there was nothing to examine in 1.2 s (exit 0)"]


def test_skipped_findings_say_so():
    cause = finding("REDIS_URL", "env.missing")
    skipped = finding("caches.x", "env.missing", INFO, cause=cause, skipped=True)
    assert "      i so: caches.x (skipped) It is so." in lines(cause, skipped)


@pytest.mark.parametrize(
    ("levels", "options", "verdict"),
    [
        ([OK], {}, "PASS: 0 errors, 0 warnings, 1 ok in 1.2 s (exit 0)"),
        ([WARNING], {}, "PASS: 0 errors, 1 warning, 0 ok in 1.2 s (exit 0)"),
        ([WARNING], {"fail_level": WARNING}, "FAIL: 0 errors, 1 warning, 0 ok in 1.2 s (exit 1)"),
        ([ERROR, ERROR], {}, "FAIL: 2 errors, 0 warnings, 0 ok in 1.2 s (exit 1)"),
    ],
)
def test_verdict(levels, options, verdict):
    found = [finding(str(number), level=level) for number, level in enumerate(levels)]
    assert text.render(report(*found, **options)).splitlines()[-1] == verdict


def test_verdict__a_critical_timeout():
    late = finding("databases.default", "probe.timeout")
    shown = text.render(report(late, critical=frozenset({"databases.default"})))
    assert shown.endswith("\nTIMEOUT: 1 error, 0 warnings, 0 ok in 1.2 s (exit 3)")


# ── verbosity, glyphs, colours ──────────────────────────────────────────────────────────────────


def test_facts_are_for_the_verbose():
    slow = finding(facts={"wait_ms": 12, "server": "7.2"}, duration_ms=3.5)
    shown = lines(slow, verbosity=2)
    assert shown[3:6] == [
        "        wait_ms = 12",
        "        server = 7.2",
        "        duration_ms = 3.5",
    ]


def test_facts_are_for_the_verbose__twin():
    assert "wait_ms" not in "\n".join(lines(finding(facts={"wait_ms": 12})))


def test_facts_of_consequences_and_of_what_is_fine():
    shown = "\n".join(lines(*outage(), verbosity=2))
    assert "        version = 15.3" in shown
    assert shown.count("duration_ms = ") == len(outage())


def test_colours():
    assert text.render(report(*outage())) == ESCAPE.sub(
        "", text.render(report(*outage()), colour=True)
    )
    shown = lines(*outage(), colour=True)
    assert shown[0].startswith("\x1b[31;1m✗ error   redis.cache:6379/0\x1b[0m ")
    assert "      \x1b[31;1m✗\x1b[0m so: caches.default (cache.failed)" in "\n".join(shown)
    assert "\x1b[32m✓\x1b[0m env  3 declared variables." in shown
    assert shown[-1].startswith("\x1b[31;1mFAIL\x1b[0m: 3 errors")


@pytest.mark.parametrize("verbosity", [1, 2])
def test_colours__twin(verbosity):
    assert "\x1b" not in text.render(report(*outage()), verbosity=verbosity)


def test_ascii():
    arrows = finding(summary="DNS → TCP … done · well — yes")
    rendered = text.render(report(arrows, *outage()), unicode=False)
    assert rendered.isascii()
    assert "DNS -> TCP ... done - well - yes" in rendered
    assert "x error   redis.cache:6379/0" in rendered
    assert "+ env  3 declared variables." in rendered


def test_ascii__twin():
    assert "→" in text.render(report(finding(summary="DNS → TCP")))


# ── any report ──────────────────────────────────────────────────────────────────────────────────

LETTERS = st.sampled_from(string.ascii_letters + string.digits + "/:.-_")
WORDS = st.text(LETTERS, min_size=1, max_size=60) | st.sampled_from(["→", "…", "a→b", "so…", "é"])
TEXTS = st.lists(WORDS, min_size=1, max_size=30).map(" ".join)
FINDINGS = st.builds(
    Finding,
    id=st.from_regex(r"[a-z]{1,12}\.[a-z]{1,28}", fullmatch=True),
    level=st.sampled_from(Level),
    subject=WORDS | TEXTS,
    summary=TEXTS,
    hint=TEXTS,
    facts=st.dictionaries(st.from_regex(r"[a-zA-Z_]{1,50}", fullmatch=True), TEXTS | st.integers()),
    location=st.none() | TEXTS,
    skipped=st.booleans(),
)
LONG = "redis.cache-0001.a-cluster.abcdef.use1.cache.amazonaws.com:6379/0"


@pytest.mark.parametrize("level", [WARNING, ERROR])
def test_an_error_that_follows_from_a_warning_has_no_root_among_the_errors(level):
    """The store of the system is empty, which only some clients mind."""
    store = finding("tls", level=level)
    *_, verdict = lines(store, finding("components.search", cause=store))
    assert ("with 1 root cause" in verdict) is (level is ERROR)
    assert "0 root causes" not in verdict


@st.composite
def reports(draw: st.DrawFn) -> Report:
    found = draw(st.lists(FINDINGS, max_size=6))
    subjects = st.sampled_from([each.subject for each in found]) if found else st.nothing()
    needs = draw(st.dictionaries(subjects, st.lists(subjects, max_size=2).map(tuple)))
    return report(*runner.link(found, needs))


@settings(deadline=None)
@given(reports(), st.booleans(), st.sampled_from([1, 2]))
@example(report(finding(LONG, "redis.public-url-inside")), False, 1)
@example(report(finding("x", summary="→ " * 99)), False, 1)
@example(report(finding("x", cause=finding("y"), summary="word " * 99)), True, 1)
@example(report(finding(facts={"a_very_long_name_of_a_variable" * 2: "word " * 99})), True, 2)
def test_any_report__fits_into_80_columns_and_ends_with_the_verdict(any_report, unicode, verbosity):
    rendered = text.render(any_report, verbosity=verbosity, unicode=unicode)
    verdicts = tuple(f"{word}: " for word in ("PASS", "FAIL", "TIMEOUT"))
    assert rendered.splitlines()[-1].startswith(verdicts)
    assert max(map(len, rendered.splitlines())) <= text.WIDTH
    for each in any_report.findings:
        for word in f"{each.subject} {each.summary}".split():
            assert (word if unicode else word.translate(text._REPLACEMENTS)) in rendered


@settings(deadline=None)
@given(reports())
def test_any_report__shows_every_finding_once(any_report):
    rendered = text.render(any_report)
    heads = re.findall(r"^(?:✗ error|! warning|i info) ", rendered, re.MULTILINE)
    heads += re.findall(r"^      [✗!i✓] so:", rendered, re.MULTILINE)
    fine = re.findall(r"^✓ ", rendered, re.MULTILINE)
    assert len(heads) + len(fine) == len(any_report.findings)


def test_a_word_that_is_too_long_is_left_whole():
    """So that a path or an address can be copied."""
    long = "/very" * 30
    assert any(line.strip() == long for line in lines(finding(summary=f"Look at {long} now.")))


# ── nothing to obey ─────────────────────────────────────────────────────────────────────────────

EVIL = "a\x1b[2Jb\rc\x07d\x9b1me\u202ef\u2028g\x00h\udcffi\nj\tk\x7f"


@pytest.mark.parametrize("field", ["subject", "summary", "hint", "location", "facts", "key"])
def test_a_control_character_is_shown_and_never_obeyed(field):
    facts: dict[str, Any] = {"facts": {"facts": {"x": EVIL}}, "key": {"facts": {EVIL: 1}}}
    rendered = text.render(report(finding(**facts.get(field, {field: EVIL}))), verbosity=2)
    assert all(line.isprintable() for line in rendered.splitlines())
    assert "a\\x1b[2Jb c\\x07d\\x9b1me\\u202ef g\\x00h\\udcffi j k\\x7f" in " ".join(
        rendered.split()
    )
    assert rendered.encode("utf-8")


def test_a_control_character__twin__letters_of_every_script_stay():
    names = "Ünïcödé 日本語 Ελλάδα ✓ →"
    assert names in text.render(report(finding(summary=names)))
