"""django-redis's calls beyond Django's API: its answers, and never later than the timeout."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.cache import BaseCache, caches
from django_redis import get_redis_connection
from django_redis.cache import RedisCache
from redis.exceptions import DataError, LockError, LockNotOwnedError, ResponseError
from redis.lock import Lock

from resilience.cache import force, state, status
from resilience.cache.extras import EXTRAS
from resilience.cache.lock import Held, LocalLock
from resilience.errors import CacheUnavailable
from resilience.simulation.network import Refused
from tests.servers import RedisServer, redis_server

OURS = "resilience.cache.ResilientCache"
THEIRS = "django_redis.cache.RedisCache"
SHORT = 0.05  # seconds for an operation that meets a fault
MARGIN = 0.5  # seconds that a busy machine may add
LONG = {"RESILIENCE": {"OPERATION_TIMEOUT": 5.0}}  # for what is not about time


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[RedisServer]:
    with redis_server(directory=tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture(autouse=True)
def no_state_stays() -> Iterator[None]:
    yield
    state.reset()


def use(settings: Any, **configs: dict[str, Any]) -> Any:
    """Configure aliases; the first one."""
    settings.CACHES = {"default": {"BACKEND": THEIRS, "LOCATION": "redis://unused"}, **configs}
    return caches[next(iter(configs))]


def ours(location: str, **options: Any) -> dict[str, Any]:
    return {"BACKEND": OURS, "LOCATION": location, "KEY_PREFIX": "shop", "OPTIONS": options}


def short(location: str) -> dict[str, Any]:
    return ours(location, RESILIENCE={"OPERATION_TIMEOUT": SHORT, "BULK_TIMEOUT": 2 * SHORT})


@pytest.fixture
def healthy(settings, server) -> Any:
    server.command("FLUSHALL")
    return use(settings, ours=ours(server.url("/1"), **LONG))


@pytest.fixture
def twins(settings, server) -> tuple[Any, Any]:
    """Ours and django-redis on two databases that hold the same."""
    server.command("FLUSHALL")
    theirs = {"BACKEND": THEIRS, "LOCATION": server.url("/2"), "KEY_PREFIX": "shop"}
    mine = use(settings, ours=ours(server.url("/1"), **LONG), theirs=theirs)
    both: tuple[Any, Any] = mine, caches["theirs"]
    for cache in both:
        cache.set("text", "value", 100)
        cache.set("number", 5, None)
        cache.sadd("a", 1, "x", 2, b"\x00")
        cache.sadd("b", 2, "y", 2.5)
        cache.sadd("one", ("only", 1))
        cache.hset("hash", "field", {"v": 1})
        cache.zadd("scores", {"m": 1.0, "n": 2.5, 7: 3, ("t",): -1})
    return both


# ── the table is complete ───────────────────────────────────────────────────────────────────────


def public(cls: type) -> set[str]:
    return {name for name in dir(cls) if not name.startswith("_")}


def test_the_table_is_what_django_redis_has_beyond_django():
    beyond = public(RedisCache) - public(BaseCache)
    assert beyond == {*EXTRAS, "client"}


def test_every_name_is_called_below():
    assert set(CALLS) | {"lock"} == set(EXTRAS)


def test_the_names_are_there_to_be_seen(healthy):
    assert set(EXTRAS) <= set(dir(healthy))
    assert all(callable(getattr(healthy, name)) for name in EXTRAS)


def test_the_names_are_there_to_be_seen__twin(healthy):
    assert not hasattr(healthy, "zunionstore")
    with pytest.raises(AttributeError, match="'ResilientCache' object has no attribute 'tll'"):
        healthy.tll("text")


# ── Redis answers: as django-redis does, to the type ────────────────────────────────────────────

Call = tuple[tuple[Any, ...], dict[str, Any]]


def call(*args: Any, **kwargs: Any) -> Call:
    return args, kwargs


CALLS: dict[str, list[Call]] = {
    "ttl": [call("text"), call("number"), call("absent"), call(key="text", version=2)],
    "pttl": [call("text"), call("number"), call("absent")],
    "persist": [call("text"), call("number"), call("absent")],
    "expire": [call("text", 50), call("text", timeout=timedelta(seconds=9)), call("absent", 5)],
    "pexpire": [call("text", 50_000), call("text", timedelta(seconds=9)), call("absent", 5)],
    "expire_at": [
        call("text", datetime.now(tz=UTC) + timedelta(hours=1)),
        call("number", int(time.time()) + 100),
        call("text", 1),
    ],
    "pexpire_at": [
        call("text", datetime.now(tz=UTC) + timedelta(hours=1)),
        call("absent", int(time.time() * 1000) + 9000),
    ],
    "keys": [call("*"), call("t?xt"), call("none*"), call("*", version=2)],
    "iter_keys": [call("*"), call("*e*", itersize=1), call("none*")],
    "delete_pattern": [call("*e*"), call("none*"), call("*", itersize=2), call("*", prefix="x")],
    "sadd": [call("a", 1, "new"), call("fresh", "v", version=3)],
    "scard": [call("a"), call("absent")],
    "sdiff": [call("a", "b"), call("absent", "b")],
    "sdiffstore": [call("to", "a", "b"), call("to", "a", "b", version_dest=2, version_keys=1)],
    "sinter": [call("a", "b"), call("a", "absent")],
    "sinterstore": [call("to", "a", "b")],
    "sismember": [call("a", "x"), call("a", "no")],
    "smismember": [call("a", "x", "no", 2)],
    "smembers": [call("a"), call("absent"), call(key="b")],
    "smove": [call("a", "b", "x"), call("a", "b", "no")],
    "spop": [call("one"), call("one", 1), call("absent"), call("absent", 2)],
    "srandmember": [call("one"), call("one", 3), call("absent")],
    "srem": [call("a", 1, "x", "no")],
    "sscan": [call("a"), call("a", count=100), call("absent")],
    "sscan_iter": [call("a"), call("a", count=1), call("absent")],
    "sunion": [call("a", "b")],
    "sunionstore": [call("to", "a", "b")],
    "hset": [call("hash", "field", 1), call("hash", "g", [1]), call("new", mapping={"f": 1})],
    "hdel": [call("hash", "field"), call("hash", "no")],
    "hlen": [call("hash"), call("absent")],
    "hkeys": [call("hash"), call("absent")],
    "hexists": [call("hash", "field"), call("hash", "no")],
    "zadd": [
        call("scores", {"m": 5, "new": 0.5}),
        call("scores", {"m": 5, "new": 1}, ch=True),
        call("scores", {"m": 5}, incr=True),
        call("scores", {"m": 9}, nx=True, incr=True),
    ],
    "zcard": [call("scores"), call("absent")],
    "zcount": [call("scores", 1, 3), call("scores", "-inf", "(3")],
    "zincrby": [call("scores", 1.5, "m"), call("scores", 2, "new")],
    "zpopmax": [call("scores"), call("scores", 2), call("absent"), call("absent", 2)],
    "zpopmin": [call("scores"), call("scores", count=2), call("absent")],
    "zrange": [
        call("scores", 0, -1),
        call("scores", 0, 1, desc=True, withscores=True),
        call("scores", 0, -1, withscores=True, score_cast_func=int),
    ],
    "zrangebyscore": [
        call("scores", 1, 3),
        call("scores", "-inf", "+inf", start=1, num=2, withscores=True),
    ],
    "zrank": [call("scores", "n"), call("scores", "no")],
    "zrem": [call("scores", "m", "no")],
    "zremrangebyscore": [call("scores", 1, 2.5)],
    "zrevrange": [call("scores", 0, -1), call("scores", 0, 1, withscores=True)],
    "zrevrangebyscore": [call("scores", 3, 1), call("scores", 3, 1, withscores=True)],
    "zscore": [call("scores", "n"), call("scores", "no")],
}
EVERY = [
    pytest.param(name, *each, id=f"{name}-{number}")
    for name, calls in CALLS.items()
    for number, each in enumerate(calls)
]


def spelled(result: Any) -> Any:
    """With the types of what is inside; an iterator's and a scan's order is Redis's own affair."""
    if isinstance(result, dict | set | frozenset):
        return type(result), {spelled(each) for each in result}
    if isinstance(result, list | tuple):
        return type(result), *map(spelled, result)
    if isinstance(result, Iterator):
        return Iterator, *sorted(map(repr, result))
    return type(result), repr(result)


