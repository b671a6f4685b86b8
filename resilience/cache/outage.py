"""Who answers each operation: Redis, or this process while Redis does not.

::

    healthy   Redis answers; the local store is a shadow that learns what Redis said
    outage    the local store answers, from what it may still vouch for; no socket is touched
    memory    (no LOCATION) the local store is the cache, for this process

Values are the bytes that Redis holds. A key comes twice: ``name`` is final (prefix and version in
it), ``key`` is the caller's, which decides who may answer in an outage; many keys come as a mapping
from one to the other. Every operation has ``ends``, a time of the clock after which it must have
been answered, by whom ever.
"""

from __future__ import annotations

import fnmatch
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

from redis import exceptions

from resilience.cache.connection import TimedOut
from resilience.cache.faults import Kind, classify
from resilience.cache.link import Command, Link
from resilience.cache.local import Missing
from resilience.cache.state import AliasState
from resilience.errors import CacheUnavailable

CHUNK_KEYS = 500
CHUNK_BYTES = 1_000_000
SCAN_COUNT = 500
WHOLE = 0.8  # of OPERATION_TIMEOUT; a round trip that had less and ended does not count
_GONE = -2  # PTTL's word for no such key
SESSION_PREFIX = "django.contrib.sessions."  # a miss is always better than an old answer

# One round trip, atomic, and nil for a key that is not there (INCRBY would make it).
_INCR = "if redis.call('EXISTS',KEYS[1])==1 then return redis.call('INCRBY',KEYS[1],ARGV[1]) end"


called_at: ContextVar[float | None] = ContextVar("resilience_cache_called_at", default=None)
"""When an asynchronous caller called, which may be long before a thread takes the call."""


class _Unanswered(Exception):
    """Redis did not answer this; somebody else must."""


