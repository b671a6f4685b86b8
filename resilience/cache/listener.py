"""Hears from Redis which keys were changed, by whomever, and says how long that can be trusted.

::

    CLIENT TRACKING ON BCAST PREFIX shop:1:product:     once, on a connection of its own (RESP3)
    ◄── invalidate [keys]     a write, an expiry, an eviction, by any client
    ◄── invalidate nil        FLUSHDB, FLUSHALL: a new session
    PING ──► ◄── PONG         every HEARTBEAT: what Redis did before the PING has been heard

A session begins when Redis tracks and ends with the connection; what was filled in one is hot in
no other. It is trusted for LEASE after the last PING that was answered, so a listener that hears
nothing more, and does not know it, misleads nobody for longer. Redis 6 and Valkey track.
https://redis.io/docs/latest/develop/reference/client-side-caching/
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from math import inf
from socket import SHUT_RDWR
from typing import TYPE_CHECKING, Any

from hiredis import PushNotification, pack_command
from redis import exceptions
from redis._parsers.hiredis import NOT_ENOUGH_DATA

from resilience import redact
from resilience.cache.connector import Dialler
from resilience.cache.idle import CLOSE_AFTER, CLOSER
from resilience.cache.worker import Worker
from resilience.chance import CHANCE

if TYPE_CHECKING:
    from resilience.cache.connection import Bound
    from resilience.cache.state import AliasState

LEASE = 2.0  # seconds
HEARTBEAT = 0.5  # seconds
AGAIN_AFTER = 0.5  # seconds until the next attempt, doubled with each that fails
AGAIN_AT_MOST = 30.0
JITTER = 0.2  # of that, so that a thousand processes do not ask in step
CHUNK = 1000  # keys that are taken away in one go
RECEIVE = 65536  # bytes
_PING = pack_command(("PING",))

_sessions = count(1)  # of this process, so that two listeners of one store have none in common


class Listener(Worker):
    """Of one alias. ``session`` is 0 and ``until`` (clock) past while nobody listens."""

    def __init__(self, state: AliasState) -> None:
        super().__init__(f"resilience-hot-{state.options.alias}")
        self._state = state
        self._clock = state.clock
        self._local = state.store
        self.session = 0
        self.until = -inf
        self._connection: Bound | None = None
        self._moved = False
        self._failures = 0
        self._why = "nobody has read from it yet"
        self._counts = {"sessions": 0, "invalidations": 0}
        self._used = (-1, -inf)  # hits, and when they were as many
        self._tried = threading.Event()

    # ── one session after the other ─────────────────────────────────────────────────────────────

    def turn(self) -> float:
        """Listen until it ends; how many seconds until the next attempt."""
        try:
            self._listen()
            self._why = "nobody reads from it"
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing is hot for now
            self._failures += 1
            self._why = redact.exception(error)
            self._tried.set()
        finally:
            self.close()
        if self._stopped:
            return 0.0
        pause = min(AGAIN_AFTER * 2.0 ** min(self._failures - 1, 10), AGAIN_AT_MOST)
        return pause * (1 + CHANCE.uniform(-JITTER, JITTER))

    def is_idle(self) -> bool:
        """Nobody reads, on a platform that would put the app to sleep if nothing were sent."""
        return CLOSER.wanted and self._clock() - self._used[1] > CLOSE_AFTER

    def close(self) -> None:
        """End the session and its connection."""
        self._end_session()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()

    def stop(self, seconds: float = 0.0) -> None:
        super().stop()
        self._end_session()
        connection = self._connection
        with suppress(AttributeError, OSError):  # there is none, or it ends by itself
            connection._sock.shutdown(SHUT_RDWR)  # type: ignore[union-attr] # noqa: SLF001 - wakes it
        super().stop(seconds)

    def disown(self) -> None:
        """In a forked child: let go of the parent's connection."""
        self._end_session()
        if self._connection is not None:
            self._connection.disown()

    def _end_session(self) -> None:
        self.session, self.until = 0, -inf

    def _elsewhere(self) -> None:
        """Whoever asks now asks another server than the one that is listened to."""
        self._moved = True
        self._end_session()

    def _listen(self) -> None:
        state = self._state
        (link,) = state.primary
        self._moved = False
        self._connection = connection = link.server.connection(self._clock, protocol=3)
        Dialler(link.server, self._clock).dial(connection)
        prefixes = [word for prefix in state.options.hot for word in ("PREFIX", prefix)]
        tracking = pack_command(("CLIENT", "TRACKING", "ON", "BCAST", *prefixes))  # type: ignore[arg-type] # as above
        ends = self._clock() + link.server.connect_timeout
        (reply,) = connection.exchange(tracking, 1, ends)
        if isinstance(reply, Exception):
            raise reply
        link.follow(connection.peer, self._elsewhere)
        self._begin_session()
        self._hear(connection)

    def _begin_session(self) -> None:
        """What Redis was asked before carries another number, or none."""
        if not self._moved:
            self.session = next(_sessions)
            self._counts["sessions"] += 1

    def _hear(self, connection: Bound) -> None:
        """Until nobody needs it. Raises when it ends before."""
        sock = connection._sock  # noqa: SLF001 - our own class
        buffer = bytearray(RECEIVE)
        sent, answered = -inf, True
        while not (self._stopped or self.is_idle()):
            now = self._clock()
            if self._moved:
                raise exceptions.ConnectionError("Redis's name leads to another server")
            if not answered and now >= sent + LEASE:
                raise exceptions.TimeoutError(f"Redis answered no PING for {LEASE:g} s")
            if answered and now >= sent + HEARTBEAT:
                self._note_use(now)
                sock.settimeout(HEARTBEAT)
                sock.sendall(_PING)
                sent, answered = now, False
            sock.settimeout(HEARTBEAT)
            try:
                size = sock.recv_into(buffer)
            except TimeoutError:
                continue
            if not size:
                raise exceptions.ConnectionError("Redis ended the connection")
            answered |= self._take(connection, buffer, size)
            if answered and not self._moved:
                self.until = sent + LEASE
                self._failures = 0
                self._tried.set()

    def _take(self, connection: Bound, buffer: bytearray, size: int) -> bool:
        """Do as Redis says; whether it has answered a PING."""
        reader, answered = connection._parser._reader, False  # noqa: SLF001 - our own classes
        reader.feed(buffer, 0, size)
        while (reply := reader.gets(False)) is not NOT_ENOUGH_DATA:  # noqa: FBT003 - bytes
            if isinstance(reply, Exception):
                raise reply
            if type(reply) is not PushNotification:
                answered = True
            elif reply[0] == b"invalidate":
                self._invalidate(reply[1])
        return answered

    def _invalidate(self, names: Sequence[bytes] | None) -> None:
        """None: every key there was."""
        if names is None:
            self._begin_session()
            return
        self._counts["invalidations"] += len(names)
        for start in range(0, len(names), CHUNK):
            chunk = names[start : start + CHUNK]
            self._local.invalidate([name.decode(errors="replace") for name in chunk])

    def _note_use(self, now: float) -> None:
        hits = self._local.hits
        if hits != self._used[0]:
            self._used = hits, now

    def try_now(self, seconds: float) -> dict[str, Any]:
        """See that it listens, or why not, within so many seconds; the snapshot."""
        self.keep()
        self._tried.wait(seconds)
        return self.snapshot()

    def snapshot(self) -> dict[str, Any]:
        """How it does: ``listening``, and if not ``why``; ``trusted_for_seconds``; counts."""
        trusted = self.until - self._clock()
        listening = self.session > 0 and trusted > 0
        return {
            "listening": listening,
            "why": "" if listening else self._why,
            "trusted_for_seconds": round(max(trusted, 0.0), 3) if listening else 0.0,
            "prefixes": list(self._state.options.hot),
            **self._counts,
        }
