"""What an outage leaves in Redis is taken out of it: call by call, and at the end of a process.

The faults themselves, and many processes at once, are in test_resurrection.py.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import pytest
from django.core.cache import caches
from redis.exceptions import ResponseError

from resilience.cache import flusher, journal, state
from resilience.cache.journal import Journal
from resilience.errors import CacheUnavailable
from resilience.simulation import faults
from resilience.simulation.network import BlackHole
from resilience.simulation.proxy import Proxy
from tests.cache.aliases import LONG, alias, config, state_of, using
from tests.processes import run
from tests.servers import redis_server
from tests.waiting import until

OLD = {"a": "old", "b": "old", "c": "old"}


@pytest.fixture(params=["write", None], ids=["writes", "all"])
def outage(request):
    """Both kinds: of writes alone, while Redis is read, and of everything."""

    @contextmanager
    def away(alias: str = "default"):
        state.force(alias, "open", request.param)
        yield
        state.force(alias, "closed", request.param)

    away.reads = request.param is None  # type: ignore[attr-defined]
    return away


def flushed(cache: Any) -> bool:
    return until(lambda: not state_of(cache).journal.active)


CHANGES: dict[str, tuple[Callable[[Any], Any], dict[str, Any]]] = {
    "set": (lambda cache: cache.set("a", "new"), {"a": "new"}),
    "set with nothing left": (lambda cache: cache.set("a", "new", 0), {}),
    "set if there": (lambda cache: cache.set("a", "new", xx=True), {"a": "new"}),
    "set_many": (lambda cache: cache.set_many({"a": "new"}), {"a": "new"}),
    "delete": (lambda cache: cache.delete("a"), {}),
    "delete_many": (lambda cache: cache.delete_many(["a"]), {}),
    "touch": (lambda cache: cache.touch("a", 60), {"a": "old"}),
    "clear": (lambda cache: cache.clear(), {}),
    "delete_pattern": (lambda cache: cache.delete_pattern("a*"), {}),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_was_changed_is_not_read_back(fresh, outage, name):
    change, meanwhile = CHANGES[name]
    with alias(fresh.url(), OPERATION_TIMEOUT=LONG) as cache:
        cache.set_many(OLD)
        with outage():
            change(cache)
            assert cache.get_many(["a"]) == meanwhile
            assert cache.get("a") == meanwhile.get("a")
            assert cache.has_key("a") is bool(meanwhile)
            assert fresh.command("GET", ":1:a") is not None
        assert cache.get("a") is None  # the first thing that is asked
        assert cache.get_many(["a"]) == {}
        assert flushed(cache)
        assert fresh.command("GET", ":1:a") is None
        cache.set("a", "newer")
        assert cache.get("a") == "newer"


@pytest.mark.parametrize("name", CHANGES)
def test_twin__without_a_journal_the_old_value_is_back(fresh, outage, monkeypatch, name):
    monkeypatch.setattr(Journal, "enabled", False)
    change, _ = CHANGES[name]
    with alias(fresh.url(), OPERATION_TIMEOUT=LONG) as cache:
        cache.set_many(OLD)
        with outage():
            change(cache)
        assert cache.get("a") == "old"


@pytest.mark.parametrize("name", ["persist", "expire", "pexpire", "expire_at", "pexpire_at"])
def test_a_time_to_live_that_redis_did_not_take(fresh, outage, name):
    arguments = () if name == "persist" else (60,)
    with alias(fresh.url(), OPERATION_TIMEOUT=LONG) as cache:
        cache.set_many(OLD)
        with outage(), pytest.raises(CacheUnavailable):
            getattr(cache, name)("a", *arguments)
        assert cache.ttl("a") == 0  # gone, whoever asks
        assert cache.get_many(OLD) == {"b": "old", "c": "old"}


def test_incr_version_in_an_outage_leaves_neither_version(fresh, outage):
    with alias(fresh.url(), OPERATION_TIMEOUT=LONG) as cache:
        cache.set("a", "old")
        cache.set("a", "older", version=2)
        assert cache.get("a") == "old"
        with outage():
            assert cache.incr_version("a") == 2
            assert cache.get("a") is None
            assert cache.get("a", version=2) == "old"
        assert flushed(cache)
        assert fresh.command("KEYS", "*") == []


def test_what_is_never_taken_out(fresh, outage):
    strict = ["limit:*"]
    with alias(fresh.url(), OPERATION_TIMEOUT=LONG, STRICT=strict) as cache:
        cache.set_many({"limit:a": 1, "count": 1})
        cache.sadd("members", "a")
        assert cache.get_many(["limit:a", "count"]) == {"limit:a": 1, "count": 1}
        with outage():
            assert cache.add("count", 5) is False
            assert cache.add("lock", "mine") is True
            assert cache.incr("count") == 2
            for method, *arguments in (
                ("set", "limit:a", 2),
                ("delete", "limit:a"),
                ("touch", "limit:a"),
                ("incr", "limit:a"),
                ("sadd", "members", "b"),
                ("expire", "limit:a", 60),
                ("lock", "lock"),
            ):
                with pytest.raises(CacheUnavailable):
                    getattr(cache, method)(*arguments)
        assert not state_of(cache).journal.active
        assert cache.get_many(["limit:a", "count"]) == {"limit:a": 1, "count": 1}
        assert cache.smembers("members") == {"a"}


@pytest.mark.parametrize("name", ["set_many", "delete_many"])
def test_many_keys_of_which_some_are_strict(fresh, outage, name):
    with alias(fresh.url(), OPERATION_TIMEOUT=LONG, STRICT=["b"]) as cache:
        cache.set_many(OLD)
        with outage(), pytest.raises(CacheUnavailable):
            getattr(cache, name)(dict.fromkeys(OLD, "new") if name == "set_many" else list(OLD))
        assert flushed(cache)
        assert cache.get_many(OLD) == {"b": "old"}


@pytest.mark.parametrize(
    ("operate", "found"),
    [
        (lambda cache: cache.add("a", "new"), True),
        (lambda cache: cache.set("a", "new"), True),
        (lambda cache: cache.set("a", "new", xx=True), False),
        (lambda cache: cache.delete("a"), False),
        (lambda cache: cache.touch("a"), False),
        (lambda cache: cache.has_key("a"), False),
        (lambda cache: cache.sadd("a", "member"), 1),
        (lambda cache: cache.ttl("a"), 0),
        (lambda cache: cache.keys("*"), ["b", "c"]),
        (lambda cache: cache.get_or_set("a", "new"), "new"),
        (lambda cache: cache.lock("a").acquire(blocking=False), True),
    ],
    ids="add set xx delete touch has sadd ttl keys get_or_set lock".split(),
)
def test_an_operation_on_a_masked_key_sees_it_gone(fresh, monkeypatch, operate, found):
    monkeypatch.setattr("resilience.cache.flusher.Flusher.start", lambda *_, **__: None)
    with alias(fresh.url(), OPERATION_TIMEOUT=LONG) as cache:
        cache.set_many(OLD)
        state.force("default", "open")
        cache.delete("a")
        state.force("default", "closed")
        result = operate(cache)
        assert sorted(result) == found if isinstance(found, list) else result == found


def test_counting_on_a_masked_key(fresh, monkeypatch):
    monkeypatch.setattr("resilience.cache.flusher.Flusher.start", lambda *_, **__: None)
    with alias(fresh.url(), OPERATION_TIMEOUT=LONG) as cache:
        cache.set("a", 5)
        state.force("default", "open")
        cache.set("a", 7)
        assert cache.incr("a") == 8
        state.force("default", "closed")
        with pytest.raises(ValueError, match="not found"):
            cache.incr("a")
        assert cache.get("a") is None


def test_two_caches_on_one_database_mask_each_others_keys(fresh, outage):
    same = config(fresh.url(), OPERATION_TIMEOUT=LONG)
    with using(default=same, other=config(fresh.url(), OPERATION_TIMEOUT=LONG + 1)) as cache:
        other = caches["other"]
        other.set("a", "old")
        with outage():
            cache.set("a", "new")
            assert other.get("a") is None  # it has no circuit open, and takes the key out
        assert cache.get("a") is None


# ── races and accidents ─────────────────────────────────────────────────────────────────────────


def test_a_reader_that_began_before_a_delete_failed_keeps_nothing(fresh, monkeypatch):
    with alias(fresh.url(), OPERATION_TIMEOUT=LONG) as cache:
        cache.set("a", "old")
        store = state_of(cache).store
        store.drop(":1:a")
        state.force("default", "open", "write")
        token, began = store.token, list[threading.Thread]()

        def deletes_meanwhile(name: str) -> int:
            if not began:
                began.append(threading.Thread(target=cache.delete, args=("a",)))
                began[0].start()
                began[0].join()
            return token(name)

        monkeypatch.setattr(store, "token", deletes_meanwhile)
        cache.get("a")
        assert began
        assert cache.get("a") is None


def test_a_key_that_cannot_be_encoded_is_refused_with_and_without_redis(fresh):
    with alias(fresh.url(), OPERATION_TIMEOUT=LONG) as cache:
        for force in ("closed", "open"):
            state.force("default", force)
            for method, *arguments in (
                ("set", "q:\ud800", 1),
                ("get_many", ["q:\ud800"]),
                ("delete_pattern", "q:\ud800*"),
            ):
                with pytest.raises(UnicodeEncodeError):
                    getattr(cache, method)(*arguments)
        assert not state_of(cache).journal.active


def test_what_redis_refuses_for_another_reason_holds_up_no_other_key(fresh, monkeypatch):
    with alias(fresh.url(), OPERATION_TIMEOUT=LONG) as cache:
        cache.set_many({f"k{n}": "old" for n in range(100)})
        state.force("default", "open", "write")
        cache.delete_many([f"k{n}" for n in range(100)])
        unlink = state_of(cache).flusher._asking.unlink

        def breaks(names: list[str], ends: float) -> int:
            if ":1:k7" in names:
                raise ResponseError("CROSSSLOT keys")
            return unlink(names, ends)

        monkeypatch.setattr(state_of(cache).flusher._asking, "unlink", breaks)
        state.force("default", "closed", "write")
        assert until(lambda: state.status()["journal"]["keys"] == 1)
        assert fresh.command("KEYS", ":1:*") == [b":1:k7"]
        assert cache.get("k7") is None


def test_strict_keys_are_known_whatever_the_final_key_looks_like(fresh):
    params = {"KEY_PREFIX": "shop:eu"}
    with alias(fresh.url(), params=params, OPERATION_TIMEOUT=LONG, STRICT=["rl:*"]) as cache:
        cache.set("rl:5", 41)
        state.force("default", "open")
        with pytest.raises(CacheUnavailable):
            cache.expire("rl:5", 60)
        state.force("default", "closed")
        assert not state_of(cache).journal.active
        assert cache.get("rl:5") == 41


def test_a_key_function_that_cannot_be_reversed(fresh):
    def key_function(key: str, prefix: str, version: int) -> str:
        return f"{prefix}-{key}"

    params = {"KEY_PREFIX": "shop", "KEY_FUNCTION": key_function}
    with alias(
        fresh.url(), params=params, OPERATION_TIMEOUT=LONG, CLEAR_PATTERN="shop-*", STRICT=["rl"]
    ) as cache:
        cache.set_many({"a": "old", "rl": "old"})
        state.force("default", "open")
        for key in ("a", "rl"):
            with pytest.raises(CacheUnavailable):
                cache.persist(key)
        state.force("default", "closed")
        assert cache.get_many(["a", "rl"]) == {"rl": "old"}


def test_a_lock_that_was_made_since_is_not_taken_for_an_old_doubt(fresh, monkeypatch):
    monkeypatch.setattr(journal, "AGAIN_AFTER", 0.3)
    with Proxy(fresh.host, fresh.port) as proxy:
        url = f"redis://{proxy.host}:{proxy.port}/0"
        with alias(url, OPERATION_TIMEOUT=0.2) as cache:
            cache.set("job", "old")
            proxy.fault = faults.Silence()
            cache.delete("job")
            proxy.fault = None
            assert until(lambda: state.status()["journal"]["keys"] == 0)
            assert cache.add("job", "mine", 60)
            assert until(lambda: state.status()["journal"]["again"] == 0)
            assert cache.add("job", "another's", 60) is False


def test_a_value_added_while_only_writes_failed_is_no_answer_later(fresh):
    with alias(fresh.url(), OPERATION_TIMEOUT=LONG, MAX_STALE=0) as cache:
        state.force("default", "open", "write")
        assert cache.add("a", "here alone")
        state.force("default", "closed", "write")
        fresh.command("SET", ":1:a", "5")
        state.force("default", "open")
        assert cache.get("a") is None
        assert cache.touch("a", 60) is False
        assert cache.get("a") is None


def test_a_scan_begins_anew_on_another_server(fresh, tmp_path, monkeypatch):
    with redis_server(directory=tmp_path) as other, Proxy(fresh.host, fresh.port) as proxy:
        for server in (fresh, other):
            pairs = [text for n in range(5000) for text in (f":1:f{n}", "old")]
            server.command("MSET", *pairs)
        with alias(f"redis://{proxy.host}:{proxy.port}/0", OPERATION_TIMEOUT=LONG) as cache:
            assert cache.get("f1") is None  # bytes that are no pickle
            asking = state_of(cache).flusher._asking
            unlink, pages = asking.unlink, list[int]()

            def fails_over(names: list[bytes], ends: float) -> int:
                pages.append(unlink(names, ends))
                if len(pages) == 3:
                    proxy.target = (other.host, other.port)
                    state_of(cache).primary[0].drop()
                return pages[-1]

            monkeypatch.setattr(asking, "unlink", fails_over)
            state.force("default", "open")
            cache.clear()
            state.force("default", "closed")
            assert flushed(cache)
            assert len(pages) > 3
            assert other.command("KEYS", ":1:f*") == []


@pytest.mark.parametrize(
    ("scope", "waits"),
    [(False, True), (True, True), (False, False)],
    ids=["keys", "pattern", "twin: nobody waits"],
)
def test_what_is_written_while_the_flusher_asks_is_not_taken_along(
    fresh, monkeypatch, scope, waits
):
    if not waits:
        monkeypatch.setattr(journal.Mask, "wait", lambda *_: False)
    with alias(fresh.url(), OPERATION_TIMEOUT=LONG) as cache:
        cache.set("job", "old")
        state.force("default", "open")
        cache.clear() if scope else cache.delete("job")
        asking = state_of(cache).flusher._asking
        unlink, asked, added = asking.unlink, threading.Event(), []

        def slow(names: list[Any], ends: float) -> int:
            asked.set()
            thread.join(0.2 if waits else LONG)
            return unlink(names, ends)

        def add() -> None:
            assert asked.wait(LONG)
            added.append(cache.add("job", "mine", 60))

        monkeypatch.setattr(asking, "unlink", slow)
        thread = threading.Thread(target=add)
        thread.start()
        state.force("default", "closed")
        thread.join()
        assert added == [True]
        assert flushed(cache)
        assert until(lambda: cache.get("job") == ("mine" if waits else None))


@pytest.mark.parametrize("asked", [True, False], ids=["asked", "twin: nobody asks"])
def test_a_batch_waits_for_a_moment_between_requests_but_not_for_long(fresh, asked):
    with alias(fresh.url(), OPERATION_TIMEOUT=LONG) as cache:
        cache.get("a")
        now = (state := state_of(cache)).clock()
        state.clock = state.read._clock = state.write._clock = lambda: now
        just = 1e-6  # past a moment: in floating point, sums of seconds may end before it
        state.flusher.stop()  # no thread: the turns are taken here
        names = [f":1:{number}" for number in range(3 * flusher.BATCH)]
        state.journal.add(names, state.flusher._owner, unknown=False)

        def freed(later: float) -> int:
            """How many batches by then."""
            nonlocal now
            now += later
            if asked:
                cache.get("a")
            state.flusher.turn()
            return state.journal.snapshot()["flushed"] // flusher.BATCH

        assert freed(1.0) == 1
        assert freed(flusher.PAUSE + just) == (1 if asked else 2)
        assert freed(flusher.PATIENCE - flusher.PAUSE + just) == (2 if asked else 3)


def test_at_the_end_of_a_process_no_batch_waits_for_a_moment(fresh, monkeypatch):
    with alias(fresh.url(), OPERATION_TIMEOUT=LONG) as cache:
        cache.get("a")
        state = state_of(cache)
        state.flusher.stop()
        names = [f":1:{number}" for number in range(50 * flusher.BATCH)]
        state.journal.add(names, state.flusher._owner, unknown=False)
        monkeypatch.setattr(state.flusher, "_is_busy", lambda: True)  # others ask all the time
        state.flusher.finish(state.clock() + 1.0)
        assert not any(state.journal.left(state.flusher._owner).values())


# ── too many ────────────────────────────────────────────────────────────────────────────────────


def test_more_than_the_journal_holds_becomes_a_scan(fresh, outage, monkeypatch):
    monkeypatch.setattr(journal, "LIMIT", 50)
    with alias(fresh.url(), OPERATION_TIMEOUT=LONG, L1_MAX_BYTES=2**24) as cache:
        cache.set_many({f"k{n}": "old" for n in range(200)})
        fresh.command("SET", "foreign", "kept")
        with outage():
            for number in range(100):
                cache.set(f"k{number}", "new")
            assert cache.get("k5") == "new"
            assert state.status()["journal"]["patterns"] == 1
        assert cache.get_many([f"k{n}" for n in range(10)]) == {}
        cache.set("k1", "newest")
        assert flushed(cache)
        assert cache.get("k1") == "newest"
        assert sorted(fresh.command("KEYS", "*")) == [b":1:k1", b"foreign"]


def test_a_scan_that_is_interrupted_begins_again(fresh):
    with Proxy(fresh.host, fresh.port) as proxy:
        url = f"redis://{proxy.host}:{proxy.port}/0"
        with alias(url, OPERATION_TIMEOUT=0.5) as cache:
            for start in range(0, 5000, 500):
                cache.set_many({f"k{n}": "old" for n in range(start, start + 500)})
            state.force("default", "open")
            cache.clear()
            state.force("default", "closed")
            for _ in range(3):
                until(lambda: fresh.command("DBSIZE") < 5000, 0.05)
                proxy.fault = faults.Reset()
                proxy.fault = None
            state.force("default", None)
            assert flushed(cache)
            assert fresh.command("KEYS", ":1:k*") == []


# ── unknown outcomes ────────────────────────────────────────────────────────────────────────────


def test_what_may_be_done_late_is_taken_out_twice(fresh, monkeypatch):
    monkeypatch.setattr(journal, "AGAIN_AFTER", 0.3)
    with Proxy(fresh.host, fresh.port) as proxy:
        url = f"redis://{proxy.host}:{proxy.port}/0"
        with alias(url, OPERATION_TIMEOUT=0.2) as cache:
            cache.set("a", "old")
            proxy.fault = faults.Silence()
            cache.set("a", "new")
            proxy.fault = None
            assert until(lambda: state.status()["journal"]["keys"] == 0)
            assert state.status()["journal"]["again"] == 1
            fresh.command("SET", ":1:a", "late")
            assert until(lambda: state.status()["journal"]["again"] == 0)
            assert fresh.command("GET", ":1:a") is None
            assert cache.get("a") is None


# ── processes ───────────────────────────────────────────────────────────────────────────────────

PROCESS = """
import json, os, sys
from django.conf import settings
settings.configure(SECRET_KEY="x", CACHES={"default": json.loads(sys.argv[1])})
import django
django.setup()
from django.core.cache import cache
from resilience.cache import force, status
cache.set_many({"a": "old", "b": "old"})
force("default", "open")
cache.set("a", "new")
"""
ENDS = (
    PROCESS
    + """