class Answers:
    """The operations of one alias. Cheap to make; what is shared lives in ``AliasState``.

    ``decode`` and ``encode`` are for the numbers that Redis cannot add up itself.
    """

    def __init__(
        self,
        state: AliasState,
        decode: Callable[[bytes], Any],
        encode: Callable[[Any], bytes],
    ) -> None:
        self._decode, self._encode = decode, encode
        self._state = state
        self._local = state.store
        self._clock = state.clock
        self._memory = state.in_memory
        self._max_stale = None if state.in_memory else state.options.max_stale
        self._timeout = state.options.operation_timeout
        strict = "|".join(map(fnmatch.translate, state.options.strict))
        self._strict = re.compile(strict) if strict else None

    @property
    def answers_at_once(self) -> bool:
        """Whether a read touches no socket now."""
        return self._memory or not self._state.read.closed

    def ends(self) -> float:
        """When an operation that begins now, or was called then, must have ended."""
        called = called_at.get()
        return (self._clock() if called is None else called) + self._timeout

    def _turn(self, bulk_ends: float) -> float:
        """When a round trip of many that begins now must have ended."""
        return min(self._clock() + self._timeout, bulk_ends)

    # ── one key ─────────────────────────────────────────────────────────────────────────────────

    def get(self, name: str, key: Any, ends: float) -> bytes | None:
        local = self._local
        if self._state.read.closed and not self._memory:
            try:
                if local.has(name):
                    (value,) = self._read((("GET", name),), ends)
                    local.confirm(name, value)
                else:
                    token = local.token(name)
                    value, ttl = self._read((("GET", name), ("PTTL", name)), ends)
                    self._learn(name, value, ttl, token)
            except _Unanswered:
                pass
            else:
                return value  # type: ignore[no-any-return]
        return self.recall(name, key)

    def set(self, name: str, key: Any, value: bytes, ttl: float | None, ends: float) -> None:
        if ttl is not None and ttl <= 0:
            self.delete(name, key, ends)
            return
        local = self._local
        if not self._memory:
            token = local.bump(name)
            try:
                self._write((_set(name, value, ttl),), ends)
            except _Unanswered:
                self._refuse_strict(key)
            else:
                local.write(name, value, ttl, outage=False, token=token)
                return
        local.write(name, value, ttl, outage=self._is_outage())

    def add(self, name: str, key: Any, value: bytes, ttl: float | None, ends: float) -> bool:
        if ttl is not None and ttl <= 0:
            return not self.has(name, key, ends)
        local = self._local
        if not self._memory:
            token = local.bump(name)
            try:
                (reply,) = self._write(((*_set(name, value, ttl), "NX"),), ends)
            except _Unanswered:
                self._refuse_strict(key)
            else:
                if reply is not None:
                    local.write(name, value, ttl, outage=False, token=token)
                return reply is not None
        return local.add(name, value, ttl, self._max_stale)

    def replace(self, name: str, key: Any, value: bytes, ttl: float | None, ends: float) -> bool:
        """Set a key only if it is there (SET XX); was it?"""
        if ttl is not None and ttl <= 0:
            return self.delete(name, key, ends)
        local = self._local
        if not self._memory:
            token = local.bump(name)
            try:
                (reply,) = self._write(((*_set(name, value, ttl), "XX"),), ends)
            except _Unanswered:
                self._refuse_strict(key)
            else:
                if reply is not None:
                    local.write(name, value, ttl, outage=False, token=token)
                return reply is not None
        there = self.recall(name, key) is not None
        return there and local.write(name, value, ttl, outage=self._is_outage())

    def remaining(self, name: str, otherwise: float | None) -> float | None:
        """Seconds that a key which was just read has left; ``otherwise`` if nobody kept them."""
        ttl = self._local.ttl(name)
        return otherwise if isinstance(ttl, Missing) else ttl

    def delete(self, name: str, key: Any, ends: float) -> bool:
        local = self._local
        if not self._memory:
            local.bump(name)
            try:
                (reply,) = self._write((("DEL", name),), ends)
            except _Unanswered:
                self._refuse_strict(key)
            else:
                local.drop(name)
                return bool(reply)
        return local.drop(name)

    def touch(self, name: str, key: Any, ttl: float | None, ends: float) -> bool:
        if ttl is not None and ttl <= 0:
            return self.delete(name, key, ends)
        local = self._local
        if not self._memory:
            # PERSIST says 0 for a key that has no TTL already.
            change: Command = ("PERSIST", name) if ttl is None else ("PEXPIRE", name, _ms(ttl))
            try:
                _, there = self._write((change, ("EXISTS", name)), ends)
            except _Unanswered:
                self._refuse_strict(key)
            else:
                local.touch(name, ttl) if there else local.drop(name)
                return bool(there)
        return local.touch(name, ttl)

    def has(self, name: str, key: Any, ends: float) -> bool:
        if self._state.read.closed and not self._memory:
            try:
                (reply,) = self._read((("EXISTS", name),), ends)
                return bool(reply)
            except _Unanswered:
                pass
        return self.recall(name, key) is not None

    def incr(self, name: str, key: Any, delta: int, ends: float) -> int:
        """Raises ValueError for a key that is not there."""
        local = self._local
        if not self._memory:
            local.bump(name)
            try:
                (reply,) = self._write((("EVAL", _INCR, 1, name, delta),), ends)
            except _Unanswered:
                self._refuse_strict(key)
            except exceptions.ResponseError as error:
                if not any(words in str(error) for words in ("not an integer", "overflow")):
                    raise
                try:
                    return self._incr_encoded(name, key, delta, ends)
                except _Unanswered:
                    self._refuse_strict(key)
            else:
                local.drop(name)  # the next read learns value and TTL together
                if reply is None:
                    raise _no_such_key(name)
                return int(reply)
        return self._incr_locally(name, key, delta)

    def _incr_encoded(self, name: str, key: Any, delta: int, ends: float) -> int:
        """What is not an integer to Redis: a pickled number, or one beyond 64 bits."""
        value, ttl = self._write((("GET", name), ("PTTL", name)), ends)
        if value is None:
            raise _no_such_key(name)
        result = self._number(name, value) + delta
        self.set(name, key, self._encode(result), _seconds(ttl), ends)
        return result  # type: ignore[no-any-return]

    def _incr_locally(self, name: str, key: Any, delta: int) -> int:
        while True:
            value = self.recall(name, key)
            if value is None:
                raise _no_such_key(name)
            result = self._number(name, value) + delta
            if self._local.replace(name, value, self._encode(result)):
                return result  # type: ignore[no-any-return]

    def _number(self, name: str, value: bytes) -> Any:
        """What does not decode is a miss, here too."""
        try:
            return self._decode(value)
        except Exception:  # noqa: BLE001 - another serializer's bytes, or broken ones
            raise _no_such_key(name) from None

    # ── many keys ───────────────────────────────────────────────────────────────────────────────

    def get_many(self, keys: Mapping[str, Any], bulk_ends: float) -> dict[str, bytes | None]:
        """By name; None for a key that is not there."""
        found: dict[str, bytes | None] = {}
        for names in _chunks(list(keys), list(map(len, keys))):
            answered = self._get_chunk(names, bulk_ends)
            if answered is None:
                answered = {name: self.recall(name, keys[name]) for name in names}
            found.update(answered)
        return found

    def _get_chunk(self, names: Sequence[str], bulk_ends: float) -> dict[str, bytes | None] | None:
        """What Redis said to one round trip's worth of keys; None if it did not answer."""
        if not self._state.read.closed or self._memory:
            return None
        local = self._local
        tokens = local.tokens(names)
        commands: list[Command] = [("MGET", *names)]
        commands += [("PTTL", name) for name in tokens]
        try:
            values, *ttls = self._read(commands, self._turn(bulk_ends))
        except _Unanswered:
            return None
        answered: dict[str, bytes | None] = dict(zip(names, values, strict=True))
        local.confirm_many(answered)
        for (name, token), ttl in zip(tokens.items(), ttls, strict=True):
            self._learn(name, answered[name], ttl, token)
        return answered

    def _learn(self, name: str, value: bytes | None, ttl: int, token: int) -> None:
        """Redis answered GET and PTTL for a key that was not here."""
        if value is not None and ttl != _GONE:  # expired between the two
            self._local.fill(name, value, _seconds(ttl), token)

    def set_many(
        self,
        keys: Mapping[str, Any],
        values: Mapping[str, bytes],
        ttl: float | None,
        bulk_ends: float,
    ) -> list[str]:
        """The names that nobody keeps."""
        failed: list[str] = []
        sizes = [len(name) + len(value) for name, value in values.items()]
        for names in _chunks(list(values), sizes):
            chunk = {name: values[name] for name in names}
            failed += self._set_chunk(keys, chunk, ttl, bulk_ends)
        return failed

    def _set_chunk(
        self,
        keys: Mapping[str, Any],
        values: Mapping[str, bytes],
        ttl: float | None,
        bulk_ends: float,
    ) -> list[str]:
        local = self._local
        if ttl is not None and ttl <= 0:
            self.delete_many({name: keys[name] for name in values}, bulk_ends)
            return []
        if not self._memory:
            tokens = [local.bump(name) for name in values]
            commands = [_set(name, value, ttl) for name, value in values.items()]
            try:
                self._write(commands, self._turn(bulk_ends))
            except _Unanswered:
                for name in values:
                    self._refuse_strict(keys[name])
            else:
                for (name, value), token in zip(values.items(), tokens, strict=True):
                    local.write(name, value, ttl, outage=False, token=token)
                return []
        outage = self._is_outage()
        return [
            name
            for name, value in values.items()
            if not local.write(name, value, ttl, outage=outage)
        ]

    def delete_many(self, keys: Mapping[str, Any], bulk_ends: float) -> int:
        """How many there were."""
        local, gone = self._local, 0
        for names in _chunks(list(keys), list(map(len, keys))):
            for name in names:
                local.bump(name)
            if not self._memory:
                try:
                    (reply,) = self._write((("DEL", *names),), self._turn(bulk_ends))
                except _Unanswered:
                    for name in names:
                        self._refuse_strict(keys[name])
                else:
                    for name in names:
                        local.drop(name)
                    gone += reply
                    continue
            gone += sum([local.drop(name) for name in names])
        return gone

    def delete_pattern(self, pattern: str, bulk_ends: float) -> int:
        """Every key that a Redis pattern means, by SCAN and UNLINK; how many."""
        local = self._local
        local.bump(None)
        here = local.keys(pattern)
        for name in here:
            local.drop(name)
        if self._memory:
            return len(here)
        gone = 0
        try:
            for names in self._scan(pattern, bulk_ends):
                gone += self._unlink(names, bulk_ends)
        except _Unanswered:
            return len(here)
        finally:
            local.bump(None)
            for name in local.keys(pattern):  # filled meanwhile
                local.drop(name)
        return gone

    def _unlink(self, names: list[bytes], bulk_ends: float) -> int:
        """UNLINK frees memory behind the scenes; DEL where an ACL knows only that."""
        try:
            (reply,) = self._write((("UNLINK", *names),), self._turn(bulk_ends))
        except _Unanswered:
            (reply,) = self._write((("DEL", *names),), self._turn(bulk_ends))
        return int(reply)

    def scan(self, pattern: str, bulk_ends: float) -> Iterator[bytes]:
        """Every key that a Redis pattern means. Raises CacheUnavailable."""
        if self._memory:
            yield from (name.encode() for name in self._local.keys(pattern))
            return
        try:
            for names in self._scan(pattern, bulk_ends):
                yield from names
        except _Unanswered:
            raise self.unavailable("a scan") from None

    def _scan(self, pattern: str, bulk_ends: float) -> Iterator[list[bytes]]:
        cursor: bytes | int = 0
        while True:
            command: Command = ("SCAN", cursor, "MATCH", pattern, "COUNT", SCAN_COUNT)
            ((cursor, names),) = self._write((command,), self._turn(bulk_ends))
            if names:
                yield names
            if cursor in (b"0", 0):
                return

    # ── asking Redis ────────────────────────────────────────────────────────────────────────────

    def _read(self, commands: Sequence[Command], ends: float) -> list[Any]:
        state = self._state
        links = state.readers
        link = links[0] if len(links) == 1 else _one_of(links)
        return self._ask(state.read, link, commands, ends)

    def _write(self, commands: Sequence[Command], ends: float) -> list[Any]:
        state = self._state
        if not state.write.closed:
            raise _Unanswered
        links = state.writers
        link = links[0] if len(links) == 1 else _first_of(links)
        return self._ask(state.write, link, commands, ends)

    def _ask(self, breaker: Any, link: Any, commands: Sequence[Command], ends: float) -> list[Any]:
        """The replies. Raises _Unanswered if somebody else must answer, ResponseError for a bug."""
        began = self._clock()
        try:
            replies: list[Any] = link.exchange(commands, ends)
        except exceptions.DataError:
            raise
        except Exception as error:
            kind = classify(error)
            if kind is Kind.BUG:
                raise
            self._failed(breaker, link, kind, error, began)
            raise _Unanswered from None
        for reply in replies:
            if isinstance(reply, exceptions.RedisError):
                kind = classify(reply)
                if kind is Kind.BUG:
                    raise reply
                self._failed(breaker, link, kind, reply, began)
                raise _Unanswered
        breaker.record_success(self._clock() - began)
        return replies

    def _failed(
        self, breaker: Any, link: Any, kind: Kind, error: BaseException, began: float
    ) -> None:
        self._state.note(kind, error)
        if kind is Kind.READONLY:
            link.drop()  # the name may lead to the new primary by now
        now = self._clock()
        seconds = now - began
        if isinstance(error, TimedOut) and now - max(began, error.since) < WHOLE * self._timeout:
            return  # it had only what others had left of the time, and says nothing about Redis
        breaker.record_failure(kind, seconds)

    def guard(self, breaker: Any, link: Any, what: str, call: Callable[[], Any]) -> Any:
        """What a client of redis-py on the link's pool got. Raises CacheUnavailable, or a bug's."""
        if not breaker.closed:
            raise self.unavailable(what)
        began = self._clock()
        try:
            result = call()
        except Exception as error:
            kind = classify(error)
            if kind is Kind.BUG:
                raise
            self._failed(breaker, link, kind, error, began)
            raise self.unavailable(what) from None
        breaker.record_success(self._clock() - began)
        return result

    # ── without Redis ───────────────────────────────────────────────────────────────────────────

    def recall(self, name: str, key: Any) -> bytes | None:
        """What this process may answer by itself. Raises CacheUnavailable for a STRICT key."""
        if self._memory:
            return self._local.read(name, None)
        self._refuse_strict(key)
        self._state.count_fallback()
        if str(key).startswith(SESSION_PREFIX):
            return None
        return self._local.read(name, self._max_stale)

    def _refuse_strict(self, key: Any) -> None:
        if self._strict is not None and self._strict.match(str(key)):
            raise self.unavailable(f"{key!r}, a STRICT key,")

    def _is_outage(self) -> bool:
        """Whether what is written now holds until its own end.

        One write that failed while Redis is read is no outage: others may have changed the key
        long before the next one begins, so it is trusted no longer than what Redis confirmed.
        """
        return self._memory or not self._state.read.closed

    def unavailable(self, what: str) -> CacheUnavailable:
        """What to raise for something that only Redis may answer."""
        return self._state.unavailable(what)


