"""Every operation in every fault: in its time, and exactly of its type and value.

One table holds healthy, in memory and in an outage, as long as this process knows the keys:
that is the contract. Each operation is asked with the circuit held closed, so that it meets the
fault itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from resilience.cache import state
from resilience.errors import CacheUnavailable
from resilience.simulation import network, proxy as proxies
from resilience.simulation.fake_redis import FakeRedis
from resilience.simulation.proxy import Proxy
from tests.cache.aliases import (
    DJANGO_REDIS,
    LONG,
    MARGIN,
    SHORT,
    alias,
    config,
    state_of,
    url_of,
    using,
)
from tests.servers import RedisServer
from tests.waiting import until

STRICT = "strict:"
SESSION = "django.contrib.sessions.cache"


@dataclass(frozen=True)
class Case:
    """One call: ``ask(cache, key)`` where ``key`` makes a name of this case's own.

    Known to this process beforehand: ``text`` is "value", ``number`` is 5.
    """

    method: str
    arguments: Callable[[Callable[[str], str]], tuple[Any, ...]]
    expected: Any  # or the type of what is raised
    then: Callable[[Callable[[str], str]], tuple[str, Any]] | None = None  # what get() says after

    def due(self, key: Callable[[str], str]) -> Any:
        if isinstance(self.expected, Many):
            return {key(name): value for name, value in self.expected.entries.items()}
        return self.expected

    def known(self, key: Callable[[str], str]) -> dict[str, Any]:
        return {key("text"): "value", key("number"): 5}


def case(
    method: str,
    arguments: Callable[[Callable[[str], str]], tuple[Any, ...]],
    expected: Any,
    then: Callable[[Callable[[str], str]], tuple[str, Any]] | None = None,
) -> Case:
    return Case(method, arguments, expected, then)


class Many:
    """Equal to a fresh dictionary with these entries, by the names that the case uses."""

    def __init__(self, **entries: Any) -> None:
        self.entries = entries


CASES = [
    case("get", lambda k: (k("text"),), "value"),
    case("get", lambda k: (k("absent"),), None),
    case("get", lambda k: (k("absent"), "fallback"), "fallback"),
    case("set", lambda k: (k("text"), [1, "two"]), True, lambda k: (k("text"), [1, "two"])),
    case("set", lambda k: (k("text"), 1, 0), True, lambda k: (k("text"), None)),
    case("add", lambda k: (k("absent"), 1), True, lambda k: (k("absent"), 1)),
    case("add", lambda k: (k("text"), 1), False, lambda k: (k("text"), "value")),
    case("delete", lambda k: (k("text"),), True, lambda k: (k("text"), None)),
    case("delete", lambda k: (k("absent"),), False),
    case("touch", lambda k: (k("text"), 60), True, lambda k: (k("text"), "value")),
    case("touch", lambda k: (k("text"), None), True, lambda k: (k("text"), "value")),
    case("touch", lambda k: (k("text"), -1), True, lambda k: (k("text"), None)),
    case("touch", lambda k: (k("absent"),), False),
    case("has_key", lambda k: (k("text"),), True),
    case("has_key", lambda k: (k("absent"),), False),
    case("incr", lambda k: (k("number"), 10), 15, lambda k: (k("number"), 15)),
    case("incr", lambda k: (k("absent"),), ValueError),
    case("incr", lambda k: (k("text"),), TypeError),
    case("decr", lambda k: (k("number"),), 4, lambda k: (k("number"), 4)),
    case("decr", lambda k: (k("absent"),), ValueError),
    case("get_or_set", lambda k: (k("text"), "other"), "value"),
    case("get_or_set", lambda k: (k("absent"), lambda: [1]), [1], lambda k: (k("absent"), [1])),
    case(
        "get_many",
        lambda k: ([k("text"), k("absent"), k("number")],),
        Many(text="value", number=5),
    ),
    case("get_many", lambda k: ([k("absent")],), Many()),
    case("set_many", lambda k: ({k("a"): 1, k("text"): [2]},), [], lambda k: (k("text"), [2])),
    case("delete_many", lambda k: ([k("text"), k("absent")],), None, lambda k: (k("text"), None)),
    case("incr_version", lambda k: (k("number"),), 2, lambda k: (k("number"), None)),
    case("incr_version", lambda k: (k("absent"),), ValueError),
    case("decr_version", lambda k: (k("number"),), 0, lambda k: (k("number"), None)),
    case("clear", lambda _: (), True, lambda k: (k("text"), None)),
]
METHODS = list(dict.fromkeys(each.method for each in CASES))
MODES = ("sync", "async")


def ask(cache: Any, mode: str, method: str, arguments: tuple[Any, ...]) -> tuple[Any, float]:
    """What it returned, or the type of what it raised; and its seconds."""
    began = time.monotonic()
    try:
        if mode == "async":
            found, seconds = asyncio.run(_timed(getattr(cache, f"a{method}"), arguments))
            return found, seconds
        found = getattr(cache, method)(*arguments)
    except Exception as error:  # noqa: BLE001 - what it is, is the answer
        found = type(error)
    return found, time.monotonic() - began


async def _timed(call: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Any, float]:
    began = time.monotonic()
    try:
        found = await call(*arguments)
    except Exception as error:  # noqa: BLE001
        found = type(error)
    return found, time.monotonic() - began


def key_of(mode: str, number: int) -> Callable[[str], str]:
    return lambda name: f"{mode}-{number}-{name}"


def differences(
    cache: Any, method: str, *, seconds: float, in_outage: bool = False, known: Any = None
) -> list[str]:
    """What a cache does not do as the table says, in words; [] is the contract."""
    numbered = [(number, each) for number, each in enumerate(CASES) if each.method == method]
    chosen = [(mode, key_of(mode, number), each) for mode in MODES for number, each in numbered]
    beforehand = {name: value for _, key, each in chosen for name, value in each.known(key).items()}
    if known is None:
        cache.set_many(beforehand)
    else:
        known(beforehand)
    found: list[str] = []
    later: list[tuple[Case, Callable[[str], str], str]] = []
    for mode, key, each in chosen:
        answer, took = ask(cache, mode, method, each.arguments(key))
        expected = each.due(key)
        said = f"{mode} {method}{each.arguments(key)} -> {answer!r} in {took:.3f} s"
        if answer != expected or type(answer) is not type(expected):
            found.append(f"{said}, not {expected!r}")
        if took > seconds:
            found.append(f"{said}, not within {seconds} s")
        if each.then is not None and method == "clear":  # the other case's keys are gone, too
            found += _after(cache, each, key, said)
            cache.set_many(beforehand)
        elif each.then is not None:
            later.append((each, key, said))
    if in_outage:
        state.force("default", "open")  # so that get() need not wait for the fault again
    for each, key, said in later:
        found += _after(cache, each, key, said)
    return found


def _after(cache: Any, asked: Case, key: Callable[[str], str], said: str) -> list[str]:
    assert asked.then is not None
    name, value = asked.then(key)
    found = cache.get(name)
    return [] if found == value else [f"{said}, and then get({name!r}) -> {found!r}, not {value!r}"]


def holds(attempt: Callable[[], list[str]]) -> None:
    """No differences; what was only late may have been the machine's, and has two more attempts."""
    for _ in range(3):
        found = attempt()
        if not found or not all("not within" in each for each in found):
            break
    assert found == []


