"""Sessions while Redis is away: who stays logged in, who stays logged out, and what that costs.

Two workers of gunicorn serve the example project, A and B. What a visitor's own cookies say and
what a copy of them says is asked of each: a logout is worth nothing if a copy still works.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import pytest
from django_redis.cache import RedisCache

from resilience.cache import ResilientCache
from resilience.errors import CacheUnavailable
from resilience.simulation.network import Refused
from resilience.simulation.proxy import Proxy, Refuse, Silence
from tests.cache.aliases import SHORT, alias, config, state_of, url_of, using
from tests.cache.site import Visitor, Worker, database_with, serving
from tests.servers import RedisServer, redis_server
from tests.waiting import until

NAMES = ("ada", "bob", "carol", "dan", "eve")
AT_ONCE = 2.5  # seconds: three operations that each wait 0.25 s for Redis, on a busy machine


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return database_with(tmp_path_factory.mktemp("database"), *NAMES)


@contextmanager
def site(
    folder: Path, database: Path, server: RedisServer, engine: str = "", *, journal: bool = True
) -> Iterator[tuple[Worker, Worker, Proxy]]:
    """A and B, and the network between them and Redis."""
    with Proxy(server.host, server.port) as proxy:
        with serving(folder, database, url_of(proxy), engine, journal=journal) as (a, b):
            yield a, b, proxy


def logged_in(worker: Worker, name: str) -> Visitor:
    visitor = Visitor()
    assert visitor.log_in(worker, name).status == 302
    return visitor


def who(visitor: Visitor, *workers: Worker) -> list[str | None]:
    """Who these cookies are, asked of all workers at once; within the time that a request has."""
    with ThreadPoolExecutor(len(workers)) as threads:
        answers = list(threads.map(visitor.copy().account, workers))
    assert max(answer.seconds for answer in answers) < AT_ONCE, answers
    return [answer.who for answer in answers]


def in_redis(server: RedisServer, visitor: Visitor) -> bool:
    key = f"opsproject:1:django.contrib.sessions.cached_db{visitor.session}"
    return bool(server.command("EXISTS", key))


def back(*workers: Worker) -> bool:
    """Whether Redis answers each of them again: a closed circuit may have no connection yet."""
    return all(map(_reads_from_redis, workers))


def _reads_from_redis(worker: Worker) -> bool:
    before = worker.report()["cache"]
    Visitor({"sessionid": "s" * 32}).account(worker)
    after = worker.report()["cache"]
    closed = all(after[role]["state"] == "closed" for role in ("read", "write"))
    return closed and before["fallbacks"] == after["fallbacks"]


def flushed(*workers: Worker) -> bool:
    """Whether nothing is left that a worker must take out of Redis before anybody may read it."""
    journals = [worker.report()["cache"]["journal"] for worker in workers]
    return all(each["keys"] == each["patterns"] == 0 for each in journals)


def settled(stolen: Visitor, a: Worker, b: Worker) -> bool:
    """As far as that; what A says is right all the time, however far Redis is."""
    assert who(stolen, a) == [None]
    return back(a, b) and flushed(a, b)


# ── cached_db ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("fault", [Refuse(), Silence()], ids=["refused", "silent"])
def test_cached_db_goes_through_an_outage(tmp_path, database, fresh, fault):
    with site(tmp_path, database, fresh) as (a, b, proxy):
        ada, bob, carol = (logged_in(a, name) for name in NAMES[:3])
        eve = Visitor()
        eve.write(a, "milk")
        assert [who(each, a, b) for each in (ada, bob, carol)] == [[n, n] for n in NAMES[:3]]
        before = [each.copy() for each in (ada, carol, eve)]
        assert all(in_redis(fresh, each) for each in before)
        stolen_ada, stolen_carol, stolen_eve = before

        proxy.fault = fault
        for _ in range(5):  # then the circuits are open, whatever the fault
            assert who(bob, a, b) == ["bob", "bob"], "logged in before: stays so"
        assert ada.log_out(a).status == 302
        assert who(stolen_ada, a) == [None], "at once, where it happened"
        assert carol.log_out(a).status == 302
        assert who(stolen_carol, a, b) == [None, None], "and in another that sees the outage"
        assert eve.log_in(a, "eve").status == 302
        assert eve.session != stolen_eve.session
        assert [eve.copy().account(each).note for each in (a, b)] == ["milk", "milk"]
        assert [stolen_eve.copy().account(each).note for each in (a, b)] == ["", ""]
        dan = logged_in(b, "dan")
        assert who(dan, b, a) == ["dan", "dan"]
        assert all(in_redis(fresh, each) for each in before), "else nothing could come back"

        proxy.fault = None
        assert until(lambda: settled(stolen_ada, a, b))
        assert [who(each, a, b) for each in before] == [[None, None]] * 3
        assert [each.copy().account(b).note for each in before] == ["", "", ""]
        assert not any(in_redis(fresh, each) for each in before)
        assert [who(each, a, b) for each in (bob, dan, eve)] == [
            [n, n] for n in ("bob", "dan", "eve")
        ]


def test_cached_db_goes_through_an_outage__twin__without_the_journal(tmp_path, database, fresh):
    with site(tmp_path, database, fresh, journal=False) as (a, b, proxy):
        ada, eve = logged_in(a, "ada"), Visitor()
        eve.write(a, "milk")
        stolen_ada, stolen_eve = ada.copy(), eve.copy()
        proxy.fault = Refuse()
        assert (ada.log_out(a).status, eve.log_in(a, "eve").status) == (302, 302)
        assert who(stolen_ada, a, b) == [None, None]
        proxy.fault = None
        assert until(lambda: back(a, b))
        assert who(stolen_ada, a, b) == ["ada", "ada"]
        assert [stolen_eve.copy().account(each).note for each in (a, b)] == ["milk", "milk"]


# ── the limits of it, as docs/explanation/outage.md tells them ──────────────────────────────────


def written_off(worker: Worker) -> bool:
    return bool(worker.report()["cache"]["write"]["state"] == "open")


def test_while_only_writes_fail_a_worker_that_does_not_know_may_read_the_copy(tmp_path, database):
    """Redis has become a replica: it answers reads, and B asks it until its own writes fail."""
    with redis_server(directory=tmp_path) as server:
        with site(tmp_path, database, server) as (a, b, _):
            ada = logged_in(a, "ada")
            stolen = ada.copy()
            server.command("REPLICAOF", "127.0.0.1", "1")
            assert ada.log_out(a).status == 302
            assert who(stolen, a, b) == [None, "ada"]
            assert until(lambda: logged_in(b, "ada") and written_off(b))
            assert who(stolen, a, b) == [None, None]
            server.command("REPLICAOF", "NO", "ONE")
            assert until(lambda: settled(stolen, a, b))
            assert who(stolen, a, b) == [None, None]


def test_a_worker_that_ends_in_the_outage_takes_its_journal_along(tmp_path, database, fresh):
    with site(tmp_path, database, fresh) as (a, b, proxy):
        ada = logged_in(a, "ada")
        stolen = ada.copy()
        proxy.fault = Refuse()
        assert ada.log_out(a).status == 302
        left = a.report()["cache"]["journal"]["keys"]
        assert left
        os.kill(a.process, signal.SIGTERM)
        log = tmp_path / "gunicorn.log"
        assert until(lambda: f"before Redis took back {left} keys" in log.read_text(), 10.0)
        proxy.fault = None
        assert until(lambda: back(b))
        assert who(stolen, b) == ["ada"], "it was not B that deleted the copy"


# ── cache: what docs/explanation/outage.md says of it ───────────────────────────────────────────


def test_the_engine_cache_in_an_outage(tmp_path, database, fresh):
    """No promise, but the truth: nobody is logged in, logging in fails, a logout is not kept."""
    with site(tmp_path, database, fresh, "cache") as (a, b, proxy):
        ada, bob, carol = (logged_in(a, name) for name in NAMES[:3])
        stolen_carol = carol.copy()
        proxy.fault = Refuse()
        for _ in range(2):
            assert who(bob, a, b) == [None, None]
        assert ada.account(a).who is None
        assert ada.session is None, "Django takes the cookie of a session that it does not find"
        assert carol.log_out(a).status == 302

        dan = Visitor()
        refused = dan.log_in(b, "dan")
        assert (refused.status, dan.session) == (400, None)
        assert refused.seconds < AT_ONCE
        eve = Visitor()
        assert eve.write(a, "milk").status == 302
        assert eve.account(a).note == ""

        proxy.fault = None
        assert until(lambda: back(a, b) and flushed(a, b))
        assert who(bob, a, b) == ["bob", "bob"], "who did not come meanwhile"
        assert who(ada, a, b) == [None, None]
        assert who(stolen_carol, a, b) == ["carol", "carol"], "Django never asked to delete it"
        assert who(logged_in(b, "dan"), a, b) == ["dan", "dan"]


def test_the_engine_cache_in_an_outage__twin__healthy(tmp_path, database, fresh):
    with site(tmp_path, database, fresh, "cache") as (a, b, _):
        carol = logged_in(a, "carol")
        stolen = carol.copy()
        assert who(stolen, a, b) == ["carol", "carol"]
        assert carol.log_out(a).status == 302
        assert who(stolen, a, b) == [None, None]


# ── creation ────────────────────────────────────────────────────────────────────────────────────


class Looped(BaseException):
    """No Exception: Django's sessions expect those of a cache."""


