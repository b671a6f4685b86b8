"""While Redis is well it is Redis that answers, and what it holds is django-redis's to the byte."""

from __future__ import annotations

import datetime as dt
import enum
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.core.cache import CacheKeyWarning, caches

from resilience.cache import state
from resilience.errors import CacheUnavailable
from resilience.simulation.fake_redis import FakeRedis
from resilience.simulation.network import Refused
from resilience.simulation.resp import ErrorReply
from tests.cache.aliases import BACKEND, DJANGO_REDIS, LONG, alias, config, state_of, url_of, using


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


VALUES = [
    *(None, True, False, 0, -1, 42, 2**63 - 1, 2**63, -(2**80), 1.5, float("inf")),
    *("", "42", " 42 ", "text", "清 é \x00", "x" * 100_000),
    *(b"", b"42", b"\x80\x04", bytes(range(256))),
    *([1, [2, None]], (1, 2), {"a": {"b": 1}}, {1, 2}, Colour.RED, Level.HIGH),
    *(dt.datetime(2026, 1, 2, tzinfo=dt.UTC), dt.timedelta(days=1)),
]


def key_function(key: str, prefix: str, version: int) -> str:
    return f"{prefix}/{version}/{key}"


PARAMS: dict[str, dict[str, Any]] = {
    "plain": {},
    "prefix": {"KEY_PREFIX": "shop"},
    "version": {"VERSION": 7},
    "key-function": {"KEY_FUNCTION": key_function, "KEY_PREFIX": "own"},
    "key-path": {"KEY_FUNCTION": f"{__name__}.key_function"},
    "never": {"TIMEOUT": None},
    "pickle-2": {"OPTIONS": {"PICKLE_VERSION": 2}},
    "json": {"OPTIONS": {"SERIALIZER": "django_redis.serializers.json.JSONSerializer"}},
    "zlib": {"OPTIONS": {"COMPRESSOR": "django_redis.compressors.zlib.ZlibCompressor"}},
    "lzma": {"OPTIONS": {"COMPRESSOR": "django_redis.compressors.lzma.LzmaCompressor"}},
    "json-zlib": {
        "OPTIONS": {
            "SERIALIZER": "django_redis.serializers.json.JSONSerializer",
            "COMPRESSOR": "django_redis.compressors.zlib.ZlibCompressor",
        }
    },
}


def both(url: str, params: dict[str, Any]) -> Any:
    """``ours`` and ``theirs`` on one database, of one configuration."""
    given = {name: value for name, value in params.items() if name != "OPTIONS"}
    options = params.get("OPTIONS")
    ours = config(
        url,
        options=options,
        params=given,
        OPERATION_TIMEOUT=LONG,
        **({"CLEAR_PATTERN": "*"} if "KEY_FUNCTION" in params else {}),
    )
    theirs = config(url, backend=DJANGO_REDIS, options=options, params=given)
    return using(default=ours, theirs=theirs)


def raised(call: Callable[[], object]) -> type[Exception] | None:
    try:
        call()
    except Exception as error:  # noqa: BLE001 - whatever it is, the other one is to raise it too
        return type(error)
    return None


@pytest.mark.parametrize("name", PARAMS)
def test_keys_and_values_are_django_rediss_to_the_byte(fresh, name):
    with both(fresh.url(), PARAMS[name]) as ours:
        theirs = caches["theirs"]
        kept = 0
        for value in VALUES:
            raws, ttls, errors = [], [], []
            for cache in (theirs, ours):
                fresh.command("FLUSHALL")
                errors.append(raised(lambda: cache.set("key", value)))  # noqa: B023
                keys = fresh.command("KEYS", "*")
                raws.append({key: fresh.command("GET", key) for key in keys})
                ttls.append({key: fresh.command("TTL", key) for key in keys})
            assert raws[0] == raws[1]
            assert ttls[0].keys() == ttls[1].keys()
            assert all(abs(ttls[0][key] - ttls[1][key]) <= 1 for key in ttls[0])
            assert errors[0] == errors[1]
            if not errors[0]:  # the raw bytes are ours now, and here is what theirs makes of them
                kept += 1
                assert theirs.get("key") == ours.get("key")
                assert type(theirs.get("key")) is type(ours.get("key"))
                assert ours.get_many(["key"]) == theirs.get_many(["key"])
        assert kept >= 14


@pytest.mark.parametrize("name", PARAMS)
def test_existing_data_is_read_both_ways(fresh, name):
    data = {f"key-{number}": value for number, value in enumerate([0, 7, "seven", [7], None])}
    with both(fresh.url(), PARAMS[name]) as ours:
        theirs = caches["theirs"]
        theirs.set_many(data, version=3)
        assert ours.get_many(data, version=3) == data
        assert theirs.incr("key-1", 5, version=3) == 12
        assert ours.incr("key-1", 5, version=3) == 17
        assert theirs.get("key-1", version=3) == 17
        ours.delete_many(data, version=3)
        assert theirs.get_many(data, version=3) == {}
        ours.set_many(data)
        assert theirs.get_many(data) == data
        assert theirs.touch("key-2", 50)
        assert ours.add("key-2", 1) is False
        assert ours.incr_version("key-2") == theirs.version + 1
        assert theirs.get("key-2", version=theirs.version + 1) == "seven"