if "back" in sys.argv:
    force("default", None)
"""
)
FORKS = (
    PROCESS
    + """
reading, writing = os.pipe()
if os.fork() == 0:
    found = [status()["journal"]["keys"], cache.get("a"), cache.get("b")]
    os.write(writing, json.dumps(found).encode())
    os._exit(0)
os.wait()
print(os.read(reading, 1000).decode(), status()["journal"]["keys"], cache.get("a"))
"""
)


def process(text: str, url: str, *arguments: str) -> Any:
    given = json.dumps(config(url, OPERATION_TIMEOUT=LONG))
    done = run(sys.executable, "-c", text, given, *arguments, variables={})
    assert done.code == 0, done.err
    return done


def test_a_process_that_ends_takes_out_what_it_can(fresh):
    assert "ends before" not in process(ENDS, fresh.url(), "back").err
    assert fresh.command("KEYS", ":1:[ab]") == [b":1:b"]


def test_twin__and_says_what_it_could_not(fresh):
    done = process(ENDS, fresh.url())
    assert "this process ends before Redis took back 1 keys" in done.err
    assert fresh.command("GET", ":1:a") is not None


def test_a_process_does_not_wait_for_a_redis_that_never_answers():
    with BlackHole() as hole:
        url = f"redis://{hole.host}:{hole.port}/0"
        given = json.dumps(config(url, OPERATION_TIMEOUT=0.2, CONNECT_TIMEOUT=20))
        done = run(sys.executable, "-c", PROCESS, given, variables={})
    assert "ends before Redis took back" in done.err
    assert done.seconds < 10


def test_a_child_does_not_read_back_what_its_parent_wrote(fresh):
    done = process(FORKS, fresh.url())
    assert done.out.strip() == '[1, null, "old"] 1 new'


def names() -> list[str]:
    return [each.name for each in threading.enumerate()]


def test_the_thread_has_a_name_and_goes_when_all_is_done(fresh):
    with alias(fresh.url(), OPERATION_TIMEOUT=LONG) as cache:
        state.force("default", "open", "write")
        cache.set_many({f"k{n}": n for n in range(1000)})
        assert "resilience-journal-default" not in names()
        state.force("default", "closed", "write")
        assert "resilience-journal-default" in names()
        assert flushed(cache)
        assert until(lambda: "resilience-journal-default" not in names())