def hold_closed(cache: Any) -> None:
    """Every operation is to meet the fault."""
    for breaker in (state_of(cache).read, state_of(cache).write):
        breaker.force("closed")


# ── the same table without a fault ──────────────────────────────────────────────────────────────


@pytest.mark.parametrize("method", METHODS)
def test_healthy(fresh, method):
    with alias(fresh.url(), OPERATION_TIMEOUT=LONG) as cache:
        assert differences(cache, method, seconds=LONG) == []
        assert state.status()["fallbacks"] == 0


@pytest.mark.parametrize("method", METHODS)
def test_in_memory(method):
    with alias("", OPERATION_TIMEOUT=LONG) as cache:
        assert differences(cache, method, seconds=LONG) == []


def test_twin__with_django_redis_the_table_does_not_hold_in_an_outage(fresh):
    options = {
        "IGNORE_EXCEPTIONS": True,
        "CONNECTION_POOL_KWARGS": {"socket_timeout": SHORT, "socket_connect_timeout": SHORT},
    }
    with network.Refused() as fault:
        configured = config(url_of(fault), backend=DJANGO_REDIS, options=options)
        with using(default=configured) as cache:
            failing = {each for each in METHODS if differences(cache, each, seconds=LONG)}
    assert failing >= {"get", "set", "add", "delete", "has_key", "incr", "set_many"}


# ── faults that were there before this process ──────────────────────────────────────────────────

