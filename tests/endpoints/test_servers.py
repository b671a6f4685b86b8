"""The endpoints under gunicorn (sync, gthread) and uvicorn, while everything else fails."""

from __future__ import annotations

import http.client
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from resilience.endpoints.readyz import WAIT
from resilience.health.monitor import DEADLINE, PERIOD
from resilience.simulation.network import BlackHole, Refused
from tests.endpoints.site import SERVERS, TOKEN, Site, ask, serving
from tests.servers import PostgresServer, RedisServer, redis_server

ALLOWANCE = 0.25  # seconds, beside the time that an answer may take by itself
STORM = 1000
CONNECTIONS = 8
BEARER = {"authorization": f"Bearer {TOKEN}"}
OURS = "resilience.cache.ResilientCache"

every_server = pytest.mark.parametrize("server", SERVERS)


def every(stack: ExitStack, folder: Path, settings: dict[str, Any]) -> dict[str, Site]:
    """The same site under each server, started at once and ended with the stack."""

    def start(name: str) -> Site:
        return stack.enter_context(serving(folder, name, **settings))

    with ThreadPoolExecutor(len(SERVERS)) as pool:
        return dict(zip(SERVERS, pool.map(start, SERVERS), strict=True))


# ── everything is down ──────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def down(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Site]]:
    """Redis refuses, the database swallows every packet, and a name has no address."""
    folder = tmp_path_factory.mktemp("down")
    with ExitStack() as stack:
        refused = stack.enter_context(Refused())
        hole = stack.enter_context(BlackHole())
        settings = {
            "DATABASES": {
                "default": {
                    "ENGINE": "django.db.backends.postgresql",
                    "NAME": "shop",
                    "USER": "shop",
                    "HOST": hole.address[0],
                    "PORT": hole.address[1],
                    "CONN_MAX_AGE": 60,
                }
            },
            "CACHES": {
                "default": {
                    "BACKEND": OURS,
                    "LOCATION": f"redis://127.0.0.1:{refused.address[1]}/0",
                },
                "named": {"BACKEND": OURS, "LOCATION": "redis://no-such-host.invalid:6379/0"},
            },
            "SESSION_ENGINE": "django.contrib.sessions.backends.db",
            "RESILIENCE": {"STATUS_TOKEN": TOKEN},
        }
        yield every(stack, folder, settings)


@every_server
def test_livez_is_answered_whatever_is_down(down, server):
    site = down[server]
    first = site.ask("/livez")
    assert (first.status, first.body) == (200, "ok\n")
    assert first.headers["cache-control"] == "no-store"
    assert not any("resilience" in name for name in site.inside()["threads"]), "nothing was begun"
    for host in ("10.42.0.17:8000", "healthcheck.railway.app", "[2001:db8::17]:8000", "%%%"):
        assert site.ask("/livez", host=host).status == 200, host
    assert site.ask("/livez/").status == 200
    assert site.ask("/inside/").status == 400, "the twin: any other path wants its host"
    assert site.ask("/inside/", host="shop.example").status == 301


