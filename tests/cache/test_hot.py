"""HotCache: reads that touch no socket, and see every change that Redis tells of."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.core.cache import caches
from django.core.cache.backends.base import InvalidCacheBackendError
from hypothesis import given, strategies as st

from resilience.cache import HotCache, listener, status
from resilience.cache.copies import DEPTH, copier_of
from resilience.cache.options import parse
from resilience.probes import cache as cache_probe
from resilience.probes.base import Deadline
from resilience.probes.cache import RoundTrip
from resilience.simulation.faults import Fault, Flow
from resilience.simulation.proxy import Proxy
from tests.cache.aliases import LONG, alias, config, state_of, url_of, using
from tests.servers import RedisServer, redis_server
from tests.waiting import until

BACKEND = "resilience.cache.HotCache"
CHAIR = {"name": "chair", "price": 12.5}


@contextmanager
def hot(location: str, **given: Any) -> Iterator[Any]:
    """The one alias of CACHES, which listens already."""
    given = {"HOT": ["*"], "OPERATION_TIMEOUT": LONG, "backend": BACKEND, **given}
    with alias(location, **given) as cache:
        cache.get(given["HOT"][0])
        assert until(lambda: status()["hot"]["listening"]), status()["hot"]
        yield cache


def reads_of(redis: RedisServer) -> int:
    """How many times anybody asked for a value."""
    stats: dict[str, dict[str, int]] = redis.command("INFO", "commandstats")
    return sum(stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("get", "mget"))


def is_hot(cache: Any, key: str) -> bool:
    """Whether the next read touches no socket; it is heated first."""
    cache.get(key)
    return cache._answers.read_hot(cache.make_key(key)) is not None


# ── reading ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("backend", [BACKEND, "resilience.cache.ResilientCache"])
def test_what_was_read_once_is_read_without_redis(fresh, backend):
    own = {"HOT": ["*"]} if backend == BACKEND else {}
    with alias(fresh.url(), backend=backend, OPERATION_TIMEOUT=LONG, **own) as cache:
        cache.set_many({"a": CHAIR, "b": 2})
        cache.get("a")
        assert until(lambda: backend != BACKEND or status()["hot"]["listening"])
        assert until(lambda: cache.get("a") == CHAIR and cache.get("b") == 2)
        cache.get_many(["a", "b"])
        before = reads_of(fresh)
        for _ in range(10):
            assert cache.get("a") == CHAIR
            assert cache.get_many(["a", "b"]) == {"a": CHAIR, "b": 2}
            assert "a" in cache
            assert asyncio.run(cache.aget("a")) == CHAIR
            assert asyncio.run(cache.aget_many(["a", "b"])) == {"a": CHAIR, "b": 2}
        assert (reads_of(fresh) == before) is (backend == BACKEND)


@pytest.mark.parametrize(
    "change",
    [
        ("SET", ":1:a", "2"),
        ("DEL", ":1:a"),
        ("UNLINK", ":1:a"),
        ("INCR", ":1:a"),
        ("PEXPIRE", ":1:a", "1"),
        ("RENAME", ":1:b", ":1:a"),
        ("EVAL", "redis.call('SET', ':1:a', '2')", "0"),
        ("FLUSHDB",),
        ("FLUSHALL",),
    ],
    ids=lambda words: words[0],
)
def test_a_change_by_anybody_is_seen(fresh, change):
    with hot(fresh.url()) as cache:
        cache.set_many({"a": 1, "b": 2})
        assert until(lambda: is_hot(cache, "a"))
        fresh.command(*change)
        assert until(lambda: cache.get("a") != 1, 1.0)


def test_twin__a_change_of_another_key_is_no_concern(fresh):
    with hot(fresh.url()) as cache:
        cache.set("a", 1)
        assert until(lambda: status()["hot"]["invalidations"])  # its own
        assert until(lambda: is_hot(cache, "a"))
        before = reads_of(fresh)
        fresh.command("SET", ":1:other", "2")
        assert not until(lambda: cache.get("a") != 1, 0.2)
        assert reads_of(fresh) == before


def test_it_ends_with_its_time_to_live(fresh):
    with hot(fresh.url()) as cache:
        cache.set("a", 1, 0.4)
        assert until(lambda: is_hot(cache, "a"))
        assert until(lambda: cache.get("a") is None, 1.0)


def test_what_this_process_does_it_sees_at_once(fresh):
    with hot(fresh.url()) as cache:
        for number in range(200):
            cache.set("a", number)
            assert cache.get("a") == number
            assert cache.get("a") == number
        assert cache.incr("a") == 200 == cache.get("a")
        assert cache.delete("a") is True
        assert cache.get("a") is None
        assert cache.add("a", "new")
        assert cache.get_many(["a"]) == {"a": "new"}
        cache.clear()
        assert cache.get("a") is None


def test_nobody_shares_what_was_read(fresh):
    value = {"flat": {"name": "chair"}, "deep": {"tags": ["red"]}, "list": [1, 2]}
    with hot(fresh.url()) as cache:
        cache.set_many(value)
        assert until(lambda: all(is_hot(cache, key) for key in value))
        cache.get("flat")["name"] = "table"
        cache.get("deep")["tags"].append("blue")
        cache.get_many(["list"])["list"].append(3)
        assert cache.get_many(value) == value


_plain = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.text(), st.binary(), st.dates(), st.uuids()),
    *(st.floats(allow_nan=False), st.timedeltas(), st.decimals(allow_nan=False)),
)
_hashable = st.one_of(st.integers(), st.text(), st.tuples(st.integers(), st.text()))
_values = st.recursive(
    st.one_of(_plain, st.sets(_hashable), st.frozensets(_hashable)),
    lambda part: st.one_of(
        st.lists(part), st.dictionaries(st.text(), part), st.lists(part).map(tuple)
    ),
    max_leaves=12,
)


def changeable(value: Any) -> Iterator[Any]:
    """Everything in a value that somebody could change."""
    if isinstance(value, dict | list | set):
        yield value
    if isinstance(value, dict | list | set | tuple | frozenset):
        for part in value.values() if isinstance(value, dict) else value:
            yield from changeable(part)


@given(_values)
def test_a_copy_is_equal_and_its_own(value):
    copier = copier_of(value)
    if copier is None:  # the bytes have it then
        assert list(changeable(value)) or depth_of(value) > DEPTH
        return
    made = copier.make()
    assert (made, type(made)) == (value, type(value))
    mine, theirs = map(id, changeable(value)), {id(part) for part in changeable(made)}
    assert theirs.isdisjoint(mine)
    assert copier.size > 0


def depth_of(value: Any) -> int:
    """Of containers in containers."""
    if not isinstance(value, dict | list | set | tuple | frozenset):
        return 0
    parts = value.values() if isinstance(value, dict) else value
    return 1 + max(map(depth_of, parts), default=0)


def test_what_is_in_it_twice_is_in_the_copy_twice():
    shared: list[Any] = []
    assert copier_of([shared, shared]) is None
    shared.append(shared)
    assert copier_of(shared) is None
    assert copier_of([[], []]) is not None, "twin: two of a kind"


class Text(str):
    """It can have attributes, so it can be changed."""

    __slots__ = ("note",)


@pytest.mark.parametrize(
    "value", [Text("a"), [Text("a")], object(), {"a": object()}, {Text("a"): 1}, ([],)]
)
def test_an_object_has_no_quick_copy(value):
    assert copier_of(value) is None


def test_copies_count_as_memory(fresh):
    with hot(fresh.url(), L1_MAX_BYTES=50_000) as cache:
        cache.set_many({f"k{number}": list(range(100)) for number in range(100)})
        for number in range(100):
            cache.get(f"k{number}")
        assert 40_000 < status()["l1"]["bytes"] <= 50_000
        assert status()["l1"]["entries"] < 40


# ── what is hot ─────────────────────────────────────────────────────────────────────────────────


def test_only_what_begins_with_a_prefix_is_hot(fresh):
    with hot(fresh.url(), HOT=["product:", "price:"], STRICT=["price:limit*"]) as cache:
        every = ["product:1", "price:1", "price:limit", "other", "prod"]
        cache.set_many(dict.fromkeys(every, 1))
        assert until(lambda: is_hot(cache, "product:1") and is_hot(cache, "price:1"))
        assert [key for key in every if is_hot(cache, key)] == ["product:1", "price:1"]
        cache.set("product:1", 2, version=2)
        assert cache.get("product:1", version=2) == 2
        assert cache._answers.read_hot(":2:product:1") is None


def test_sessions_are_never_hot(fresh):
    with hot(fresh.url()) as cache:
        key = "django.contrib.sessions.cache" + "x" * 32
        cache.set_many({key: {"user": 1}, "other": 1})
        assert until(lambda: is_hot(cache, "other"))
        assert not is_hot(cache, key)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"HOT": ["product:*"]}, "beginnings of keys, no patterns"),
        ({"HOT": ["*", "a"]}, "beginnings of keys, no patterns"),
        ({"HOT": ["product:", "product:new:"]}, "another one that begins with it"),
        ({"HOT": ["product:", "product:"]}, "another one that begins with it"),
        ({"HOT": ["django.contrib.sessions.cache"]}, "cannot have sessions"),
        ({"HOT": []}, "HotCache needs RESILIENCE"),
        ({}, "HotCache needs RESILIENCE"),
        ({"HOT": ["*"], "backend": "resilience.cache.ResilientCache"}, "needs BACKEND"),
        (
            {
                "HOT": ["*"],
                "CLEAR_PATTERN": "x*",
                "params": {"KEY_FUNCTION": "tests.cache.test_hot.backwards"},
            },
            "needs Django's own KEY_FUNCTION",
        ),
    ],
)
def test_what_cannot_be_hot_is_refused(given, said):
    with pytest.raises(InvalidCacheBackendError, match=said):
        parse("default", config("redis://h/0", **{"backend": BACKEND, **given}))


def backwards(key: str, prefix: str, version: int) -> str:
    return f"{key}:{version}:{prefix}"


class OwnNames(HotCache):
    def make_key(self, key: Any, version: int | None = None) -> str:
        return f"own:{version}:{key}"


def test_a_cache_that_makes_names_of_its_own_is_refused(fresh):
    with pytest.raises(InvalidCacheBackendError, match="make_key"):
        with using(default=config(fresh.url(), backend=f"{__name__}.OwnNames", HOT=["*"])):
            pass


def test_without_a_location_it_is_a_cache_of_this_process():
    with alias("", backend=BACKEND, HOT=["*"]) as cache:
        cache.set("a", 1)
        assert cache.get("a") == 1
        assert cache.get_or_set("b", lambda: 2) == 2
        assert status()["state"] == "memory"


# ── the listener ────────────────────────────────────────────────────────────────────────────────


def listeners(redis: RedisServer) -> list[str]:
    clients = redis.command("CLIENT", "LIST").splitlines()
    return [
        line.split(b"=")[1].split()[0]
        for line in clients
        if b"flags=tB" in line or b"cmd=ping" in line
    ]


def test_a_cut_listener_demotes_and_comes_back(fresh):
    with hot(fresh.url()) as cache:
        cache.set("a", 1)
        assert until(lambda: is_hot(cache, "a"))
        session = state_of(cache).listener.session
        (number,) = listeners(fresh)
        fresh.command("CLIENT", "KILL", "ID", number)
        assert until(lambda: state_of(cache).listener.session != session)
        fresh.command("SET", ":1:a", "2")  # nobody hears of it
        assert cache.get("a") == 2
        assert status()["state"] == "closed"
        assert until(lambda: is_hot(cache, "a"))
        assert status()["hot"]["sessions"] == 2


class DeafListener(Fault):
    """Whoever says PING hears nothing any more; callers never do."""

    def __init__(self) -> None:
        self.deaf: set[Any] = set()

    async def carry(self, flow: Flow, data: bytes) -> bytes:
        client = flow.sink if flow.is_reply else flow.source
        if not flow.is_reply and b"PING" in data:
            self.deaf.add(client)
        return b"" if client in self.deaf else await super().carry(flow, data)


@pytest.mark.parametrize("deaf", [True, False], ids=["deaf", "twin: it hears"])
def test_a_listener_that_hears_nothing_is_trusted_for_its_lease(fresh, monkeypatch, deaf):
    monkeypatch.setattr(listener, "LEASE", 0.6)
    monkeypatch.setattr(listener, "HEARTBEAT", 0.1)
    with Proxy(fresh.host, fresh.port) as proxy, hot(url_of(proxy)) as cache:
        cache.set("a", 1)
        assert until(lambda: is_hot(cache, "a"))
        if deaf:
            proxy.fault = fault = DeafListener()
            assert until(lambda: bool(fault.deaf))
        asked = time.monotonic()
        fresh.command("SET", ":1:a", "2")
        assert until(lambda: cache.get("a") == 2)
        assert (time.monotonic() - asked > 0.2) is deaf
        assert time.monotonic() - asked < 0.6 + 0.4
        proxy.fault = None
        assert until(lambda: is_hot(cache, "a"))


def test_a_server_that_may_not_track_is_told_and_nothing_is_hot(tmp_path):
    with redis_server(directory=tmp_path) as redis:
        redis.command("ACL", "SETUSER", "default", "-client|tracking")
        with alias(redis.url(), backend=BACKEND, HOT=["*"], OPERATION_TIMEOUT=LONG) as cache:
            cache.set("a", 1)
            assert cache.get("a") == 1
            assert until(lambda: "client|tracking" in status()["hot"]["why"].lower())
            assert not is_hot(cache, "a")
            assert status()["state"] == "closed"
            redis.command("ACL", "SETUSER", "default", "+client|tracking")
            assert until(lambda: is_hot(cache, "a"))


def test_the_child_of_a_fork_listens_for_itself(fresh):
    with hot(fresh.url()) as cache:
        cache.set("a", 1)
        assert until(lambda: is_hot(cache, "a"))
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            said = b"no"
            try:
                first = state_of(cache).listener.session
                again = cache.get("a") == 1 and until(lambda: is_hot(cache, "a"))
                said = b"yes" if again and not first else b"no"
            finally:
                os.write(writing, said)
                os._exit(0)
        os.waitpid(child, 0)
        os.close(writing)
        with os.fdopen(reading, "rb") as answer:
            assert answer.read() == b"yes"
        assert is_hot(cache, "a")
        fresh.command("SET", ":1:a", "2")
        assert until(lambda: cache.get("a") == 2)


def test_when_the_name_leads_elsewhere_nothing_is_hot_until_it_is_heard(fresh, tmp_path):
    with redis_server(directory=tmp_path) as other:
        with hot(fresh.url()) as cache:
            cache.set("a", 1)
            assert until(lambda: is_hot(cache, "a"))
            state = state_of(cache)
            other.command("SET", ":1:a", "5")
            # The same name, another server: as after a failover.
            kwargs = state.primary[0].server.kwargs
            kwargs["port"] = other.port
            state.primary[0].drop()
            assert until(lambda: cache.get("a") == 5)
            other.command("SET", ":1:a", "6")
            assert until(lambda: cache.get("a") == 6, 1.0)
            assert until(lambda: is_hot(cache, "a"))


# ── one computation ─────────────────────────────────────────────────────────────────────────────


class Slow:
    """A function that takes its time and counts."""

    def __init__(self, error: Exception | None = None) -> None:
        self.calls = 0
        self.error = error

    def __call__(self) -> Any:
        self.calls += 1
        number = self.calls
        time.sleep(0.1)
        if self.error is not None and number == 1:
            raise self.error
        return {"number": number}


def crowd(call: Any, size: int = 16) -> list[Any]:
    """What each of many threads got."""
    got: list[Any] = [None] * size
    ready = threading.Barrier(size)

    def one(place: int) -> None:
        ready.wait()
        try:
            got[place] = call()
        except Exception as error:  # noqa: BLE001
            got[place] = error

    threads = [threading.Thread(target=one, args=(place,)) for place in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return got


@pytest.mark.parametrize("backend", [BACKEND, "resilience.cache.ResilientCache"])
def test_one_of_many_computes(fresh, backend):
    own = {"HOT": ["*"]} if backend == BACKEND else {}
    slow = Slow()
    with alias(fresh.url(), backend=backend, OPERATION_TIMEOUT=LONG, **own):
        got = crowd(lambda: caches["default"].get_or_set("a", slow))
    assert (slow.calls == 1) is (backend == BACKEND)
    assert len({id(value) for value in got}) == len(got), "a value of one's own"
    assert all(value == got[0] for value in got) or backend != BACKEND


def test_where_one_fails_the_next_computes(fresh):
    slow = Slow(RuntimeError("no"))
    with alias(fresh.url(), backend=BACKEND, HOT=["*"], OPERATION_TIMEOUT=LONG):
        got = crowd(lambda: caches["default"].get_or_set("a", slow))
    assert slow.calls == 2
    assert sum(isinstance(value, RuntimeError) for value in got) == 1
    assert got.count({"number": 2}) == len(got) - 1


def test_who_computes_may_ask_for_what_another_computes(fresh):
    """Two that need each other's value would wait for ever."""
    with alias(fresh.url(), backend=BACKEND, HOT=["*"], OPERATION_TIMEOUT=LONG):
        both = threading.Barrier(2)

        def value_of(key: str, other: str) -> Any:
            def compute() -> str:
                both.wait(LONG)
                return key + str(caches["default"].get_or_set(other, lambda: "?"))

            return caches["default"].get_or_set(key, compute)

        names = iter([("a", "b"), ("b", "a")])
        began = time.monotonic()
        assert all(isinstance(value, str) for value in crowd(lambda: value_of(*next(names)), 2))
        assert time.monotonic() - began < LONG


