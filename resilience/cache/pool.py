"""A link as a redis-py connection pool, for the clients that are built on one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from redis.connection import ConnectionPool

if TYPE_CHECKING:
    from resilience.cache.lending import Lending

_ends: ContextVar[float | None] = ContextVar("resilience_cache_ends", default=None)


@contextmanager
def deadline(ends: float) -> Iterator[None]:
    """Until when (on the link's clock) the clients on ``Link.pool()`` may take in this block."""
    token = _ends.set(ends)
    try:
        yield
    finally:
        _ends.reset(token)


class LinkPool(ConnectionPool):
    """A redis-py pool that lends a link's connections; it makes none, and its limit is the link's.

    A client on it has until the end of the surrounding ``deadline()``; without one, each command
    has its own ``operation_timeout``.
    """

    def __init__(self, link: Lending) -> None:
        server = link.server
        super().__init__(
            connection_class=server.kind, max_connections=server.max_connections, **server.kwargs
        )
        self._link = link

    def get_connection(self, command_name: Any = None, *keys: Any, **options: Any) -> Any:  # noqa: ARG002 - redis-py's signature
        ends = _ends.get()
        if ends is None:
            ends = self._link._clock() + self._link.server.operation_timeout  # noqa: SLF001
        connection = self._link.take(ends)
        connection.bind(ends)
        return connection

    def release(self, connection: Any) -> None:
        self._link.give_back(connection)

    def make_connection(self) -> Any:
        raise RuntimeError("a request never dials: the connector does")

    def disconnect(self, inuse_connections: bool = True) -> None:  # noqa: FBT001, FBT002, ARG002
        self._link.drop()
