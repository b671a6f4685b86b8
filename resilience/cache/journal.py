"""What Redis is not asked about: keys whose last write in this process it did not acknowledge.

    failed write ──► masked: nobody in this process reads the key from Redis
                        │  UNLINK, by the next operation on it or by the flusher
                        ▼
                     free ── the write may have been done after all? ──► UNLINK again, 5 s later

Recovery takes away and never writes: a miss is always right, a value from before the outage or a
replay may be older than what somebody else wrote. What was to be deleted by a pattern, and
everything once there are too many keys, is masked by the pattern until a scan has been through.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice
from math import inf
from typing import NamedTuple

from resilience.cache.patterns import matcher

LIMIT = 100_000  # keys, here and of those that one pattern has let go
AGAIN_AFTER = (
    5.0  # seconds: a middlebox may deliver late what it had taken from a closed connection
)
REFUSED_AFTER = 60.0  # seconds until what an ACL refused is tried again


class Mark:
    """One key. ``unknown``: the write may have been done, or be done yet."""

    __slots__ = ("owner", "unknown")

    def __init__(self, owner: str, *, unknown: bool) -> None:
        self.owner = owner
        self.unknown = unknown


class Scope:
    """Every key that a pattern means, but those that were freed one by one."""

    def __init__(self, pattern: str, *, unknown: bool) -> None:
        self.pattern = pattern
        self.means = matcher(pattern)
        self.unknown = unknown
        self.free: set[str] = set()
        self.not_before = -inf


class Mask(NamedTuple):
    """Why a key is masked, to be handed back when Redis has let go of it."""

    mark: Mark | None
    scopes: tuple[Scope, ...]


class Journal:
    """Of one store: two caches on it mask each other's keys, and either may free them.

    ``active`` is all that the hot path reads, without the lock: whether any key is masked.
    """

    enabled = True  # for the twins of our tests

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._marks: dict[str, Mark] = {}
        self._scopes: tuple[Scope, ...] = ()
        self._queue: deque[str] = deque()  # names in _marks that nobody is freeing
        self._again: deque[tuple[float, str, str]] = deque()  # when, name, owner
        self._scopes_again: deque[tuple[float, Scope]] = deque()
        self._refused: deque[tuple[float, str]] = deque()
        self._flushed = 0
        self.active = False

    # ── by whoever reads and writes ─────────────────────────────────────────────────────────────

    def mask(self, name: str) -> Mask | None:
        """Why Redis must not be asked about this key; None if it may be."""
        scopes = self._scopes
        if scopes:
            scopes = tuple(each for each in scopes if name not in each.free and each.means(name))
        mark = self._marks.get(name)
        return None if mark is None and not scopes else Mask(mark, scopes)

    def add(self, names: Iterable[str], owner: str, *, unknown: bool) -> None:
        """Mask keys. ``owner`` is the pattern of all keys of the cache that they belong to."""
        if not self.enabled:
            return
        with self._lock:
            for name in names:
                earlier = self._marks.get(name)
                doubt = unknown or (earlier is not None and earlier.unknown)
                self._marks[name] = Mark(owner, unknown=doubt)
                if earlier is None:
                    self._queue.append(name)
            self.active = True
            if len(self._marks) + len(self._again) > LIMIT:
                self._collapse()

    def add_pattern(self, pattern: str, *, unknown: bool = False) -> None:
        """Mask every key that a Redis pattern means."""
        if not self.enabled:
            return
        with self._lock:
            means = matcher(pattern)
            covered = [name for name in self._marks if means(name)]
            unknown = unknown or any(self._marks[name].unknown for name in covered)
            self._mask_all(pattern, unknown=unknown)
            for name in covered:
                del self._marks[name]

    def done(self, name: str, mask: Mask) -> bool:
        """Redis has let go of a key; False if it was masked anew meanwhile."""
        with self._lock:
            for scope in mask.scopes:
                if len(scope.free) < LIMIT:  # beyond, it is freed anew each time: a miss
                    scope.free.add(name)
            mark = self._marks.get(name)
            if mark is not None and mark is mask.mark:
                del self._marks[name]
                self._flushed += 1
                if mark.unknown:
                    self._again.append((self._clock() + AGAIN_AFTER, name, mark.owner))
            self._settle()
            return mark is None or mark is mask.mark

    # ── by the flusher ──────────────────────────────────────────────────────────────────────────

    def take(self, count: int) -> list[tuple[str, Mask]]:
        """Keys to free now; each is to be given to done(), put_back() or refuse()."""
        with self._lock:
            now = self._clock()
            while self._refused and self._refused[0][0] <= now:
                self._queue.append(self._refused.popleft()[1])
            taken: list[tuple[str, Mask]] = []
            while self._queue and len(taken) < count:
                name = self._queue.popleft()
                mark = self._marks.get(name)
                if mark is not None:
                    taken.append((name, Mask(mark, ())))
            return taken

    def put_back(self, taken: Iterable[tuple[str, Mask]]) -> None:
        """They could not be freed now."""
        with self._lock:
            self._queue.extendleft(name for name, _ in taken)

    def refuse(self, name: str) -> None:
        """An ACL forbids it: the key stays masked, and is tried again in a minute."""
        with self._lock:
            self._refused.append((self._clock() + REFUSED_AFTER, name))

    def take_again(self, count: int) -> list[tuple[str, str]]:
        """Keys and their owners whose second UNLINK is due; to be given to again() if it fails."""
        with self._lock:
            taken: list[tuple[str, str]] = []
            now = self._clock()
            while self._again and self._again[0][0] <= now and len(taken) < count:
                taken.append(self._again.popleft()[1:])
            return taken

    def again(self, taken: Iterable[tuple[str, str]]) -> None:
        """It failed: they are due."""
        with self._lock:
            self._again.extendleft((-inf, *each) for each in taken)

    def hurry(self) -> None:
        """The process ends: whatever waits for its time is due."""
        with self._lock:
            self._again = deque((-inf, *each[1:]) for each in self._again)
            self._scopes_again = deque((-inf, each) for _, each in self._scopes_again)

    def scope(self) -> Scope | None:
        """A pattern to scan for now; to be given to scanned() or postpone()."""
        with self._lock:
            now = self._clock()
            masking = (each for each in self._scopes if each.not_before <= now)
            due = (each for at, each in self._scopes_again if max(at, each.not_before) <= now)
            return next(masking, None) or next(due, None)

    def scanned(self, scope: Scope) -> None:
        """A scan has been through from its beginning to its end."""
        with self._lock:
            if scope in self._scopes:
                self._scopes = tuple(each for each in self._scopes if each is not scope)
                if scope.unknown:
                    scope.free = set()  # what came late may have hit these too
                    self._scopes_again.append((self._clock() + AGAIN_AFTER, scope))
            else:
                self._scopes_again = deque(
                    (at, each) for at, each in self._scopes_again if each is not scope
                )
            self._settle()

    def postpone(self, scope: Scope) -> None:
        """An ACL forbids it: tried again in a minute."""
        scope.not_before = self._clock() + REFUSED_AFTER

    def due_in(self) -> float | None:
        """Seconds until the flusher has something to do, 0 for now; None for nothing."""
        with self._lock:
            while self._queue and self._queue[0] not in self._marks:  # freed by an operation
                self._queue.popleft()
            while self._refused and self._refused[0][1] not in self._marks:
                self._refused.popleft()
            if self._queue:
                return 0.0
            times = [each.not_before for each in self._scopes]
            times += [at for at, _, _ in islice(self._again, 1)]
            times += [at for at, _ in islice(self._refused, 1)]
            times += [max(at, each.not_before) for at, each in self._scopes_again]
            return max(0.0, min(times) - self._clock()) if times else None

    # ── for operators and reports ───────────────────────────────────────────────────────────────

    def snapshot(self) -> dict[str, int]:
        """``keys`` and ``patterns`` that are masked, second UNLINKs to come, keys freed so far."""
        with self._lock:
            return {
                "keys": len(self._marks),
                "patterns": len(self._scopes),
                "again": len(self._again) + len(self._scopes_again),
                "flushed": self._flushed,
            }

    def after_fork(self) -> None:
        """What the parent had written, its child must not read back either: it keeps every mask."""
        self._lock = threading.RLock()
        self._queue = deque(self._marks)  # another thread may have been freeing some

    # ── with the lock held ──────────────────────────────────────────────────────────────────────

    def _collapse(self) -> None:
        """Too many keys: all of their caches' keys instead."""
        doubts = {owner: True for _, _, owner in self._again}
        for mark in self._marks.values():
            doubts[mark.owner] = doubts.get(mark.owner, False) or mark.unknown
        for owner, unknown in doubts.items():
            self._mask_all(owner, unknown=unknown)
        self._marks = {}
        self._queue.clear()
        self._refused.clear()
        self._again.clear()

    def _mask_all(self, pattern: str, *, unknown: bool) -> None:
        earlier = [each for each in self._scopes if each.pattern == pattern]
        unknown = unknown or any(each.unknown for each in earlier)
        others = tuple(each for each in self._scopes if each.pattern != pattern)
        self._scopes = (*others, Scope(pattern, unknown=unknown))
        self.active = True

    def _settle(self) -> None:
        self.active = bool(self._marks or self._scopes)
