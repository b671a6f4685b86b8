"""Every state of a real Redis: one root cause, and the hint of its finding ends it.

Where the hint is a command of Redis, that very text is run.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
import redis as client

from resilience.findings import Finding, Level, Report
from resilience.probes import redis, targets
from resilience.probes.areas import probes_of
from resilience.probes.base import Deadline
from resilience.probes.examine import examine
from resilience.simulation.network import Garbage
from tests.servers import (
    HOST,
    RedisServer,
    redis_replica,
    redis_server,
    redis_with_databases,
    redis_with_password,
)
from tests.waiting import until

PASSWORD = "correct-horse/battery@staple"
OURS = "resilience.cache.ResilientCache"
DJANGO = "django.core.cache.backends.redis.RedisCache"
DJANGO_REDIS = "django_redis.cache.RedisCache"

CLUSTER: tuple[str, ...] = ("--cluster-enabled", "yes")

State = tuple[str, Callable[[Finding], str]]  # its URL, and what makes the hint true


def run_hint(server: RedisServer, finding: Finding) -> str:
    """Run the command of Redis that the hint of a finding spells out; the server's URL."""
    found = re.search(r"(?:CONFIG SET|ACL SETUSER|SCRIPT KILL)[^.,;()]*", finding.hint)
    assert found, finding.hint
    words = found[0].replace("<password>", PASSWORD).replace("<number>", "100").split()
    server.command(*[word.replace('""', "") for word in words])
    return server.url()


@contextmanager
def without_password(directory: Path) -> Iterator[State]:
    with redis_with_password(directory, PASSWORD) as server:
        yield server.url(), lambda _: server.url(password=PASSWORD)


@contextmanager
def with_wrong_password(directory: Path) -> Iterator[State]:
    with redis_with_password(directory, PASSWORD) as server:
        yield server.url(password="wrong-password"), lambda _: server.url(password=PASSWORD)


@contextmanager
def full(directory: Path) -> Iterator[State]:
    with redis_server("--maxmemory-policy", "noeviction", directory=directory) as server:
        server.command("SET", "filler", b"x" * 8 * 1024 * 1024)
        server.command("CONFIG", "SET", "maxmemory", "5mb")
        yield server.url(), lambda finding: run_hint(server, finding)


@contextmanager
def replica(directory: Path) -> Iterator[State]:
    def primary_of(finding: Finding) -> str:
        named = re.search(r"Its primary is (\S+)\.$", finding.hint)
        assert named
        return f"redis://{named[1]}/0"

    with redis_server(directory=directory) as primary:
        with redis_replica(primary, directory) as server:
            yield server.url(), primary_of


@contextmanager
def orphan(directory: Path) -> Iterator[State]:
    """A replica whose primary is gone, and which then answers nothing but this."""
    with ExitStack() as held:
        with redis_server(directory=directory) as primary:
            strict = ("--replica-serve-stale-data", "no", "--repl-timeout", "2")
            server = held.enter_context(redis_replica(primary, directory, *strict))
        wait_for(lambda: server.command("INFO", "replication")["master_link_status"] == "down")

        def bring_back(_: Finding) -> str:
            held.enter_context(redis_server(directory=directory, port=primary.port))
            return primary.url()

        yield server.url(), bring_back


@contextmanager
def without_replicas(directory: Path) -> Iterator[State]:
    with redis_server("--min-replicas-to-write", "1", directory=directory) as server:
        yield server.url(), lambda finding: run_hint(server, finding)


@contextmanager
def unable_to_save(directory: Path, stop: str = "yes") -> Iterator[State]:
    options = ("--save", "3600 1", "--stop-writes-on-bgsave-error", stop)
    with redis_server(*options, directory=directory) as server:
        home = server.command("CONFIG GET", "dir")["dir"]
        Path(home, "dump.rdb").mkdir()  # not even root can save over a directory
        server.command("BGSAVE")
        wait_for(lambda: server.command("INFO", "persistence")["rdb_last_bgsave_status"] == "err")
        try:
            yield server.url(), lambda finding: run_hint(server, finding)
        finally:  # else it saves before it ends, and does not end
            server.command("CONFIG SET", "save", "")


