"""The journal alone: what is masked, until when, and what the flusher is given to do."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from resilience.cache import journal as module
from resilience.cache.journal import AGAIN_AFTER, LIMIT, REFUSED_AFTER, SCOPES, Journal
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
    assert journal.due_in(MINE) is None


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
    for name, mask in journal.take(10, MINE):
        journal.done(name, mask)
    assert not journal.active
    assert journal.due_in(MINE) == AGAIN_AFTER
    assert journal.take_again(10, MINE) == []
    clock.now += AGAIN_AFTER
    assert journal.due_in(MINE) == 0
    taken = journal.take_again(10, MINE)
    assert taken == ["mine:doubt"]
    journal.again(taken, MINE)  # it failed
    assert journal.due_in(MINE) == 0
    assert journal.take_again(10, MINE) == taken
    assert journal.due_in(MINE) is None


def test_it_waits_five_seconds_and_a_minute():
    """As the design and the pages say."""
    assert (AGAIN_AFTER, REFUSED_AFTER, SCOPES, LIMIT) == (5, 60, 50, 100_000)


def test_a_second_unlink_that_failed_is_due_before_all_others(journal, clock):
    journal.add(["mine:old", "mine:new"], MINE, unknown=True)
    free(journal, "mine:old")
    clock.now += AGAIN_AFTER
    free(journal, "mine:new")
    journal.again(journal.take_again(10, MINE), MINE)
    assert journal.due_in(MINE) == 0
    assert journal.take_again(10, MINE) == ["mine:old"]
    assert journal.due_in(MINE) == AGAIN_AFTER  # its twin: the other one has its time


def test_a_second_unlink_that_failed_is_not_the_last_one_of_a_newer_doubt(journal, clock):
    journal.add(["mine:a"], MINE, unknown=True)
    free(journal, "mine:a")
    clock.now += AGAIN_AFTER
    taken = journal.take_again(10, MINE)
    journal.add(["mine:a"], MINE, unknown=True)  # while the flusher's UNLINK is under way
    free(journal, "mine:a")
    journal.again(taken, MINE)
    assert journal.due_in(MINE) == AGAIN_AFTER
    clock.now += AGAIN_AFTER
    assert journal.take_again(10, MINE) == taken


def test_a_key_that_fails_twice_is_taken_once_by_the_last_who_wrote_it(journal):
    journal.add(["mine:a", "mine:b"], MINE, unknown=False)
    journal.add(["mine:a"], MINE, unknown=False)
    journal.add(["mine:b"], "other:*", unknown=False)
    assert [name for name, _ in journal.take(10, MINE)] == ["mine:a"]
    assert [name for name, _ in journal.take(10, "other:*")] == ["mine:b"]


def test_a_batch_is_freed_in_one_go_but_for_what_failed_meanwhile(journal, clock):
    names = ["mine:failed", "mine:operated", "mine:doubt", "mine:sure"]
    journal.add(names, MINE, unknown=False)
    journal.add(["mine:doubt"], MINE, unknown=True)
    taken = journal.take(10, MINE)
    journal.add(["mine:failed"], MINE, unknown=False)
    free(journal, "mine:operated")
    assert sorted(journal.done_many(taken)) == ["mine:doubt", "mine:operated", "mine:sure"]
    assert masked(journal, *names) == ["mine:failed"]
    assert journal.snapshot() == {"keys": 1, "patterns": 0, "again": 1, "flushed": 3}
    assert journal.active
    again = journal.take(10, MINE)
    assert [name for name, _ in again] == ["mine:failed"]
    assert journal.done_many(again) == ["mine:failed"]
    assert not journal.active
    clock.now += AGAIN_AFTER
    assert journal.take_again(10, MINE) == ["mine:doubt"]


def test_whoever_writes_a_key_waits_for_the_flushers_unlink(journal):
    journal.add(["mine:a", "mine:b"], MINE, unknown=False)
    mask = journal.mask("mine:a")
    assert not mask.wait(1), "nobody is at it"
    taken = journal.take(10, MINE)
    began = time.monotonic()
    assert mask.wait(0.05), "it is under way"
    assert time.monotonic() - began >= 0.05
    threading.Timer(0.05, journal.land, [taken]).start()
    assert mask.wait(5)
    assert time.monotonic() - began < 1
    assert not mask.wait(1), "it has landed"


def test_whoever_writes_a_key_waits_for_the_page_of_a_scan(journal):
    journal.add_pattern(MINE, MINE)
    mask = journal.mask("mine:a")
    assert not mask.wait(1)
    mask.scopes[0].flight = threading.Event()
    assert mask.wait(0.01)
    mask.scopes[0].flight.set()
    assert not mask.wait(1)


def test_what_could_not_be_flushed_is_given_again_first(journal):
    journal.add([f"mine:{n}" for n in range(5)], MINE, unknown=False)
    taken = journal.take(3, MINE)
    assert len(taken) == 3
    journal.put_back(taken, MINE)
    again = journal.take(10, MINE)
    assert sorted(name for name, _ in again) == [f"mine:{n}" for n in range(5)]
    assert journal.take(10, MINE) == []
    assert journal.due_in(MINE) is None  # whoever has them will bring them back


def test_what_an_acl_forbids_stays_masked_and_is_tried_in_a_minute(journal, clock):
    journal.add(["mine:a"], MINE, unknown=False)
    ((name, _),) = journal.take(1, MINE)
    journal.refuse([name], MINE)
    assert masked(journal, "mine:a")
    assert journal.due_in(MINE) == REFUSED_AFTER
    assert journal.take(1, MINE) == []
    clock.now += REFUSED_AFTER
    assert [name for name, _ in journal.take(1, MINE)] == ["mine:a"]


# ── patterns ────────────────────────────────────────────────────────────────────────────────────


def test_a_pattern_masks_what_it_means_until_it_was_scanned_for(journal):
    journal.add_pattern("mine:*:x", MINE)
    assert masked(journal, "mine:1:x", "mine:1:y", "other") == ["mine:1:x"]
    scope = journal.scope(MINE)
    assert scope.pattern == "mine:*:x"
    journal.scanned(scope)
    assert not journal.active
    assert journal.scope(MINE) is None


def test_a_key_that_was_freed_alone_is_no_longer_meant(journal):
    journal.add_pattern(MINE, MINE)
    assert free(journal, "mine:a")
    assert masked(journal, "mine:a", "mine:b") == ["mine:b"]
    journal.add_pattern(MINE, MINE)  # cleared again: now it is
    assert masked(journal, "mine:a", "mine:b") == ["mine:a", "mine:b"]


def test_a_pattern_takes_over_the_keys_and_their_doubts(journal, clock):
    journal.add(["mine:a"], MINE, unknown=True)
    journal.add(["mine:b"], MINE, unknown=False)
    journal.add(["other:a"], "other:*", unknown=False)
    journal.add_pattern(MINE, MINE)
    assert journal.snapshot() == {"keys": 1, "patterns": 1, "again": 1, "flushed": 0}
    assert masked(journal, "mine:a", "mine:b", "other:a") == ["mine:a", "mine:b", "other:a"]
    journal.scanned(journal.scope(MINE))
    assert masked(journal, "mine:a", "mine:b") == []
    assert journal.take_again(10, MINE) == []
    clock.now += AGAIN_AFTER
    assert journal.take_again(10, MINE) == ["mine:a"]


def test_a_doubt_that_a_pattern_took_over_outlives_its_key(journal, clock):
    journal.add(["mine:a"], MINE, unknown=True)
    journal.add(["mine:b"], MINE, unknown=False)
    journal.add_pattern("mine:?", MINE)
    journal.add_pattern(MINE, MINE)  # takes over the pattern with its doubts
    assert journal.snapshot() == {"keys": 0, "patterns": 1, "again": 1, "flushed": 0}
    free(journal, "mine:a")
    free(journal, "mine:b")
    clock.now += AGAIN_AFTER
    assert journal.take_again(10, MINE) == ["mine:a"]


def test_a_pattern_that_takes_over_one_that_waits_waits_too(journal, clock):
    journal.add_pattern("mine:?", MINE)
    journal.postpone(journal.scope(MINE))
    journal.add_pattern(MINE, MINE)
    assert journal.scope(MINE) is None
    clock.now += REFUSED_AFTER
    assert journal.scope(MINE).pattern == MINE


def test_what_is_freed_of_a_pattern_is_bounded(journal, monkeypatch):
    """What is beyond waits for the scan; if nobody may scan, the pattern is given up."""
    monkeypatch.setattr(module, "LIMIT", 3)
    journal.add_pattern(MINE, MINE)
    names = [f"mine:{n}" for n in range(5)]
    for name in names[:4]:
        free(journal, name)
    assert masked(journal, *names) == ["mine:3", "mine:4"]
    assert len(journal._scopes[0].free) == 3
    journal.postpone(journal.scope(MINE))
    free(journal, "mine:3")
    assert not journal.active
    assert masked(journal, *names) == []


def test_a_scan_that_an_acl_forbids_waits(journal, clock):
    journal.add_pattern(MINE, MINE)
    journal.postpone(journal.scope(MINE))
    assert journal.scope(MINE) is None
    assert journal.due_in(MINE) == REFUSED_AFTER
    assert masked(journal, "mine:a")
    clock.now += REFUSED_AFTER
    assert journal.scope(MINE) is not None


@pytest.mark.parametrize("unknown", [False, True])
def test_too_many_keys_become_their_caches_patterns(journal, clock, monkeypatch, unknown):
    monkeypatch.setattr(module, "LIMIT", 3)
    journal.add(["mine:a", "mine:b"], MINE, unknown=unknown)
    journal.add(["other:a"], "other:*", unknown=False)
    assert journal.snapshot()["keys"] == 3
    journal.add(["mine:c"], MINE, unknown=False)
    assert journal.snapshot()["keys"] == 0
    assert journal.snapshot()["patterns"] == 2
    found = masked(journal, "mine:a", "mine:z", "other:z", "third")
    assert found == ["mine:a", "mine:z", "other:z"]
    for owner in (MINE, "other:*"):
        journal.scanned(journal.scope(owner))
    assert not journal.active
    clock.now += AGAIN_AFTER
    assert sorted(journal.take_again(10, MINE)) == (["mine:a", "mine:b"] if unknown else [])


def test_a_key_that_its_caches_pattern_does_not_mean_stays_masked(journal, monkeypatch):
    """A KEY_FUNCTION with a CLEAR_PATTERN for some of its keys."""
    monkeypatch.setattr(module, "LIMIT", 3)
    journal.add([f"user:{n}" for n in range(3)], "page:*", unknown=False)
    journal.add(["page:1"], "page:*", unknown=False)
    assert journal.snapshot()["keys"] == 3
    assert masked(journal, "user:0", "user:1", "user:2", "page:7") == [
        "user:0", "user:1", "user:2", "page:7",
    ]  # fmt: skip
    for name, mask in journal.take(10, "page:*"):
        journal.done(name, mask)
    assert masked(journal, "user:0") == []


def test_keys_beyond_their_caches_pattern_leave_room_for_the_others(journal, monkeypatch):
    monkeypatch.setattr(module, "LIMIT", 3)
    journal.add([f"user:{n}" for n in range(3)], "page:*", unknown=False)
    journal.add(["page:1"], "page:*", unknown=False)  # one too many: page:* is masked as a whole
    journal.scanned(journal.scope("page:*"))
    journal.add([f"page:{n}" for n in range(3)], "page:*", unknown=False)
    assert journal.left("page:*") == {"keys": 6, "patterns": 0, "again": 0}
    for name, mask in journal.take(10, "page:*"):
        journal.done(name, mask)
    journal.add([f"page:{n}" for n in range(3)], "page:*", unknown=False)
    assert journal.snapshot()["keys"] == 3
    journal.add(["page:3"], "page:*", unknown=False)  # those beyond are gone, and so is their room
    assert journal.left("page:*") == {"keys": 0, "patterns": 1, "again": 0}


def test_doubts_of_a_pattern_are_bounded(journal, monkeypatch):
    monkeypatch.setattr(module, "LIMIT", 3)
    journal.add([f"mine:{n}" for n in range(4)], MINE, unknown=True)
    assert journal.snapshot() == {"keys": 0, "patterns": 1, "again": 3, "flushed": 0}


def test_the_fifty_first_pattern_of_a_cache_becomes_all_of_it(journal):
    for number in range(SCOPES):
        journal.add_pattern(f"other:{number}:*", "other:*")
    journal.add_pattern("mine:1:*", MINE)
    assert masked(journal, "mine:b", "other:b") == []
    journal.add_pattern("other:51:*", "other:*")
    assert masked(journal, "mine:b", "other:b") == ["other:b"]
    assert journal.snapshot()["patterns"] == 2


def test_many_patterns_become_their_caches(journal):
    for number in range(3 * SCOPES):
        journal.add_pattern(f"mine:user:{number}:*", MINE)
    assert journal.snapshot()["patterns"] <= SCOPES
    assert masked(journal, "mine:user:1:a", "mine:b", "other") == ["mine:user:1:a", "mine:b"]


def test_second_unlinks_are_bounded(journal, monkeypatch):
    monkeypatch.setattr(module, "LIMIT", 3)
    for number in range(9):
        journal.add([f"mine:{number}"], MINE, unknown=True)
        assert free(journal, f"mine:{number}")
    assert journal.snapshot()["again"] == 3


def test_the_oldest_doubts_go_first(journal, clock, monkeypatch):
    monkeypatch.setattr(module, "LIMIT", 3)
    for name in ("mine:a", "mine:b", "mine:c", "mine:a", "mine:d"):
        journal.add([name], MINE, unknown=True)
        free(journal, name)
    clock.now += AGAIN_AFTER
    assert sorted(journal.take_again(10, MINE)) == ["mine:a", "mine:c", "mine:d"]


def test_what_was_locked_since_is_not_taken_out_again(journal, clock):
    journal.add(["mine:a", "mine:b"], MINE, unknown=True)
    for name in ("mine:a", "mine:b"):
        free(journal, name)
    journal.spare("mine:a")
    clock.now += AGAIN_AFTER
    assert journal.take_again(10, MINE) == ["mine:b"]


# ── races ───────────────────────────────────────────────────────────────────────────────────────


def test_a_reader_sees_a_key_that_a_pattern_takes_over_meanwhile(journal):
    journal.add_pattern("other:*", "other:*")
    journal.add(["mine:a"], MINE, unknown=False)
    (scope,) = journal._scopes
    means = scope.means
    scope.means = lambda name: (journal.add_pattern(MINE, MINE), means(name))[1]
    assert journal.mask("mine:a") is not None


def test_a_key_whose_next_write_fails_while_it_is_freed_is_queued_again(journal):
    journal.add(["mine:a"], MINE, unknown=False)
    ((name, mask),) = journal.take(1, MINE)
    journal.add(["mine:a"], MINE, unknown=True)
    assert not journal.done(name, mask)
    assert journal.due_in(MINE) == 0
    assert [name for name, _ in journal.take(1, MINE)] == ["mine:a"]


def test_each_cache_frees_its_own(journal):
    journal.add(["mine:a"], MINE, unknown=True)
    journal.add_pattern("other:*", "other:*")
    assert journal.take(10, "other:*") == []
    assert journal.scope(MINE) is None
    assert journal.left(MINE) == {"keys": 1, "patterns": 0, "again": 0}
    assert journal.left("other:*") == {"keys": 0, "patterns": 1, "again": 0}


# ── the process ─────────────────────────────────────────────────────────────────────────────────


def test_the_end_of_the_process_makes_everything_due(journal):
    journal.add(["mine:a"], MINE, unknown=True)
    free(journal, "mine:a")
    journal.hurry(MINE)
    assert journal.due_in(MINE) == 0
    assert journal.take_again(1, MINE) == ["mine:a"]


def test_a_child_keeps_the_masks_and_has_everything_to_flush(journal):
    journal.add(["mine:a", "mine:b"], MINE, unknown=False)
    journal.take(1, MINE)  # by a thread that the child does not have
    journal._lock.acquire()
    journal.after_fork()
    ended = threading.Event()

    def use() -> None:
        assert masked(journal, "mine:a", "mine:b") == ["mine:a", "mine:b"]
        assert [name for name, _ in journal.take(10, MINE)] == ["mine:a", "mine:b"]
        ended.set()

    threading.Thread(target=use, daemon=True).start()
    assert ended.wait(1)


def test_switched_off_it_masks_nothing(journal, monkeypatch):
    monkeypatch.setattr(Journal, "enabled", False)
    journal.add(["mine:a"], MINE, unknown=True)
    journal.add_pattern(MINE, MINE)
    assert not journal.active
    assert journal.due_in(MINE) is None


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
            journal.put_back(journal.take(7, MINE), MINE)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(hammer, range(4)))
    left = journal.snapshot()["keys"]
    assert left == 4 * 1  # the last turn freed 19 of 20
    while taken := journal.take(100, MINE):
        for name, mask in taken:
            journal.done(name, mask)
    assert not journal.active


# ── any order ───────────────────────────────────────────────────────────────────────────────────

NAMES = [f"{cache}:{n}" for cache in ("mine", "other") for n in range(4)]
OWNERS = [MINE, "other:*"]
names = st.sampled_from(NAMES)


def owner_of(name: str) -> str:
    return f"{name.split(':', maxsplit=1)[0]}:*"


patterns_of_all = [MINE, "other:*", "*:1", "mine:2"]
patterns = st.sampled_from(patterns_of_all)


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
            self.journal.add([name], owner_of(name), unknown=unknown)
            self.written[name] = self.time

    @rule(pattern=patterns)
    def clear(self, pattern: str) -> None:
        self.time += 1
        self.journal.add_pattern(pattern, "other:*" if pattern == "other:*" else MINE)
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

    @rule(works=st.booleans(), count=st.integers(1, 4), owner=st.sampled_from(OWNERS))
    def flush(self, works: bool, count: int, owner: str) -> None:
        taken = self.journal.take(count, owner)
        if not works:
            self.journal.put_back(taken, owner)
            return
        for name, _ in taken:
            self.take_out(name)
        self.journal.done_many(taken)

    @rule(owner=st.sampled_from(OWNERS))
    def refuse(self, owner: str) -> None:
        self.journal.refuse([name for name, _ in self.journal.take(1, owner)], owner)

    @rule(owner=st.sampled_from(OWNERS))
    def scan(self, owner: str) -> None:
        scope = self.journal.scope(owner)
        if scope is not None:
            for name in filter(scope.means, NAMES):
                if name not in scope.free:
                    self.take_out(name)
            self.journal.scanned(scope)

    @rule(seconds=st.sampled_from([1.0, AGAIN_AFTER, REFUSED_AFTER]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(owner=st.sampled_from(OWNERS))
    def flush_again(self, owner: str) -> None:
        for name in self.journal.take_again(3, owner):
            self.take_out(name)

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
        assert snapshot["patterns"] <= len(patterns_of_all)

    @invariant()
    def what_is_left_to_do_is_known(self) -> None:
        for owner in OWNERS:
            nothing = not any(self.journal.left(owner).values())
            assert (self.journal.due_in(owner) is None) == nothing


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
