"""Who has which connection: ready, lent or being dialled, and who waits for one.

    take ── a ready connection, the last returned first ──► lent ──► give_back
     │                                                                  │ clean
     └─ none: wait until the own deadline ◄── the longest waiting ◄─────┤  with ENOUGH time left
                                          ◄── the connector             └─ else closed

Ready, lent and dialling connections together are at most ``max_connections``. Once a dial has
failed and nothing is connected, the link is down: callers are told so at once, and a new dial is
tried behind them every RETRY_AFTER at most, or when ``dial()`` asks for one.

A caller that has waited so long that Redis could hardly answer in the rest is told LinkSaturated
instead of being given what another returned: it would time out, the connection would have to be
closed, and under more load than Redis bears there would soon be none. With 64 threads, 8
connections and 30 ms to Redis that was 18 replies a second and 62 closed connections; now it is
250, and none.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any
from weakref import WeakSet

from resilience.cache.connection import Bound, LinkDown, LinkSaturated
from resilience.cache.connector import Server
from resilience.cache.dials import GRACE, Dial, Dials
from resilience.cache.downtime import Downtime
from resilience.cache.idle import CLOSER

ENOUGH = 0.5  # of operation_timeout; with less left nobody is given what another returns
RETRY_AFTER = 0.5  # seconds between dials that nobody asked for by name
FORGET_AFTER = 10.0  # seconds after which a failed dial says nothing about the next


class _Waiter:
    """A caller without a connection; whoever has an answer sets it under the link's lock."""

    def __init__(self, ends: float) -> None:
        self.ends = ends
        self.connection: Bound | None = None
        self.down: LinkDown | None = None
        self.answered = threading.Event()

    def answer(self, *, connection: Bound | None = None, down: LinkDown | None = None) -> None:
        """With neither: there is no connection for it."""
        self.connection, self.down = connection, down
        self.answered.set()


