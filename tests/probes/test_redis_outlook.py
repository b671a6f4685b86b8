"""What works today and will not for long is a warning, and its hint ends that too."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis as client
from hypothesis import given, strategies as st

from resilience.findings import Finding, Level
from resilience.probes import outlook
from resilience.probes.areas import probes_of
from resilience.probes.base import Deadline
from resilience.probes.examine import examine
from resilience.simulation.proxy import Latency, Proxy
from tests.probes.conftest import Hosted
from tests.servers import RedisServer, redis_server

OURS = "resilience.cache.ResilientCache"
DJANGO = "django.core.cache.backends.redis.RedisCache"
RAILWAY = {
    "redis://default:secret-word@monorail.proxy.rlwy.net:23456/0": True,
    "redis://default:secret-word@redis.railway.internal:6379/0": False,
    "redis://default:secret-word@proxy.rlwy.net.example:6379/0": False,
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    directory: Path = tmp_path_factory.mktemp("outlook")
    with redis_server(directory=directory) as running:
        yield running


@pytest.fixture
def found(server, settings):
    """The findings about this server, through our cache with these options."""

    def examined(url: str = "", **options: object) -> list[Finding]:
        place = {"BACKEND": OURS, "KEY_PREFIX": "shop", "LOCATION": url or server.url()}
        settings.CACHES = {"default": place | {"OPTIONS": {"RESILIENCE": options}}}
        return list(examine(probes_of(["redis"]), Deadline(10)).findings)

    return examined


def run_hint(server: RedisServer, finding: Finding) -> None:
    command = re.search(r"CONFIG SET [^.,;]*", finding.hint)
    assert command
    server.command(*command[0].split())


def test_no_eviction_under_a_limit(server, found):
    server.command("CONFIG", "SET", "maxmemory", "64mb")
    try:
        finding, fine = found()
        assert (finding.id, finding.level) == ("redis.eviction", Level.WARNING)
        assert "64.0 MiB" in finding.summary
        assert fine.id == "redis.ok"
        run_hint(server, finding)
        assert [f.id for f in found()] == ["redis.ok"]
    finally:
        server.command("CONFIG", "SET", "maxmemory", "0")
        server.command("CONFIG", "SET", "maxmemory-policy", "noeviction")


def test_no_limit_matters_where_a_container_ends_what_grows(server, found, hosted: Hosted):
    hosted("railway")
    assert [(f.id, f.level) for f in found()] == [
        ("redis.eviction", Level.INFO),
        ("redis.ok", Level.OK),
    ]
    try:
        server.command("CONFIG", "SET", "maxmemory", "64mb")
        server.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        assert [f.id for f in found()] == ["redis.ok"]  # the hint
    finally:
        server.command("CONFIG", "SET", "maxmemory", "0")
        server.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
    hosted("none")
    assert [f.id for f in found()] == ["redis.ok"]


def test_connections_that_are_nearly_all_taken(server, found):
    server.command("CONFIG", "SET", "maxclients", "20")
    try:
        with ExitStack() as held:
            for _ in range(16):
                taken = held.enter_context(client.Redis(port=server.port))
                taken.ping()
            finding, _ = found(MAX_CONNECTIONS=2)
            assert (finding.id, finding.level) == ("redis.max-clients", Level.WARNING)
            assert (finding.facts["clients"], finding.facts["max_clients"]) == (17, 20)
            run_hint(server, finding)
            assert [f.id for f in found(MAX_CONNECTIONS=2)] == ["redis.ok"]
    finally:
        server.command("CONFIG", "SET", "maxclients", "10000")


def test_more_connections_than_the_server_takes(server, found, hosted: Hosted):
    """Before it is too late: nobody is connected yet."""
    server.command("CONFIG", "SET", "maxclients", "60")
    try:
        hosted("none", processes=4)
        finding, _ = found()
        assert finding.id == "redis.max-clients"
        assert finding.facts["connections_per_process"] == 16
        assert "4 processes may open 16 connections each" in finding.summary
        assert [f.id for f in found(MAX_CONNECTIONS=10)] == ["redis.ok"]  # the hint
        hosted("none", processes=2)
        assert [f.id for f in found()] == ["redis.ok"]
    finally:
        server.command("CONFIG", "SET", "maxclients", "10000")


def test_every_alias_of_a_server_counts(server, settings, hosted: Hosted):
    server.command("CONFIG", "SET", "maxclients", "60")
    try:
        hosted("none", processes=3)
        ours = {"BACKEND": OURS, "KEY_PREFIX": "shop", "LOCATION": server.url()}
        other = {"BACKEND": DJANGO, "LOCATION": server.url("/1"), "OPTIONS": {"max_connections": 9}}
        settings.CACHES = {"default": ours}
        assert not warned()
        settings.CACHES = {"default": ours, "other": other}
        assert {f.facts["connections_per_process"] for f in warned()} == {25}
    finally:
        server.command("CONFIG", "SET", "maxclients", "10000")


def warned() -> list[Finding]:
    report = examine(probes_of(["redis"]), Deadline(10))
    return [f for f in report.findings if f.id == "redis.max-clients"]


def test_a_redis_that_is_far_away(server, found):
    with Proxy("127.0.0.1", server.port) as proxy:
        proxy.fault = Latency(0.04)
        finding, fine = found(f"redis://127.0.0.1:{proxy.port}/0")
        assert (finding.id, finding.level) == ("redis.slow", Level.WARNING)
        assert "SLOWLOG" in finding.hint
        assert 40 <= float(fine.facts["round_trip_ms"]) < 400
        proxy.fault = None
        assert [f.id for f in found(f"redis://127.0.0.1:{proxy.port}/0")] == ["redis.ok"]


def test_one_slow_answer_in_ten_is_said_and_a_single_one_is_not():
    def warns(took: list[float]) -> bool:
        facts = outlook.latency(took)
        return bool(list(outlook.warnings("redis", None, None, facts)))  # type: ignore[arg-type]

    assert warns([1.0] * 8 + [130.0] * 2)
    assert not warns([1.0] * 9 + [130.0])
    assert warns([26.0] * 10)
    assert not warns([24.0] * 10)
    assert not warns([0.1] + [40.0] * 9)  # a busy process, as at its start
    assert not warns([])


@given(st.lists(st.floats(0.01, 10_000), min_size=1, max_size=20))
def test_percentiles_are_of_what_was_measured(took):
    facts = outlook.latency(took)
    names = ("min_ms", "ms", "p90_ms", "max_ms")
    least, half, most, last = (float(facts[f"round_trip_{name}"]) for name in names)
    assert {half, most} <= set(took)
    assert min(took) == least <= half <= most <= last == max(took)


@pytest.mark.parametrize("url", RAILWAY)
def test_the_public_address_from_inside(url, settings, hosted: Hosted):
    """Known without asking anybody, so in ``check --deploy`` and while an image is built too."""

    def found(url: str) -> list[Finding]:
        settings.CACHES = {"default": {"BACKEND": DJANGO, "LOCATION": url}}
        probes = probes_of(["redis"], stage="build")
        return list(examine(probes, Deadline(5)).findings)

    hosted("railway")
    said = found(url)
    assert [f.id for f in said] == (["redis.public-url-inside"] if RAILWAY[url] else [])
    for each in said:
        private = re.search(r"redis\.railway\.internal", each.hint)
        assert private
        assert found(f"redis://default:secret-word@{private[0]}:6379/0") == []
    hosted("none")
    assert found(url) == []
