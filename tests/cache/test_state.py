"""What a process knows of an alias: circuits, threads, connections, log lines; all counted."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from django.core.cache import InvalidCacheBackendError, caches

from resilience.cache import state, state_changed
from resilience.cache.connector import CONNECTOR
from resilience.simulation import proxy as proxies
from resilience.simulation.fake_redis import FakeRedis
from resilience.simulation.network import BlackHole, Refused
from resilience.simulation.proxy import Proxy
from tests.cache.aliases import LONG, MARGIN, SHORT, alias, config, state_of, url_of, using
from tests.processes import run
from tests.servers import RedisServer, redis_server, redis_with_limited_user, redis_with_password
from tests.waiting import until

CALLS = 1000


@contextmanager
def proxied(redis: RedisServer, **resilience: Any) -> Iterator[tuple[Any, Proxy]]:
    given = {"OPERATION_TIMEOUT": LONG, **resilience}
    with Proxy(redis.host, redis.port) as proxy, alias(url_of(proxy), **given) as cache:
        cache.set("known", 1)
        assert cache.get("known") == 1
        yield cache, proxy


def open_both(cache: Any) -> None:
    """Call until both circuits are open."""
    for _ in range(10):
        cache.get("known")
        cache.set("written", 1)
    assert not state_of(cache).read.closed
    assert not state_of(cache).write.closed


def closed(*names: str) -> bool:
    found = [state.status(name or "default") for name in names or ("default",)]
    return all(each["read"]["state"] == each["write"]["state"] == "closed" for each in found)


def ours() -> set[str]:
    """Threads that look after Redis."""
    kinds = ("resilience-prober", "resilience-connect")
    return {each.name for each in threading.enumerate() if each.name.startswith(kinds)}


@pytest.fixture
def said(caplog) -> Callable[[], list[logging.LogRecord]]:
    caplog.set_level(logging.DEBUG)
    return lambda: [each for each in caplog.records if each.name.startswith("resilience")]


@pytest.fixture
def changes() -> Iterator[list[tuple[str, str, str, str]]]:
    seen: list[tuple[str, str, str, str]] = []

    def receive(sender: Any, *, alias: str, role: str, old: str, new: str, **_: Any) -> None:
        assert sender == alias
        seen.append((alias, role, old, new))

    state_changed.connect(receive)
    yield seen
    state_changed.disconnect(receive)


# ── opening, closing, and what is said about it ─────────────────────────────────────────────────


def test_an_outage_of_a_thousand_calls_is_two_lines_and_its_end_two(fresh, said, changes):
    with proxied(fresh) as (cache, proxy):
        assert said() == []
        proxy.fault = proxies.Refuse()
        open_both(cache)
        for _ in range(CALLS):
            assert cache.get("known") == 1
            cache.set("written", 2)
        assert [each.levelname for each in said()] == ["ERROR", "ERROR"]
        assert changes == [
            ("default", "read", "closed", "open"),
            ("default", "write", "closed", "open"),
        ]
        assert "refused" in state.status()["last_error"]
        assert state.status()["fallbacks"] >= CALLS
        proxy.fault = None
        assert until(closed)
        cache.set("known", 3)
        assert cache.get("known") == 3
    lines = said()
    assert [each.levelname for each in lines] == ["ERROR", "ERROR", "WARNING", "WARNING"]
    assert all("default" in each.getMessage() for each in lines)
    assert all(each.exc_info is None for each in lines)
    assert [each[2:] for each in changes[2:]] == [("half-open", "closed")] * 2


def test_twin__without_an_outage_nothing_is_said(fresh, said, changes):
    with proxied(fresh) as (cache, _):
        for number in range(CALLS):
            cache.set("written", number)
            assert cache.get("written") == number
    assert said() == changes == []


def test_a_summary_every_ten_seconds_says_how_many(said):
    with Refused() as fault, alias(url_of(fault), OPERATION_TIMEOUT=LONG) as cache:
        open_both(cache)
        before, now = len(said()), state_of(cache).clock()
        state_of(cache)._telling._clock = lambda: now
        for lines in (1, 2, 3):
            now += 11
            for _ in range(CALLS):
                cache.get("known")
            assert len(said()) == before + lines
    assert "reads answered without Redis" in said()[-1].getMessage()


def test_two_refusals_open_and_one_does_not(fresh):
    with proxied(fresh) as (cache, proxy):
        proxy.fault = proxies.Refuse()
        opened = []
        for _ in range(4):
            cache.get("known")
            opened.append(state.status()["state"] != "closed")
    assert opened.index(True) in {1, 2}  # a connection that ended is not yet a refusal
    assert opened[0] is False


def test_a_wrong_password_is_loud_at_once_and_never_repeated(tmp_path, said):
    canary = "canary-4711"
    with redis_with_password(tmp_path, "right-one") as server:
        with alias(server.url(password=canary), OPERATION_TIMEOUT=LONG) as cache:
            assert cache.get("key", "default") == "default"
            assert state.status()["state"] != "closed"
            assert [each.levelname for each in said()] == ["CRITICAL"]
            text = " ".join(each.getMessage() for each in said()) + json.dumps(state.status())
            assert "WRONGPASS" in text or "password" in text
            assert canary not in text
        with alias(server.url(password="right-one"), OPERATION_TIMEOUT=LONG) as cache:
            assert cache.set("key", 1)  # the twin
            assert cache.get("key") == 1
    assert len(said()) == 1


def test_a_command_that_is_not_allowed_falls_back_and_the_others_go_on(tmp_path, said):
    rules = "~* &* +@all -set"
    with redis_with_limited_user(tmp_path, password="pw", rules=rules) as server:
        url = server.url(password="pw", username="limited")
        with alias(url, OPERATION_TIMEOUT=LONG) as cache:
            server.command("SET", ":1:number", "5")
            for _ in range(30):
                assert cache.set("key", 1) is True
            assert cache.incr("number") == 6
            assert cache.get("number") == 6
            assert closed()
            assert server.command("EXISTS", ":1:key") == 0
    assert [each.levelname for each in said()] == ["ERROR"]
    assert "not allowed" in said()[0].getMessage()


# ── from outside ────────────────────────────────────────────────────────────────────────────────


def test_force(fresh):
    with proxied(fresh) as (cache, proxy):
        state.force("default", "open", "read")
        assert (
            state.status()["read"] | {"state": "open", "forced": "open"} == state.status()["read"]
        )
        assert state.status()["write"]["state"] == "closed"
        fresh.command("SET", ":1:known", "2")
        assert cache.get("known") == 1  # from here
        assert cache.set("more", 1)
        assert fresh.command("GET", ":1:more") == b"1"
        state.force("default", None)
        assert until(closed)  # by the prober
        assert [cache.get("known"), cache.get("known")] == [2, 2]  # dropped, and known again
        state.force("default", "closed")
        proxy.fault = proxies.Refuse()
        for _ in range(20):
            assert cache.get("known") == 2
        assert closed()
        state.force("default", None)
        open_both(cache)
        with pytest.raises(InvalidCacheBackendError):
            state.force("other", "open")


def test_status_is_plain(fresh):
    with pytest.raises(TypeError, match="is no resilience"):
        state.status()
    with alias(fresh.url(), OPERATION_TIMEOUT=LONG) as cache:
        cache.set("key", "x" * 100)
        found = json.loads(json.dumps(state.status()))
        names = "state since_seconds read write journal l1 links last_error fallbacks"
        assert set(names.split()) <= set(found)
        assert found["state"] == "closed"
        assert found["l1"]["entries"] == 1
        assert 420 < found["l1"]["bytes"] < 600
        assert found["links"][0]["ready"] == found["links"][0]["dials"] == 1
    with alias("") as cache:
        cache.set("key", 1)
        assert state.status()["state"] == "memory"
        assert state.status()["links"] == []


def test_two_aliases_of_one_database_agree(fresh):
    with Proxy(fresh.host, fresh.port) as proxy:
        one = config(url_of(proxy), OPERATION_TIMEOUT=LONG)
        two = config(url_of(proxy), OPERATION_TIMEOUT=4.0, L1_MAX_BYTES=2**25)
        other = config(f"redis://{proxy.host}:{proxy.port}/1", OPERATION_TIMEOUT=LONG)
        with using(default=one, second=two, third=other) as cache:
            cache.set("known", 1)
            assert caches["second"].get("absent") is None
            assert caches["third"].get("absent") is None
            assert state_of(cache).store is state_of(caches["second"]).store
            assert state_of(cache).store is not state_of(caches["third"]).store
            assert state.status()["l1"]["max_bytes"] == 2**25
            state.force("second", "open")
            assert caches["second"].get("known") == 1
            assert state.status("default")["state"] == "closed"
            caches["second"].delete("known")
            state.force("default", "open")
            assert cache.get("known") is None
            state.force("third", "open")
            assert caches["third"].get("known") is None


def test_an_entry_is_served_for_max_stale_after_redis_confirmed_it(fresh):
    with alias(fresh.url(), OPERATION_TIMEOUT=LONG, MAX_STALE=60) as cache:
        store = state_of(cache).store
        now = store._clock()
        store._clock = lambda: now
        cache.set("key", 1, None)
        now += 50
        assert cache.get("key") == 1  # confirmed again
        state.force("default", "open")
        cache.set("written", 2, 1000)
        now += 59
        assert cache.get("key") == 1
        assert cache.add("key", 3) is False
        now += 2
        assert cache.get("key", "miss") == "miss"
        assert cache.has_key("key") is False
        assert cache.get_many(["key", "written"]) == {"written": 2}
        now += 930
        assert cache.get("written") == 2  # until its own time
        now += 10
        assert cache.get("written") is None


def test_what_was_written_in_one_outage_is_not_served_in_the_next(fresh):
    with proxied(fresh) as (cache, proxy):
        proxy.fault = proxies.Refuse()
        open_both(cache)
        cache.set("written", 7)
        assert cache.get("written") == 7
        proxy.fault = None
        assert until(closed)
        assert until(lambda: state.status()["journal"]["keys"] == 0)  # until then it is its own
        proxy.fault = proxies.Refuse()
        open_both_reads = [cache.get("written") for _ in range(10)]
        assert open_both_reads == [None] * 10


# ── threads and connections ─────────────────────────────────────────────────────────────────────


def test_threads_have_names_and_go_when_the_outage_ends(fresh):
    before = {each.ident for each in threading.enumerate()}
    with proxied(fresh) as (cache, proxy):
        proxy.fault = proxies.Refuse()
        open_both(cache)
        assert "resilience-prober-default" in ours()
        new = [each for each in threading.enumerate() if each.ident not in before]
        assert all(each.daemon for each in new if not each.name.startswith("Proxy"))
        assert all(each.name.startswith(("resilience-", "Proxy-")) for each in new)
        proxy.fault = None
        assert until(closed)
        assert until(lambda: not ours())
        proxy.fault = proxies.Refuse()
        open_both(cache)
        assert "resilience-prober-default" in ours()  # and a second time


def test_reset_ends_the_prober_and_the_connections(fresh):
    with proxied(fresh) as (cache, proxy):
        proxy.fault = proxies.Refuse()
        open_both(cache)
        assert ours()
        state.reset()
        assert until(lambda: not ours())
        assert state_of(cache).primary[0].snapshot()["ready"] == 0
    with alias(fresh.url(), OPERATION_TIMEOUT=LONG) as cache:
        assert closed()
        assert state.status()["l1"]["entries"] == 0


def test_connections_of_32_threads_are_at_most_max_connections(fresh):
    with proxied(fresh, MAX_CONNECTIONS=4) as (_, proxy):

        def work(number: int) -> int:
            mine: Any = caches["default"]
            key = str(number)
            return sum(mine.set(key, turn) and mine.get(key) == turn for turn in range(30))

        with ThreadPoolExecutor(32) as pool:
            assert sum(pool.map(work, range(32))) == 32 * 30
        assert proxy.connections <= 4
        assert state.status()["fallbacks"] == 0
        assert closed()


def test_waiting_for_each_other_is_no_outage(fresh):
    """Redis takes 30 of 50 ms, and six threads share one connection."""
    with proxied(fresh, OPERATION_TIMEOUT=0.05, MAX_CONNECTIONS=1) as (cache, proxy):
        assert until(lambda: cache.get("known") == 1 and state_of(cache).store.has(":1:known"))
        proxy.fault = proxies.Latency(0.03)

        def work(_: int) -> bool:
            mine: Any = caches["default"]
            return all(mine.get("known") == 1 for _ in range(15))

        with ThreadPoolExecutor(6) as pool:
            assert all(pool.map(work, range(6)))
        assert state.status()["fallbacks"] > 0
        assert closed()
        proxy.fault = proxies.Latency(0.2)  # the twin: this is too slow for anybody
        with ThreadPoolExecutor(6) as pool:
            assert all(pool.map(work, range(6)))
        assert not closed()


def test_at_most_four_threads_dial_and_callers_never_wait_for_a_hung_one():
    with BlackHole() as fault, alias(url_of(fault), OPERATION_TIMEOUT=SHORT) as cache:
        with ThreadPoolExecutor(16) as pool:
            found = list(pool.map(lambda _: caches["default"].get("key", 7), range(200)))
        assert found == [7] * 200
        assert CONNECTOR.snapshot()["running"] <= CONNECTOR.snapshot()["limit"] == 4
        assert state_of(cache).primary[0].snapshot()["waiting"] == 0


CONNECTS = """
import json, sys, threading
connects = []
def hook(event, arguments):
    if event == "socket.connect":
        connects.append(threading.current_thread().name)