class Counting:
    """Counts what creating a session asks of a cache."""

    asked: ClassVar[list[str]] = []
    enough = 20

    def _count(self, what: str) -> None:
        self.asked.append(what)
        if len(self.asked) > self.enough:
            raise Looped

    def add(self, *args: Any, **kwargs: Any) -> Any:
        self._count("add")
        return super().add(*args, **kwargs)  # type: ignore[misc]

    def has_key(self, *args: Any, **kwargs: Any) -> Any:
        self._count("has_key")
        return super().has_key(*args, **kwargs)  # type: ignore[misc]


class CountingOurs(Counting, ResilientCache):
    """A user's own subclass would be no other."""


class CountingDjangoRedis(Counting, RedisCache):  # type: ignore[misc]
    """What most sites come from."""


@pytest.fixture(autouse=True)
def counted() -> list[str]:
    Counting.asked.clear()
    return Counting.asked


@contextmanager
def counting(engine: str, settings: Any, cls: type, location: str, **given: Any) -> Iterator[Any]:
    """A new session of this engine on a counting cache."""
    settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{engine}"
    backend = f"{__name__}.{cls.__name__}"
    with using(default=config(location, backend=backend, **given)) as cache:
        yield import_module(settings.SESSION_ENGINE).SessionStore(), cache


