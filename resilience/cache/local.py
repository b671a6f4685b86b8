"""The values of this process: serialized bytes, bounded in bytes, least recently used out first.

While Redis answers it is a shadow that nobody is served from; in an outage it answers instead.
"""

from __future__ import annotations

import threading
import time
from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from math import inf
from typing import Any, Final, NamedTuple, TypedDict

from resilience.cache.copies import Copier
from resilience.cache.patterns import matcher

OVERHEAD = 320  # bytes that CPython needs for an entry besides its key and value, measured
STRIPES = 4096


class Missing(Enum):
    """A type with one value, for type checkers."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING


class Snapshot(TypedDict):
    """How full it is and how it was used since the last reset."""

    entries: int
    bytes: int
    max_bytes: int
    hits: int
    misses: int
    evictions: int


class Entry:
    """Clock times; ``expires`` is inf and ``confirmed`` -inf for never.

    ``session`` is that of the listener which would tell of a change, 0 if none would; then ``make``
    gives the decoded value, another one each time if it can be changed.
    """

    __slots__ = ("confirmed", "era", "expires", "make", "session", "size", "value")

    def __init__(
        self, value: bytes, expires: float, confirmed: float, era: int | None, size: int
    ) -> None:
        self.value = value
        self.expires = expires
        self.confirmed = confirmed
        self.era = era
        self.size = size
        self.session = 0
        self.make: Callable[[], Any] = _never


class Heat(NamedTuple):
    """For what is hot from now on, unless ``changes`` since then: who listens, how to copy it."""

    changes: int
    session: int
    copier: Copier


class LocalStore:
    """Final keys and their bytes as Redis would hold them.

    A ``ttl`` is in seconds, None is for ever, 0 and less is gone at once. ``max_stale`` too is in
    seconds.
    """

    def __init__(self, max_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.max_bytes = max_bytes
        self._clock = clock
        self._epoch = 0
        self._era = 0
        self._generations = array("Q", bytes(8 * STRIPES))
        self._changes = array("Q", bytes(8 * STRIPES))
        self.reset()

    def reset(self) -> None:
        """Forget everything, fills under way too; nobody may use it meanwhile."""
        # Reentrant: a finalizer or a signal handler may use the cache while its thread holds this.
        self._lock = threading.RLock()
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._epoch += 1
        self._bytes = self._hits = self._misses = self._evictions = 0

    def after_fork(self) -> None:
        """The child knows what its parent knew; a thread that is not here may hold the lock."""
        self._lock = threading.RLock()
        self._epoch += 1
        self._bytes = sum(entry.size for entry in self._entries.values())

    # ── what Redis said ─────────────────────────────────────────────────────────────────────────

    def token(self, key: str) -> int:
        """The key's generation, to be taken before Redis is asked."""
        # Both only ever grow, so an equal sum means that neither has.
        return self._generations[hash(key) % STRIPES] + self._epoch

    def tokens(self, keys: Iterable[str]) -> dict[str, int]:
        """The tokens of those keys that are not here, for a fill of each."""
        now, entries = self._clock(), self._entries
        return {
            key: self.token(key)
            for key in keys
            if (entry := entries.get(key)) is None or entry.expires <= now
        }

    def fill(
        self, key: str, value: bytes, ttl: float | None, token: int, heat: Heat | None = None
    ) -> bool:
        """Redis answered; kept unless the key was written, deleted or cleared since the token."""
        size = _size(key, value)
        with self._lock:
            if token != self.token(key):
                return False
            now = self._clock()
            entry = Entry(value, _expiry(now, ttl), now, None, size)
            if heat is not None and heat.changes == self.changes(key):
                entry.session = heat.session
                entry.make, more = heat.copier
                entry.size += more
            return self._put(key, entry, now)

    def confirm(self, key: str, value: bytes | None) -> bool:
        """Redis answered without a TTL: True if it is what is here; anything else here is dropped.

        None is Redis's word for no such key.
        """
        return self.confirm_many({key: value}) == 1

    def confirm_many(self, answers: Mapping[str, bytes | None]) -> int:
        """The same for many keys, in one go; how many are what is here."""
        confirmed = 0
        with self._lock:
            now, entries = self._clock(), self._entries
            for key, value in answers.items():
                entry = entries.get(key)
                if entry is None:
                    continue
                if entry.value == value and entry.expires > now:
                    entry.confirmed = now
                    entries.move_to_end(key)
                    confirmed += 1
                else:
                    self._remove(key)
        return confirmed

    # ── what Redis tells of changes, by whomever ────────────────────────────────────────────────

    def changes(self, key: str) -> int:
        """How often anything of the key's stripe was changed, to be taken before Redis is asked."""
        return self._changes[hash(key) % STRIPES]

    def read_hot(self, key: str, session: int) -> Entry | None:
        """What Redis holds, as far as the listener of that session knows."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None or entry.session != session or entry.expires <= self._clock():
                return None
            self._hits += 1
            self._entries.move_to_end(key)
            return entry

    def read_hot_many(self, keys: Sequence[str], session: int) -> list[Entry | None]:
        """The same for many keys, in one go."""
        with self._lock:
            now, get = self._clock(), self._entries.get
            found = [
                entry
                if (entry := get(key)) is not None
                and entry.session == session
                and entry.expires > now
                else None
                for key in keys
            ]
            use = self._entries.move_to_end
            for key, entry in zip(keys, found, strict=True):
                if entry is not None:
                    use(key)
                    self._hits += 1
        return found

    def invalidate(self, keys: Iterable[str]) -> None:
        """Redis says that somebody changed these keys, this process maybe."""
        with self._lock:
            for key in keys:
                self._changes[hash(key) % STRIPES] += 1
                entry = self._entries.get(key)
                # What this process wrote last is a shadow already, and nobody reads it while hot.
                if entry is not None and entry.session:
                    self._remove(key)

    # ── what this process did ───────────────────────────────────────────────────────────────────

    def bump(self, key: str | None) -> int:
        """Void the fills of a key (None: of every key) that are under way; its new token."""
        with self._lock:
            if key is None:
                self._epoch += 1
                return self._epoch
            self._generations[hash(key) % STRIPES] += 1
            return self.token(key)

    def bump_many(self, keys: Iterable[str]) -> dict[str, int]:
        """The same for many keys: their tokens when all are void, for some share a generation."""
        with self._lock:
            keys = list(keys)
            for key in keys:
                self._generations[hash(key) % STRIPES] += 1
            return {key: self.token(key) for key in keys}

    def write(
        self, key: str, value: bytes, ttl: float | None, *, outage: bool, token: int | None = None
    ) -> bool:
        """Keep what this process wrote: in an outage, or acknowledged by Redis just now.

        With a token from before Redis was asked, two writes or a write and a delete that overlapped
        leave nothing here: only Redis knows which was the last.
        """
        size = _size(key, value)
        with self._lock:
            raced = token is not None and token != self.token(key)
            self.bump(key)
            if raced:
                self._remove(key)
                return False
            now = self._clock()
            confirmed, era = (-inf, self._era) if outage else (now, None)
            return self._put(key, Entry(value, _expiry(now, ttl), confirmed, era, size), now)

    def write_many(
        self, values: Mapping[str, bytes], ttl: float | None, tokens: Mapping[str, int]
    ) -> None:
        """Keep what Redis acknowledged, but for the keys that were changed since their token."""
        with self._lock:
            raced = {key for key in values if tokens[key] != self.token(key)}
            for key, value in values.items():
                if key in raced:
                    self.drop(key)
                else:
                    self.write(key, value, ttl, outage=False)

    def add(
        self, key: str, value: bytes, ttl: float | None, max_stale: float | None, *, own: bool
    ) -> bool:
        """Write in an outage if ``read()`` has no answer, in one step; is it there now?"""
        with self._lock:
            if self.read(key, max_stale, own=own) is not None:
                return False
            return self.write(key, value, ttl, outage=True)

    def replace(self, key: str, old: bytes, new: bytes) -> bool:
        """Write in an outage, for the time that is left, if it still is the old value; is it?"""
        with self._lock:
            entry = self._live(key)
            if entry is None or entry.value != old:
                return False
            ttl = None if entry.expires == inf else entry.expires - self._clock()
            return self.write(key, new, ttl, outage=True)

    def drop(self, key: str) -> bool:
        """Delete; was it there?"""
        with self._lock:
            self.bump(key)
            there = self._live(key) is not None
            self._remove(key)
            return there

    def drop_many(self, keys: Iterable[str]) -> None:
        """The same for many keys, in one go."""
        with self._lock:
            for key in keys:
                self._generations[hash(key) % STRIPES] += 1
                self._remove(key)

    def touch(self, key: str, ttl: float | None) -> bool:
        """Let it expire at another time; is it there?"""
        with self._lock:
            self.bump(key)  # a fill under way would bring the old time
            entry = self._live(key)
            if entry is None:
                return False
            entry.expires = _expiry(self._clock(), ttl)
            entry.session = 0  # of two who touch it only Redis knows which was the last
            self._live(key)  # removed, if that time has come
            return True

    def demote(self) -> None:
        """The outage is over: what was written in it is not served in the next one."""
        with self._lock:
            self._era += 1

    # ── what it knows ───────────────────────────────────────────────────────────────────────────

    def read(self, key: str, max_stale: float | None, *, own: bool = False) -> bytes | None:
        """The answer in an outage: written in it, or confirmed by Redis at most max_stale ago.

        None trusts every entry until it expires: the store of a cache without a server. ``own``
        trusts what was written in an earlier outage too: nothing else holds for that key.
        """
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                now = self._clock()
                if entry.expires <= now:
                    self._remove(key)
                elif (
                    max_stale is None
                    or entry.era == self._era
                    or (own and entry.era is not None)
                    or now - entry.confirmed <= max_stale
                ):
                    self._hits += 1
                    self._entries.move_to_end(key)
                    return entry.value
            self._misses += 1
            return None

    def has(self, key: str) -> bool:
        """Is it there, served or not? Then Redis need not be asked for its TTL."""
        entry = self._entries.get(key)
        return entry is not None and entry.expires > self._clock()

    def ttl(self, key: str) -> float | Missing | None:
        """Seconds until it expires, None for never."""
        with self._lock:
            entry = self._live(key)
            if entry is None:
                return MISSING
            return None if entry.expires == inf else entry.expires - self._clock()

    def keys(self, pattern: str) -> list[str]:
        """The keys there that a Redis pattern means."""
        means = matcher(pattern)
        with self._lock:
            every = list(self._entries)
        return [key for key in every if means(key) and self.has(key)]

    @property
    def hits(self) -> int:
        return self._hits

    def snapshot(self) -> Snapshot:
        with self._lock:
            return {
                "entries": len(self._entries),
                "bytes": self._bytes,
                "max_bytes": self.max_bytes,
                "hits": self._hits,
                "misses": self._misses,
                "evictions": self._evictions,
            }

    def grow(self, max_bytes: int) -> None:
        """Of two caches on one store the larger bound holds."""
        with self._lock:
            self.max_bytes = max(self.max_bytes, max_bytes)

    # ── with the lock held ──────────────────────────────────────────────────────────────────────

    def _live(self, key: str) -> Entry | None:
        entry = self._entries.get(key)
        if entry is not None and entry.expires <= self._clock():
            self._remove(key)
            return None
        return entry

    def _put(self, key: str, entry: Entry, now: float) -> bool:
        """Replace the key's entry; one that is gone already or larger than the store only goes."""
        self._remove(key)
        if entry.expires <= now or entry.size > self.max_bytes:
            return False
        self._entries[key] = entry
        self._bytes += entry.size
        self._evict()
        return True

    def _evict(self) -> None:
        while self._bytes > self.max_bytes and self._entries:
            _, oldest = self._entries.popitem(last=False)
            self._bytes -= oldest.size
            self._evictions += 1

    def _remove(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= entry.size


def _never() -> Any:
    raise AssertionError("nobody reads what is not hot")


def _expiry(now: float, ttl: float | None) -> float:
    return inf if ttl is None else now + ttl


def _size(key: str, value: bytes) -> int:
    length = len(key) if key.isascii() else len(key.encode("utf-8", "surrogatepass"))
    return length + len(value) + OVERHEAD
