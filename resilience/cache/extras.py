"""What django-redis offers beyond Django's cache API, as guarded calls: one table drives them.

django-redis's own method runs on a client of redis-py whose every command goes through the breaker,
ends in time and makes the local store forget the keys that it writes. So a result is
django-redis's, to the type, or CacheUnavailable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from copy import copy
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property, partial
from math import inf
from time import time
from typing import Any, Literal

import redis
from django.core.cache.backends.base import DEFAULT_TIMEOUT
from django.utils.module_loading import import_string
from django_redis.client import DefaultClient
from django_redis.exceptions import ConnectionInterrupted
from django_redis.util import CacheKey

from resilience.cache.asking import SCAN_COUNT, Unanswered
from resilience.cache.bulk import BulkAnswers
from resilience.cache.link import Link
from resilience.cache.local import MISSING
from resilience.cache.lock import LocalLock, RedisLock
from resilience.cache.options import Options
from resilience.cache.pool import deadline
from resilience.cache.state import AliasState
from resilience.chance import CHANCE
from resilience.errors import CacheUnavailable

Role = Literal["read", "write"]
Lasts = Literal["operation", "bulk", "each"]
Answer = Literal["raises", "answers"]


@dataclass(frozen=True, slots=True)
class Extra:
    """How one call is guarded.

    ``lasts``: within OPERATION_TIMEOUT as a whole; within BULK_TIMEOUT, each round trip within
    OPERATION_TIMEOUT; or only ``each`` of them. ``journaled``: a key whose change Redis did not
    acknowledge is taken out of it when it returns. ``outage``, ``memory``: does this process answer
    in Redis's place while it is away, and where there is none? Which arguments are keys need not
    be said: django-redis makes a CacheKey of each, whatever its place, name and version.
    """

    role: Role
    lasts: Lasts = "operation"
    journaled: bool = False
    outage: Answer = "raises"
    memory: Answer = "raises"


_ROWS: tuple[tuple[str, Extra], ...] = (
    ("ttl pttl", Extra("read", memory="answers")),
    (
        "persist expire expire_at pexpire pexpire_at",
        Extra("write", journaled=True, memory="answers"),
    ),
    ("keys iter_keys", Extra("read", "bulk", memory="answers")),
    # An invalidation must not fail; what clear() answers.
    ("delete_pattern", Extra("write", "bulk", outage="answers", memory="answers")),
    ("lock", Extra("write", "each", memory="answers")),
    ("scard sdiff sinter sismember smembers smismember srandmember sscan sunion", Extra("read")),
    ("sscan_iter", Extra("read", "bulk")),
    ("sadd sdiffstore sinterstore smove spop srem sunionstore", Extra("write")),
    ("hexists hkeys hlen", Extra("read")),
    ("hdel hset", Extra("write")),
    ("zcard zcount zrange zrangebyscore zrank", Extra("read")),
    ("zrevrange zrevrangebyscore zscore", Extra("read")),
    ("zadd zincrby zpopmax zpopmin zrem zremrangebyscore", Extra("write")),
)
EXTRAS = {name: extra for names, extra in _ROWS for name in names.split()}


class Name(CacheKey):  # type: ignore[misc] # django-redis has no hints here
    """A final key that knows the caller's."""

    key: Any


class Names(DefaultClient):  # type: ignore[misc] # as above
    """django-redis's client, which makes, encodes and decodes, and never connects here."""

    def make_key(self, key: Any, version: int | None = None, prefix: str | None = None) -> CacheKey:
        if isinstance(key, CacheKey):
            return key
        name = Name(super().make_key(key, version=version, prefix=prefix))
        name.key = key
        return name


