"""One entry of ``RESILIENCE["SILENCE"]``: what is not to be heard, why, and until when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from types import MappingProxyType

from resilience.errors import UsageError
from resilience.findings import ID, Finding


@dataclass(frozen=True)
class Silence:
    """``subject`` is empty for all of them. It holds up to and including the day ``until``."""

    key: str
    id: str
    subject: str
    reason: str
    until: date

    def covers(self, finding: Finding) -> bool:
        return finding.id == self.id and self.subject in ("", finding.subject)

    def is_over(self, day: date) -> bool:
        return day > self.until


def read_all(raw: object) -> Mapping[str, Silence]:
    """Every entry by its key. Raises UsageError, naming the first that is wrong."""
    if not isinstance(raw, Mapping):
        raise UsageError("must be a dictionary by finding id")
    return MappingProxyType({str(key): _read(key, value) for key, value in raw.items()})


def _read(key: object, value: object) -> Silence:
    identifier, colon, subject = (part.strip() for part in str(key).partition(":"))
    identifier = identifier.removeprefix("resilience.")
    if not isinstance(key, str) or not ID.fullmatch(identifier):
        raise UsageError(f"{key!r} is not a finding id, as 'redis.slow' or 'redis.slow:SUBJECT'")
    if colon and not subject:  # an empty variable, and no wish to silence all of them
        raise UsageError(f"{key!r} names no subject behind its colon")
    reason, until = reason_and_date(key, value)
    return Silence(key, identifier, subject, reason, until)


def reason_and_date(name: object, value: object) -> tuple[str, date]:
    """What every exception from a rule has to give. Raises UsageError, naming ``name``."""
    if not isinstance(value, Mapping) or set(value) != {"reason", "until"}:
        raise UsageError(f'{name!r} must be {{"reason": "…", "until": "2027-01-31"}}')
    reason, until = value["reason"], value["until"]
    if not isinstance(reason, str) or not reason.strip():
        raise UsageError(f"{name!r} gives no reason")
    try:
        day = until if isinstance(until, date) else date.fromisoformat(until)
    except (TypeError, ValueError):
        raise UsageError(f"the date of {name!r} is not of the form 2027-01-31") from None
    return reason.strip(), day.date() if isinstance(day, datetime) else day
