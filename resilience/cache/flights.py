"""One computation per key and process: who comes while it is under way gets what it gives."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Hashable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

_leads: ContextVar[bool] = ContextVar("resilience_cache_leads", default=False)
"""Who computes waits for nobody: two that need each other's value would wait for ever."""


class Codec(NamedTuple):
    """How values become bytes, of which everybody makes one of his own."""

    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]


class Flights:
    """What is being computed, by key. Values travel as bytes: none is shared."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flying: dict[Hashable, _Flight] = {}

    def run(self, key: Hashable, compute: Callable[[], Any], codec: Codec) -> Any:
        """What ``compute()`` returns, here or in the thread or task that was first.

        If that one failed, the next one computes. Raises what ``compute()`` raises.
        """
        while (flight := self._join(key)) is not None:
            landed = flight.result()
            if landed is not None:
                return codec.decode(landed)
        with self._leading(key, codec) as land:
            return land(compute())

    async def arun(self, key: Hashable, compute: Callable[[], Awaitable[Any]], codec: Codec) -> Any:
        """The same for a task; its event loop goes on meanwhile."""
        while (flight := self._join(key)) is not None:
            landed = await asyncio.wrap_future(flight)
            if landed is not None:
                return codec.decode(landed)
        with self._leading(key, codec) as land:
            return land(await compute())

    def _join(self, key: Hashable) -> Future[bytes | None] | None:
        """Whom to wait for; None: the caller computes, and ``_leading()`` must follow."""
        if _leads.get():
            return None
        with self._lock:
            flight = self._flying.get(key)
            if flight is None:
                self._flying[key] = _Flight()
                return None
            flight.followers += 1
            return flight

    @contextmanager
    def _leading(self, key: Hashable, codec: Codec) -> Iterator[Callable[[Any], Any]]:
        """What is given to the callable goes to all who wait."""
        if _leads.get():
            yield lambda value: value
            return
        flight, token = self._flying[key], _leads.set(True)
        landed: list[Any] = []

        def land(value: Any) -> Any:
            landed.append(value)
            return value

        try:
            yield land
        finally:
            _leads.reset(token)
            with self._lock:
                del self._flying[key]
            encoded = None
            try:
                if flight.followers and landed:
                    encoded = codec.encode(landed[0])
            finally:
                flight.set_result(encoded)


class _Flight(Future["bytes | None"]):
    """None: whoever computed it failed."""

    def __init__(self) -> None:
        super().__init__()
        self.followers = 0
        self.set_running_or_notify_cancel()  # so that no follower's cancellation ends it