def _first_of(links: Sequence[Link]) -> Link:
    """The primary, or after REPLICA_READ_ONLY = False the next one that is not known to be gone."""
    return next((link for link in links if not link.is_down), links[0])


def _one_of(links: Sequence[Link]) -> Link:
    """Any that is not known to be gone."""
    return random.choice([link for link in links if not link.is_down] or links)  # noqa: S311


def _set(name: str, value: bytes, ttl: float | None) -> Command:
    return ("SET", name, value) if ttl is None else ("SET", name, value, "PX", _ms(ttl))


def _ms(ttl: float) -> int:
    return max(1, int(ttl * 1000))


def _seconds(pttl: int) -> float | None:
    return None if pttl < 0 else pttl / 1000


def _no_such_key(name: str) -> ValueError:
    return ValueError(f"Key {name!r} not found")


def _chunks(names: list[str], sizes: list[int]) -> Iterator[list[str]]:
    """Round trips' worth of names: at most 500, at most about 1 MB."""
    if 0 < len(names) <= CHUNK_KEYS and sum(sizes) <= CHUNK_BYTES:
        yield names
        return
    chunk: list[str] = []
    total = 0
    for name, size in zip(names, sizes, strict=True):
        if chunk and (len(chunk) == CHUNK_KEYS or total + size > CHUNK_BYTES):
            yield chunk
            chunk, total = [], 0
        chunk.append(name)
        total += size
    if chunk:
        yield chunk
