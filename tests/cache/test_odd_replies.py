"""A server that says what Redis never says, and one that may not be asked everything."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest

from resilience.cache import state
from resilience.errors import CacheUnavailable
from resilience.simulation.fake_redis import FakeRedis
from tests.cache.aliases import LONG, alias, state_of
from tests.servers import RedisServer, redis_with_limited_user
from tests.waiting import until

COMMANDS = "GET SET MGET DEL UNLINK PTTL EXISTS PEXPIRE PERSIST EVAL SCAN INCRBY".split()

# What each must answer, whatever comes: a type, or a test of the value.
OPERATIONS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], bool]]] = {
    "get": (lambda cache: cache.get("key", "default"), lambda _: True),
    "get_many": (lambda cache: cache.get_many(["key", "other"]), lambda found: type(found) is dict),
    "get_or_set": (lambda cache: cache.get_or_set("key", 5), lambda _: True),
    "has_key": (lambda cache: cache.has_key("key"), lambda found: type(found) is bool),
    "set": (lambda cache: cache.set("key", 1), lambda found: found is True),
    "set_many": (lambda cache: cache.set_many({"key": 1}), lambda found: type(found) is list),
    "add": (lambda cache: cache.add("key", 1), lambda found: type(found) is bool),
    "delete": (lambda cache: cache.delete("key"), lambda found: type(found) is bool),
    "delete_many": (lambda cache: cache.delete_many(["key"]), lambda found: found is None),
    "touch": (lambda cache: cache.touch("key", 5), lambda found: type(found) is bool),
    "touch-for-ever": (lambda cache: cache.touch("key", None), lambda found: type(found) is bool),
    "incr": (lambda cache: cache.incr("key"), lambda found: type(found) is int),
    "incr_version": (lambda cache: cache.incr_version("key"), lambda found: type(found) is int),
    "clear": (lambda cache: cache.clear(), lambda found: found is True),
    "delete_pattern": (lambda cache: cache.delete_pattern("*"), lambda found: type(found) is int),
    "keys": (lambda cache: cache.keys("*"), lambda found: type(found) is list),
    "ttl": (lambda cache: cache.ttl("key"), lambda _: True),
}
MAY_RAISE = {
    **dict.fromkeys(("incr", "incr_version"), ValueError),
    **dict.fromkeys(("keys", "ttl"), CacheUnavailable),
}
ODD = {
    "simple": "OK",
    "bulk": b"neither",
    "number": 7,
    "nil": None,
    "nothing": [],
    "numbers": [7, 7],
    "page of numbers": [b"0", [7]],
    "page of page": [b"0", [[b"key"]]],
    "nested": [[b"key"], b"0"],
    "mapping": {"key": b"value"},
}


@pytest.mark.parametrize("reply", ODD.values(), ids=ODD)
@pytest.mark.parametrize("name", OPERATIONS)
def test_whatever_a_server_says_the_answer_is_djangos(name, reply):
    operate, is_right = OPERATIONS[name]
    with (
        FakeRedis(dict.fromkeys(COMMANDS, reply)) as fake,
        alias(fake.url, OPERATION_TIMEOUT=LONG) as cache,
    ):
        for _ in range(2):
            try:
                found = operate(cache)
            except MAY_RAISE.get(name, ()):
                continue
            assert is_right(found), found


def test_nonsense_is_an_outage_and_the_connections_go():
    with (
        FakeRedis({"PTTL": "OK"}) as fake,
        alias(fake.url, OPERATION_TIMEOUT=LONG) as cache,
    ):
        for _ in range(5):
            assert cache.get("key", "default") == "default"
        assert state.status()["state"] == "open"
        assert "no Redis, or a broken one" in state.status()["last_error"]
        assert fake.connections >= 5


def test_twin__redis_is_believed():
    with FakeRedis() as fake, alias(fake.url, OPERATION_TIMEOUT=LONG) as cache:
        for _ in range(5):
            assert cache.get("key", "default") == "default"
        assert state.status()["state"] == "closed"
        assert fake.connections == 1


# ── a narrow ACL ────────────────────────────────────────────────────────────────────────────────


EVERYTHING = "~* &* +@all"
PASSWORD = "limited-users-password"


@pytest.fixture
def limited(tmp_path):
    """Keywords: the rules of the cache's user. Yields a function that makes the cache."""
    with ExitStack() as stack:

        def make(*forbidden: str) -> tuple[Any, RedisServer]:
            rules = " ".join([EVERYTHING, *[f"-{each}" for each in forbidden]])
            server = stack.enter_context(
                redis_with_limited_user(tmp_path, password=PASSWORD, rules=rules)
            )
            url = server.url(username="limited", password=PASSWORD)
            return stack.enter_context(alias(url, OPERATION_TIMEOUT=LONG)), server

        yield make