class Extras:
    """The part of the backend that has them; what it needs, the backend has made."""

    _answers: BulkAnswers
    _client: Any
    _options: Options
    _params: dict[str, Any]
    _server: Any
    _state: AliasState

    def __getattr__(self, name: str) -> Callable[..., Any]:
        extra = EXTRAS.get(name)
        if extra is None:
            said = f"{type(self).__name__!r} object has no attribute {name!r}"
            raise AttributeError(said, name=name, obj=self)
        return partial(self._call, name, extra)

    def __dir__(self) -> Iterable[str]:
        return sorted({*super().__dir__(), *EXTRAS})

    @cached_property
    def client(self) -> Any:
        """django-redis's own, for its ``get_redis_connection()``: its pool, outside any promise."""
        if self._state.in_memory:
            raise self._state.unavailable("a client")
        default = "django_redis.client.DefaultClient"
        cls = import_string(self._options.options.get("CLIENT_CLASS", default))
        return cls(self._server, self._params, self)

    def _call(self, name: str, extra: Extra, *args: Any, **kwargs: Any) -> Any:
        state = self._state
        if extra.outage == "answers" or (state.in_memory and extra.memory == "answers"):
            return getattr(_Here(self), name)(*args, **kwargs)
        if state.in_memory:
            raise state.unavailable(f"{name}()")
        if name == "lock" and not state.write.closed:
            raise state.unavailable("lock()")  # before anybody relies on having got one
        client = self._redis(extra)
        try:
            return getattr(self._client, name)(*args, client=client, **kwargs)
        except ConnectionInterrupted as interrupted:  # as in django_redis.cache.omit_exception
            raise (interrupted.__cause__ or interrupted) from None

    @cached_property
    def _clients(self) -> dict[tuple[Role, Link], Client]:
        return {}

    def _redis(self, extra: Extra) -> Client:
        state, options = self._state, self._options
        links = state.primary if extra.role == "write" else state.replicas or state.primary
        link = links[0] if len(links) == 1 else CHANCE.choice(links)
        made = self._clients.get((extra.role, link))
        if made is None:
            made = self._clients[extra.role, link] = Client(self, extra.role, link)
        client = copy(made)
        client.journaled = extra.journaled
        client.left = {
            "operation": options.operation_timeout,
            "bulk": options.bulk_timeout,
            "each": inf,
        }[extra.lasts]
        return client


class Client(redis.Redis):
    """redis-py's client on a link, for one call: ``left`` are the seconds that Redis has for it.

    What the caller does between two round trips of an iterator is not Redis's time.
    """

    journaled = False
    left = inf

    def __init__(self, cache: Extras, role: Role, link: Link) -> None:
        super().__init__(connection_pool=link.pool())
        self._answers, self._state = cache._answers, cache._state  # noqa: SLF001 - a part of it
        self._role, self._link = role, link

    def execute_command(self, *args: Any, **options: Any) -> Any:
        state = self._state
        if self.left <= 0:
            raise CacheUnavailable(f"Cache {state.options.alias!r}: {args[0]} took too long.")
        began = state.clock()
        keys = [arg for arg in args if isinstance(arg, CacheKey)]
        try:
            ends = began + min(self.left, state.options.operation_timeout)
            return self._execute(args, options, keys, ends)
        finally:
            self.left -= state.clock() - began

    def _execute(
        self, args: tuple[Any, ...], options: dict[str, Any], keys: list[CacheKey], ends: float
    ) -> Any:
        state, writes = self._state, self._role == "write"
        if not all(self._answers.is_free(str(key), ends) for key in keys):
            self._journal(keys, Unanswered())
            raise state.unavailable(str(args[0]))
        for key in keys if writes else ():
            state.store.bump(key)
        try:
            with deadline(ends):
                ask = partial(super().execute_command, *args, **options)
                breaker = state.write if writes else state.read
                result = self._answers.asking.guard(breaker, self._link, ask)
        except Unanswered as unanswered:
            self._journal(keys, unanswered)
            raise state.unavailable(str(args[0])) from None
        finally:
            for key in keys if writes else ():
                state.store.drop(key)
        for key in keys if writes and not self.journaled else ():
            state.journal.spare(key)
        return result

    def _journal(self, keys: list[CacheKey], unanswered: Unanswered) -> None:
        is_strict = self._answers.is_strict
        loose = [str(key) for key in keys if not is_strict(getattr(key, "key", key))]
        if self.journaled and loose:
            self._answers.mask(loose, unanswered)

    def keys(self, pattern: Any = "*", **_: Any) -> Any:
        """By SCAN: KEYS would hold up everybody's Redis, and then be late."""
        return list(dict.fromkeys(self.scan_iter(match=pattern, count=SCAN_COUNT)))

    def scan_iter(self, match: Any = None, count: Any = None, **_: Any) -> Iterator[Any]:  # type: ignore[override] # as far as django-redis uses it
        cursor: int | None = None
        while cursor != 0:
            match self.scan(cursor or 0, match=match, count=count or SCAN_COUNT):
                case (int(cursor), [*names]) if {bytes}.issuperset(map(type, names)):
                    yield from (name for name in names if not self._is_masked(name))
                case _:
                    raise self._state.unavailable("a scan")

    def _is_masked(self, name: Any) -> bool:
        journal = self._state.journal
        return journal.active and journal.mask(name.decode(errors="replace")) is not None

    def lock(self, name: Any, **options: Any) -> Any:  # type: ignore[override] # by name only
        return RedisLock(self, name, **options)


