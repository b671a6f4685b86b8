"""Who has which connection: ready, lent or being dialled, and who waits for one.

    take ── a ready connection, the last returned first ──► lent ──► give_back
     │                                                                  │ clean
     └─ none: wait until the own deadline ◄── the longest waiting ◄─────┤
                                          ◄── the connector             └─ else closed

Ready, lent and dialling connections together are at most ``max_connections``. Once a dial has
failed and nothing is connected, the link is down: callers are told so at once, and a new dial is
tried behind them every RETRY_AFTER at most, or when ``dial()`` asks for one.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any
from weakref import WeakSet

from redis import exceptions

from resilience import redact
from resilience.cache.connection import Bound, LinkDown, LinkSaturated
from resilience.cache.connector import CONNECTOR, Dialler, Server

DIALS = 2  # of one link at once: one that hangs must not take every place of the process
RETRY_AFTER = 0.5  # seconds between dials that nobody asked for by name
FORGET_AFTER = 10.0  # seconds after which a failed dial says nothing about the next
GRACE = 0.05  # seconds for a dial that is over to say so


class _Waiter:
    """A caller without a connection; whoever has an answer sets it under the link's lock."""

    def __init__(self) -> None:
        self.connection: Bound | None = None
        self.down: LinkDown | None = None
        self.answered = threading.Event()

    def answer(self, *, connection: Bound | None = None, down: LinkDown | None = None) -> None:
        self.connection, self.down = connection, down
        self.answered.set()


class _Dial:
    """One attempt to connect, from the moment it was wanted."""

    def __init__(self, asked: float, generation: int) -> None:
        self.asked = asked
        self.generation = generation
        self.connection: Bound | None = None
        self.error: Exception | None = None
        self.over = threading.Event()


