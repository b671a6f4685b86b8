"""Findings that somebody does not want to hear: by Django's setting, or ours with reason and date.

``RESILIENCE["SILENCE"] = {"redis.slow": {"reason": "…", "until": "2027-01-31"}}``; the key may name
one subject behind a colon. What follows from something silenced is silenced with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime

from django.conf import settings

from resilience import catalogue, conf
from resilience.errors import did_you_mean
from resilience.findings import Finding, Level
from resilience.silence import Silence

_SUBJECT = "settings.RESILIENCE"
_OTHERS = re.compile(r"\w+(?:\.\w+)*\.[A-Z]\d+")  # security.W009, and apps' own checks


def today() -> date:
    return datetime.now(UTC).date()


def is_silenced(finding: Finding) -> bool:
    """Whether either setting silences it, or what it follows from."""
    return in_django(finding) or by_date(finding, today()) is not None


def in_django(finding: Finding | None) -> bool:
    """Whether ``SILENCED_SYSTEM_CHECKS`` names it, or what it follows from."""
    names = settings.SILENCED_SYSTEM_CHECKS
    if finding is None or not isinstance(names, list | tuple | set):
        return False
    return f"resilience.{finding.id}" in names or in_django(finding.cause)


def by_date(finding: Finding | None, day: date) -> Silence | None:
    """The entry of SILENCE that holds for it on that day, or for what it follows from."""
    # What tells about the settings, SILENCE itself among them, is always heard.
    if finding is None or finding.area == "conf" or finding.id.startswith("conf."):
        return None
    for silence in conf.get().SILENCE.values():
        if silence.covers(finding) and not silence.is_over(day):
            return silence
    return by_date(finding.cause, day)


def split(findings: tuple[Finding, ...]) -> tuple[tuple[Finding, ...], tuple[Finding, ...]]:
    """Those that count, and those that SILENCE holds back, which then tell why."""
    day = today()
    counted, silenced = [], []
    for finding in findings:
        silence = by_date(finding, day)
        if silence is None:
            counted.append(finding)
        else:
            facts = {**finding.facts, "reason": silence.reason, "until": str(silence.until)}
            silenced.append(replace(finding, facts=facts))
    return tuple(counted), tuple(silenced)


def problems() -> Iterator[Finding]:
    """Entries that mean nothing, and those whose time is over."""
    entries: Mapping[str, Silence] = conf.get().SILENCE
    known = catalogue.entries() if entries else {}
    for silence in entries.values():
        if silence.id not in known and not _OTHERS.fullmatch(silence.id):
            yield Finding(
                "conf.silence-unknown",
                Level.WARNING,
                _SUBJECT,
                f'RESILIENCE["SILENCE"] names {silence.key!r}, and no finding has this id.',
                f"Correct or remove the entry.{did_you_mean(silence.id, known)}",
                area="conf",
            )
        elif silence.is_over(today()):
            yield Finding(
                "conf.silence-expired",
                Level.WARNING,
                _SUBJECT,
                f"{silence.key!r} was silenced until {silence.until} ({silence.reason}). It counts "
                "again.",
                'Mend it; or look at it anew and write another date into RESILIENCE["SILENCE"].',
                area="conf",
            )