sys.addaudithook(hook)
from django.conf import settings
settings.configure(SECRET_KEY="x", CACHES={"default": json.loads(sys.argv[1])})
import django
django.setup()
from django.core.cache import cache
from resilience.simulation.proxy import Proxy, Refuse
port, target = int(sys.argv[2]), int(sys.argv[3])
with Proxy("127.0.0.1", target, port=port) as proxy:
    cache.set("key", 1)
    cache.get("key")
    proxy.fault = Refuse()
    for _ in range(10):
        cache.get("key")
        cache.set("key", 1)
    healthy = [name for name in connects if not name.startswith("Proxy")]
    del connects[:]
    for _ in range(1000):
        cache.get("key"); cache.set("key", 1); cache.incr("key"); cache.delete("key")
    print(json.dumps({"before": healthy, "open": connects}))
"""


def connects(fresh: RedisServer, configured: dict[str, Any]) -> dict[str, list[str]]:
    with Proxy("127.0.0.1", 1) as free:  # a port that nobody has
        port = free.port
    configured["LOCATION"] = f"redis://127.0.0.1:{port}/0"
    script = [sys.executable, "-c", CONNECTS, json.dumps(configured), str(port), str(fresh.port)]
    done = run(*script, variables={})
    assert done.code == 0, done.err
    found: dict[str, list[str]] = json.loads(done.out)
    return found


def test_an_open_circuit_opens_no_socket_in_the_callers_thread(fresh):
    found = connects(fresh, config("", OPERATION_TIMEOUT=LONG))
    assert "MainThread" not in found["before"] + found["open"]
    assert all(name == "resilience-connect-default" for name in found["before"] + found["open"])
    assert len(found["open"]) < 10  # the prober's, two in a second


def test_twin__django_redis_opens_one_for_every_call(fresh):
    options = {"IGNORE_EXCEPTIONS": True}
    configured = config("", backend="django_redis.cache.RedisCache", options=options)
    assert connects(fresh, configured)["open"].count("MainThread") >= CALLS


# ── Redis stops, dies, comes back ───────────────────────────────────────────────────────────────


def test_stopped_and_continued(tmp_path, said):
    with redis_server(directory=tmp_path) as server:
        with alias(server.url(), OPERATION_TIMEOUT=SHORT) as cache:
            assert until(lambda: cache.set("known", 1) and server.command("EXISTS", ":1:known"))
            assert until(lambda: state_of(cache).store.has(":1:known"))
            os.kill(server.pid, signal.SIGSTOP)
            open_both(cache)
            assert cache.get("known") == 1
            os.kill(server.pid, signal.SIGCONT)
            assert until(closed)
            server.command("SET", ":1:known", "2")
            assert until(lambda: cache.get("known") == 2)
    assert len(said()) == 4


def test_killed_and_restarted_on_the_same_port(tmp_path, said):
    with redis_server(directory=tmp_path) as server:
        with alias(server.url(), OPERATION_TIMEOUT=LONG) as cache:
            cache.set("known", 1)
            os.kill(server.pid, signal.SIGKILL)
            assert until(lambda: cache.get("known") == 1 and state.status()["state"] != "closed")
            open_both(cache)
            with redis_server(directory=tmp_path, port=server.port) as again:
                assert until(closed)
                assert cache.get("known") is None  # it kept nothing, and it is Redis that answers
                cache.set("known", 5)
                assert again.command("GET", ":1:known") == b"5"
    assert len(said()) == 4


def test_an_idle_connection_that_the_server_closed_is_no_failure(fresh):
    with alias(fresh.url(), OPERATION_TIMEOUT=LONG) as cache:
        for _ in range(10):
            cache.set("key", 1)
            fresh.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            assert cache.get("key") == 1
        assert closed()
        assert state.status()["fallbacks"] == 0


# ── fork ────────────────────────────────────────────────────────────────────────────────────────

FORK = """
import json, os, sys, threading
from django.conf import settings
settings.configure(SECRET_KEY="x", CACHES={"default": json.loads(sys.argv[1])})
import django
django.setup()
from django.core.cache import cache
from resilience.cache import force, status
cache.set("parent", 1)
assert cache.get("parent") == 1
if "open" in sys.argv:
    force("default", "open")