class Lending:
    """``ends`` is always a time of ``clock``, in seconds. No lock is held over I/O."""

    def __init__(self, server: Server, name: str, clock: Callable[[], float]) -> None:
        self.server = server
        self.name = name
        self._clock = clock
        self._begin()

    def _begin(self) -> None:
        """Have nothing, as in the child of a fork."""
        self._lock = threading.Lock()
        self.beginnings = 0  # how often it was connected with nothing left of before
        self._ready: list[Bound] = []
        # Weak: a caller that a signal ends before it can give its connection back loses it, and
        # nobody else does.
        self._lent: WeakSet[Bound] = WeakSet()
        self._dials = Dials(self.server, self.name, self._clock, self._end)
        self._waiters: deque[_Waiter] = deque()
        self._peer: Any = None
        self._elsewhere: Callable[[], None] | None = None
        self._forget()

    def _forget(self) -> None:
        self._downtime = Downtime(self.server)
        self._counts = {"dials": 0, "failed_dials": 0, "waits": 0}

    # ── for whoever looks after the link ────────────────────────────────────────────────────────

    def dial(self, seconds: float | None = None) -> None:
        """Have one connection dialled now, to be lent next. Raises LinkDown if it does not succeed.

        Waits up to ``connect_timeout``, or so many seconds if that is less. Does nothing while
        every possible connection is lent.
        """
        asked = self._clock()
        stale: list[Bound] = []
        start: list[Dial] = []
        with self._lock:
            dials = self._dials.coming(asked)
            if not dials:
                full = self._size() >= self.server.max_connections
                if full and not self._ready and self._lent:
                    return
                if not full or self._ready:
                    dials = start = self._new_dials(1, asked)
                if not dials:
                    raise self._late()
                if full:
                    stale.append(self._ready.pop(0))
            dial = dials[0]
        self._close(stale)
        self._dials.start(start)
        limit = self.server.connect_timeout + GRACE
        if not dial.over.wait(limit if seconds is None else min(limit, seconds)):
            raise self._late()
        if dial.error is not None:
            raise self._downtime.error(dial.error)

    def drop(self) -> None:
        """Close what is idle now, what is lent when it comes back: names are resolved again."""
        if self._elsewhere is not None:
            self._elsewhere()
        self._drop()

    def _drop(self) -> None:
        with self._lock:
            stale, self._ready = self._ready, []
            self._dials.outdate()
            self.beginnings += 1
        self._close(stale)

    def follow(self, peer: Any, elsewhere: Callable[[], None]) -> None:
        """Lend connections to this address; ``elsewhere`` is called before one to another."""
        with self._lock:
            self._peer, self._elsewhere = peer, elsewhere
            strays = any(each.peer != peer for each in (*self._ready, *self._lent))
        if strays:
            self._drop()

    def _note_peer(self, peer: Any) -> None:
        """Before it is lent, so that nothing that it says is taken for what the other one says."""
        if self._elsewhere is not None and peer not in {None, self._peer}:
            self._elsewhere()

    def close_idle(self, after: float) -> float | None:
        """Close what nobody has used for so many seconds; in how many the next one is to be."""
        with self._lock:
            before = self._clock() - after
            stale = [one for one in self._ready if one.returned <= before]
            self._ready = [one for one in self._ready if one.returned > before]
            left = min((one.returned - before for one in self._ready), default=None)
        self._close(stale)
        return left

    @property
    def has_idle(self) -> bool:
        """Whether a connection waits to be used, without waiting for a lock."""
        return bool(self._ready)

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
                "dialing": len(self._dials.running),
                "waiting": len(self._waiters),
                "max_connections": self.server.max_connections,
                "down_since": None if connected else self._downtime.since,
                "last_error": self._downtime.said or None,
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
        waiter, now = _Waiter(ends), self._clock()
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
            self._dials.start(start)
            raise down
        try:
            self._dials.start(start)
            waiter.answered.wait(max(0.0, ends - self._clock()))
        except BaseException:
            self._leave(waiter)
            if waiter.connection is not None:
                self.give_back(waiter.connection)
            raise
        self._leave(waiter)
        if waiter.connection is None:
            raise waiter.down or LinkSaturated(
                f"no connection to Redis at {self.server.where} became free in time"
            )
        waiter.connection.waited_for = self._clock()
        return waiter.connection

    def _leave(self, waiter: _Waiter) -> None:
        """End the waiting: what was answered until now holds."""
        with self._lock:
            if not waiter.answered.is_set():
                self._waiters.remove(waiter)

    def give_back(self, connection: Bound) -> None:
        """Return what was taken, in whatever state it is."""
        if not connection.is_clean():
            self._discard(connection)
            return
        with self._lock:
            kept = connection.generation == self._dials.generation and connection in self._lent
            # A queue, else the busiest thread gets them all.
            waiter = self._longest_waiting() if kept else None
            if waiter is not None:
                waiter.answer(connection=connection)  # which stays lent
            elif kept:
                self._lent.discard(connection)
                self._keep(connection)
        if not kept:
            self._discard(connection)
        elif waiter is None and CLOSER.wanted:
            CLOSER.start()

    def _keep(self, connection: Bound) -> None:
        """Under the lock: for whoever comes next."""
        connection.returned = self._clock()
        self._ready.append(connection)

    def _longest_waiting(self) -> _Waiter | None:
        """Of those who have enough time left; the others are told that there is none for them."""
        latest = self._clock() + ENOUGH * self.server.operation_timeout
        while self._waiters:
            waiter = self._waiters.popleft()
            if waiter.ends >= latest:
                return waiter
            waiter.answer()
        return None

    def _discard(self, connection: Bound) -> None:
        connection.disconnect()
        with self._lock:
            self._lent.discard(connection)
            start = self._after_loss()
        self._dials.start(start)

    def _close(self, connections: list[Bound]) -> None:
        for connection in connections:
            connection.disconnect()

    # ── dialling; the lock is held where nothing else is said ───────────────────────────────────

    def _wanted(self, now: float) -> list[Dial]:
        """The dials that the waiting callers need: to be started without the lock."""
        if self._downtime.cause is None:
            wanted = len(self._waiters) - len(self._dials.coming(now))
        else:
            again = now - self._downtime.failed_at >= RETRY_AFTER
            wanted = int(not self._dials.running and again)
        return self._new_dials(min(wanted, self.server.max_connections - self._size()), now)

    def _new_dials(self, wanted: int, now: float) -> list[Dial]:
        new = self._dials.new(wanted, now)
        self._counts["dials"] += len(new)
        return new

    def _end(self, dial: Dial) -> None:
        """In the connector's thread, without the lock: what came of it goes to who waits."""
        connection, now, outdated = dial.connection, self._clock(), False
        if connection is not None:
            self._note_peer(connection.peer)
        with self._lock:
            self._dials.running.discard(dial)
            if dial.error is not None or connection is None:
                self._fail(dial.error or self._downtime.late(), now)
                start = self._after_loss()
            else:
                outdated = connection.generation != self._dials.generation
                if not outdated:
                    self.beginnings += not (self._ready or self._lent)
                    self._downtime.end()
                    if self._waiters:
                        self._lent.add(connection)
                        self._waiters.popleft().answer(connection=connection)
                    else:
                        self._keep(connection)
                start = self._wanted(now) if self._waiters else []
        dial.over.set()
        if CLOSER.wanted:
            CLOSER.start()
        if outdated and connection is not None:
            connection.disconnect()
        self._dials.start(start)

    def _fail(self, error: Exception, now: float) -> None:
        self._downtime.fail(error, now)
        self._counts["failed_dials"] += 1

    def _after_loss(self) -> list[Dial]:
        """There is a connection or a dial less: tell the waiting, or have another one dialled."""
        down = self._is_down(self._clock())
        while down is not None and self._waiters:
            self._waiters.popleft().answer(down=self._downtime.error(down.cause))
        return self._wanted(self._clock()) if self._waiters else []

    def _is_down(self, now: float) -> LinkDown | None:
        if self._ready or self._lent:
            return None
        downtime, dials = self._downtime, self._dials
        if downtime.cause is None and dials.any_late(now):
            self._fail(downtime.late(), now)
        elif not dials.running and now - downtime.failed_at > FORGET_AFTER:
            downtime.end()
        elif downtime.cause is None and dials.running and dials.all_slow(now):
            return self._late()  # somebody has waited for it as long as one may; nobody else need
        return None if downtime.cause is None else downtime.error(downtime.cause)

    @property
    def is_down(self) -> bool:
        """Whether the last dial failed and nothing is connected, without waiting for a lock."""
        return self._downtime.cause is not None and not self._ready and not self._lent

    def _late(self) -> LinkDown:
        return self._downtime.error(self._downtime.late())

    def _size(self) -> int:
        return len(self._ready) + len(self._lent) + len(self._dials.running)
