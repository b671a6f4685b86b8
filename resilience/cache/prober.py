"""Asks an open circuit's Redis whether it is back. No user traffic takes part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from redis import exceptions

from resilience.cache.faults import Kind, classify
from resilience.cache.worker import Worker
from resilience.chance import CHANCE

if TYPE_CHECKING:
    from resilience.cache.breaker import Breaker
    from resilience.cache.link import Command, Link
    from resilience.cache.state import AliasState

PERIOD = 0.5  # seconds; a short first wait makes a blip a blip
PERIOD_LATER = 2.0
LATER = 60.0  # seconds after which nobody hopes for a blip
JITTER = 0.2  # of the period, so that a thousand processes do not ask in step
_KEY_MS = 1000


class Prober(Worker):
    """Of one alias; at work while a role is open."""

    def __init__(self, state: AliasState) -> None:
        super().__init__(f"resilience-prober-{state.options.alias}")
        self._state = state
        self._began = 0.0

    def begin(self) -> float:
        self._began = self._state.clock()
        return self._pause()

    def turn(self) -> float:
        self.probe()
        return self._pause()

    def is_idle(self) -> bool:
        return self._state.read.closed and self._state.write.closed

    def probe(self) -> None:
        """Ask once for each role that is open."""
        self._probe_role(self._state.read, self._state.readers, ("GET", self._state.probe_key))
        self.probe_writes()

    def probe_writes(self, seconds: float | None = None) -> None:
        """The same for writes alone, connecting within so many seconds."""
        command: Command = ("SET", self._state.probe_key, b"1", "PX", _KEY_MS)
        self._probe_role(self._state.write, self._state.writers, command, seconds)

    def _pause(self) -> float:
        late = self._state.clock() - self._began > LATER
        jitter = 1 + CHANCE.uniform(-JITTER, JITTER)
        return (PERIOD_LATER if late else PERIOD) * jitter

    def _probe_role(
        self,
        breaker: Breaker,
        links: Sequence[Link],
        command: Command,
        seconds: float | None = None,
    ) -> None:
        """One server that answers is enough: reads leave out those that are down."""
        if breaker.closed or not breaker.half_open():
            return
        # Every one, to connect it too.
        answers = [self._answers(link, command, seconds) for link in links]
        if any(answers):
            breaker.close()
        else:
            breaker.reopen()

    def _answers(self, link: Link, command: Command, seconds: float | None) -> bool:
        state = self._state
        try:
            link.dial(seconds)
            (reply,) = link.exchange((command,), state.clock() + state.options.operation_timeout)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is no answer
            state.note(classify(error), error)
            return False
        if isinstance(reply, exceptions.RedisError):
            kind = classify(reply)
            state.note(kind, reply)
            if kind is Kind.READONLY:
                link.drop()
            return kind is Kind.PERMISSION  # it answers, and this user may not ask for this key
        return True
