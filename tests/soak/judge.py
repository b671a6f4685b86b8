"""Judges what processes read against what all of them wrote.

Every write is a span of the clock: it takes effect somewhere in it. For the process that made it,
it ends with the call: from then on the old value is gone, acknowledged or masked. For the others it
ends when it is ``settled``: at once if Redis acknowledged it, else when that process's journal is
empty. A value may be read unless every write of it lies wholly before a later write to its key that
the reader has to know of::

    put v ├────┤
    overwrite        ├────┤          a process that reads v here
    read                     ├──┤    reads what came back

A reader has to know what it did itself, and what others did once that is settled; what it answered
without Redis may be MAX_STALE older. What Redis lost by itself is counted, not forbidden.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

from tests.soak.steps import KINDS, SESSION, Record, means

LIMIT = 1.0  # seconds that an operation may take, whatever its timeout: the machine is busy
SLACK = 0.5  # seconds, for what is said to last MAX_STALE or until a time to live ends
NEVER_JOURNALED = 10.0  # seconds after which an add() whose outcome is unknown has happened or not
ALIKE = 20  # breaks of one kind that are told in full at a time
# An overwritten value was read: by who overwrote it, by the same before its second UNLINK, by
# others.
RESURRECTED = ("came back", "came late", "stale")
KINDS_OF_BREAKS = (*RESURRECTED, "contract", "session", "slow", "unknown")
COPIED = "*"  # the tag of what incr_version() copies: any


class Break(NamedTuple):
    """What the contract forbids: ``kind`` is one word."""

    kind: str
    reader: str
    record: Record
    said: str


@dataclass(slots=True, eq=False)
class Write:
    """One process's put or erase.

    ``ends`` is when a put's time to live is over. ``over`` is when the outage that it was made in
    was over for this process: no key is masked, and Redis answers reads.
    """

    process: str
    began: float
    ended: float
    settled: float
    ends: float = inf
    over: float = 0.0
    is_lost: bool = False
    is_touch: bool = False
    said: str = ""

    def until(self, process: str) -> float:
        """When a process may be sure of it."""
        return self.ended if process == self.process else self.settled


@dataclass
class Judge:
    """``take()`` what processes did, in any order; ``judge()`` when none has any more to tell.

    Times are seconds of the monotonic clock.
    """

    max_stale: float
    keys: Sequence[str]
    breaks: list[Break] = field(default_factory=list)  # of the last judgement
    resurrected: set[str] = field(default_factory=set)  # keys
    # Keys and tags that were read only because Redis had lost what came later, or because a process
    # died before it could take them back.
    lost: set[tuple[str, str]] = field(default_factory=set)
    left: set[tuple[str, str]] = field(default_factory=set)
    operations: int = 0
    slowest: tuple[float, str] = (0.0, "")
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._puts: dict[tuple[str, str], list[Write]] = defaultdict(list)
        # By key and process, in the order in which they began.
        self._overwrites: dict[str, dict[str, list[Write]]] = {key: {} for key in self.keys}
        self._touches: dict[str, list[Write]] = defaultdict(list)
        self._unsettled: dict[str, list[Write]] = defaultdict(list)
        self._told: list[tuple[str, Record]] = []
        self._away: dict[str, list[Write]] = defaultdict(list)
        self._dead: set[str] = set()
        self._losses: list[tuple[float, float]] = []

    def know(self, keys: Iterable[str]) -> None:
        """There are these keys, too."""
        self._overwrites.update((key, {}) for key in keys)

    # ── what happened ───────────────────────────────────────────────────────────────────────────

    def take(self, process: str, records: Iterable[Record]) -> None:
        self._told += [(process, record) for record in records]

    def die(self, process: str) -> None:
        """It was killed: its journal with it, and what it had not told yet."""
        self._dead.add(process)

    def lose(self, began: float, ended: float) -> None:
        """What Redis acknowledged in this time, it has lost."""
        self._losses.append((began, ended))

    def settle(self, process: str, now: float) -> None:
        """The process's journal is empty, and nothing of it is under way."""
        for write in self._unsettled.pop(process, ()):
            write.settled = max(now, write.ended)

    # ── judgement ───────────────────────────────────────────────────────────────────────────────

    def judge(self) -> list[Break]:
        """What was forbidden among what was told since the last time; of many alike the first."""
        self.breaks = []
        told, self._told = sorted(self._told, key=lambda each: each[1].ended), []
        for process, record in told:
            self._note(process, record)
        for process, record in told:
            for key, tag in zip(record.keys, record.seen, strict=False):
                if tag is not None:
                    self._read(process, record, key, tag)
        return self.breaks

    def quiet(self, now: float) -> None:
        """Every living process has settled: what dead ones had under way has happened or not."""
        for process in self._dead & set(self._unsettled):
            for write in self._unsettled.pop(process):
                write.settled = max(now, write.ended)
                write.is_lost = True

    def _note(self, process: str, record: Record) -> None:
        self.operations += 1
        taken = record.ended - record.began
        if taken > self.slowest[0]:
            self.slowest = taken, f"{record.name} of {process}"
        if record.broken:
            self._break("contract", process, record, record.broken)
        if taken > LIMIT:
            self._break("slow", process, record, f"took {taken:.3f} s")
        if not record.masked and not record.again:
            self.settle(process, record.asked)
        if not record.masked and not record.local and KINDS[record.name].effect == "read":
            for write in self._away.pop(process, ()):
                write.over = record.asked
        effect = KINDS[record.name].effect
        if effect in {"put", "offer", "erase", "copy"}:
            self._write(process, record)
        elif effect == "read" and not record.local:
            self.counts["reads from Redis"] += 1
            self.counts["misses"] += record.seen.count(None)

    def _write(self, process: str, record: Record) -> None:
        kind = KINDS[record.name]
        made = Write(process, record.began, record.ended + kind.after, record.asked + kind.after)
        made.said = record.name
        if record.masked or record.again:
            made.settled = made.over = inf
            self._unsettled[process].append(made)
            self._away[process].append(made)
        elif kind.effect == "offer":
            made.settled += NEVER_JOURNALED
        if kind.effect in {"put", "offer"}:
            made.ends = record.lasts
            for key, tag in zip(record.keys, record.tags, strict=True):
                self._puts[key, tag].append(made)
        if kind.after:
            made.ended += SLACK
            made.settled += SLACK
            made.is_touch = True
            self._touches[record.keys[0]].append(made)
        if record.raised or kind.effect == "offer":
            return  # nobody knows whether it overwrote anything
        if kind.effect == "copy":
            self._puts[record.keys[1], COPIED].append(made)
        for key in self._keys(record):
            insort(self._overwrites[key].setdefault(process, []), made, key=lambda each: each.began)

    def _keys(self, record: Record) -> Iterable[str]:
        """The keys that a record overwrote."""
        if record.name == "clear":
            return self.keys
        if record.name == "delete_pattern":
            return [key for key in self.keys if means(record.keys[0], key)]
        return record.keys

    def _read(self, process: str, record: Record, key: str, tag: str) -> None:
        if record.away and key.startswith(SESSION):
            self._break("session", process, record, f"{tag} while Redis was away")
        puts = self._sources(key, tag)
        if not puts:
            self._break("unknown", process, record, f"{tag}, which nobody wrote")
            return
        why: Write | None = None
        for put in puts:
            why = self._after(put, key, process, record)
            if why is None or self._does_not_count(why, process, record):
                break
        if why is None:
            return
        if why.process != process and why.is_lost:
            self.left.add((key, tag))
        elif self._is_lost(why, record):
            self.lost.add((key, tag))
        else:
            kind = "came back" if why.process == process else "stale"
            if why.process == process and any(put.settled > record.began for put in puts):
                kind = "came late"
            said = f"{key} was {tag} after {why.said} of {why.process} at {why.began:.4f}"
            self._break(kind, process, record, f"{said} to {why.ended:.4f}")

    def _sources(self, key: str, tag: str) -> list[Write]:
        """Every write that may have put a value there."""
        origin = tag.split("|")
        if len(origin) != 4:
            return []
        began = float(origin[3])
        found = list(self._puts.get((key, tag), ()))
        if origin[0] == key.partition("@")[0]:
            found += [each for each in self._puts.get((key, COPIED), ()) if each.began >= began]
        untold = self._dead & {origin[1]} if origin[0] == key else set(self._dead)
        if not found and untold:  # the last that somebody did
            made = Write(untold.pop(), began, began, inf)
            self._unsettled[made.process].append(made)
            self._puts[key, tag].append(made)
            return [made]
        return found

    def _after(self, put: Write, key: str, reader: str, record: Record) -> Write | None:
        """A later write to the key that the reader had to know of; best one that is not lost."""
        stale = self.max_stale + SLACK if record.local or record.masked else 0.0
        if put.settled + put.ends + SLACK < record.began:
            over = put.settled + put.ends
            return Write(put.process, put.settled, over, over, said="the end")
        lost: Write | None = None
        for writer, writes in self._overwrites[key].items():
            is_own = writer == reader
            if not is_own and put.process == reader and put.over > record.began:
                continue  # this process wrote it in an outage that is not over for it
            since = put.until(writer)
            for write in writes[bisect_left(writes, since, key=lambda each: each.began) :]:
                if write.began >= record.began:
                    break
                known = write.ended if is_own else write.settled + stale
                if known > record.began or (write.is_touch and self._is_longer(write, key)):
                    continue
                if not self._does_not_count(write, reader, record):
                    return write
                lost = write
        return lost

    def _does_not_count(self, write: Write, reader: str, record: Record) -> bool:
        return (write.is_lost and write.process != reader) or self._is_lost(write, record)

    def _is_longer(self, touch: Write, key: str) -> bool:
        """Whether another touch may have let the key live on."""
        return any(
            each is not touch and each.began < touch.ended and each.settled > touch.began
            for each in self._touches[key]
        )

    def _is_lost(self, write: Write, record: Record) -> bool:
        """Whether Redis lost it before that read."""
        return any(
            write.began <= ended and write.ended >= began and record.ended > ended
            for began, ended in self._losses
        )

    def _break(self, kind: str, process: str, record: Record, said: str) -> None:
        self.counts[kind] += 1
        if kind in RESURRECTED:
            self.resurrected.add(said.partition(" ")[0])
        if sum(each.kind == kind for each in self.breaks) < ALIKE:
            self.breaks.append(Break(kind, process, record, said))

    @property
    def broken(self) -> dict[str, int]:
        """How often each kind of break was seen so far."""
        return {kind: count for kind, count in self.counts.items() if kind in KINDS_OF_BREAKS}


def say(breaks: Iterable[Break]) -> str:
    """One line for each."""
    return "\n".join(
        f"{each.kind}: {each.reader} {each.record.name} at {each.record.began:.4f}: {each.said}"
        for each in breaks
    )