def test_twin__another_serializer_or_prefix_is_not_the_same(fresh):
    ours = config(fresh.url(), params={"KEY_PREFIX": "a"}, OPERATION_TIMEOUT=LONG)
    theirs = config(fresh.url(), backend=DJANGO_REDIS, params={"KEY_PREFIX": "b"})
    with using(default=ours, theirs=theirs) as cache:
        cache.set("key", 1)
        assert caches["theirs"].get("key") is None


@pytest.mark.parametrize("method", ["set", "add", "set_many", "touch"])
@pytest.mark.parametrize(
    ("timeout", "low", "high"),
    [
        (None, -1, -1),
        (100, 99_000, 100_000),
        (1.5, 1_000, 1_500),
        (0.0001, -2, 1),
        (0, -2, -2),
        (-1, -2, -2),
        (-0.5, -2, -2),
    ],
)
def test_timeouts(fresh, method, timeout, low, high):
    with alias(fresh.url(), OPERATION_TIMEOUT=LONG) as cache:
        if method == "set_many":
            cache.set_many({"key": 1}, timeout)
        elif method == "touch":
            cache.set("key", 1, 50)
            assert cache.touch("key", timeout) is True
        else:
            getattr(cache, method)("key", 1, timeout)
        assert low <= fresh.command("PTTL", ":1:key") <= high
        held = state_of(cache).store.ttl(":1:key")
        if high > 1:
            assert held is None or low / 1000 <= held <= high / 1000
        elif high == -1:
            assert cache.get("key") == 1
            assert state_of(cache).store.ttl(":1:key") is None
        elif timeout <= 0:
            assert not state_of(cache).store.has(":1:key")


def test_the_default_timeout_is_the_aliass(fresh):
    with alias(fresh.url(), params={"TIMEOUT": 20}, OPERATION_TIMEOUT=LONG) as cache:
        cache.set("key", 1)
        cache.set_many({"many": 1})
        cache.get_or_set("or", 1)
        for name in ("key", "many", "or"):
            assert 18 <= fresh.command("TTL", f":1:{name}") <= 20


def test_a_changed_ttl_does_not_let_an_entry_live_on(fresh):
    """The shadow learns the TTL that Redis has when it is filled."""
    fresh.command("SET", ":1:key", "1", "PX", "60000")
    with alias(fresh.url(), OPERATION_TIMEOUT=LONG) as cache:
        assert cache.get("key") == 1
        held = state_of(cache).store.ttl(":1:key")
        assert isinstance(held, float)
        assert 50 < held <= 60


# ── what cannot be decoded, and what cannot be encoded ──────────────────────────────────────────


@pytest.mark.parametrize("raw", [b"\x80broken", b"neither", b"\x80\x05."])
def test_what_does_not_decode_is_a_miss(fresh, raw):
    fresh.command("SET", ":1:key", raw)
    with alias(fresh.url(), OPERATION_TIMEOUT=LONG) as cache:
        for _ in range(2):  # from Redis for the first time, then known here
            assert cache.get("key", "miss") == "miss"
            assert cache.get_many(["key"]) == {}
        with pytest.raises(ValueError, match="not found"):
            cache.incr("key")
        with pytest.raises(ValueError, match="not found"):
            cache.incr_version("key")
        state.force("default", "open")
        assert cache.get("key", "miss") == "miss"
        with pytest.raises(ValueError, match="not found"):
            cache.incr("key")
        state.force("default", "closed")
        assert state.status()["last_error"] == ""
        assert cache.add("key", "new") is False
        computed = iter(["once", "twice"])
        assert [cache.get_or_set("key", lambda: next(computed)) for _ in range(2)] == ["once"] * 2
        assert cache.get("key") == "once"


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("set", ("key", threading.Lock())),
        ("add", ("key", threading.Lock())),
        ("set_many", ({"good": 1, "key": threading.Lock()},)),
    ],
)
def test_what_does_not_encode_is_raised_before_any_io(method, arguments):
    with Refused() as fault, alias(url_of(fault), OPERATION_TIMEOUT=LONG) as cache:
        with pytest.raises(TypeError, match="pickle"):
            getattr(cache, method)(*arguments)
        assert state.status()["links"][0]["dials"] == 0
        assert state.status()["last_error"] == ""
        assert state.status()["l1"]["entries"] == 0
        getattr(cache, method)(*(({"good": 1},) if method == "set_many" else ("key", 1)))
        assert state.status()["links"][0]["dials"] == 1


# ── Redis answers ───────────────────────────────────────────────────────────────────────────────


def test_what_others_did_is_seen_at_once(fresh):
    with alias(fresh.url(), OPERATION_TIMEOUT=LONG) as cache:
        cache.set("key", "mine")
        assert cache.get("key") == "mine"
        fresh.command("SET", ":1:key", "5")
        assert cache.get("key") == 5
        assert cache.get_many(["key"]) == {"key": 5}
        fresh.command("DEL", ":1:key")
        assert cache.get("key") is None
        assert cache.has_key("key") is False
        assert cache.add("key", 1) is True


