"""The store of this process against a model: a dict with times, and no bound but the bytes."""

from __future__ import annotations

import random
import threading
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import inf

import pytest
from hypothesis import example, given, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from resilience.cache.local import MISSING, OVERHEAD, LocalStore
from resilience.cache.patterns import matcher
from tests.clock import Clock
from tests.servers import RedisServer, redis_server


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> LocalStore:
    return LocalStore(100_000, clock)


def fill(store: LocalStore, key: str, value: bytes = b"value", ttl: float | None = 60) -> bool:
    return store.fill(key, value, ttl, store.token(key))


# ── how long an entry is served ─────────────────────────────────────────────────────────────────


def test_a_fill_is_served_while_it_is_fresh(store, clock):
    assert fill(store, "a", ttl=60)
    clock.now += 30
    assert store.read("a", 30) == b"value"
    clock.now += 0.1
    assert store.read("a", 30) is None
    assert store.read("a", None) == b"value"  # a store that is nobody's shadow
    assert store.has("a")


def test_no_entry_outlives_its_ttl(store, clock):
    fill(store, "fill", ttl=5)
    store.write("write", b"value", 5, outage=False)
    store.write("outage", b"value", 5, outage=True)
    clock.now += 4.9
    assert [store.read(key, 60) for key in ("fill", "write", "outage")] == [b"value"] * 3
    clock.now += 0.1
    for max_stale in (60, None):
        assert [store.read(key, max_stale) for key in ("fill", "write", "outage")] == [None] * 3
    assert not store.has("fill")
    assert store.snapshot()["bytes"] == 0


def test_what_was_written_in_the_outage_is_served_until_its_ttl(store, clock):
    store.write("a", b"1", 3600, outage=True)
    clock.now += 3599
    assert store.read("a", 0) == b"1"


def test_and_not_in_the_next_outage(store, clock):
    store.write("a", b"1", None, outage=True)
    store.demote()
    assert store.read("a", 10**9) is None
    assert store.has("a")
    assert store.confirm("a", b"1")
    assert store.read("a", 0) == b"1"
    store.write("b", b"2", None, outage=True)
    assert store.read("b", 0) == b"2"


def test_redis_confirms_what_is_here(store, clock):
    fill(store, "a", b"1", ttl=100)
    clock.now += 90
    assert store.confirm("a", b"1")
    assert store.read("a", 0) == b"1"
    clock.now += 10  # confirmed, but not for longer
    assert store.read("a", None) is None


@pytest.mark.parametrize("reply", [b"2", b"", None])
def test_redis_has_something_else(store, reply):
    fill(store, "a", b"1")
    assert not store.confirm("a", reply)
    assert not store.has("a")
    assert not store.confirm("a", b"1")


def test_touch(store, clock):
    assert not store.touch("a", 60)
    fill(store, "a", ttl=10)
    assert store.touch("a", 20)
    assert store.ttl("a") == 20
    assert store.touch("a", None)
    assert store.ttl("a") is None
    assert store.touch("a", 0)
    assert store.ttl("a") is MISSING
    assert store.snapshot()["bytes"] == 0


@pytest.mark.parametrize("ttl", [0, -1])
def test_what_is_gone_at_once_takes_the_older_along(store, ttl):
    fill(store, "a")
    assert not store.write("a", b"2", ttl, outage=True)
    assert not store.has("a")
    fill(store, "a")
    assert not fill(store, "a", b"2", ttl)
    assert not store.has("a")


def test_many_at_once_do_not_race_with_each_other(store):
    keys = [f"k{number}" for number in range(1000)]
    store.grow(1000 * 400)
    tokens = store.bump_many(keys)
    store.drop("k7")
    store.write_many(dict.fromkeys(keys, b"1"), 60, tokens)
    assert store.read("k7", 60) is None
    there = [key for key in keys if store.read(key, 60)]
    assert len(there) >= 996  # without k7, and without those that share its generation by chance


# ── races with Redis's answer ───────────────────────────────────────────────────────────────────