class Seconds(int):
    """A time to live: two that were set one after the other may differ by a few."""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, int):
            return NotImplemented
        return (self < 0) == (other < 0) and abs(self - other) < 10

    __hash__ = None  # type: ignore[assignment]


def content(server: RedisServer, database: int) -> dict[bytes, Any]:
    script = "redis.call('SELECT', ARGV[1]); return redis.call('KEYS', '*')"
    dump = "redis.call('SELECT', ARGV[1]); return redis.call('DUMP', KEYS[1])"
    ttl = "redis.call('SELECT', ARGV[1]); return redis.call('TTL', KEYS[1])"
    return {
        key: (
            server.command("EVAL", dump, 1, key, database),
            Seconds(server.command("EVAL", ttl, 1, key, database)),
        )
        for key in server.command("EVAL", script, 0, database)
    }


@pytest.mark.parametrize(("name", "args", "kwargs"), EVERY)
def test_results_are_django_rediss(twins, server, name, args, kwargs):
    mine, theirs = (getattr(cache, name)(*args, **kwargs) for cache in twins)
    if name == "keys":
        mine, theirs = sorted(mine), sorted(theirs)
    if name == "pttl" and mine:
        assert type(mine) is type(theirs)
        assert abs(mine - theirs) < 5000
    else:
        assert spelled(mine) == spelled(theirs)
    assert content(server, 1) == content(server, 2)


