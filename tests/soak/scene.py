"""A server, the crews that use it, and what may happen to both of them together."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from tests.soak.crew import Crew
from tests.soak.judge import Break
from tests.soak.server import Server

RECOVERS_WITHIN = 8.0  # seconds
SETTLES_WITHIN = 20.0  # seconds, 5 of them until the second UNLINKs
POLL = 0.05  # seconds
QUIET = 0.3  # seconds from one look to the next: more than an operation takes that was under way


class Scene:
    """Crews share the server, each on a database of its own; a fault hits all of them."""

    def __init__(self, server: Server, crews: Sequence[Crew]) -> None:
        self.server = server
        self.crews = list(crews)
        self._deaths = 0

    # ── waiting; whatever load there is goes on ─────────────────────────────────────────────────

    def pause(self, seconds: float) -> None:
        time.sleep(seconds)

    def until(self, condition: Callable[[], bool], within: float = RECOVERS_WITHIN) -> None:
        """Raises AssertionError if it does not become true."""
        ends = time.monotonic() + within
        while not condition():
            assert time.monotonic() < ends, self._said(within)
            time.sleep(POLL)

    def recovered(self) -> None:
        """Wait until every circuit is closed."""
        self.until(lambda: all(crew.recovered() for crew in self.crews))

    def flushed(self) -> None:
        """Wait until no key is masked any more."""
        self.recovered()
        self.until(lambda: all(crew.empty(again=False) for crew in self.crews))

    def settled(self) -> None:
        """Wait until every journal is empty, and nothing is under way that may change that."""
        self.recovered()
        ends = time.monotonic() + SETTLES_WITHIN
        while not (self._empty() and self._still_empty()):
            assert time.monotonic() < ends, self._said(SETTLES_WITHIN)
            time.sleep(POLL)
        for crew in self.crews:
            crew.judge.quiet(time.monotonic())

    def _empty(self) -> bool:
        return all(crew.empty() for crew in self.crews)

    def _still_empty(self) -> bool:
        time.sleep(QUIET)
        return self._empty()

    def _said(self, within: float) -> str:
        found = [each for crew in self.crews for each in crew.status()]
        return f"not within {within:g} s: {found}"

    # ── what happens to processes and data ──────────────────────────────────────────────────────

    def kill_one(self) -> None:
        """A process of each crew, in turn."""
        for crew in self.crews:
            crew.kill(self._deaths % len(crew.processes))
        self._deaths += 1

    def lose(self, began: float, ended: float) -> None:
        """Redis lost what it acknowledged in this time."""
        for crew in self.crews:
            crew.judge.lose(began, ended)

    # ── load ────────────────────────────────────────────────────────────────────────────────────

    def load(self, seed: int, rate: float) -> None:
        for crew in self.crews:
            crew.load(seed, rate)

    def rest(self, *, sweeps: bool = True) -> list[list[Break]]:
        """By crew, what was forbidden since the last time; ``sweeps``: after reading every key."""
        return [crew.rest(sweeps=sweeps) for crew in self.crews]
