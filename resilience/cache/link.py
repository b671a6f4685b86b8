"""The connections of this process to one Redis, for one alias. A caller never dials.

exchange   our own commands, packed by hiredis: one send, as many replies
pool       a redis-py pool for clients, under ``deadline()``
    │
Lending ── who has which connection, who waits
    │
Connector ── the only threads that dial
"""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from hiredis import pack_command
from redis import exceptions

from resilience.cache.connection import TimedOut
from resilience.cache.connector import CONNECTOR, Server
from resilience.cache.idle import CLOSER
from resilience.cache.lending import Lending
from resilience.cache.pool import LinkPool

Command = tuple[bytes | str | int | float, ...]

_pack: Callable[[Command], bytes] = pack_command  # type: ignore[assignment] # its hint is a 1-tuple


class Link(Lending):
    """``name`` is the alias; ``ends`` is always a time of ``clock``, in seconds."""

    def __init__(
        self, server: Server, name: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(server, name, clock)
        self._pool = LinkPool(self)
        _register(self)

    def exchange(self, commands: Sequence[Command], ends: float) -> list[Any]:
        """Send the commands in one go, return as many replies; error replies are among them.

        Raises DataError before any I/O, LinkDown, LinkSaturated, TimedOut, Broken, InvalidResponse:
        ``connection.may_be_done(error)`` tells whether a write may have happened.
        """
        try:
            if len(commands) == 1:
                packed = _pack(commands[0])
            else:
                packed = b"".join([_pack(command) for command in commands])
        except TypeError as error:
            raise exceptions.DataError(str(error)) from None
        if not packed:
            return []
        connection = self.take(ends)
        try:
            return connection.exchange(packed, len(commands), ends)
        except TimedOut as error:
            error.since = connection.waited_for
            raise
        finally:
            self.give_back(connection)

    def pool(self) -> LinkPool:
        """For ``redis.Redis(connection_pool=…)``; see ``pool.deadline``."""
        return self._pool

    def after_fork(self) -> None:
        """In the child: let go of the parent's connections, and begin anew. Harmless if repeated.

        Registered at the first link's birth; a lock that a thread of the parent held is replaced.
        """
        had = [*self._ready, *self._lent, *self._dials.connections()]
        self._begin()
        for connection in had:
            connection.disown()


_links: weakref.WeakSet[Link] = weakref.WeakSet()
_hooked = False


def _register(link: Link) -> None:
    global _hooked  # noqa: PLW0603 - once per process, at the first link's birth
    _links.add(link)
    CLOSER.watch(link)
    if not _hooked:
        _hooked = True
        os.register_at_fork(after_in_child=_after_fork)


def _after_fork() -> None:
    CONNECTOR.after_fork()
    CLOSER.after_fork()
    for link in list(_links):
        link.after_fork()
