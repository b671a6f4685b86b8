"""Is this machine's clock right? Asked of the servers that the app has anyway.

A clock that is hours off makes good certificates look expired, and no library says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial

from django.db import Error as DatabaseError, connections

from resilience.findings import Finding, Level
from resilience.probes import network, targets, wire
from resilience.probes.base import Deadline, Probe, utc_now
from resilience.probes.conversation import Conversation
from resilience.probes.database import own_connection
from resilience.probes.sightings import Sightings, middle

TOLERANCE = timedelta(minutes=2)
_QUESTIONS = {
    "postgresql": "SELECT extract(epoch FROM clock_timestamp())",
    "mysql": "SELECT unix_timestamp(now(6))",
}


@dataclass(frozen=True)
class Clocks(Probe):
    """The clocks of the databases and of Redis, compared with this machine's."""

    area = "tls"
    sightings: Sightings = field(kw_only=True, repr=False, compare=False)
    now: Callable[[], datetime] = field(kw_only=True, repr=False, compare=False, default=utc_now)

    def run(self, deadline: Deadline) -> Iterator[Finding]:
        self.sightings.begin(self.subject)
        try:
            found = dict(self._skews(deadline))
            if found:
                self.sightings.time(self.subject, middle(found.values()))
        finally:
            self.sightings.done(self.subject)
        wrong = {origin: skew for origin, skew in found.items() if abs(skew) > TOLERANCE}
        for origin, skew in wrong.items():
            yield clock_skew(self.subject, skew, origin)
        if found and not wrong:
            summary = f"This machine's clock agrees with {', '.join(found)}."
            yield Finding("tls.ok", Level.OK, self.subject, summary)

    def _skews(self, deadline: Deadline) -> Iterator[tuple[str, timedelta]]:
        """Whoever does not answer is left out: other probes say why."""
        for ask in (*_databases(), *_caches()):
            asked = self.now()
            answer = ask(deadline)
            if answer is not None:
                origin, theirs = answer
                # They answered in the middle of the round trip, as far as anybody knows.
                yield origin, theirs - asked - (self.now() - asked) / 2


def clock_skew(subject: str, skew: timedelta, origin: str) -> Finding:
    """The clock here is off by ``skew``, compared with somebody's."""
    return Finding(
        "tls.clock-skew",
        Level.WARNING,
        subject,
        f"This machine's clock is {spoken(skew)}, compared with that of {origin}.",
        "Compare with the real time (date -u); set the clock on the container's host.",
        {"skew_s": round(skew.total_seconds())},
    )


def spoken(skew: timedelta) -> str:
    """How this clock is off, if theirs is ``skew`` ahead of it."""
    seconds = round(abs(skew.total_seconds()))
    amount = f"{seconds} s" if seconds < 600 else f"{seconds / 3600:.1f} h"  # noqa: PLR2004
    return f"{amount} {'slow' if skew > timedelta() else 'fast'}"


_Answer = tuple[str, datetime] | None


def _databases() -> Iterator[Callable[[Deadline], _Answer]]:
    for alias in connections:
        question = _QUESTIONS.get(connections[alias].vendor)
        if question is not None:
            yield partial(_database, alias, question)


def _database(alias: str, question: str, deadline: Deadline) -> _Answer:
    with suppress(DatabaseError, OSError), own_connection(alias, deadline) as connection:
        with connection.cursor() as cursor:
            cursor.execute(question)
            row = cursor.fetchone()
        return f"databases.{alias}", datetime.fromtimestamp(float(row[0]), UTC)
    return None


def _caches() -> Iterator[Callable[[Deadline], _Answer]]:
    seen = set()
    for location in targets.locations():
        with suppress(targets.InvalidTarget):
            target = location.target()
            if target.where not in seen and not location.sentinel:
                seen.add(target.where)
                yield partial(_redis, target)


def _redis(target: targets.Target, deadline: Deadline) -> _Answer:
    with suppress(network.StageFailed, wire.Silent, wire.Foreign, wire.Ended, OSError):
        with closing(wire.Wire(target, wire.dial(target, deadline), deadline)) as line:
            conversation = Conversation(target.subject, target, line, deadline)
            conversation.start()
            list(conversation.authenticate())
            reply = line.send("TIME")
        if isinstance(reply, list):
            seconds = int(reply[0]) + int(reply[1]) / 1e6
            return target.origin, datetime.fromtimestamp(seconds, UTC)
    return None