class Lending:
    """``ends`` is always a time of ``clock``, in seconds. No lock is held over I/O."""

    def __init__(self, server: Server, name: str, clock: Callable[[], float]) -> None:
        self.server = server
        self.name = name
        self._clock = clock
        self._generation = 0
        self._ready: list[Bound] = []
        # Weak: a caller that a signal ends before it can give its connection back loses it, and
        # nobody else does.
        self._lent: WeakSet[Bound] = WeakSet()
        self._dials: set[_Dial] = set()
        self._begin()

    def _begin(self) -> list[Bound]:
        """Have nothing, as in the child of a fork; returns what there was."""
        dialling = [each.connection for each in self._dials if each.connection is not None]
        had = [*self._ready, *self._lent, *dialling]
        self._lock = threading.Lock()
        self._dialler = Dialler(self.server, self._clock)
        self._ready, self._lent, self._dials = [], WeakSet(), set()
        self._waiters: deque[_Waiter] = deque()
        self._forget()
        return had

    def _forget(self) -> None:
        self._cause: Exception | None = None
        self._said = ""
        self._down_since: float | None = None
        self._failed_at = 0.0
        self._counts = {"dials": 0, "failed_dials": 0, "waits": 0}

    # ── for whoever looks after the link ────────────────────────────────────────────────────────

    def dial(self) -> None:
        """Have one connection dialled now, to be lent next. Raises LinkDown if it does not succeed.

        Waits up to ``connect_timeout``. Does nothing while every possible connection is lent.
        """
        asked = self._clock()
        stale: list[Bound] = []
        start: list[_Dial] = []
        with self._lock:
            running = [each for each in self._dials if self._may_succeed(each, asked)]
            if running:
                dial = running[0]
            elif len(self._dials) >= DIALS:
                raise self._down(self._late())
            else:
                if self._size() >= self.server.max_connections:
                    if not self._ready:
                        return
                    stale.append(self._ready.pop(0))
                dial = self._new_dial(asked)
                start.append(dial)
        self._close(stale)
        self._start(start)
        if not dial.over.wait(self.server.connect_timeout + GRACE):
            raise self._down(self._late())
        if dial.error is not None:
            raise self._down(dial.error)

    def drop(self) -> None:
        """Close what is idle now, what is lent when it comes back: names are resolved again."""
        with self._lock:
            self._generation += 1
            stale, self._ready = self._ready, []
            self._dialler = Dialler(self.server, self._clock)
        self._close(stale)

    def close_idle(self, older_than: float) -> None:
        """Close what nobody used for so many seconds."""
        before = self._clock() - older_than
        with self._lock:
            stale = [each for each in self._ready if each.idle_since <= before]
            self._ready = [each for each in self._ready if each.idle_since > before]
        self._close(stale)

    def reset(self) -> None:
        """Drop everything and forget that the link was ever down, and the counters."""
        self.drop()
        with self._lock:
            self._forget()

    def snapshot(self) -> dict[str, Any]:
        """Counts; ``down_since`` (on the link's clock) is None while anything is connected."""
        with self._lock:
            connected = self._ready or self._lent
            return {
                "ready": len(self._ready),
                "lent": len(self._lent),
                "dialing": len(self._dials),
                "waiting": len(self._waiters),
                "max_connections": self.server.max_connections,
                "down_since": None if connected else self._down_since,
                "last_error": self._said or None,
                **self._counts,
            }

    # ── lending ─────────────────────────────────────────────────────────────────────────────────

    def take(self, ends: float) -> Bound:
        """The last returned connection that is still alive; ``give_back`` must follow.

        Raises LinkDown, LinkSaturated.
        """
        while True:
            with self._lock:
                if not self._ready:
                    break
                connection = self._ready.pop()
                self._lent.add(connection)
            if not connection.is_stale():
                return connection
            self._discard(connection)
        return self._wait(ends)

    def _wait(self, ends: float) -> Bound:
        """For the next connection that is returned or dialled."""
        waiter, now = _Waiter(), self._clock()
        with self._lock:
            if self._ready:  # since a moment ago, so it is fresh
                waiter.connection = self._ready.pop()
                self._lent.add(waiter.connection)
                return waiter.connection
            down = self._is_down(now)
            if down is None:
                self._waiters.append(waiter)
                self._counts["waits"] += 1
            start = self._wanted(now)
        if down is not None:
            self._start(start)
            raise down
        try:
            self._start(start)
            waiter.answered.wait(max(0.0, ends - self._clock()))
        except BaseException:
            if self._leave(waiter) and waiter.connection is not None:
                self.give_back(waiter.connection)
            raise
        if not self._leave(waiter):
            raise LinkSaturated(f"no connection to Redis at {self.server.where} became free")
        if waiter.connection is None:
            raise waiter.down or LinkSaturated("nobody answered")
        waiter.connection.waited_for = self._clock()
        return waiter.connection

    def _leave(self, waiter: _Waiter) -> bool:
        """End the waiting; whether there was an answer."""
        with self._lock:
            if not waiter.answered.is_set():
                self._waiters.remove(waiter)
            return waiter.answered.is_set()

    def give_back(self, connection: Bound) -> None:
        """Return what was taken, in whatever state it is."""
        if not connection.is_clean():
            self._discard(connection)
            return
        with self._lock:
            if connection.generation == self._generation and connection in self._lent:
                if self._waiters:  # it stays lent; a queue, else the busiest thread gets them all
                    self._waiters.popleft().answer(connection=connection)
                else:
                    connection.idle_since = self._clock()
                    self._lent.discard(connection)
                    self._ready.append(connection)
                return
        self._discard(connection)

    def _discard(self, connection: Bound) -> None:
        connection.disconnect()
        with self._lock:
            self._lent.discard(connection)
            start = self._after_loss()
        self._start(start)

    def _close(self, connections: list[Bound]) -> None:
        for connection in connections:
            connection.disconnect()

    # ── dialling; the lock is held where nothing else is said ───────────────────────────────────

    def _wanted(self, now: float) -> list[_Dial]:
        """The dials that the waiting callers need: to be started without the lock."""
        if self._cause is None:
            coming = [each for each in self._dials if self._may_succeed(each, now)]
            wanted = len(self._waiters) - len(coming)
        else:
            wanted = int(not self._dials and now - self._failed_at >= RETRY_AFTER)
        room = min(self.server.max_connections - self._size(), DIALS - len(self._dials))
        return [self._new_dial(now) for _ in range(min(wanted, room))]

    def _new_dial(self, now: float) -> _Dial:
        dial = _Dial(now, self._generation)
        self._dials.add(dial)
        self._counts["dials"] += 1
        return dial

    def _start(self, dials: list[_Dial]) -> None:
        """Without the lock."""
        for dial in dials:
            try:
                CONNECTOR.submit(self.name, lambda dial=dial: self._run(dial))  # type: ignore[misc]
            except RuntimeError as error:
                self._end(dial, exceptions.ConnectionError(f"no thread can be started: {error}"))

    def _run(self, dial: _Dial) -> None:
        """In the connector's thread, without the lock."""
        error: Exception | None = None
        try:
            with self._lock:
                dialler = self._dialler
            dial.connection = connection = self.server.connection(self._clock)
            connection.generation = dial.generation
            dialler.dial(connection)
        except Exception as failure:  # noqa: BLE001 - whatever it is, callers wait for an answer
            error = failure.with_traceback(None)
        self._end(dial, error)

    def _end(self, dial: _Dial, error: Exception | None) -> None:
        """Without the lock."""
        connection, now, outdated = dial.connection, self._clock(), False
        with self._lock:
            if dial not in self._dials:  # forked or reset meanwhile
                return
            self._dials.discard(dial)
            if error is not None or connection is None:
                dial.error = error
                self._fail(error or self._late(), now)
                start = self._after_loss()
            else:
                outdated = connection.generation != self._generation
                if not outdated:
                    self._cause, self._down_since = None, None
                    if self._waiters:
                        self._lent.add(connection)
                        self._waiters.popleft().answer(connection=connection)
                    else:
                        connection.idle_since = now
                        self._ready.append(connection)
                start = self._wanted(now) if self._waiters else []
        dial.over.set()
        if outdated and connection is not None:
            connection.disconnect()
        self._start(start)

    def _fail(self, error: Exception, now: float) -> None:
        self._cause, self._said = error, redact.exception(error)
        self._down_since = now if self._down_since is None else self._down_since
        self._failed_at = now
        self._counts["failed_dials"] += 1

    def _after_loss(self) -> list[_Dial]:
        """There is a connection or a dial less: tell the waiting, or have another one dialled."""
        down = self._is_down(self._clock())
        while down is not None and self._waiters:
            self._waiters.popleft().answer(down=self._down(down.cause))
        return self._wanted(self._clock()) if self._waiters else []

    def _is_down(self, now: float) -> LinkDown | None:
        if self._ready or self._lent:
            return None
        if self._cause is None and any(self._is_late(each, now) for each in self._dials):
            self._fail(self._late(), now)
        elif not self._dials and now - self._failed_at > FORGET_AFTER:
            self._cause, self._down_since = None, None
        elif self._cause is None and self._dials and all(map(self._is_slow, self._dials)):
            # Somebody has waited a whole operation's time for it; nobody else need.
            return self._down(self._late())
        return None if self._cause is None else self._down(self._cause)

    @property
    def is_down(self) -> bool:
        """Whether the last dial failed and nothing is connected, without waiting for a lock."""
        return self._cause is not None and not self._ready and not self._lent

    def _down(self, cause: Exception) -> LinkDown:
        """An exception of its own for every thread; the lock makes no difference."""
        said = self._said if cause is self._cause else redact.exception(cause)
        down = LinkDown(f"Redis at {self.server.where} is not connected: {said}", cause)
        down.__cause__ = cause
        return down

    def _late(self) -> exceptions.TimeoutError:
        return exceptions.TimeoutError(
            f"no connection to {self.server.where} within {self.server.connect_timeout:g} s, "
            "the name is still being resolved or other dials take up every place"
        )

    def _is_late(self, dial: _Dial, now: float) -> bool:
        return now - dial.asked > self.server.connect_timeout + GRACE

    def _is_slow(self, dial: _Dial) -> bool:
        return self._clock() - dial.asked > self.server.operation_timeout

    def _may_succeed(self, dial: _Dial, now: float) -> bool:
        return dial.generation == self._generation and not self._is_late(dial, now)

    def _size(self) -> int:
        return len(self._ready) + len(self._lent) + len(self._dials)