CHANGES = {
    "write": lambda store: store.write("a", b"new", 60, outage=False),
    "outage": lambda store: store.write("a", b"new", 60, outage=True),
    "drop": lambda store: store.drop("a"),
    "touch": lambda store: store.touch("a", 60),
    "bump": lambda store: store.bump("a"),
    "bump-all": lambda store: store.bump(None),
    "reset": lambda store: store.reset(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_fill_that_raced_is_void(store, change):
    token = store.token("a")
    change(store)
    before = store.read("a", 60)
    assert not store.fill("a", b"old", 60, token)
    assert store.read("a", 60) == before
    assert fill(store, "a", b"later")


def test_a_fill_that_raced_with_nothing__twin(store):
    token = store.token("a")
    fill(store, "a", b"another fill")
    store.confirm("a", b"another fill")
    store.read("a", 60)
    store.demote()
    assert store.fill("a", b"value", 60, token)


@pytest.mark.parametrize("change", [CHANGES["write"], CHANGES["drop"]], ids=["write", "drop"])
def test_a_write_that_raced_leaves_nothing(store, change):
    """Redis may have obeyed the two in the other order."""
    fill(store, "a")
    token = store.token("a")
    change(store)
    fill_token = store.token("a")
    assert not store.write("a", b"mine", 60, outage=False, token=token)
    assert not store.has("a")
    assert not store.fill("a", b"old", 60, fill_token)


def test_a_write_that_did_not_race__twin(store):
    assert store.write("a", b"mine", 60, outage=False, token=store.token("a"))
    assert store.read("a", 0) == b"mine"


# ── space ───────────────────────────────────────────────────────────────────────────────────────


def test_size_is_bytes_of_key_and_value_and_overhead(store):
    fill(store, "key", b"value")
    assert store.snapshot()["bytes"] == 3 + 5 + OVERHEAD
    fill(store, "é", b"")
    assert store.snapshot()["bytes"] == 3 + 5 + 2 + 2 * OVERHEAD
    fill(store, "key", b"")
    assert store.snapshot()["bytes"] == 3 + 2 + 2 * OVERHEAD
    assert fill(store, "\ud800", b"")  # no character, and no reason to fail


def test_the_least_recently_used_goes_first(clock):
    store = LocalStore(3 * (OVERHEAD + 2), clock)
    for key in "abc":
        fill(store, key, b"1")
    store.read("a", 60)
    store.confirm("b", b"1")
    fill(store, "d", b"1")
    assert sorted(store.keys("*")) == ["a", "b", "d"]
    store.has("a")  # looked at, not used
    store.ttl("a")
    fill(store, "e", b"1")
    assert sorted(store.keys("*")) == ["b", "d", "e"]
    assert store.snapshot()["evictions"] == 2


def test_what_is_larger_than_the_store_is_not_kept(clock):
    store = LocalStore(OVERHEAD + 10, clock)
    assert fill(store, "a", b"123456789")
    assert not fill(store, "a", b"1234567890")
    assert store.snapshot()["entries"] == 0
    store.grow(OVERHEAD + 11)
    assert fill(store, "a", b"1234567890")
    store.grow(OVERHEAD)
    assert store.snapshot()["max_bytes"] == OVERHEAD + 11


def test_counters_and_reset(store):
    fill(store, "a")
    store.read("a", 60)
    store.read("b", 60)
    used = {"entries": 1, "bytes": OVERHEAD + 6, "max_bytes": 100_000}
    assert store.snapshot() == {**used, "hits": 1, "misses": 1, "evictions": 0}
    store.reset()
    unused = {"entries": 0, "bytes": 0, "max_bytes": 100_000}
    assert store.snapshot() == {**unused, "hits": 0, "misses": 0, "evictions": 0}


def test_reset_does_not_wait_for_a_thread_that_a_fork_left_behind(store):
    threading.Thread(target=store._lock.acquire).start()
    store.reset()
    assert fill(store, "a")


def test_a_finalizer_may_use_it_while_its_thread_does(store):
    with store._lock:
        assert fill(store, "a")
        assert store.read("a", 60) == b"value"


# ── a model ─────────────────────────────────────────────────────────────────────────────────────

KEYS = ["a:1", "a:2", "b:1", "b:é", "b"]
keys = st.sampled_from(KEYS)
values = st.binary(max_size=300)
ttls = st.none() | st.floats(-1, 100)


@dataclass
class Kept:
    value: bytes
    expires: float
    confirmed: float
    outage: bool


class Machine(RuleBasedStateMachine):
    """Everything that the store may know; what it has dropped for space is dropped here, too."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.store = LocalStore(1200, self.clock)
        self.kept: OrderedDict[str, Kept] = OrderedDict()
        self.tokens: list[tuple[str, int]] = []  # not void

    def size(self, key: str) -> int:
        return len(key.encode()) + len(self.kept[key].value) + OVERHEAD

    def keep(self, key: str, value: bytes, ttl: float | None, *, outage: bool) -> bool:
        now = self.clock.now
        expires = inf if ttl is None else now + ttl
        self.kept.pop(key, None)
        self.kept[key] = Kept(value, expires, -inf if outage else now, outage)
        if expires <= now or self.size(key) > self.store.max_bytes:
            del self.kept[key]
            return False
        while sum(map(self.size, self.kept)) > self.store.max_bytes:
            self.kept.popitem(last=False)
        return True

    def live(self, key: str) -> Kept | None:
        """Expired entries take space until somebody looks."""
        entry = self.kept.get(key)
        if entry is not None and entry.expires <= self.clock.now:
            del self.kept[key]
            return None
        return entry

    def void(self, key: str | None) -> None:
        self.tokens = [each for each in self.tokens if key is not None and each[0] != key]

    @rule(seconds=st.floats(0, 60))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule(key=keys)
    def ask(self, key: str) -> None:
        self.tokens.append((key, self.store.token(key)))

    @rule(value=values, ttl=ttls, data=st.data())
    def answer(self, value: bytes, ttl: float | None, data: st.DataObject) -> None:
        if self.tokens:
            asked = data.draw(st.sampled_from(self.tokens))
            self.tokens.remove(asked)
            expected = self.keep(asked[0], value, ttl, outage=False)
            assert self.store.fill(asked[0], value, ttl, asked[1]) is expected

    @rule(key=keys, value=values, ttl=ttls, outage=st.booleans())
    def write(self, key: str, value: bytes, ttl: float | None, outage: bool) -> None:
        stale = self.store.token(key)
        self.void(key)
        expected = self.keep(key, value, ttl, outage=outage)
        assert self.store.write(key, value, ttl, outage=outage) is expected
        assert not self.store.fill(key, b"old", None, stale)

    @rule(key=keys, value=values, same=st.booleans())
    def confirm(self, key: str, value: bytes, same: bool) -> None:
        entry = self.live(key)
        if entry is not None and same:
            value = entry.value
        expected = entry is not None and entry.value == value
        assert self.store.confirm(key, value) is expected
        if entry is not None and expected:
            entry.confirmed = self.clock.now
            self.kept.move_to_end(key)
        elif entry is not None:
            del self.kept[key]

    @rule(key=keys)
    def drop(self, key: str) -> None:
        self.void(key)
        assert self.store.drop(key) is (self.live(key) is not None)
        self.kept.pop(key, None)

    @rule(key=keys, ttl=ttls)
    def touch(self, key: str, ttl: float | None) -> None:
        self.void(key)
        entry = self.live(key)
        assert self.store.touch(key, ttl) is (entry is not None)
        if entry is not None:
            entry.expires = inf if ttl is None else self.clock.now + ttl
            self.live(key)

    @rule()
    def demote(self) -> None:
        self.store.demote()
        for entry in self.kept.values():
            entry.outage = False

    @rule(more=st.integers(-100, 200))
    def grow(self, more: int) -> None:
        self.store.grow(1200 + more)

    @rule(key=keys, max_stale=st.none() | st.floats(0, 60))
    def read(self, key: str, max_stale: float | None) -> None:
        entry = self.live(key)
        expected = None
        if entry is not None and (
            max_stale is None or entry.outage or self.clock.now - entry.confirmed <= max_stale
        ):
            expected = entry.value
            self.kept.move_to_end(key)
        assert self.store.read(key, max_stale) == expected

    @rule(key=keys)
    def ttl(self, key: str) -> None:
        entry = self.live(key)
        ttl = self.store.ttl(key)
        if entry is None:
            assert ttl is MISSING
        else:
            assert ttl == (None if entry.expires == inf else entry.expires - self.clock.now)

    @invariant()
    def agrees(self) -> None:
        snapshot = self.store.snapshot()
        assert list(self.store._entries) == list(self.kept)  # in the order in which they will go
        assert snapshot["bytes"] == sum(map(self.size, self.kept)) <= snapshot["max_bytes"]
        there = [key for key, entry in self.kept.items() if entry.expires > self.clock.now]
        assert self.store.keys("*") == there == [key for key in self.kept if self.store.has(key)]


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def test_threads_at_once():
    """Nothing raises, no value goes to another key, and every byte is accounted for."""
    store = LocalStore(20 * (OVERHEAD + 100))

    def hammer(seed: int) -> None:
        chance = random.Random(seed)  # noqa: S311 - no secret
        for _ in range(3000):
            key = f"key:{chance.randrange(40)}"
            value = f"{key}=".encode() + b"x" * chance.randrange(150)
            token = store.token(key)
            match chance.randrange(10):
                case 0:
                    store.write(key, value, 60, outage=True)
                case 1:
                    store.write(key, value, 0.001, outage=False, token=token)
                case 2:
                    store.drop(key)
                case 3 | 4:
                    store.touch(key, 30)
                case 5 | 6:
                    store.confirm(key, value)
                    store.keys("key:*")
                case 7:
                    store.demote()
                case _:
                    store.fill(key, value, None, token)
            read = store.read(key, 60)
            assert read is None or read.startswith(f"{key}=".encode())
            assert store.snapshot()["bytes"] <= store.max_bytes

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(hammer, range(8)))
    sizes = [entry.size for entry in store._entries.values()]
    assert sum(sizes) == store.snapshot()["bytes"]
    for key in list(store._entries):
        store.drop(key)
    assert store.snapshot()["bytes"] == 0


def test_threads_never_see_what_was_overwritten():
    """Readers ask a Redis and fill while a writer writes: no read goes back behind a write."""
    store = LocalStore(100_000)
    server = {"a": 0}
    written = 0

    def write() -> None:
        nonlocal written
        for number in range(1, 3000):
            server["a"] = number
            store.write("a", b"%d" % number, None, outage=False)
            written = number

    def read() -> None:
        while written < 2999:
            token = store.token("a")
            asked = server["a"]
            store.fill("a", b"%d" % asked, None, token)
            least = written
            assert int(store.read("a", None) or b"-1") >= least

    with ThreadPoolExecutor(5) as pool:
        ended = [pool.submit(write), *(pool.submit(read) for _ in range(4))]
        assert [each.exception() for each in ended] == [None] * 5
    assert store.read("a", None) == b"2999"


# ── patterns ────────────────────────────────────────────────────────────────────────────────────

ALPHABET = "ab-^]é\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(directory=tmp_path_factory.mktemp("local")) as running:
        yield running


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("*", ["", "a", "a\nb"], []),
        ("a", ["a"], ["", "aa", "A"]),
        ("shop:*:user?", ["shop:1:user1", "shop::user:userx"], ["shop:1:user", "xshop:1:user1"]),
        ("a.b", ["a.b"], ["axb"]),
        ("[ab]", ["a", "b"], ["c", "ab"]),
        ("[^ab]", ["c", "^"], ["a", "b", ""]),
        ("[!a]", ["!", "a"], ["b"]),  # Python's fnmatch would invert it
        ("[c-a]", ["a", "b", "c"], ["d", "-"]),
        (r"\*", ["*"], ["a", r"\*"]),
        ("*a*b*", ["ab", "xaxbx"], ["ba", "a"]),
        ("é?", ["éa"], ["é", "éé"]),  # two bytes
        ("[^]", ["a"], [""]),
    ],
)
def test_patterns(store, pattern, yes, no):
    for key in [*yes, *no]:
        fill(store, key)
    assert store.keys(pattern) == yes


def test_a_pattern_of_many_stars_takes_no_time():
    assert not matcher("a*" * 100 + "b")("a" * 10_000)


@settings(max_examples=150, deadline=None)
@given(
    pattern=st.text(f"{ALPHABET}*?[\\", max_size=8),
    # Not the empty key, which ** does not mean in Redis 7.0, and which no final key is.
    found=st.lists(st.text(ALPHABET, min_size=1, max_size=4), min_size=1, max_size=6),
)
@example("[a-]b]", ["ab", "b", "^b"])
@example("a[", ["a", "ab", "a["])
@example("a\\", ["a", "a\\"])
def test_patterns_mean_what_redis_says(server: RedisServer, pattern: str, found: list[str]):
    script = (
        "redis.call('flushdb') for _, key in ipairs(KEYS) do redis.call('set', key, '') end "
        "return redis.call('keys', ARGV[1])"
    )
    matched = server.command("EVAL", script, len(found), *found, pattern)
    assert {key for key in found if matcher(pattern)(key)} == {key.decode() for key in matched}