def test_the_comparison_itself_sees_a_difference(twins, server):
    assert spelled([1, "x"]) != spelled([1, b"x"])
    assert spelled({1.0}) != spelled({1})
    assert spelled(True) != spelled(1)
    twins[0].expire("text", 50)
    assert content(server, 1) != content(server, 2)


@pytest.mark.parametrize(
    ("name", "args", "error"),
    [
        ("sadd", ("text", 1), ResponseError),
        ("hkeys", ("text",), ResponseError),
        ("zscore", ("text", 1), ResponseError),
        ("ttl", (), TypeError),
        ("sadd", ("a", threading.Lock()), TypeError),
        ("expire", ("text", None), DataError),
    ],
)
def test_a_callers_bug_raises_as_in_django_redis_and_counts_for_nothing(twins, name, args, error):
    said = []
    for cache in twins:
        with pytest.raises(error) as caught:
            getattr(cache, name)(*args)
        said.append((type(caught.value), str(caught.value)))
    assert said[0][0] is said[1][0]
    for _ in range(10):
        with pytest.raises(error):
            getattr(twins[0], name)(*args)
    assert status("ours")["state"] == "closed"
    assert status("ours")["last_error"] == ""


def test_a_client_of_ones_own_is_refused(healthy):
    with pytest.raises(TypeError, match="client"):
        healthy.scard("a", client=object())


def test_get_redis_connection_is_django_rediss_own(healthy, server):
    connection = get_redis_connection("ours")
    healthy.set("text", 1)
    assert connection.get(healthy.make_key("text")) == b"1"
    assert connection.connection_pool is not healthy._state.primary[0].pool()
    connection.close()
    connection.connection_pool.disconnect()


# ── what this process holds is forgotten, where it was changed ──────────────────────────────────