answers = []
for number in (1, 2):
    reading, writing = os.pipe()
    if os.fork() == 0:
        found = {"state": status()["state"], "l1": status()["l1"]["entries"],
                 "threads": threading.active_count(), "ready": status()["links"][0]["ready"]}
        found["get"] = cache.get("parent")
        found["set"] = cache.set(f"child-{number}", number)
        found["dials"] = status()["links"][0]["dials"]
        if number == 1:
            force("default", "open")
            found["stands"] = status()["state"]
        os.write(writing, json.dumps(found).encode())
        os._exit(0)
    os.wait()
    os.close(writing)
    answers.append(json.loads(os.read(reading, 10_000)))
print(json.dumps({"children": answers, "state": status()["state"], "get": cache.get("child-2"),
                  "dials": status()["links"][0]["dials"]}))
"""


def forked(url: str, *arguments: str) -> dict[str, Any]:
    """The shape of ``gunicorn --preload``: the parent has used the cache."""
    configured = json.dumps(config(url, OPERATION_TIMEOUT=LONG))
    done = run(sys.executable, "-c", FORK, configured, *arguments, variables={})
    assert done.code == 0, done.err
    found: dict[str, Any] = json.loads(done.out)
    return found


def test_children_of_a_fork_begin_anew(fresh):
    found = forked(fresh.url())
    for child in found["children"]:
        assert child.pop("stands", "open") == "open"
        assert child == {
            "state": "closed",
            "l1": 1,  # what the parent knew of Redis, for an outage
            "threads": 1,
            "ready": 0,
            "get": 1,
            "set": True,
            "dials": child["dials"],
        }
    assert found["state"] == "closed"  # whatever the first child did
    assert found["get"] == 2
    assert found["dials"] == 1  # the parent kept its connection
    assert fresh.command("MGET", ":1:child-1", ":1:child-2") == [b"1", b"2"]


def test_twin__the_parents_circuit_is_its_own(fresh):
    found = forked(fresh.url(), "open")
    assert found["state"] == "open"
    assert [child["state"] for child in found["children"]] == ["closed", "closed"]
    assert [child["get"] for child in found["children"]] == [1, 1]


# ── asyncio ─────────────────────────────────────────────────────────────────────────────────────


def test_a_thousand_at_once(fresh):
    async def all_of_them(cache: Any) -> list[Any]:
        return await asyncio.gather(*[cache.aget(f"key-{number}") for number in range(CALLS)])

    with proxied(fresh, MAX_CONNECTIONS=5) as (cache, proxy):
        cache.set_many({f"key-{number}": number for number in range(CALLS)})
        assert asyncio.run(all_of_them(cache)) == list(range(CALLS))
        assert proxy.connections <= 5
        names = [each.name for each in threading.enumerate()]
        assert 1 <= sum(name.startswith("resilience-cache") for name in names) <= 32
        assert state.status()["fallbacks"] == 0


def test_an_answer_from_here_needs_no_thread(fresh, monkeypatch):
    def refuse(*_: Any) -> None:
        raise AssertionError("a thread was asked")

    async def read(cache: Any) -> Any:
        monkeypatch.setattr(asyncio.get_running_loop(), "run_in_executor", refuse)
        return await cache.aget("known"), await cache.aget("absent", 7)

    with proxied(fresh) as (cache, _):
        with pytest.raises(AssertionError, match="a thread was asked"):  # the twin
            asyncio.run(read(cache))
        state.force("default", "open")
        assert asyncio.run(read(cache)) == (1, 7)
    with alias("") as cache:
        assert asyncio.run(read(cache)) == (None, 7)


def test_cancelling_leaks_no_connection_and_counts_as_no_failure(fresh):
    async def cancel(cache: Any) -> int:
        asked = [asyncio.ensure_future(cache.aget("known")) for _ in range(60)]
        await asyncio.sleep(0.05)
        for each in asked:
            each.cancel()
        done = await asyncio.gather(*asked, return_exceptions=True)
        return sum(isinstance(each, asyncio.CancelledError) for each in done)

    with proxied(fresh, MAX_CONNECTIONS=4) as (cache, proxy):
        proxy.fault = proxies.Latency(0.2)
        assert asyncio.run(cancel(cache)) == 60
        proxy.fault = None
        link = state_of(cache).primary[0]
        assert until(lambda: link.snapshot()["lent"] == link.snapshot()["waiting"] == 0)
        assert link.snapshot()["ready"] <= 4
        assert state_of(cache).read._row == 0
        assert closed()
        assert proxy.connections <= 4
        assert cache.get("known") == 1


def test_in_an_outage_a_thousand_are_answered_in_their_time():
    async def all_of_them(cache: Any) -> list[Any]:
        return await asyncio.gather(*[cache.aget("key", 7) for _ in range(CALLS)])

    def burst() -> bool:
        assert asyncio.run(all_of_them(cache)) == [7] * CALLS
        return not state_of(cache).read.closed

    with FakeRedis(delay=1.0) as fault, alias(url_of(fault), OPERATION_TIMEOUT=SHORT) as cache:
        assert until(burst)


def test_waiting_for_a_thread_counts_for_an_asynchronous_call(fresh):
    """Hundreds at once: 32 threads take them in turns, and nobody's time begins with a turn."""
    with Proxy(fresh.host, fresh.port) as proxy, alias(url_of(proxy)) as cache:
        cache.set("key", 1)
        proxy.fault = proxies.Latency(0.05)

        async def timed(number: int) -> float:
            began = time.monotonic()
            await cache.aset(f"key-{number}", number)
            return time.monotonic() - began

        async def all_at_once() -> list[float]:
            return await asyncio.gather(*[timed(number) for number in range(500)])

        assert max(asyncio.run(all_at_once())) < 0.25 + MARGIN
        asyncio.run(cache.aset_many({f"many-{number}": number for number in range(2000)}))
        found = asyncio.run(cache.aget_many([f"many-{number}" for number in range(2000)]))
        assert len(found) == 2000, "round trips of one call have their time each"


# ── accidents ───────────────────────────────────────────────────────────────────────────────────


def test_a_prober_that_found_no_thread_is_started_later(fresh, monkeypatch):
    with proxied(fresh) as (cache, proxy):
        start, refused = threading.Thread.start, [1, 1, 1]

        def starts(thread: threading.Thread) -> None:
            if "prober" in thread.name and refused:
                refused.pop()
                raise RuntimeError("can't start new thread")
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", starts)
        proxy.fault = proxies.Refuse()
        open_both(cache)
        proxy.fault = None
        assert until(lambda: cache.get("known") == 1 and closed())
        assert not refused


def test_redis_repeats_arguments_and_we_do_not(tmp_path, said):
    with (
        redis_server("--rename-command", "EXISTS", "", directory=tmp_path) as limited,
        alias(limited.url(), OPERATION_TIMEOUT=LONG) as cache,
    ):
        for number in range(4):
            cache.has_key(f"reset-token-s3cr3t{number}")
        assert "s3cr3t" not in str([each.getMessage() for each in said()])
        assert "s3cr3t" not in state.status()["last_error"]
        assert len(said()) == 1