@contextmanager
def busy(directory: Path) -> Iterator[State]:
    def loop() -> None:
        with suppress(client.exceptions.RedisError):
            server.command("EVAL", "while true do end", "0")

    with redis_server("--busy-reply-threshold", "10", directory=directory) as server:
        thread = threading.Thread(target=loop)
        thread.start()
        wait_for(lambda: is_refused(server, "BUSY"))
        try:
            yield server.url(), lambda finding: run_hint(server, finding)
        finally:
            with suppress(client.exceptions.RedisError):
                server.command("SCRIPT", "KILL")
            thread.join()


@contextmanager
def cluster_without_slots(directory: Path) -> Iterator[State]:
    with (
        redis_server(*CLUSTER, directory=directory) as server,
        redis_server("--cluster-enabled", "no", directory=directory) as restarted,
    ):
        yield server.url(), lambda _: restarted.url()


@contextmanager
def few_databases(directory: Path) -> Iterator[State]:
    with redis_with_databases(directory) as server:
        yield server.url("/9"), lambda _: server.url("/3")


@contextmanager
def no_client_left(directory: Path) -> Iterator[State]:
    with redis_server(directory=directory) as server, ExitStack() as held:
        admin = held.enter_context(client.Redis(port=server.port))
        admin.ping()
        admin.execute_command("CONFIG SET", "maxclients", "1")

        def raise_limit(finding: Finding) -> str:
            assert "CONFIG SET maxclients <number>" in finding.hint
            admin.execute_command("CONFIG SET", "maxclients", "100")
            return server.url()

        yield server.url(), raise_limit


@contextmanager
def stopped(directory: Path) -> Iterator[State]:
    with redis_server(directory=directory) as server:
        os.kill(server.pid, signal.SIGSTOP)

        def go_on(_: Finding) -> str:
            os.kill(server.pid, signal.SIGCONT)
            return server.url()

        yield server.url(), go_on


