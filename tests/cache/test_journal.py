"""The journal alone: what is masked, until when, and what the flusher is given to do."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from resilience.cache import journal as module
from resilience.cache.journal import AGAIN_AFTER, REFUSED_AFTER, Journal
from resilience.cache.patterns import matcher

MINE = "mine:*"


@pytest.fixture
def clock() -> SimpleNamespace:
    return SimpleNamespace(now=1000.0)


@pytest.fixture
def journal(clock) -> Journal:
    return Journal(lambda: clock.now)


def masked(journal: Journal, *names: str) -> list[str]:
    return [name for name in names if journal.mask(name) is not None]


def free(journal: Journal, name: str) -> bool:
    mask = journal.mask(name)
    assert mask is not None
    return journal.done(name, mask)


# ── keys ────────────────────────────────────────────────────────────────────────────────────────


def test_a_key_is_masked_until_redis_let_go_of_it(journal):
    assert not journal.active
    journal.add(["mine:a", "mine:b"], MINE, unknown=False)
    assert journal.active
    assert masked(journal, "mine:a", "mine:b", "mine:c") == ["mine:a", "mine:b"]
    assert free(journal, "mine:a")
    assert masked(journal, "mine:a", "mine:b") == ["mine:b"]
    assert free(journal, "mine:b")
    assert not journal.active
    assert journal.snapshot() == {"keys": 0, "patterns": 0, "again": 0, "flushed": 2}
    assert journal.due_in() is None


def test_a_write_that_failed_meanwhile_masks_it_anew(journal):
    journal.add(["mine:a"], MINE, unknown=False)
    mask = journal.mask("mine:a")
    journal.add(["mine:a"], MINE, unknown=False)
    assert not journal.done("mine:a", mask)
    assert masked(journal, "mine:a")
    assert free(journal, "mine:a")


def test_what_may_be_done_late_is_taken_out_again(journal, clock):
    journal.add(["mine:sure"], MINE, unknown=False)
    journal.add(["mine:doubt"], MINE, unknown=True)
    journal.add(["mine:doubt"], MINE, unknown=False)  # the doubt about the earlier write remains
    for name, mask in journal.take(10):
        journal.done(name, mask)
    assert not journal.active
    assert journal.due_in() == AGAIN_AFTER
    assert journal.take_again(10) == []
    clock.now += AGAIN_AFTER
    assert journal.due_in() == 0
    taken = journal.take_again(10)
    assert [name for name, _ in taken] == ["mine:doubt"]
    journal.again(taken)  # it failed
    assert journal.due_in() == 0
    assert journal.take_again(10) == taken
    assert journal.due_in() is None


def test_what_could_not_be_flushed_is_given_again_first(journal):
    journal.add([f"mine:{n}" for n in range(5)], MINE, unknown=False)
    taken = journal.take(3)
    journal.put_back(taken)
    again = journal.take(10)
    assert sorted(name for name, _ in again) == [f"mine:{n}" for n in range(5)]
    assert journal.take(10) == []
    assert journal.due_in() is None  # whoever has them will bring them back


def test_what_an_acl_forbids_stays_masked_and_is_tried_in_a_minute(journal, clock):
    journal.add(["mine:a"], MINE, unknown=False)
    ((name, _),) = journal.take(1)
    journal.refuse(name)
    assert masked(journal, "mine:a")
    assert journal.due_in() == REFUSED_AFTER
    assert journal.take(1) == []
    clock.now += REFUSED_AFTER
    assert [name for name, _ in journal.take(1)] == ["mine:a"]


# ── patterns ────────────────────────────────────────────────────────────────────────────────────


def test_a_pattern_masks_what_it_means_until_it_was_scanned_for(journal):
    journal.add_pattern("mine:*:x")
    assert masked(journal, "mine:1:x", "mine:1:y", "other") == ["mine:1:x"]
    scope = journal.scope()
    assert scope.pattern == "mine:*:x"
    journal.scanned(scope)
    assert not journal.active
    assert journal.scope() is None


def test_a_key_that_was_freed_alone_is_no_longer_meant(journal):
    journal.add_pattern(MINE)
    assert free(journal, "mine:a")
    assert masked(journal, "mine:a", "mine:b") == ["mine:b"]
    journal.add_pattern(MINE)  # cleared again: now it is
    assert masked(journal, "mine:a", "mine:b") == ["mine:a", "mine:b"]


def test_a_pattern_takes_over_the_keys_and_their_doubts(journal, clock):
    journal.add(["mine:a"], MINE, unknown=True)
    journal.add(["other:a"], "other:*", unknown=False)
    journal.add_pattern(MINE)
    assert journal.snapshot()["keys"] == 1
    assert masked(journal, "mine:a", "other:a") == ["mine:a", "other:a"]
    assert free(journal, "mine:a")
    journal.scanned(journal.scope())
    assert masked(journal, "mine:a") == []
    assert journal.scope() is None
    clock.now += AGAIN_AFTER
    again = journal.scope()
    assert again.pattern == MINE
    assert "mine:a" not in again.free  # the late write may have hit it
    journal.scanned(again)
    assert journal.snapshot() == {"keys": 1, "patterns": 0, "again": 0, "flushed": 0}


def test_a_scan_that_an_acl_forbids_waits(journal, clock):
    journal.add_pattern(MINE)
    journal.postpone(journal.scope())
    assert journal.scope() is None
    assert journal.due_in() == REFUSED_AFTER
    assert masked(journal, "mine:a")
    clock.now += REFUSED_AFTER
    assert journal.scope() is not None


@pytest.mark.parametrize("unknown", [False, True])
def test_too_many_keys_become_their_caches_patterns(journal, clock, monkeypatch, unknown):
    monkeypatch.setattr(module, "LIMIT", 3)
    journal.add(["mine:a", "mine:b"], MINE, unknown=unknown)
    journal.add(["other:a"], "other:*", unknown=False)
    assert journal.snapshot()["keys"] == 3
    journal.add(["mine:c"], MINE, unknown=False)
    assert journal.snapshot() == {"keys": 0, "patterns": 2, "again": 0, "flushed": 0}
    assert masked(journal, "mine:a", "mine:z", "other:z", "third") == [
        "mine:a", "mine:z", "other:z",
    ]  # fmt: skip
    for _ in range(2):
        journal.scanned(journal.scope())
    assert not journal.active
    clock.now += AGAIN_AFTER
    again = journal.scope()
    assert (again.pattern if again else None) == (MINE if unknown else None)


def test_second_unlinks_count_for_the_limit_and_are_not_lost(journal, clock, monkeypatch):
    monkeypatch.setattr(module, "LIMIT", 3)
    for name in ("mine:a", "mine:b", "mine:c"):
        journal.add([name], MINE, unknown=True)
        assert free(journal, name)
    journal.add(["other:a"], "other:*", unknown=False)
    assert masked(journal, "mine:a", "other:a") == ["mine:a", "other:a"]
    while (scope := journal.scope()) is not None:
        journal.scanned(scope)
    clock.now += AGAIN_AFTER
    assert journal.scope().pattern == MINE


# ── the process ─────────────────────────────────────────────────────────────────────────────────


def test_the_end_of_the_process_makes_everything_due(journal):
    journal.add(["mine:a"], MINE, unknown=True)
    free(journal, "mine:a")
    journal.hurry()
    assert journal.due_in() == 0
    assert [name for name, _ in journal.take_again(1)] == ["mine:a"]


def test_a_child_keeps_the_masks_and_has_everything_to_flush(journal):
    journal.add(["mine:a", "mine:b"], MINE, unknown=False)
    journal.take(1)  # by a thread that the child does not have
    journal._lock.acquire()
    journal.after_fork()
    ended = threading.Event()

    def use() -> None:
        assert masked(journal, "mine:a", "mine:b") == ["mine:a", "mine:b"]
        assert [name for name, _ in journal.take(10)] == ["mine:a", "mine:b"]
        ended.set()

    threading.Thread(target=use, daemon=True).start()
    assert ended.wait(1)


def test_switched_off_it_masks_nothing(journal, monkeypatch):
    monkeypatch.setattr(Journal, "enabled", False)
    journal.add(["mine:a"], MINE, unknown=True)
    journal.add_pattern(MINE)
    assert not journal.active
    assert journal.due_in() is None


def test_threads_at_once():
    """Every key that was masked last stays so; nothing is lost, nothing is left over."""
    journal = Journal()

    def hammer(seed: int) -> None:
        names = [f"mine:{seed}:{n}" for n in range(20)]
        for turn in range(300):
            journal.add(names, MINE, unknown=turn % 3 == 0)
            assert masked(journal, *names) == names
            for name in names[: turn % 20]:
                free(journal, name)
            journal.put_back(journal.take(7))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(hammer, range(4)))
    left = journal.snapshot()["keys"]
    assert left == 4 * 1  # the last turn freed 19 of 20
    while taken := journal.take(100):
        for name, mask in taken:
            journal.done(name, mask)
    assert not journal.active


# ── any order ───────────────────────────────────────────────────────────────────────────────────

NAMES = [f"{cache}:{n}" for cache in ("mine", "other") for n in range(4)]
names = st.sampled_from(NAMES)
patterns = st.sampled_from([MINE, "other:*", "*:1", "mine:2"])


class Machine(RuleBasedStateMachine):
    """Against what it is for: a key is masked from its failed write until it was taken out after.

    ``time`` is a counter; of each key it is known when it was last written in vain and when it was
    last taken out of Redis.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.journal = Journal(lambda: self.now)
        self.time = 0
        self.written = dict.fromkeys(NAMES, 0)
        self.taken_out = dict.fromkeys(NAMES, 0)
        self.doubted: set[str] = set()
        self.owed: dict[str, float] = {}  # a second UNLINK, not before
        self.limit, module.LIMIT = module.LIMIT, 5

    def teardown(self) -> None:
        module.LIMIT = self.limit

    def take_out(self, name: str) -> None:
        self.time += 1
        self.taken_out[name] = self.time

    @rule(names=st.lists(names, min_size=1, max_size=3), unknown=st.booleans())
    def fail(self, names: list[str], unknown: bool) -> None:
        self.time += 1
        for name in names:
            self.journal.add([name], f"{name.split(':')[0]}:*", unknown=unknown)
            self.written[name] = self.time
            if unknown:
                self.doubted.add(name)

    @rule(pattern=patterns)
    def clear(self, pattern: str) -> None:
        self.time += 1
        self.journal.add_pattern(pattern)
        means = matcher(pattern)
        for name in filter(means, NAMES):
            self.written[name] = self.time

    @rule(name=names)
    def operate(self, name: str) -> None:
        mask = self.journal.mask(name)
        if mask is not None:
            self.take_out(name)
            self.journal.done(name, mask)

    @rule(name=names)
    def operate_while_another_fails(self, name: str) -> None:
        mask = self.journal.mask(name)
        if mask is not None:
            self.take_out(name)
            self.fail([name], False)
            self.journal.done(name, mask)

    @rule(works=st.booleans(), count=st.integers(1, 4))
    def flush(self, works: bool, count: int) -> None:
        taken = self.journal.take(count)
        if not works:
            self.journal.put_back(taken)
            return
        for name, mask in taken:
            self.take_out(name)
            self.journal.done(name, mask)

    @rule()
    def refuse(self) -> None:
        for name, _ in self.journal.take(1):
            self.journal.refuse(name)

    @rule()
    def scan(self) -> None:
        scope = self.journal.scope()
        if scope is not None:
            for name in filter(scope.means, NAMES):
                if name not in scope.free:
                    self.take_out(name)
            self.journal.scanned(scope)

    @rule(seconds=st.sampled_from([1.0, AGAIN_AFTER, REFUSED_AFTER]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.journal.due_in() == 0)
    @rule()
    def flush_again(self) -> None:
        for name, _ in self.journal.take_again(3):
            self.take_out(name)
            self.doubted.discard(name)

    @invariant()
    def masked_exactly_while_redis_may_hold_the_past(self) -> None:
        for name in NAMES:
            if self.written[name] > self.taken_out[name]:
                assert self.journal.mask(name) is not None, name
        if not self.journal.active:
            assert not masked(self.journal, *NAMES)

    @invariant()
    def bounded(self) -> None:
        snapshot = self.journal.snapshot()
        assert snapshot["keys"] <= 5
        assert snapshot["patterns"] <= 4

    @invariant()
    def what_is_left_to_do_is_known(self) -> None:
        assert (self.journal.due_in() is None) == (
            not any(self.journal.snapshot()[word] for word in ("keys", "patterns", "again"))
        )


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