@pytest.mark.parametrize(
    ("name", "args", "kwargs"),
    [
        ("expire", ("text", 50), {}),
        ("persist", (), {"key": "text", "version": 1}),
        ("pexpire_at", ("text", 1), {}),
        ("sunionstore", ("text", "a"), {}),
        ("delete_pattern", ("te*",), {}),
    ],
)
def test_a_write_makes_this_process_forget(healthy, name, args, kwargs):
    def held() -> bool:
        return bool(healthy._state.store.has(healthy.make_key("text")))

    healthy.set("text", "value", 100)
    healthy.set("other", "value", 100)
    healthy.sadd("a", 1)
    assert held()
    healthy.ttl("text")
    assert held()
    getattr(healthy, name)(*args, **kwargs)
    assert not held()
    assert healthy._state.store.has(healthy.make_key("other"))


def test_a_fill_under_way_is_void(healthy):
    store, key = healthy._state.store, healthy.make_key("text")
    token = store.token(key)
    healthy.persist("text")
    assert not store.fill(key, b"1", None, token)


# ── Redis does not answer ───────────────────────────────────────────────────────────────────────


@contextmanager
def stopped(server: RedisServer) -> Iterator[None]:
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


def outcome(cache: Any, name: str) -> str:
    """What a call ended with, and in time."""
    args, kwargs = CALLS[name][0] if name in CALLS else call("lock")
    began = time.monotonic()
    try:
        result = getattr(cache, name)(*args, **kwargs)
        if name == "lock":
            result.acquire()
        if isinstance(result, Iterator):
            list(result)
    except CacheUnavailable:
        said = "raises"
    else:
        said = "answers"
    assert time.monotonic() - began < SHORT + MARGIN
    return said


@pytest.mark.parametrize("name", EXTRAS)
def test_refused__in_time_and_as_the_table_says(settings, name):
    with Refused() as port:
        cache = use(settings, ours=short(f"redis://127.0.0.1:{port.port}/0"))
        assert outcome(cache, name) == EXTRAS[name].outage


def test_stopped__in_time_and_as_the_table_says(settings, server):
    """Every call waits for Redis until its time is over: the breaker is held closed."""
    cache = use(settings, ours=short(server.url("/1")))
    force("ours", "closed")
    with stopped(server):
        found = {name: outcome(cache, name) for name in EXTRAS}
    assert found == {name: extra.outage for name, extra in EXTRAS.items()}
    assert status("ours")["state"] == "closed"


def test_stopped__twin__it_goes_on(settings, server):
    cache = use(settings, ours=ours(server.url("/1"), **LONG))
    with stopped(server):
        timer = threading.Timer(0.2, os.kill, (server.pid, signal.SIGCONT))
        timer.start()
        assert cache.scard("absent") == 0
        timer.join()


def test_an_open_circuit_asks_nobody(settings, server):
    cache = use(settings, ours=ours(server.url("/1"), **LONG))
    cache.scard("absent")
    force("ours", "open")
    before = commands(server)
    assert {name: outcome(cache, name) for name in EXTRAS} == {
        name: extra.outage for name, extra in EXTRAS.items()
    }
    with pytest.raises(CacheUnavailable, match="'ours': lock\\(\\) needs Redis"):
        cache.lock("lock")
    assert commands(server) - before == 0


def commands(server: RedisServer) -> int:
    """Processed so far, those of who asks for it aside."""
    stats = server.command("INFO", "commandstats")
    asking = ("cmdstat_info", "cmdstat_client", "cmdstat_hello")
    return sum(stat["calls"] for name, stat in stats.items() if not name.startswith(asking))


def test_failures_open_the_circuit_of_their_role(settings, server):
    cache = use(settings, ours=short(server.url("/0")))  # no SELECT: a stopped server is dialled
    cache.get("warm")
    with stopped(server):
        for _ in range(5):
            assert outcome(cache, "sadd") == "raises"
        found = status("ours")
        assert (found["write"]["state"], found["read"]["state"]) == ("open", "closed")
        for _ in range(5):
            assert outcome(cache, "scard") == "raises"
        assert status("ours")["read"]["state"] != "closed"
    # Redis-py's, or ours where the time was over before the socket noticed.
    assert any(word in status("ours")["last_error"] for word in ("Timeout", "TimedOut"))