STATES = {
    without_password: "redis.auth-missing",
    with_wrong_password: "redis.auth-wrong",
    full: "redis.oom",
    replica: "redis.readonly",
    orphan: "redis.master-down",
    without_replicas: "redis.no-replicas",
    unable_to_save: "redis.misconf",
    busy: "redis.busy",
    cluster_without_slots: "redis.cluster-down",
    few_databases: "redis.db-index",
    no_client_left: "redis.max-clients",
    stopped: "redis.silent",
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One node that serves every slot; a cluster waits 2 s before it says that it is one."""
    with redis_server(*CLUSTER, directory=tmp_path_factory.mktemp("cluster")) as server:
        server.command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        wait_for(lambda: "cluster_state:ok" in text(server.command("CLUSTER", "INFO")))
        yield server


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_a_state_is_the_one_root_cause_and_its_hint_ends_it(state, tmp_path, settings):
    def report_of(url: str) -> Report:
        settings.CACHES = {"default": {"BACKEND": OURS, "LOCATION": url, "KEY_PREFIX": "shop"}}
        return examine(probes_of(["redis"]), Deadline(20))

    with state(tmp_path) as (url, mended):
        report = report_of(url)
        [finding] = [found for found in report.findings if found.is_root_cause]
        assert finding.id == STATES[state], report.findings
        assert [found.id for found in report.findings] == [finding.id]
        assert report.exit_code == 1
        after = report_of(mended(finding))
        assert after.exit_code == 0, after.findings
        assert after.findings[-1].id == "redis.ok"


def test_what_a_refusal_is_told_with(tmp_path):
    """The facts that an administrator asks for first."""
    with full(tmp_path) as (url, _):
        assert only(url).facts["max_memory_mib"] == 5.0
    with replica(tmp_path) as (url, _):
        finding = only(url)
        assert (finding.facts["role"], finding.facts["primary_link"]) == ("slave", "up")
    with orphan(tmp_path) as (url, _):
        finding = only(url)
        assert re.search(r"\(127\.0\.0\.1:\d+, for \d+ s\)\.$", finding.summary)
        assert finding.facts["primary_link"] == "down"
    with without_replicas(tmp_path) as (url, _):
        assert only(url).facts["good_replicas"] == 0
    with unable_to_save(tmp_path) as (url, _):
        finding = only(url)
        assert finding.facts["last_save"] == "err"
        assert "reads still work" in finding.summary
        assert finding.facts["command"] == "SET", "PING is refused too, and is no proof of an end"


def test_loading_tells_how_long(tmp_path):
    """key-load-delay is Redis's own, for such tests: microseconds per key."""
    with redis_server(directory=tmp_path) as server:
        home = Path(server.command("CONFIG GET", "dir")["dir"])
        fill(server)
        server.command("SAVE")
        (tmp_path / "dump.rdb").write_bytes((home / "dump.rdb").read_bytes())
    slow = ("--key-load-delay", "4000", "--loading-process-events-interval-bytes", "1024")
    with redis_server("--dir", str(tmp_path), *slow, directory=tmp_path) as server:
        finding = only(server.url())
        assert finding.id == "redis.loading"
        assert re.search(r": \d+ % read, about \d+ s left\.$", finding.summary), finding.summary
        assert finding.facts["loading_eta_s"] is not None
        waited = re.search(r"checkredis --wait (\d+)", finding.hint)
        assert waited
        wait_for(lambda: not is_refused(server, "LOADING"), seconds=float(waited[1]))
        assert only(server.url()).id == "redis.ok"


def test_protected_mode_at_an_address_that_is_not_this_hosts_own_loopback(tmp_path):
    address = own_address()
    if address is None:
        pytest.skip("this machine has no address but its loopback")
    with redis_server("--bind", HOST, address, directory=tmp_path) as server:
        finding = only(f"redis://{address}:{server.port}/0")
        assert finding.id == "redis.protected-mode"
        run_hint(server, finding)
        url = server.url(password=PASSWORD.replace("/", "%2F")).replace(HOST, address)
        assert only(url).id in ("redis.ok", "redis.auth-wrong")
        assert only(server.url(password=PASSWORD)).id == "redis.ok"


def test_who_is_refused_at_the_door_is_told_why():
    """Redis says so before anything is asked, and closes: what was sent must not hide it."""
    for said, identifier in (
        (b"-DENIED Redis is running in protected mode because\r\n", "redis.protected-mode"),
        (b"-ERR max number of clients reached\r\n", "redis.max-clients"),
    ):
        with Garbage(said, greet=True) as door:
            assert only(f"redis://127.0.0.1:{door.port}").id == identifier


@pytest.mark.parametrize("option", ["REDIS_CLIENT_CLASS", "CONNECTION_POOL_CLASS"])
def test_a_clusters_client_on_a_single_server(option, tmp_path, settings):
    with redis_server(directory=tmp_path) as server:
        cache = {"BACKEND": DJANGO_REDIS, "LOCATION": server.url(), "KEY_PREFIX": "shop"}
        chosen = {"OPTIONS": {option: "redis.cluster.RedisCluster"}}
        settings.CACHES = {"default": cache | chosen}
        report = examine(probes_of(["cache", "redis"]), Deadline(20))
        [root] = [found for found in report.findings if found.is_root_cause]
        assert (root.id, option in root.hint) == ("redis.cluster-client", True)
        settings.CACHES = {"default": cache}
        report = examine(probes_of(["cache", "redis"]), Deadline(20))
        assert {found.id for found in report.findings} == {"redis.ok", "cache.ok"}


def test_a_clusters_client_of_a_cluster_is_left_to_ask_its_nodes(cluster, tmp_path, settings):
    options = {"CONNECTION_FACTORY": "shop.ClusterConnectionFactory"}
    cache = {"BACKEND": DJANGO_REDIS, "OPTIONS": options}
    settings.CACHES = {"default": cache | {"LOCATION": cluster.url()}}
    report = examine(probes_of(["redis"]), Deadline(20))
    assert [found.id for found in report.findings] == ["redis.ok"]
    with cluster_without_slots(tmp_path) as (url, _):
        settings.CACHES = {"default": cache | {"LOCATION": url}}
        report = examine(probes_of(["redis"]), Deadline(20))
        assert [found.id for found in report.findings] == ["redis.cluster-down"]


def test_a_single_servers_client_on_a_cluster(cluster, tmp_path):
    """Whatever the slots of the probe's keys: one key alone is served by this node."""
    for _ in range(5):
        assert only(cluster.url()).id == "redis.cluster-client"
    assert only(cluster.url("/1")).id == "redis.cluster-client"
    with redis_server(directory=tmp_path) as single:
        assert only(single.url()).id == "redis.ok"


# What works today


def test_a_replica_that_takes_writes_is_a_warning(tmp_path):
    with redis_server(directory=tmp_path) as primary:
        with redis_replica(primary, tmp_path, "--replica-read-only", "no") as server:
            assert levels(server.url()) == [
                ("redis.readonly", Level.WARNING),
                ("redis.ok", Level.OK),
            ]
            assert str(primary.port) in examined(server.url())[0].hint
        assert levels(primary.url()) == [("redis.ok", Level.OK)]


def test_a_replica_that_reads_old_data_is_a_warning(tmp_path, settings):
    with ExitStack() as held, redis_server(directory=tmp_path) as other:
        with redis_server(directory=tmp_path) as primary:
            server = held.enter_context(redis_replica(primary, tmp_path, "--repl-timeout", "2"))
            place = {"BACKEND": DJANGO, "LOCATION": [other.url(), server.url()]}
            settings.CACHES = {"default": place}
            fine = examine(probes_of(["redis"]), Deadline(20))
            assert [found.id for found in fine.findings] == ["redis.ok", "redis.ok"]
        wait_for(lambda: server.command("INFO", "replication")["master_link_status"] == "down")
        report = examine(probes_of(["redis"]), Deadline(20))
        assert [(found.id, found.level) for found in report.findings] == [
            ("redis.ok", Level.OK),
            ("redis.master-down", Level.WARNING),
            ("redis.ok", Level.OK),
        ]


def test_a_snapshot_that_failed_is_a_warning_where_writes_go_on(tmp_path):
    with unable_to_save(tmp_path, stop="no") as (url, _):
        assert levels(url) == [("redis.misconf", Level.WARNING), ("redis.ok", Level.OK)]
        port = int(url.rpartition(":")[2].partition("/")[0])
        server = RedisServer(port=port, pid=0, tls=None)
        Path(server.command("CONFIG GET", "dir")["dir"], "dump.rdb").rmdir()  # the disk is free
        server.command("BGSAVE")
        wait_for(lambda: server.command("INFO", "persistence")["rdb_last_bgsave_status"] == "ok")
        assert levels(url) == [("redis.ok", Level.OK)]


# Helpers


def examined(url: str) -> list[Finding]:
    return list(redis.probe_of(targets.parse(url, origin="argument")).run(Deadline(10)))


def levels(url: str) -> list[tuple[str, Level]]:
    return [(finding.id, finding.level) for finding in examined(url)]


def only(url: str) -> Finding:
    [finding] = examined(url)
    return finding


def wait_for(reached: Callable[[], bool], seconds: float = 10.0) -> None:
    assert until(reached, seconds), "the state did not come"


def is_refused(server: RedisServer, word: str) -> bool:
    try:
        server.command("GET", "any")
    except client.exceptions.ResponseError as error:
        return word in str(error)
    except client.exceptions.BusyLoadingError:
        return word == "LOADING"
    return False


def fill(server: RedisServer) -> None:
    with client.Redis(port=server.port) as filling:
        pipeline = filling.pipeline()
        for number in range(500):
            pipeline.set(f"key:{number}", b"x" * 20)
        pipeline.execute()


def text(reply: object) -> str:
    """redis-py makes a mapping of CLUSTER INFO, or not."""
    if isinstance(reply, dict):
        return "\n".join(f"{key}:{value}" for key, value in reply.items())
    return reply.decode() if isinstance(reply, bytes) else str(reply)


def own_address() -> str | None:
    """An address of this machine that others see; nothing is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect(("192.0.2.1", 9))
        except OSError:
            return None
        address: str = asking.getsockname()[0]
    return None if address.startswith("127.") else address