def test_a_write_meanwhile_is_not_answered_with_what_was_computed_before(fresh):
    with alias(fresh.url(), backend=BACKEND, HOT=["*"], OPERATION_TIMEOUT=LONG) as cache:
        begun, go = threading.Event(), threading.Event()

        def compute() -> str:
            begun.set()
            go.wait(LONG)
            return "old"

        thread = threading.Thread(target=lambda: caches["default"].get_or_set("a", compute))
        thread.start()
        begun.wait(LONG)
        cache.set("a", "new")
        assert cache.get_or_set("a", lambda: "other") == "new"
        go.set()
        thread.join()
        assert cache.get("a") == "new"


def test_one_of_many_tasks_computes_and_the_loop_goes_on(fresh):
    slow = Slow()
    with alias(fresh.url(), backend=BACKEND, HOT=["*"], OPERATION_TIMEOUT=LONG) as cache:

        async def main() -> list[Any]:
            return await asyncio.gather(*[cache.aget_or_set("a", slow) for _ in range(100)])

        got = asyncio.run(main())
    assert slow.calls == 1
    assert got == [{"number": 1}] * 100
    assert len({id(value) for value in got}) == 100


def test_a_cancelled_task_leaves_the_others_to_compute(fresh):
    with alias(fresh.url(), backend=BACKEND, HOT=["*"], OPERATION_TIMEOUT=LONG) as cache:

        async def main() -> Any:
            first = asyncio.create_task(cache.aget_or_set("a", lambda: "first"))
            second = asyncio.create_task(cache.aget_or_set("a", lambda: "second"))
            await asyncio.sleep(0)
            first.cancel()
            return await asyncio.wait_for(second, LONG)

        assert asyncio.run(main()) in {"first", "second"}


# ── the report ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("may", [True, False])
def test_checkdeploy_says_where_nothing_is_hot(tmp_path, may):
    with redis_server(directory=tmp_path) as redis:
        if not may:
            redis.command("ACL", "SETUSER", "default", "-client|tracking")
        with alias(redis.url(), backend=BACKEND, HOT=["*"]):
            (probe,) = [each for each in cache_probe.probes() if isinstance(each, RoundTrip)]
            found = [finding.id for finding in probe.run(Deadline(5.0))]
        assert found == ["cache.ok"] + ["cache.hot-untracked"] * (not may)