def test_ttl_is_asked_for_only_when_the_key_is_not_known_here(fresh):
    fresh.command("SET", ":1:key", "1")
    with alias(fresh.url(), OPERATION_TIMEOUT=LONG) as cache:
        fresh.command("CONFIG", "RESETSTAT")
        for _ in range(5):
            cache.get("key")
        said = fresh.command("INFO", "commandstats")
        assert said["cmdstat_get"]["calls"] == 5
        assert said["cmdstat_pttl"]["calls"] == 1


def test_a_number_beyond_64_bits_is_counted_too(fresh):
    with alias(fresh.url(), OPERATION_TIMEOUT=LONG) as cache:
        cache.set("big", 2**70)
        assert cache.incr("big") == 2**70 + 1
        assert cache.get("big") == 2**70 + 1
        cache.set("edge", 2**63 - 1)
        assert cache.incr("edge") == 2**63  # as django-redis
        assert cache.get("edge") == 2**63


def test_a_number_that_redis_cannot_count_is_counted_here_when_redis_goes_away():
    """It takes two round trips, and the second one fails."""
    no_integer = ErrorReply("ERR value is not an integer or out of range")
    loading = {"GET": "LOADING Redis is loading the dataset in memory"}
    with FakeRedis({"EVAL": no_integer}) as fake:
        with alias(url_of(fake), OPERATION_TIMEOUT=LONG, STRICT=["strict"]) as cache:
            cache.set_many({"key": 1.5, "strict": 1.5})
            assert cache.incr("key") == 2.5
            fake.errors.update(loading)
            assert cache.incr("key") == 3.5
            with pytest.raises(CacheUnavailable):
                cache.incr("strict")


def test_an_incremented_key_keeps_its_time(fresh):
    with alias(fresh.url(), OPERATION_TIMEOUT=LONG) as cache:
        for value in (5, 1.5, 2**70):
            cache.set("key", value, 50)
            cache.incr("key")
            assert 48 <= fresh.command("TTL", ":1:key") <= 50


@pytest.mark.parametrize("kind", ["memory", "open", "healthy"])
def test_counting_and_adding_are_one_step(fresh, kind):
    """Eight threads count to 1600 together, and one of eight adds."""
    url = "" if kind == "memory" else fresh.url()
    interval = sys.getswitchinterval()
    with alias(url, OPERATION_TIMEOUT=LONG) as cache:
        if kind == "open":
            cache.set("warm", 1)
            state.force("default", "open")
        cache.set("number", 0)

        def count(_: int) -> int:
            mine = caches["default"]
            for _ in range(200):
                mine.incr("number")
            return sum(mine.add(f"lock-{number}", 1) for number in range(200))

        sys.setswitchinterval(1e-6)
        try:
            with ThreadPoolExecutor(8) as pool:
                added = sum(pool.map(count, range(8)))
        finally:
            sys.setswitchinterval(interval)
        assert cache.get("number") == 1600
        assert added == 200


# ── names ───────────────────────────────────────────────────────────────────────────────────────


def test_keys_that_memcached_refuses_warn_and_work(fresh):
    with alias(fresh.url(), OPERATION_TIMEOUT=LONG) as cache:
        for key in ("with space", "x" * 300, "line\n"):
            with pytest.warns(CacheKeyWarning):
                cache.set(key, 1)
            with pytest.warns(CacheKeyWarning):
                assert cache.get_many([key]) == {key: 1}
        cache.set("清", 1)  # no warning, as Django


def test_one_key_by_several_names_is_one_key(fresh):
    with alias(fresh.url(), OPERATION_TIMEOUT=LONG) as cache:
        assert cache.set_many({1: "int", "1": "text"}) == []
        assert cache.get_many([1, "1"]) == {1: "text", "1": "text"}
        assert fresh.command("DBSIZE") == 1


def test_empty_requests_ask_nobody(fresh):
    with alias(fresh.url(), OPERATION_TIMEOUT=LONG) as cache:
        assert cache.get_many([]) == {}
        assert cache.set_many({}) == []
        assert cache.delete_many([]) is None
        assert state.status()["links"][0]["dials"] == 0


def test_a_subclass_may_make_its_own_keys(fresh):
    backend = f"{__name__}.Shouting"
    with using(default=config(fresh.url(), backend=backend, OPERATION_TIMEOUT=LONG)) as cache:
        cache.set("key", 1)
        cache.set_many({"many": 2})
        assert sorted(fresh.command("KEYS", "*")) == [b":1:KEY", b":1:MANY"]
        assert cache.get_many(["key", "many"]) == {"key": 1, "many": 2}


def __getattr__(name: str) -> Any:
    if name != "Shouting":
        raise AttributeError(name)
    from resilience.cache import ResilientCache

    class Shouting(ResilientCache):
        def make_key(self, key: Any, version: int | None = None) -> str:
            return super().make_key(str(key).upper(), version)

    return Shouting


def test_the_backend_is_found_by_its_public_name():
    assert BACKEND == "resilience.cache.ResilientCache"