def test_without_pttl_values_are_still_redis_s(limited):
    cache, server = limited("pttl")
    server.command("SET", ":1:key", "5")
    assert [cache.get("key") for _ in range(2)] == [5, 5]
    assert cache.get_many(["key", "other"]) == {"key": 5}
    assert cache.get_or_set("key", 6) == 5
    state.force("default", "open")
    assert cache.get("key") is None  # nobody knows for how long it might be kept


def test_twin__with_pttl_it_is_kept_for_an_outage(limited):
    cache, server = limited()
    server.command("SET", ":1:key", "5")
    assert cache.get("key") == 5
    state.force("default", "open")
    assert cache.get("key") == 5


@pytest.mark.parametrize("forbidden", [("eval",), ()], ids=["without-eval", "with-eval"])
def test_counters(limited, forbidden):
    cache, server = limited(*forbidden)
    with pytest.raises(ValueError, match="not found"):
        cache.incr("key")
    assert server.command("EXISTS", ":1:key") == 0
    cache.set("key", 5, 60)
    assert cache.incr("key") == 6
    assert cache.decr("key", 4) == 2
    assert server.command("GET", ":1:key") == b"2"
    assert server.command("PTTL", ":1:key") > 50_000
    cache.set("large", 2**63)
    assert cache.incr("large") == 2**63 + 1
    assert state.status()["state"] == "closed"
    state.force("default", "open")
    assert cache.get("key") == 2  # the outage goes on from what was counted last


@pytest.mark.parametrize("forbidden", [("unlink",), ()], ids=["without-unlink", "with-unlink"])
def test_what_is_masked_is_taken_out(limited, forbidden):
    cache, server = limited(*forbidden)
    cache.set_many({"key": "old", "flushed": "old", "touched": "old"})
    state.force("default", "open", "write")
    cache.set("key", "new")
    cache.delete("flushed")
    cache.touch("touched", 60)
    assert cache.get_many(["key", "flushed", "touched"]) == {"key": "new", "touched": "old"}
    state.force("default", "closed", "write")
    assert cache.get("key") is None
    assert until(lambda: not state_of(cache).journal.active)
    assert server.command("KEYS", "*") == []


def test_what_may_neither_be_unlinked_nor_deleted_stays_masked(limited, caplog):
    cache, server = limited("unlink", "del")
    cache.set("key", "old")
    state.force("default", "open", "write")
    cache.set("key", "new")
    state.force("default", "closed", "write")
    for _ in range(3):
        assert cache.get("key") == "new"
    assert cache.set("key", "newer")  # nothing is left of the old one then
    assert cache.get("key") == "newer"
    assert server.command("GET", ":1:key") is not None
    assert not state_of(cache).journal.active
    told = [each for each in caplog.messages if "redis.permission" in each]
    assert len(told) == len(set(told)) == 2  # UNLINK and DEL, once each


def test_without_scan_what_was_cleared_is_taken_out_key_by_key(limited):
    cache, server = limited("scan")
    cache.set_many({"key": "old", "other": "old"})
    assert cache.clear()
    assert cache.get("key") is None
    assert server.command("KEYS", "*") == [b":1:other"]
    cache.set("key", "new")
    assert cache.get("key") == "new"
    assert cache.get_many(["key", "other"]) == {"key": "new"}
    assert state.status()["journal"]["patterns"] == 1
