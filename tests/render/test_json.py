"""The report as data: exactly the keys that scripts rely on."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from resilience.findings import Finding, Level, Report
from resilience.hosting import CHOICES, Hosting, detect
from resilience.render import json as render_json

OK, ERROR = Level.OK, Level.ERROR

REPORT_KEYS = "schema verdict exit_code duration_ms hosting findings silenced".split()
FINDING_KEYS = (
    "id level area subject summary hint facts location cause skipped duration_ms docs".split()
)
HOSTING_KEYS = (
    "platform kind on_platform forced signals instance processes memory_limit_bytes ci commit"
).split()


def finding(
    level: Level = ERROR, id: str = "a.b", subject: str = "thing", **others: Any
) -> Finding:
    return Finding(id, level, subject, "It is so.", "Mend it.", **others)


def report(*findings: Finding, hosting: Hosting | None = None) -> Report:
    return Report(findings, hosting or Hosting(), 12.5, frozenset({"databases.default"}))


def read(any_report: Report) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(render_json.render(any_report))
    return document


def wrong_keys(document: dict[str, Any]) -> list[str]:
    """Every place whose keys are not exactly the published ones, in their order."""
    places = [("report", document, REPORT_KEYS), ("hosting", document["hosting"], HOSTING_KEYS)]
    places += [("finding", each, FINDING_KEYS) for each in document["findings"]]
    places += [("cause", f["cause"], ["id", "subject"]) for f in document["findings"] if f["cause"]]
    return [name for name, place, keys in places if list(place) != keys]


# ── keys ────────────────────────────────────────────────────────────────────────────────────────


def test_the_keys_are_the_published_ones():
    cause = finding()
    document = read(report(cause, finding(subject="other", cause=cause), finding(OK)))
    assert wrong_keys(document) == []


@pytest.mark.parametrize("place", ["report", "hosting", "finding", "cause"])
@pytest.mark.parametrize("change", ["added", "gone"])
def test_the_keys_are_the_published_ones__twin(place, change):
    document = read(report(finding(cause=finding())))
    first = document["findings"][0]
    changed = {"report": document, "hosting": document["hosting"], "finding": first}
    target = changed.get(place, first["cause"])
    if change == "added":
        target["colour"] = "red"
    else:
        del target[{"report": "schema", "hosting": "ci", "finding": "docs", "cause": "id"}[place]]
    assert wrong_keys(document) == [place]


def test_what_a_finding_says():
    redis = finding(id="tcp.refused", subject="redis.x:6379/0", area="redis")
    cache = Finding(
        "cache.mismatch",
        ERROR,
        "caches.default",
        "Nothing comes back.",
        "Look at Redis.",
        {"wait_ms": 1.5, "alias": "default", "tries": 3, "tls": True},
        location="settings.py:12",
        cause=redis,
        area="cache",
        duration_ms=7.5,
    )
    assert read(report(cache))["findings"] == [
        {
            "id": "cache.mismatch",
            "level": "error",
            "area": "cache",
            "subject": "caches.default",
            "summary": "Nothing comes back.",
            "hint": "Look at Redis.",
            "facts": {"wait_ms": 1.5, "alias": "default", "tries": 3, "tls": True},
            "location": "settings.py:12",
            "cause": {"id": "tcp.refused", "subject": "redis.x:6379/0"},
            "skipped": False,
            "duration_ms": 7.5,
            "docs": "checkdeploy --explain cache.mismatch",
        }
    ]


def test_what_a_finding_says__twin__nothing_more_than_it_was_told():
    [said] = read(report(Finding("a.ok", OK, "a", "Fine.")))["findings"]
    assert (said["location"], said["cause"], said["facts"], said["hint"]) == (None, None, {}, "")


def test_levels_are_lower_case_words():
    found = read(report(*map(finding, Level)))["findings"]
    assert [each["level"] for each in found] == ["ok", "info", "warning", "error"]


def test_what_the_hosting_says():
    hosting = detect(forced="railway", environ={"WEB_CONCURRENCY": "3", "CI": "1"})
    said = read(report(hosting=hosting))["hosting"]
    assert said["platform"] == "railway"
    assert said["kind"] == "paas"
    assert said["on_platform"] is said["forced"] is True
    assert said["signals"] == ["RESILIENCE['PLATFORM']"]
    assert (said["processes"], said["ci"]) == (3, "CI")


def test_what_the_hosting_says__twin__a_laptop():
    said = read(report(hosting=detect(forced="none", environ={})))["hosting"]
    assert said["platform"] == "none"
    assert said["on_platform"] is False
    assert (said["processes"], said["ci"]) == (None, None)


# ── any report ──────────────────────────────────────────────────────────────────────────────────

FACTS = st.text() | st.integers() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False)
PLAIN = st.builds(
    Finding,
    id=st.from_regex(r"[a-z]{1,9}\.[a-z]{1,9}", fullmatch=True),
    level=st.sampled_from(Level),
    subject=st.text(),
    summary=st.text(),
    hint=st.text(min_size=1),
    facts=st.dictionaries(st.text(max_size=9), FACTS, max_size=4),
    location=st.none() | st.text(),
    skipped=st.booleans(),
)
CAUSED = st.builds(
    lambda cause, level: finding(level, subject="x", cause=cause), PLAIN, st.sampled_from(Level)
)
REPORTS = st.builds(
    lambda findings, platform: report(*findings, hosting=detect(forced=platform, environ={})),
    st.lists(PLAIN | CAUSED, max_size=5),
    st.sampled_from(CHOICES),
)


@settings(deadline=None)
@given(REPORTS)
def test_any_report__comes_back_as_it_was(any_report):
    rendered = render_json.render(any_report)
    assert rendered.isascii()
    assert all(line.isprintable() for line in rendered.split("\n"))
    document = json.loads(rendered)
    assert wrong_keys(document) == []
    assert (document["exit_code"], document["verdict"]) == (
        any_report.exit_code,
        any_report.verdict,
    )
    for said, each in zip(document["findings"], any_report.findings, strict=True):
        assert said["facts"] == dict(each.facts)
        assert [said[name] for name in ("id", "subject", "summary", "hint", "location")] == [
            each.id,
            each.subject,
            each.summary,
            each.hint,
            each.location,
        ]


def test_a_control_character_never_gets_in():
    [said] = read(report(Finding("a.b", OK, "x", "red\x1b[31m", facts={"k": "\u202e"})))["findings"]
    assert said["summary"] == "red\\x1b[31m"
    assert said["facts"] == {"k": "\\u202e"}