ERRORS = {
    "loading": "LOADING Redis is loading the dataset in memory",
    "readonly": "READONLY You can't write against a read only replica.",
    "oom": "OOM command not allowed when used memory > 'maxmemory'.",
    "misconf": "MISCONF Redis is configured to save RDB snapshots, but it's unable to persist",
    "noauth": "NOAUTH Authentication required.",
    "wrongpass": "WRONGPASS invalid username-password pair or user is disabled.",
    "noperm": "NOPERM User default has no permissions to run the command",
    "busy": "BUSY Redis is busy running a script. You can only call SCRIPT KILL",
}
FROM_THE_START: dict[str, Callable[[], Any]] = {
    "refused": network.Refused,
    "black-hole": network.BlackHole,
    "silence": network.Silence,
    "reset": network.Reset,
    "garbage": network.Garbage,
    "garbage-first": lambda: network.Garbage(greet=True),
    **{
        name: (lambda text=text: FakeRedis(errors={"*": text}))  # type: ignore[misc]
        for name, text in ERRORS.items()
    },
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("fault", FROM_THE_START)
def test_out_of_reach_from_the_start(fault, method):
    def attempt() -> list[str]:
        state.reset()
        with alias(url_of(server), OPERATION_TIMEOUT=SHORT, CONNECT_TIMEOUT=0.2) as cache:
            hold_closed(cache)
            return differences(cache, method, seconds=SHORT + MARGIN, in_outage=True)

    with FROM_THE_START[fault]() as server:
        holds(attempt)


def test_twin__a_longer_timeout_is_noticed():
    with network.Silence() as server:
        with alias(url_of(server), OPERATION_TIMEOUT=1.0) as cache:
            hold_closed(cache)
            found = differences(cache, "delete", seconds=SHORT + MARGIN, in_outage=True)
    assert "not within" in " ".join(found)


# ── faults that come over a real Redis that this process has used ───────────────────────────────

ON_THE_WAY: dict[str, proxies.Fault] = {
    "refuse": proxies.Refuse(),
    "black-hole": proxies.BlackHole(),
    "silence": proxies.Silence(),
    "reset": proxies.Reset(),
    "garbage": proxies.Garbage(),
    "truncate": proxies.Truncate(1),
    "latency": proxies.Latency(2.0),
    "trickle": proxies.Trickle(1, 0.03),
    "bandwidth": proxies.Bandwidth(20),
}


@contextmanager
def behind_proxy(redis: RedisServer, **resilience: Any) -> Iterator[tuple[Any, Proxy]]:
    """A healthy cache, with its first connections made."""
    given = {"OPERATION_TIMEOUT": SHORT, "CONNECT_TIMEOUT": 0.2, **resilience}
    with Proxy(redis.host, redis.port) as proxy, alias(url_of(proxy), **given) as cache:
        hold_closed(cache)
        yield cache, proxy


def confirmed(cache: Any, known: dict[str, Any]) -> None:
    """Redis confirms them to this process, however slow the machine is just now."""
    assert until(lambda: cache.set_many(known) is not None and cache.get_many(known) == known)
    assert until(lambda: all(state_of(cache).store.has(cache.make_key(key)) for key in known))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("fault", ON_THE_WAY)
def test_out_of_reach_from_now_on(fresh, fault, method):
    def attempt() -> list[str]:
        state.reset()
        with behind_proxy(fresh) as (cache, proxy):

            def known(entries: dict[str, Any]) -> None:
                confirmed(cache, entries)
                proxy.fault = ON_THE_WAY[fault]

            return differences(cache, method, seconds=SHORT + MARGIN, in_outage=True, known=known)

    holds(attempt)


@pytest.mark.parametrize("fault", ON_THE_WAY)
def test_twin__what_this_process_never_saw_is_a_miss_until_the_fault_is_healed(fresh, fault):
    with behind_proxy(fresh) as (cache, proxy):
        confirmed(cache, {"own": 1})
        fresh.command("SET", ":1:strangers", "7")
        proxy.fault = ON_THE_WAY[fault]
        assert cache.get_many(["own", "strangers"]) == {"own": 1}
        assert cache.get("strangers", "miss") == "miss"
        proxy.fault = None
        assert until(lambda: cache.get("strangers") == 7)


# ── who may not be answered by anybody else ─────────────────────────────────────────────────────

STRICT_CALLS: list[tuple[str, tuple[Any, ...]]] = [
    ("get", ("strict:a",)),
    ("set", ("strict:a", 1)),
    ("set", ("strict:a", 1, 0)),
    ("add", ("strict:a", 1)),
    ("delete", ("strict:a",)),
    ("touch", ("strict:a", 5)),
    ("has_key", ("strict:a",)),
    ("incr", ("strict:a",)),
    ("decr", ("strict:a",)),
    ("get_or_set", ("strict:a", 1)),
    ("get_many", (["other", "strict:a"],)),
    ("set_many", ({"other": 1, "strict:a": 1},)),
    ("delete_many", (["other", "strict:a"],)),
    ("incr_version", ("strict:a",)),
]


@pytest.mark.parametrize("circuit", ["open", "closed"])
@pytest.mark.parametrize("fault", ["refuse", "silence", "garbage"])
def test_strict_keys_raise_at_once(fresh, fault, circuit):
    with behind_proxy(fresh, STRICT=["strict:*"]) as (cache, proxy):
        confirmed(cache, {"strict:a": 5, "other": 5})
        proxy.fault = ON_THE_WAY[fault]
        state.force("default", circuit)
        for mode in MODES:
            for method, arguments in STRICT_CALLS:
                answer, took = ask(cache, mode, method, arguments)
                assert (mode, method, answer) == (mode, method, CacheUnavailable)
                assert took < (MARGIN if circuit == "open" else SHORT + MARGIN)


def test_twin__strict_keys_are_answered_by_redis_and_without_location_by_the_process(fresh):
    for location in (fresh.url(), ""):
        with alias(location, STRICT=["strict:*"], OPERATION_TIMEOUT=LONG) as cache:
            assert cache.add("strict:a", 1) is True
            assert cache.add("strict:a", 1) is False
            assert cache.incr("strict:a") == 2
            assert cache.get_many(["strict:a", "other"]) == {"strict:a": 2}
            cache.clear()


def test_the_error_says_which_key_and_why():
    with network.Refused() as fault:
        with alias(url_of(fault), STRICT=["rate:*"], OPERATION_TIMEOUT=LONG) as cache:
            with pytest.raises(CacheUnavailable, match=r"(?s)'default'.*rate:me.*refused"):
                cache.incr("rate:me")


def test_sessions_are_never_answered_from_here_in_an_outage(fresh):
    session = f"{SESSION}abc"
    with behind_proxy(fresh) as (cache, proxy):
        confirmed(cache, {session: 5, "twin": 5})
        proxy.fault = ON_THE_WAY["refuse"]
        for circuit in ("closed", "open"):
            state.force("default", circuit)
            for mode in MODES:
                assert ask(cache, mode, "get", (session,))[0] is None
                assert ask(cache, mode, "has_key", (session,))[0] is False
                assert ask(cache, mode, "get_many", ([session, "twin"],))[0] == {"twin": 5}
                assert ask(cache, mode, "incr", (session,))[0] is ValueError
        assert ask(cache, "sync", "set", (session, 6))[0] is True
        assert ask(cache, "sync", "get", (session,))[0] is None


def test_twin__sessions_live_in_a_cache_without_location():
    with alias("") as cache:
        cache.set(f"{SESSION}abc", 5)
        assert cache.get(f"{SESSION}abc") == 5


def test_get_many_in_an_outage_is_a_fresh_dictionary_of_fresh_values():
    with network.Refused() as fault, alias(url_of(fault)) as cache:
        cache.set("list", [1])
        first = cache.get_many(["list"])
        first["list"].append(2)
        first["secret"] = "of another caller"
        assert cache.get_many(["list"]) == {"list": [1]}
        assert cache.get_many(["nothing"]) == {}
        assert cache.get_many(["nothing"]) is not cache.get_many(["nothing"])


def test_set_many_names_what_nobody_keeps():
    with network.Refused() as fault:
        with alias(url_of(fault), L1_MAX_BYTES=2000) as cache:
            assert cache.set_many({"small": 1, "large": "x" * 4000}) == ["large"]
            assert cache.set_many({"small": 1}) == []


# ── the time of one operation ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("method", "arguments"),
    [("get_or_set", ("number", 1)), ("get_or_set", ("absent", 1)), ("incr_version", ("number",))],
)
def test_several_round_trips_have_one_timeout(fresh, mode, method, arguments):
    with behind_proxy(fresh, OPERATION_TIMEOUT=0.6) as (cache, proxy):
        confirmed(cache, {"number": 5})
        proxy.fault = proxies.Silence()
        _, took = ask(cache, mode, method, arguments)
        assert 0.5 < took < 0.6 + MARGIN