class _Here:
    """The calls that this process can answer, with django-redis's signatures and types."""

    def __init__(self, cache: Extras) -> None:
        self._cache = cache
        self._client = cache._client  # noqa: SLF001 - the other half of one thing
        self._state = cache._state  # noqa: SLF001
        self._store = self._state.store

    def ttl(self, key: Any, version: int | None = None) -> int | None:
        left = self._store.ttl(self._client.make_key(key, version=version))
        if left is MISSING:
            return 0
        return None if left is None else round(left)

    def pttl(self, key: Any, version: int | None = None) -> int | None:
        left = self._store.ttl(self._client.make_key(key, version=version))
        if left is MISSING:
            return 0
        return None if left is None else round(left * 1000)

    def persist(self, key: Any, version: int | None = None) -> bool:
        name = self._client.make_key(key, version=version)
        return self._store.ttl(name) not in (MISSING, None) and self._store.touch(name, None)

    def expire(self, key: Any, timeout: Any, version: int | None = None) -> bool:
        return self._expire(key, _seconds(self._default(timeout)), version)

    def pexpire(self, key: Any, timeout: Any, version: int | None = None) -> bool:
        return self._expire(key, _seconds(self._default(timeout), 1000), version)

    def expire_at(self, key: Any, when: Any, version: int | None = None) -> bool:
        return self._expire(key, _seconds(when) - time(), version)

    def pexpire_at(self, key: Any, when: Any, version: int | None = None) -> bool:
        return self._expire(key, _seconds(when, 1000) - time(), version)

    def keys(self, search: str, version: int | None = None) -> list[Any]:
        return list(self.iter_keys(search, version=version))

    def iter_keys(
        self,
        search: str,
        itersize: int | None = None,  # noqa: ARG002 - for Redis
        version: int | None = None,
    ) -> Iterator[Any]:
        found = self._store.keys(self._client.make_pattern(search, version=version))
        return (self._client.reverse_key(name) for name in found)

    def delete_pattern(
        self,
        pattern: str,
        version: int | None = None,
        prefix: str | None = None,
        itersize: int | None = None,  # noqa: ARG002 - our own is faster
    ) -> int:
        """With Redis, and without it as far as this process knows."""
        made = self._client.make_pattern(pattern, version=version, prefix=prefix)
        options = self._state.options
        return self._cache._answers.delete_pattern(  # noqa: SLF001
            made, self._state.clock() + options.bulk_timeout
        )

    def lock(self, key: Any, version: int | None = None, **options: Any) -> LocalLock:
        name = self._client.make_key(key, version=version)
        return LocalLock(self._state.locks, name, **options)

    def _expire(self, key: Any, seconds: float, version: int | None) -> bool:
        return self._store.touch(self._client.make_key(key, version=version), seconds)

    def _default(self, timeout: Any) -> Any:
        return self._client._backend.default_timeout if timeout is DEFAULT_TIMEOUT else timeout  # noqa: SLF001


def _seconds(given: Any, divisor: int = 1) -> float:
    """A timedelta, a datetime, or a number of seconds (of milliseconds with divisor 1000)."""
    if isinstance(given, timedelta):
        return given.total_seconds()
    if isinstance(given, datetime):
        return given.timestamp()
    return int(given) / divisor
