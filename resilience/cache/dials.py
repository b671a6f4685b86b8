"""The dials of one link: which are under way, what can still come of them, and their threads."""

from __future__ import annotations

import threading
from collections.abc import Callable

from redis import exceptions

from resilience.cache.connection import Bound
from resilience.cache.connector import CONNECTOR, Dialler, Server

AT_ONCE = 2  # of one link: one that hangs must not keep it from connecting
GRACE = 0.05  # seconds for a dial that is over to say so


class Dial:
    """One attempt to connect, from the moment it was wanted."""

    def __init__(self, asked: float, generation: int) -> None:
        self.asked = asked
        self.generation = generation
        self.connection: Bound | None = None
        self.error: Exception | None = None
        self.over = threading.Event()


class Dials:
    """The link's lock is held where nothing else is said.

    ``ended`` is called in the connector's thread, without the lock; ``generation`` is that of the
    connections to come.
    """

    def __init__(
        self,
        server: Server,
        name: str,
        clock: Callable[[], float],
        ended: Callable[[Dial], None],
    ) -> None:
        self._server, self._name, self._clock, self._ended = server, name, clock, ended
        self.running: set[Dial] = set()
        self.generation = -1
        self.outdate()

    def outdate(self) -> None:
        """Names are resolved and files read again; what is under way comes too late."""
        self.generation += 1
        self._dialler = Dialler(self._server, self._clock)

    def new(self, wanted: int, now: float) -> list[Dial]:
        """As many of the wanted as may be under way; ``start`` must follow."""
        new: list[Dial] = []
        while (
            len(new) < wanted
            and len(self.running) < AT_ONCE
            and CONNECTOR.take_place(only=not self.running)
        ):
            new.append(Dial(now, self.generation))
            self.running.add(new[-1])
        return new

    def start(self, dials: list[Dial]) -> None:
        """Without the lock."""
        for dial in dials:
            try:
                CONNECTOR.start(self._name, lambda dial=dial: self._run(dial))  # type: ignore[misc]
            except RuntimeError as error:
                dial.error = exceptions.ConnectionError(f"no thread can be started: {error}")
                self._ended(dial)

    def _run(self, dial: Dial) -> None:
        """In the connector's thread, without the lock."""
        dialler = self._dialler
        try:
            dial.connection = connection = self._server.connection(self._clock)
            connection.generation = dial.generation
            dialler.dial(connection)
        except Exception as failure:  # noqa: BLE001 - whatever it is, callers wait for an answer
            dial.error = failure.with_traceback(None)
        self._ended(dial)

    def connections(self) -> list[Bound]:
        return [each.connection for each in self.running if each.connection is not None]

    def coming(self, now: float) -> list[Dial]:
        """Those that may still succeed."""
        return [
            each
            for each in self.running
            if each.generation == self.generation and not self._is_late(each, now)
        ]

    def any_late(self, now: float) -> bool:
        return any(self._is_late(each, now) for each in self.running)

    def all_slow(self, now: float) -> bool:
        """Whether somebody has waited for each of them for a whole operation's time."""
        return all(now - each.asked > self._server.operation_timeout for each in self.running)

    def _is_late(self, dial: Dial, now: float) -> bool:
        return now - dial.asked > self._server.connect_timeout + GRACE