def test_twin__three_calls_have_three(fresh):
    with behind_proxy(fresh, OPERATION_TIMEOUT=0.6) as (cache, proxy):
        confirmed(cache, {"number": 5})
        proxy.fault = proxies.Silence()
        began = time.monotonic()
        for _ in range(3):
            cache.get("number")
        assert time.monotonic() - began > 0.6 + MARGIN


def test_the_time_of_the_callers_function_is_its_own(fresh):
    with alias(fresh.url(), OPERATION_TIMEOUT=0.2) as cache:
        hold_closed(cache)

        def slow() -> int:
            time.sleep(0.3)
            return 7

        assert cache.get_or_set("slow", slow) == 7
        assert fresh.command("GET", ":1:slow") == b"7"
        assert state.status()["fallbacks"] == 0


@pytest.mark.parametrize("method", ["get_many", "set_many", "delete_many"])
def test_bulk_timeout_bounds_many_round_trips_and_does_not_count(fresh, method):
    keys = {f"key-{number}": number for number in range(3000)}
    with behind_proxy(fresh, OPERATION_TIMEOUT=1.0, BULK_TIMEOUT=0.1) as (cache, proxy):
        assert until(lambda: cache.set("warm", 1) and fresh.command("EXISTS", ":1:warm"))
        for breaker in (state_of(cache).read, state_of(cache).write):
            breaker.force(None)
        proxy.fault = proxies.Latency(0.5)
        for _ in range(3):
            _, took = ask(cache, "sync", method, (keys,))
            assert took < 0.1 + MARGIN + 0.5  # 3000 keys take this process a while, too
        assert state.status()["read"]["state"] == "closed"
        assert state_of(cache).read._row == state_of(cache).write._row == 0