def test_an_argument_that_cannot_be_encoded_raises_without_redis(settings):
    with Refused() as port:
        cache = use(settings, ours=short(f"redis://127.0.0.1:{port.port}/0"))
        with pytest.raises(TypeError, match="pickle"):
            cache.sadd("a", threading.Lock())


def test_a_command_that_an_acl_forbids_falls_back_alone(settings, tmp_path):
    acl = "user default on nopass ~* &* +@all -scard\n"
    with redis_server(directory=tmp_path, acl=acl) as limited:
        cache = use(settings, ours=ours(limited.url(), **LONG))
        for _ in range(6):
            with pytest.raises(CacheUnavailable, match="NoPermission"):
                cache.scard("a")
        assert cache.smembers("a") == set()
    assert status("ours")["state"] == "closed"


# ── many keys ───────────────────────────────────────────────────────────────────────────────────


def test_a_long_scan_has_more_than_one_operations_time(settings, server):
    server.command("FLUSHALL")
    resilience = {"OPERATION_TIMEOUT": 1.0, "BULK_TIMEOUT": 5.0}
    cache = use(settings, ours=ours(server.url("/1"), RESILIENCE=resilience))
    cache.set_many({f"k{number}": number for number in range(3000)})
    found: set[str] = set()
    iterating = cache.iter_keys("k*")
    for key in iterating:
        if not found:
            time.sleep(1.0)  # the caller's own time, not Redis's
        found.add(key)
    assert len(found) == 3000
    assert len(cache.keys("k*")) == 3000
    assert cache.delete_pattern("k*") == 3000
    assert cache.keys("*") == []


def test_a_scan_ends_with_its_time(settings, server):
    resilience = {"OPERATION_TIMEOUT": 1.0, "BULK_TIMEOUT": 1e-6}
    cache = use(settings, ours=ours(server.url("/1"), RESILIENCE=resilience))
    cache.set_many({f"k{number}": number for number in range(3000)})
    with pytest.raises(CacheUnavailable):
        cache.keys("k*")
    assert cache.scard("absent") == 0
    server.command("FLUSHALL")


# ── locks ───────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(params=["redis", "memory"])
def locking(request, settings, server) -> Any:
    server.command("FLUSHALL")
    return use(settings, ours=ours(server.url("/1") if request.param == "redis" else "", **LONG))


def test_a_lock_excludes(locking):
    first, second = locking.lock("job"), locking.lock("job", blocking=False)
    assert isinstance(first, Lock)
    assert first.acquire() is True
    assert first.locked()
    assert first.owned()
    assert second.acquire() is False
    assert not second.owned()
    assert locking.lock("job", version=2).acquire(blocking=False), "another version, another lock"
    first.release()
    assert not first.locked()
    assert second.acquire() is True
    second.release()


def test_a_lock_waits_so_long(locking):
    with locking.lock("job", sleep=0.01):
        began = time.monotonic()
        assert locking.lock("job", sleep=0.01).acquire(blocking_timeout=0.1) is False
        assert 0.08 <= time.monotonic() - began < 0.1 + MARGIN
        with pytest.raises(LockError, match="Unable to acquire"):
            locking.lock("job", blocking_timeout=0.01, sleep=0.01).__enter__()


def test_a_lock_ends_by_itself(locking):
    lock, other = locking.lock("job", timeout=0.1), locking.lock("job", sleep=0.01)
    assert lock.acquire()
    assert other.acquire(blocking_timeout=5)
    with pytest.raises(LockNotOwnedError):
        lock.release()
    assert other.owned()
    other.release()


def test_a_lock_is_extended(locking):
    lock = locking.lock("job", timeout=0.2)
    with pytest.raises(LockError):
        lock.extend(5)
    assert lock.acquire(token="mine")
    assert lock.extend(60) is True
    assert lock.extend(60, replace_ttl=True) is True
    time.sleep(0.25)
    assert lock.owned()
    assert lock.reacquire() is True
    time.sleep(0.25)
    with pytest.raises(LockNotOwnedError):
        lock.extend(1)


