"""Any report that there can be, for the formats that must hold whatever is in it."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from resilience.findings import Finding, Level, Report
from resilience.hosting import Hosting

FACTS = st.text() | st.integers() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False)
AREAS = st.sampled_from(("env", "redis", "deploy", ""))
IDS = st.from_regex(r"[a-z]{1,9}\.[a-z]{1,9}", fullmatch=True) | st.just("probe.timeout")
PLAIN = st.builds(
    Finding,
    id=IDS,
    level=st.sampled_from(Level),
    subject=st.text() | st.just("databases.default"),
    summary=st.text(),
    hint=st.text(min_size=1),
    facts=st.dictionaries(st.text(max_size=9), FACTS, max_size=3),
    location=st.none() | st.text() | st.just("shop/urls.py:7"),
    skipped=st.booleans(),
    area=AREAS,
    duration_ms=st.floats(0, 1e6),
)
CAUSED = st.builds(
    lambda cause, level, area: finding(level, "x", cause=cause, area=area),
    PLAIN,
    st.sampled_from(Level),
    AREAS,
)
REPORTS = st.builds(
    lambda findings, level: report(*findings, fail_level=level),
    st.lists(PLAIN | CAUSED, max_size=25),
    st.sampled_from((Level.WARNING, Level.ERROR)),
)


def finding(level: Level = Level.ERROR, subject: str = "thing", **others: Any) -> Finding:
    given = {"id": "redis.oom", "summary": "It is so.", "hint": "Mend it.", "area": "redis"}
    return Finding(level=level, subject=subject, **{**given, **others})


def report(*findings: Finding, **others: Any) -> Report:
    return Report(findings, Hosting(), 1234.5, frozenset({"databases.default"}), **others)
