"""Takes out of Redis what the journal masks, as soon as writes are answered again.

In small batches, and between requests where there is a pause, so that they do not notice: each
batch is some 50 us of the interpreter's lock, but a request whose thread hands that lock over and
gets it back a few times is 0.2 ms late. ``benchmarks/journal.py`` measures what is left of that.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from resilience.cache.asking import Asking, Unanswered
from resilience.cache.faults import Kind
from resilience.cache.worker import Worker

if TYPE_CHECKING:
    from resilience.cache.journal import Mask, Scope
    from resilience.cache.state import AliasState

logger = logging.getLogger("resilience.cache")

BATCH = 80  # keys
PAUSE = 0.005  # seconds between batches
QUIET = 0.001  # seconds since anybody asked Redis, so that no request is likely to be in the middle
PATIENCE = 0.006  # seconds after which a batch waits for that no longer: 100 000 keys in 10 s
RETRY = 0.5  # seconds after a failure that opened no circuit


class Flusher(Worker):
    """Of one alias, for the keys that it wrote."""

    def __init__(self, state: AliasState) -> None:
        super().__init__(f"resilience-journal-{state.options.alias}")
        self._state = state
        self._owner = state.options.every_key
        self._asking = Asking(state)
        self._scan: tuple[Scope, Iterator[list[bytes]]] | None = None
        self._turned = 0.0  # when the last batch was through

    def begin(self) -> float:
        """What has just failed would fail again."""
        return RETRY

    def turn(self) -> float:
        """One batch, in between requests if there is such a moment."""
        return QUIET if self._is_busy() else self._work()

    def _work(self) -> float:
        try:
            worked = self._free() or self._free_again() or self._free_page()
        except Unanswered:
            return RETRY
        self._turned = self._state.clock()
        return PAUSE if worked else min(RETRY, self._state.journal.due_in(self._owner) or 0.0)

    def _is_busy(self) -> bool:
        """Whether others asked Redis a moment ago, and this has not waited for long."""
        state, now = self._state, self._state.clock()
        others = max(state.read.answered, state.write.answered)
        return self._turned < others > now - QUIET and now < self._turned + PATIENCE

    def is_idle(self) -> bool:
        """An open circuit has to close first, and whoever closes it starts this."""
        return not self._state.write.closed or self._state.journal.due_in(self._owner) is None

    def finish(self, ends: float) -> None:
        """The process ends: try until then, and say what is left."""
        state, journal, clock = self._state, self._state.journal, self._state.clock
        self.stop(ends - clock())
        if not any(journal.left(self._owner).values()):
            return
        self._scan = None
        journal.hurry(self._owner)
        if not state.write.closed and clock() < ends:
            state.prober.probe_writes(ends - clock())
        while state.write.closed and clock() < ends and journal.due_in(self._owner) == 0:
            self._work()  # whoever else asks: there is no later
        left = journal.left(self._owner)
        if any(left.values()):
            logger.error(
                "cache %s: this process ends before Redis took back %d keys and %d patterns, and %d"
                " keys once more; until their time to live others may read what they held before",
                state.options.alias,
                *left.values(),
            )

    def _free(self) -> bool:
        """A batch of masked keys; was there one? Raises Unanswered, and nothing is lost."""
        journal = self._state.journal
        taken = journal.take(BATCH, self._owner)
        if not taken:
            return False
        try:
            self._free_batch(list(taken))
        finally:
            journal.land(taken)
        return True

    def _free_batch(self, taken: list[tuple[str, Mask]]) -> None:
        journal = self._state.journal
        try:
            self._asking.unlink([name for name, _ in taken], self._ends())
        except Unanswered as unanswered:
            if unanswered.kind is not Kind.PERMISSION:
                journal.put_back(taken, self._owner)
                raise
            self._free_each(taken)
        except Exception:  # noqa: BLE001 - what Redis says of one key it says of its batch
            self._free_each(taken)
        else:
            self._state.store.drop_many(journal.done_many(taken))

    def _free_each(self, taken: list[tuple[str, Mask]]) -> None:
        """One by one: an ACL that forbids a key refuses the whole batch."""
        journal, refused, last = self._state.journal, 0, len(taken)
        while taken:
            name, mask = taken[-1]
            try:
                self._asking.unlink([name], self._ends())
            except Unanswered as unanswered:
                if unanswered.kind is not Kind.PERMISSION:
                    journal.put_back(taken, self._owner)
                    raise
                refused += 1
                journal.refuse([name], self._owner)
            except Exception as error:  # noqa: BLE001 - as in _free(); the others go on
                self._state.note(Kind.PERMISSION, error)
                journal.refuse([name], self._owner)
            else:
                self._is_free(name, mask)
            taken.pop()
        if refused == last == BATCH:  # then there is no use in asking for every one of many
            rest = journal.take(journal.snapshot()["keys"], self._owner)
            journal.refuse([name for name, _ in rest], self._owner)
            journal.land(rest)

    def _is_free(self, name: str, mask: Mask) -> None:
        if self._state.journal.done(name, mask):
            self._state.store.drop(name)

    def _free_again(self) -> bool:
        """A batch of keys whose lost write may have been delivered after all."""
        journal = self._state.journal
        taken = journal.take_again(BATCH, self._owner)
        if not taken:
            return False
        try:
            self._asking.unlink(taken, self._ends())
        except Unanswered as unanswered:
            if unanswered.kind is not Kind.PERMISSION:  # then the first one was refused too
                journal.again(taken, self._owner)
                raise
        for name in taken:
            self._state.store.drop(name)
        return True

    def _free_page(self) -> bool:
        """The next page of a scan; from the start after a failure, which no cursor outlives."""
        journal = self._state.journal
        scope = journal.scope(self._owner)
        if scope is None:
            return False
        if self._scan is None or self._scan[0] is not scope:
            self._scan = scope, self._asking.scan(scope.pattern)
        scan, self._scan = self._scan, None  # for whatever may be raised
        try:
            names = next(scan[1], None)
            if names is not None:
                self._free_names(scope, names)
        except Unanswered as unanswered:
            if unanswered.kind is not Kind.PERMISSION:
                raise
            journal.postpone(scope)
        else:
            if names is None:
                journal.scanned(scope)
            else:
                self._scan = scan
        return True

    def _free_names(self, scope: Scope, names: list[bytes]) -> None:
        known = {name.decode(errors="surrogateescape"): name for name in names}
        scope.flight = threading.Event()  # before looking at what is free
        try:
            found = [name for name in known if name not in scope.free]
            if found:
                self._asking.unlink([known[name] for name in found], self._ends())
        finally:
            scope.flight.set()
        for name in found:
            self._state.store.drop(name)

    def _ends(self) -> float:
        return self._state.clock() + self._state.options.operation_timeout