def test_what_nobody_holds_cannot_be_released(locking):
    with pytest.raises(LockError):
        locking.lock("job").release()
    forever = locking.lock("job")
    forever.acquire()
    with pytest.raises(LockError, match="no timeout"):
        forever.extend(1)
    forever.release()


def test_a_lock_excludes_threads(locking):
    inside, most = 0, 0

    def work() -> None:
        nonlocal inside, most
        with locking.lock("job", sleep=0.005, timeout=10):
            inside += 1
            most = max(most, inside)
            time.sleep(0.01)
            inside -= 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (inside, most) == (0, 1)


def test_a_lock_takes_one_round_trip_each_way(healthy, server):
    with healthy.lock("job"):
        before = commands(server)
    assert commands(server) - before == 3, "EVAL, and GET and DEL inside it"


def test_nothing_of_ours_is_left_on_redis_pys_class(healthy):
    with healthy.lock("job"):
        pass
    assert "lua_release" not in Lock.__dict__ or Lock.lua_release is None


def test_a_lock_that_redis_left_says_so(settings, server):
    cache = use(settings, ours=short(server.url("/1")))
    force("ours", "closed")
    lock = cache.lock("job", sleep=0.01)
    with stopped(server):
        began = time.monotonic()
        with pytest.raises(CacheUnavailable):
            lock.acquire(blocking_timeout=60)
        assert time.monotonic() - began < SHORT + MARGIN


def test_a_local_lock_by_its_clock():
    now = [0.0]
    held = Held(lambda: now[0])
    lock = LocalLock(held, "job", timeout=10)
    assert lock.acquire()
    now[0] = 9.9
    assert lock.extend(5)
    now[0] = 14.9
    assert lock.owned()
    now[0] = 15.0
    assert not lock.owned()
    assert not lock.locked()


# ── without LOCATION ────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def memory(settings) -> Any:
    return use(settings, ours=ours(""))


@pytest.mark.parametrize("name", EXTRAS)
def test_without_redis_the_table_is_kept(memory, name):
    assert outcome(memory, name) == EXTRAS[name].memory


def test_without_redis_it_says_why(memory):
    with pytest.raises(CacheUnavailable, match="sadd\\(\\) needs Redis, and this cache has no LOC"):
        memory.sadd("a", 1)
    with pytest.raises(CacheUnavailable, match="LOCATION"):
        get_redis_connection("ours")


ANSWERED = "ttl pttl persist expire pexpire expire_at pexpire_at keys iter_keys delete_pattern"
FROM_MEMORY: list[Any] = [each for each in EVERY if each.values[0] in ANSWERED.split()]


@pytest.mark.parametrize(("name", "args", "kwargs"), FROM_MEMORY)
def test_without_redis_the_answers_are_django_rediss_too(settings, server, name, args, kwargs):
    server.command("FLUSHALL")
    theirs = {"BACKEND": THEIRS, "LOCATION": server.url("/2"), "KEY_PREFIX": "shop"}
    use(settings, ours=ours(""), theirs=theirs)
    results = []
    both: tuple[Any, Any] = caches["ours"], caches["theirs"]
    for cache in both:
        cache.set("text", "value", 100)
        cache.set("number", 5, None)
        cache.set("text", "other version", version=2)
        result = getattr(cache, name)(*args, **kwargs)
        results.append(sorted(result) if name in ("keys", "iter_keys") else result)
        ttls = map(cache.ttl, ("text", "number"))
        results.append([(type(ttl), Seconds(ttl or 0)) for ttl in ttls])
    mine, my_ttls, theirs_, their_ttls = results
    assert type(mine) is type(theirs_)
    assert mine == (pytest.approx(theirs_, abs=5000) if name == "pttl" and theirs_ else theirs_)
    assert my_ttls == their_ttls