@pytest.mark.django_db
@pytest.mark.parametrize("fault", [None, Refuse(), Silence()], ids=["healthy", "refused", "silent"])
@pytest.mark.parametrize(
    ("engine", "mode", "asked"),
    [
        ("cached_db", "sync", ["has_key"]),
        ("cache", "sync", ["has_key", "add"]),
        ("cache", "async", ["has_key", "add"]),
    ],
)
def test_creating_a_session_never_loops(fresh, settings, counted, engine, mode, asked, fault):
    """One try each: while the circuit is closed and meets the fault, and once it is open."""
    with Proxy(fresh.host, fresh.port) as proxy:
        given = {} if fault is None else {"OPERATION_TIMEOUT": SHORT}
        with counting(engine, settings, CountingOurs, url_of(proxy), **given) as (session, cache):
            cache.set("warm", 1)
            proxy.fault = fault
            for _ in range(3 if fault is None else 6):
                counted.clear()
                began = time.monotonic()
                asyncio.run(session.acreate()) if mode == "async" else session.create()
                assert time.monotonic() - began < AT_ONCE
                assert counted == asked
            assert (state_of(cache).write.state == "closed") == (fault is None)


def test_creating_a_session_never_loops__twin__errors_that_are_ignored(settings, counted):
    given: dict[str, Any] = {"options": {"IGNORE_EXCEPTIONS": True}}
    with Refused() as gone:
        with counting("cache", settings, CountingDjangoRedis, url_of(gone), **given) as (
            session,
            _,
        ):
            with pytest.raises(Looped):
                session.create()
    assert counted.count("add") >= 10


# ── STRICT is no way to keep sessions ───────────────────────────────────────────────────────────


@pytest.mark.django_db
@pytest.mark.parametrize("strict", [[], ["django.contrib.sessions.*"]], ids=["twin", "strict"])
def test_a_strict_session_cannot_be_read_in_an_outage(fresh, settings, strict):
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.cached_db"
    store = import_module(settings.SESSION_ENGINE).SessionStore
    with alias(fresh.url(), STRICT=strict) as cache:
        session = store()
        session["note"] = "milk"
        session.save()
        state_of(cache).read.force("open")
        state_of(cache).write.force("open")
        again = store(session.session_key)
        if strict:
            with pytest.raises(CacheUnavailable, match="a STRICT key"):
                again.load()
        else:
            assert again.load() == {"note": "milk"}
