"""Django's asynchronous names: what this process answers needs no thread, Redis has its own."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar

from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache

from resilience.cache.bulk import BulkAnswers
from resilience.cache.outage import called_at

T = TypeVar("T")
MISSING = object()

_executor: ThreadPoolExecutor | None = None


class AsyncNames(BaseCache):
    """The part of the backend that has them, each the synchronous one on a thread."""

    _answers: BulkAnswers
    _decode: Callable[[bytes | None, Any], Any]
    _get: Callable[[Any, Any, int | None, float], Any]
    _name: Callable[[Any, int | None], str]
    _offer: Callable[[Any, Any, Any, int | None, float], Any]

    async def aget(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        return await self._aget(key, default, version, self._answers.ends())

    async def _aget(self, key: Any, default: Any, version: int | None, ends: float) -> Any:
        if self._answers.answers_at_once:  # then no socket is touched, whatever happens meanwhile
            return self._decode(self._answers.recall(self._name(key, version), key), default)
        return await _in_thread(self._get, key, default, version, ends)

    async def aget_or_set(  # the function runs in the event loop, as Django's does
        self,
        key: Any,
        default: Any,
        timeout: Any = DEFAULT_TIMEOUT,  # noqa: ASYNC109
        version: int | None = None,
    ) -> Any:
        ends = self._answers.ends()
        value = await self._aget(key, MISSING, version, ends)
        if value is not MISSING:
            return value
        if callable(default):
            left = ends - self._answers.ends()
            default = default()
            ends = self._answers.ends() + left
        return await _in_thread(self._offer, key, default, timeout, version, ends)

    async def aset(  # type: ignore[override] # as set()
        self,
        key: Any,
        value: Any,
        timeout: Any = DEFAULT_TIMEOUT,  # noqa: ASYNC109 - Django's, and no time limit
        version: int | None = None,
    ) -> bool:
        return await _in_thread(self.set, key, value, timeout, version)  # type: ignore[arg-type] # as set()

    async def aadd(
        self,
        key: Any,
        value: Any,
        timeout: Any = DEFAULT_TIMEOUT,  # noqa: ASYNC109
        version: int | None = None,
    ) -> bool:
        return await _in_thread(self.add, key, value, timeout, version)

    async def adelete(self, key: Any, version: int | None = None) -> bool:
        return await _in_thread(self.delete, key, version)

    async def atouch(
        self,
        key: Any,
        timeout: Any = DEFAULT_TIMEOUT,  # noqa: ASYNC109
        version: int | None = None,
    ) -> bool:
        return await _in_thread(self.touch, key, timeout, version)

    async def ahas_key(self, key: Any, version: int | None = None) -> bool:
        return await _in_thread(self.has_key, key, version)

    async def aincr(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        return await _in_thread(self.incr, key, delta, version)

    async def adecr(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        return await _in_thread(self.decr, key, delta, version)

    async def aincr_version(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        return await _in_thread(self.incr_version, key, delta, version)

    async def aget_many(self, keys: Iterable[Any], version: int | None = None) -> dict[Any, Any]:
        return await _in_thread(self.get_many, keys, version)

    async def aset_many(
        self,
        data: Mapping[Any, Any],
        timeout: Any = DEFAULT_TIMEOUT,  # noqa: ASYNC109
        version: int | None = None,
    ) -> list[Any]:
        return await _in_thread(self.set_many, data, timeout, version)

    async def adelete_many(self, keys: Iterable[Any], version: int | None = None) -> None:
        await _in_thread(self.delete_many, keys, version)

    async def aclear(self) -> bool:  # type: ignore[override] # as clear()
        return await _in_thread(self.clear)  # type: ignore[arg-type] # as clear()

    async def aclose(self, **_: Any) -> None:
        """As close()."""


async def _in_thread(call: Callable[..., T], *args: Any) -> T:
    """On threads of our own: Django's one thread per request would queue behind a slow call.

    Cancelling leaves the call to end by itself, within its timeout.
    """
    loop = asyncio.get_running_loop()
    # With the caller's context: a KEY_FUNCTION may read its tenant from there. And with the time
    # of the call, so that waiting for a thread counts.
    context = copy_context()
    context.run(called_at.set, time.monotonic())
    run = partial(context.run, call, *args)
    try:
        running = loop.run_in_executor(_threads(), run)
    except RuntimeError:  # the interpreter is shutting down and starts no thread
        return run()
    return await running


def _threads() -> ThreadPoolExecutor:
    global _executor  # noqa: PLW0603 - one for the process, started on first need
    if _executor is None:
        _executor = ThreadPoolExecutor(32, thread_name_prefix="resilience-cache")
    return _executor


def _after_fork() -> None:
    global _executor  # noqa: PLW0603 - its threads do not exist in the child
    _executor = None


os.register_at_fork(after_in_child=_after_fork)