@every_server
def test_head_and_other_methods_as_the_server_sends_them(down, server):
    site = down[server]
    received = site.raw(b"HEAD /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert b"content-length: 3" in head.lower()
    assert body == b""
    answer = site.ask("/livez", "POST")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


@every_server
def test_a_missing_host_is_no_reason_to_fail(down, server):
    """HTTP/1.0 knows no Host; without one HTTP/1.1 is refused by some servers, not by us."""
    assert b" 200 " in down[server].raw(b"GET /livez HTTP/1.0\r\n\r\n").split(b"\r\n")[0]


@every_server
def test_readyz_says_what_is_down_and_the_form_works(down, server):
    """With the database black-holed no session and no login could."""
    site = down[server]
    ends = time.monotonic() + WAIT + DEADLINE + 2
    answer = site.ask()
    while answer.body == "starting\n" and time.monotonic() < ends:
        assert answer.seconds < WAIT + ALLOWANCE
        answer = site.ask()
    assert (answer.status, answer.body) == (503, "not-ready\n")
    assert answer.headers["retry-after"] == "10"
    kind = "application/x-www-form-urlencoded"
    posted = site.ask("/readyz", "POST", f"token={TOKEN}", content_type=kind)
    assert posted.status == 303
    cookie = posted.headers["set-cookie"].partition(";")[0]
    page = site.ask(accept="text/html", cookie=cookie)
    assert (page.status, "databases.default" in page.body) == (503, True)
    assert page.seconds < 1.0
    assert "databases.default" not in site.ask(accept="text/html").body


# ── a probe hangs, and everybody asks ───────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Scene:
    sites: dict[str, Site]
    redis: RedisServer
    postgres: PostgresServer
    first: dict[str, Any]
    began: float


@pytest.fixture(scope="module")
def hanging(tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer) -> Iterator[Scene]:
    """A critical cache that hangs for 60 s beside a Redis and a PostgreSQL that work."""
    folder = tmp_path_factory.mktemp("hanging")
    with ExitStack() as stack:
        redis = stack.enter_context(redis_server(directory=folder))
        settings = {
            "DATABASES": {
                "default": {
                    "ENGINE": "django.db.backends.postgresql",
                    "NAME": postgres.database,
                    "USER": postgres.user,
                    "PASSWORD": postgres.password,
                    "HOST": postgres.host,
                    "PORT": postgres.port,
                }
            },
            "CACHES": {
                "default": {"BACKEND": OURS, "LOCATION": redis.url()},
                "hanging": {"BACKEND": "site_parts.Hanging"},
                "counting": {"BACKEND": "site_parts.Counting"},
            },
            "RESILIENCE": {"STATUS_TOKEN": TOKEN, "CRITICAL": ["caches.hanging"]},
        }
        sites = every(stack, folder, settings)
        began = time.monotonic()
        first = {name: site.ask() for name, site in sites.items()}
        yield Scene(sites, redis, postgres, first, began)


@every_server
def test_the_first_answer_does_not_wait_for_a_probe_that_hangs(hanging, server):
    answer = hanging.first[server]
    assert (answer.status, answer.body) == (503, "starting\n")
    assert WAIT - 0.05 <= answer.seconds < WAIT + ALLOWANCE


@every_server
def test_within_the_deadline_it_is_known_to_hang(hanging, server):
    site = hanging.sites[server]
    ends = hanging.began + WAIT * len(SERVERS) + DEADLINE + 1
    answer = site.ask()
    while answer.body == "starting\n":
        assert time.monotonic() < ends
        assert answer.seconds < WAIT + ALLOWANCE
        answer = site.ask()
    assert (answer.status, answer.body) == (503, "not-ready\n")
    detailed = site.ask("/readyz?verbose", **BEARER)
    assert re.search(r"error +caches\.hanging", detailed.body)
    assert detailed.seconds < ALLOWANCE


def _connections(scene: Scene) -> tuple[int, int]:
    """How many the servers have been given so far, the question itself included."""
    import psycopg

    with psycopg.connect(scene.postgres.url(), autocommit=True) as database:
        query = "select sum(sessions)::int from pg_stat_database"
        row = database.execute(query).fetchone()
    assert row
    return int(scene.redis.command("INFO", "stats")["total_connections_received"]), int(row[0])


@every_server
def test_a_storm_costs_no_connection_no_thread_and_no_run(hanging, server):
    """Counted at the servers and in the process; benchmarks/health.py sends 10 000."""
    site = hanging.sites[server]
    site.ask()
    redis_before, postgres_before = _connections(hanging)
    runs_before = site.inside()["runs"]
    began = time.monotonic()
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        statuses = list(pool.map(lambda _: _many(site, STORM // CONNECTIONS), range(CONNECTIONS)))
    periods = (time.monotonic() - began) / PERIOD
    redis_after, postgres_after = _connections(hanging)
    inside = site.inside()
    assert {status for each in statuses for status in each} == {503}
    # The three servers go on with their own rounds meanwhile.
    rounds = len(SERVERS) * (periods + 1)
    assert 1 <= redis_after - redis_before <= 1 + 5 * rounds
    assert 1 <= postgres_after - postgres_before <= 1 + 2 * rounds
    assert runs_before["counting"] >= 1
    assert inside["runs"]["counting"] - runs_before["counting"] <= periods + 1
    assert inside["runs"]["hanging"] == 1
    probing = [name for name in inside["threads"] if name.startswith("resilience-health-")]
    assert len(probing) == len(set(probing))
    assert probing.count("resilience-health-caches.hanging") == 1


def _many(site: Site, count: int) -> set[int]:
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=10)
    found = {ask(connection).status for _ in range(count)}
    connection.close()
    return found


# ── the end of a worker ─────────────────────────────────────────────────────────────────────────


def test_a_worker_that_ends_says_so_where_its_server_lets_it(tmp_path):
    """The threaded worker of gunicorn goes on serving the connections it has, for up to 2 s."""
    settings = {"CRITICAL": ["caches.default"]}
    caches = {"default": {"BACKEND": "site_parts.Counting"}}
    with serving(tmp_path, "gthread", RESILIENCE=settings, CACHES=caches) as site:
        connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=10)
        while ask(connection).status != 200:
            pass  # starting, which it waits for by itself
        site.process.terminate()
        while _accepts(site):
            time.sleep(0.01)
        answer = ask(connection)
        connection.close()
        site.process.kill()  # what it still waits for is not asked here
    assert (answer.status, answer.body) == (503, "draining\n")
    assert answer.headers["retry-after"] == "10"


def _accepts(site: Site) -> bool:
    """Whether the worker still takes connections; who comes later waits for nobody."""
    with socket.socket() as line:
        line.settimeout(0.1)
        try:
            line.connect(("127.0.0.1", site.port))
            line.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
            return bool(line.recv(1))
        except OSError:
            return False
