"""What Redis is not asked about: keys whose last write in this process it did not acknowledge.

    failed write ──► masked: nobody in this process reads the key from Redis
                        │  UNLINK, by the next operation on it or by the flusher
                        ▼
                     free ── the write may have been done after all? ──► UNLINK again, 5 s later

Recovery takes away and never writes: a miss is always right, a value from before the outage or a
replay may be older than what somebody else wrote. What was to be deleted by a pattern, and
everything of a cache that has too many masked keys, is masked by the pattern until a scan has been
through.

Every key has an *owner*: the pattern of all keys of the cache that wrote it. Each cache frees its
own, for only its user may be allowed to.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from math import inf
from typing import NamedTuple

from resilience.cache.patterns import matcher

LIMIT = 100_000  # keys; as many again in doubt, and that each pattern has let go
SCOPES = 50  # patterns of one owner
AGAIN_AFTER = 5.0  # seconds, in which a middlebox may deliver what it took before the end
REFUSED_AFTER = 60.0  # seconds until what an ACL refused is tried again


class Mark:
    """One key. ``unknown``: the write may have been done, or be done yet.

    ``flight`` is set when the flusher's UNLINK is over: whatever is written before would be lost.
    """

    __slots__ = ("flight", "owner", "unknown")

    def __init__(self, owner: str, *, unknown: bool) -> None:
        self.flight: threading.Event | None = None
        self.owner = owner
        self.unknown = unknown


class Scope:
    """Every key that a pattern means, but those that were freed one by one."""

    def __init__(self, pattern: str, owner: str) -> None:
        self.pattern = pattern
        self.owner = owner
        self.means = matcher(pattern)
        self.free: set[str] = set()
        self.doubts: set[str] = set()  # keys with an unknown outcome
        self.not_before = -inf  # a time of the clock
        self.flight: threading.Event | None = None  # as of a Mark, for a page of the scan


class Mask(NamedTuple):
    """Why a key is masked, to be handed back when Redis has let go of it."""

    mark: Mark | None
    scopes: tuple[Scope, ...]

    def wait(self, seconds: float) -> bool:
        """For an UNLINK of the flusher that is under way; was there one?"""
        flights = [each.flight for each in (self.mark, *self.scopes) if each is not None]
        under_way = [flight for flight in flights if flight is not None and not flight.is_set()]
        for flight in under_way:
            flight.wait(seconds)
        return bool(under_way)


class _Owed:
    """What is left to do for one owner."""

    def __init__(self) -> None:
        self.queue: deque[str] = deque()  # masked keys that nobody is freeing
        self.again: dict[str, float] = {}  # keys to free once more, and when
        self.refused: deque[tuple[float, str]] = deque()  # when to try again


class Journal:
    """Of one store: two caches on it mask each other's keys.

    ``active`` is all that the hot path reads, without the lock: whether any key is masked.
    """

    enabled = True  # for the twins of our tests

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._marks: dict[str, Mark] = {}
        self._scopes: tuple[Scope, ...] = ()
        self._owed: dict[str, _Owed] = {}
        self._beyond = 0  # marks that no scope of their owner would mean
        self._flushed = 0
        self.active = False

    # ── by whoever reads and writes ─────────────────────────────────────────────────────────────

    def mask(self, name: str) -> Mask | None:
        """Why Redis must not be asked about this key; None if it may be."""
        mark = self._marks.get(name)  # first: a pattern takes over marks, never the reverse
        scopes = self._scopes
        if scopes:
            scopes = tuple(each for each in scopes if name not in each.free and each.means(name))
        return None if mark is None and not scopes else Mask(mark, scopes)

    def add(self, names: Iterable[str], owner: str, *, unknown: bool) -> None:
        """Mask keys."""
        if not self.enabled:
            return
        with self._lock:
            queue = self._of(owner).queue
            for name in names:
                earlier = self._marks.get(name)
                doubt = unknown or (earlier is not None and earlier.unknown)
                self._marks[name] = Mark(owner, unknown=doubt)
                if earlier is None or earlier.owner != owner:
                    queue.append(name)
            self.active = True
            if len(self._marks) - self._beyond > LIMIT:
                self._collapse()

    def add_pattern(self, pattern: str, owner: str) -> None:
        """Mask every key that a Redis pattern means."""
        if not self.enabled:
            return
        with self._lock:
            of_owner = [each for each in self._scopes if each.owner == owner]
            # A pattern's own text is meant by every pattern that means all of its keys.
            if len(of_owner) >= SCOPES and matcher(owner)(pattern):
                pattern = owner
            self._mask_all(pattern, owner)

    def done(self, name: str, mask: Mask) -> bool:
        """Redis has let go of a key; False if it was masked anew meanwhile."""
        with self._lock:
            for scope in mask.scopes:
                if scope in self._scopes:
                    self._let_go(scope, name)
            mark = self._marks.get(name)
            if mark is None:
                return True
            if mark is not mask.mark:
                self._of(mark.owner).queue.append(name)  # whoever was freeing it is not any more
                return False
            del self._marks[name]
            self._flushed += 1
            if mark.unknown:
                self._doubt(name, mark.owner)
            self._settle()
            return True

    def spare(self, name: str) -> None:
        """Redis acknowledged a lock or a count: that is not to be taken away for an old doubt."""
        for owed in list(self._owed.values()):
            owed.again.pop(name, None)

    # ── by the flusher of an owner ──────────────────────────────────────────────────────────────

    def take(self, count: int, owner: str) -> list[tuple[str, Mask]]:
        """Keys to free now; each goes to done(), put_back() or refuse(), then all to land()."""
        with self._lock:
            owed = self._of(owner)
            now = self._clock()
            while owed.refused and owed.refused[0][0] <= now:
                owed.queue.append(owed.refused.popleft()[1])
            taken: list[tuple[str, Mask]] = []
            flight = threading.Event()
            while owed.queue and len(taken) < count:
                name = owed.queue.popleft()
                mark = self._marks.get(name)
                if mark is not None and mark.owner == owner:
                    mark.flight = flight
                    taken.append((name, Mask(mark, ())))
            return taken

    def done_many(self, taken: Iterable[tuple[str, Mask]]) -> list[str]:
        """done() for what take() gave, in one go: requests wait for it; those that are free now."""
        free = []
        with self._lock:
            for name, mask in taken:
                mark = self._marks.get(name)
                if mark is mask.mark and mark is not None:
                    del self._marks[name]
                    self._flushed += 1
                    if mark.unknown:
                        self._doubt(name, mark.owner)
                elif mark is not None:
                    self._of(mark.owner).queue.append(name)
                    continue
                free.append(name)
            self._settle()
        return free

    def land(self, taken: Iterable[tuple[str, Mask]]) -> None:
        """What was done about them is over, whatever came of it."""
        for flight in {mask.mark.flight for _, mask in taken if mask.mark is not None}:
            if flight is not None:
                flight.set()

    def put_back(self, taken: Iterable[tuple[str, Mask]], owner: str) -> None:
        """They could not be freed now."""
        with self._lock:
            self._of(owner).queue.extendleft(name for name, _ in taken)

    def refuse(self, names: Iterable[str], owner: str) -> None:
        """They cannot be freed, by an ACL for one: they stay masked, and are tried in a minute."""
        with self._lock:
            at = self._clock() + REFUSED_AFTER
            self._of(owner).refused.extend((at, name) for name in names)

    def take_again(self, count: int, owner: str) -> list[str]:
        """Keys whose second UNLINK is due; to be given to again() if it fails."""
        with self._lock:
            again, now = self._of(owner).again, self._clock()
            due = [name for name, at in again.items() if at <= now][:count]
            for name in due:
                del again[name]
            return due

    def again(self, names: Iterable[str], owner: str) -> None:
        """It failed: they are due, but for those whose next write is in doubt meanwhile."""
        with self._lock:
            for name in names:
                self._of(owner).again.setdefault(name, -inf)

    def scope(self, owner: str) -> Scope | None:
        """A pattern to scan for now; to be given to scanned() or postpone()."""
        now = self._clock()
        mine = (each for each in self._scopes if each.owner == owner and each.not_before <= now)
        return next(mine, None)

    def scanned(self, scope: Scope) -> None:
        """A scan has been through from its beginning to its end."""
        with self._lock:
            if scope in self._scopes:
                self._give_up(scope)
                for name in scope.doubts:
                    self._doubt(name, scope.owner)

    def postpone(self, scope: Scope) -> None:
        """An ACL forbids to scan: tried again in a minute."""
        scope.not_before = self._clock() + REFUSED_AFTER

    def due_in(self, owner: str) -> float | None:
        """Seconds until the flusher has something to do, 0 for now; None for nothing."""
        with self._lock:
            owed = self._of(owner)
            while owed.queue and owed.queue[0] not in self._marks:  # freed by an operation
                owed.queue.popleft()
            while owed.refused and owed.refused[0][1] not in self._marks:
                owed.refused.popleft()
            if owed.queue:
                return 0.0
            times = [each.not_before for each in self._scopes if each.owner == owner]
            times += [*owed.again.values(), *(at for at, _ in owed.refused)]
            return max(0.0, min(times) - self._clock()) if times else None

    def hurry(self, owner: str) -> None:
        """The process ends: whatever waits for its time is due."""
        with self._lock:
            again = self._of(owner).again
            again.update(dict.fromkeys(again, -inf))

    # ── for operators and reports ───────────────────────────────────────────────────────────────

    def snapshot(self) -> dict[str, int]:
        """``keys`` and ``patterns`` that are masked, second UNLINKs to come, keys freed so far."""
        with self._lock:
            doubts = sum(len(each.doubts) for each in self._scopes)
            return {
                "keys": len(self._marks),
                "patterns": len(self._scopes),
                "again": doubts + sum(len(owed.again) for owed in self._owed.values()),
                "flushed": self._flushed,
            }

    def left(self, owner: str) -> dict[str, int]:
        """The same of one owner, but for those that are freed."""
        with self._lock:
            return {
                "keys": sum(mark.owner == owner for mark in self._marks.values()),
                "patterns": sum(scope.owner == owner for scope in self._scopes),
                "again": len(self._of(owner).again),
            }

    def after_fork(self) -> None:
        """What the parent had written, its child must not read back either: it keeps every mask."""
        self._lock = threading.RLock()
        for owed in self._owed.values():
            owed.queue.clear()
        for name, mark in self._marks.items():  # other threads may have been freeing some
            self._of(mark.owner).queue.append(name)

    # ── with the lock held ──────────────────────────────────────────────────────────────────────

    def _of(self, owner: str) -> _Owed:
        return self._owed.setdefault(owner, _Owed())

    def _doubt(self, name: str, owner: str) -> None:
        again = self._of(owner).again
        again.pop(name, None)  # the latest last
        again[name] = self._clock() + AGAIN_AFTER
        if len(again) > LIMIT:
            del again[next(iter(again))]

    def _let_go(self, scope: Scope, name: str) -> None:
        if len(scope.free) < LIMIT:
            scope.free.add(name)
        elif scope.not_before > -inf:
            self._give_up(scope)  # nobody may scan for it, and most of what is used is free by now
        if name in scope.doubts:
            self._doubt(name, scope.owner)

    def _give_up(self, scope: Scope) -> None:
        self._scopes = tuple(each for each in self._scopes if each is not scope)
        self._settle()

    def _collapse(self) -> None:
        """Too many keys: all of their caches' keys instead, but for those that are not of these."""
        for owner in {mark.owner for mark in self._marks.values()}:
            self._mask_all(owner, owner)
        self._beyond = len(self._marks)

    def _mask_all(self, pattern: str, owner: str) -> None:
        """A new scope, which takes over what it means."""
        scope = Scope(pattern, owner)
        others = []
        for each in self._scopes:
            covered = each.pattern == pattern or (pattern == owner and scope.means(each.pattern))
            if each.owner == owner and covered:
                scope.doubts |= each.doubts
                scope.not_before = max(scope.not_before, each.not_before)
            else:
                others.append(each)
        self._scopes = (*others, scope)  # before any mark goes
        self.active = True
        for name in [name for name in self._marks if scope.means(name)]:
            if self._marks[name].unknown and len(scope.doubts) < LIMIT:
                scope.doubts.add(name)
            del self._marks[name]

    def _settle(self) -> None:
        self._beyond = min(self._beyond, len(self._marks))
        self.active = bool(self._marks or self._scopes)