def test_a_pattern_of_many_keys_is_deleted_in_many_round_trips(fresh):
    with alias(fresh.url(), OPERATION_TIMEOUT=LONG, params={"KEY_PREFIX": "a"}) as cache:
        cache.set_many({str(number): number for number in range(1200)})
        cache.set("second", 1, version=2)
        fresh.command("SET", "celery", "a queue")
        fresh.command("SET", "ab:1:other", "another prefix")
        assert fresh.command("DBSIZE") == 1203
        assert cache.clear() is True
        assert sorted(fresh.command("KEYS", "*")) == [b"ab:1:other", b"celery"]


@pytest.mark.parametrize("prefix", ["a*", "[ab]", "a?", "a\\", "^-"])
def test_a_prefix_that_looks_like_a_pattern_is_none(fresh, prefix):
    with alias(fresh.url(), OPERATION_TIMEOUT=LONG, params={"KEY_PREFIX": prefix}) as cache:
        cache.set("own", 1)
        fresh.command("SET", "ab:1:other", "1")
        fresh.command("SET", "a:1:other", "1")
        cache.clear()
        assert sorted(fresh.command("KEYS", "*")) == [b"a:1:other", b"ab:1:other"]


# ── writes that Redis refuses, reads that it answers ────────────────────────────────────────────

WRITES = ("SET", "DEL", "EVAL", "PEXPIRE", "PERSIST", "EXISTS", "UNLINK")


@pytest.mark.parametrize("name", ["readonly", "oom", "misconf"])
def test_refused_writes_fall_back_and_reads_go_on(name):
    with FakeRedis(errors=dict.fromkeys(WRITES, ERRORS[name])) as fake, ExitStack() as stack:
        fake._data[0, b":1:there"] = (b"7", None)
        cache = stack.enter_context(alias(url_of(fake), OPERATION_TIMEOUT=LONG))
        for _ in range(6):
            assert cache.set("new", 1) is True
        assert state.status()["write"]["state"] == "open"
        assert state.status()["read"]["state"] == "closed"
        assert cache.add("there", 1) is True  # this process has not seen it
        assert cache.delete("absent") is False
        assert cache.set_many({"a": 1}) == []
        assert cache.get("strangers") is None
        fake._data[0, b":1:strangers"] = (b"8", None)
        assert cache.get("strangers") == 8  # Redis answers
        fake.errors.clear()
        assert until(lambda: state.status()["write"]["state"] == "closed")
        assert cache.set("new", 2)
        value, ends = fake._data[0, b":1:new"]
        assert value == b"2"
        assert ends == pytest.approx(time.monotonic() + 300, abs=5)


@pytest.mark.parametrize(
    ("method", "arguments"), [("get", ("list",)), ("get_or_set", ("list", 1)), ("incr", ("list",))]
)
def test_the_callers_bugs_are_raised_and_do_not_count(fresh, method, arguments):
    fresh.command("RPUSH", ":1:list", "1")
    with alias(fresh.url(), OPERATION_TIMEOUT=LONG) as cache:
        for _ in range(30):
            assert ask(cache, "sync", method, arguments)[0].__name__ == "ResponseError"
        assert state.status()["state"] == state.status()["write"]["state"] == "closed"
