"""Every state of a real Redis and every fault on the way to it has its name, and one name only."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, strategies as st
from redis import Redis

from resilience.findings import Finding, Level, Report
from resilience.probes import info, redis, targets
from resilience.probes.areas import probes_of
from resilience.probes.base import Deadline
from resilience.probes.examine import examine
from resilience.simulation.authority import Authority
from resilience.simulation.fake_redis import FakeRedis
from resilience.simulation.network import BlackHole, Garbage, Refused, Reset, Silence
from resilience.simulation.proxy import Proxy, Trickle
from tests.servers import (
    RedisServer,
    redis_full,
    redis_replica,
    redis_server,
    redis_with_databases,
    redis_with_limited_user,
    redis_with_password,
)

PASSWORD = "correct-horse/battery@staple"
DJANGO = "django.core.cache.backends.redis.RedisCache"
DJANGO_REDIS = "django_redis.cache.RedisCache"
OURS = "resilience.cache.ResilientCache"


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("redis")


@pytest.fixture(scope="module")
def healthy(directory: Path) -> Iterator[RedisServer]:
    limited = ("--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru")
    with redis_server(*limited, directory=directory) as server:
        yield server


@pytest.fixture(scope="module")
def guarded(directory: Path) -> Iterator[RedisServer]:
    with redis_with_password(directory, PASSWORD) as server:
        yield server


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def encrypted(directory: Path, authority: Authority) -> Iterator[RedisServer]:
    with redis_server(directory=directory, tls=authority) as server:
        yield server


def examined(url: str, seconds: float = 10.0) -> list[Finding]:
    """What the probe of a URL says."""
    return list(redis.probe_of(targets.parse(url, origin="argument")).run(Deadline(seconds)))


def only(url: str) -> Finding:
    found = examined(url)
    assert len(found) == 1, found
    return found[0]


@contextmanager
def full(directory: Path) -> Iterator[str]:
    with redis_full(directory) as server:
        yield server.url()


@contextmanager
def replica(directory: Path) -> Iterator[str]:
    with (
        redis_server(directory=directory) as primary,
        redis_replica(primary, directory) as server,
    ):
        yield server.url()


@contextmanager
def few_databases(directory: Path) -> Iterator[str]:
    with redis_with_databases(directory) as server:
        yield server.url("/9")


@contextmanager
def user_without_rights(directory: Path) -> Iterator[str]:
    with redis_with_limited_user(directory, username="web", password=PASSWORD) as server:
        yield server.url(username="web", password=PASSWORD)


STATES = {
    "redis.oom": full,
    "redis.readonly": replica,
    "redis.db-index": few_databases,
    "redis.permission": user_without_rights,
}


@pytest.mark.parametrize("identifier", STATES)
@pytest.mark.parametrize("backend", [DJANGO, DJANGO_REDIS])
def test_a_state_of_a_real_redis_is_the_one_root_cause(identifier, backend, tmp_path, settings):
    with STATES[identifier](tmp_path) as url:
        settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": url}}
        report = examine(probes_of(["cache", "redis"]), Deadline(20))
    roots = [finding for finding in report.findings if finding.is_root_cause]
    assert [finding.id for finding in roots] == [identifier], report.findings
    assert roots[0].hint
    cache = next(f for f in report.findings if f.id == "cache.failed")
    assert cache.cause == roots[0]
    assert report.exit_code == 1


@pytest.mark.parametrize("backend", [DJANGO, DJANGO_REDIS])
def test_a_healthy_redis_tells_its_facts(healthy, backend, settings):
    settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": healthy.url("/3")}}
    report = examine(probes_of(["cache", "redis"]), Deadline(20))
    assert report.exit_code == 0
    fine = next(f for f in report.findings if f.id == "redis.ok")
    assert fine.subject == f"redis.127.0.0.1:{healthy.port}/3"
    assert fine.facts["version"]
    assert fine.facts["max_memory_mib"] == 64
    assert fine.facts["eviction_policy"] == "allkeys-lru"
    assert 0 < float(fine.facts["round_trip_ms"]) <= float(fine.facts["round_trip_p90_ms"])
    assert float(fine.facts["round_trip_p90_ms"]) <= float(fine.facts["round_trip_max_ms"]) < 2000
    assert fine.facts["round_trips"] == 10
    assert float(fine.facts["used_memory_mib"]) > 0
    assert healthy.command("DBSIZE") == 0, "a probe leaves no key behind"


def test_the_password_decides(guarded):
    assert only(guarded.url()).id == "redis.auth-missing"
    assert only(guarded.url(password="wrong-password")).id == "redis.auth-wrong"
    assert only(guarded.url(password=PASSWORD)).id == "redis.ok"


def test_the_password_in_options_counts_as_in_the_url(guarded, settings):
    settings.CACHES = {
        "default": {
            "BACKEND": DJANGO_REDIS,
            "LOCATION": guarded.url(),
            "OPTIONS": {"PASSWORD": PASSWORD},
        }
    }
    report = examine(probes_of(["cache", "redis"]), Deadline(20))
    assert {f.id for f in report.findings} == {"redis.ok", "cache.ok"}


@pytest.mark.parametrize("listed", [False, True])
def test_trusting_anybody_is_an_error_until_somebody_answers_for_it(encrypted, settings, listed):
    where = f"{encrypted.host}:{encrypted.port}"
    entry = {"reason": "its own authority comes on Friday", "until": "2999-01-01"}
    settings.RESILIENCE = {"TLS": {"INSECURE": {where: entry} if listed else {}}}
    found = examined(encrypted.url("/0?ssl_cert_reqs=none&ssl_check_hostname=false"))
    assert [(f.id, f.level) for f in found] == [
        ("tls.insecure", Level.WARNING if listed else Level.ERROR),
        ("redis.ok", Level.OK),
    ]
    assert "ssl_ca_certs" in found[0].hint
    assert (where in found[0].hint) is not listed


@pytest.mark.parametrize("value", [None, "none", ssl.CERT_NONE])
def test_trusting_anybody_in_options_counts_as_in_the_url(encrypted, settings, value):
    kwargs = {"ssl_cert_reqs": value, "ssl_check_hostname": False}
    settings.CACHES = {
        "default": {
            "BACKEND": DJANGO_REDIS,
            "LOCATION": encrypted.url(),
            "OPTIONS": {"CONNECTION_POOL_KWARGS": kwargs},
        }
    }
    report = examine(probes_of(["redis"]), Deadline(10))
    assert [f.id for f in report.findings] == ["tls.insecure", "redis.ok"]


@pytest.mark.parametrize("option", ["", "&ssl_cert_reqs=required"])
def test_trusting_anybody__twin__trusting_one(encrypted, authority, tmp_path, option):
    ca = authority.write_ca(tmp_path / "ca.pem")
    assert only(encrypted.url(f"/0?ssl_ca_certs={ca}{option}")).id == "redis.ok"


def test_trusting_anybody__twin__without_tls_there_is_nobody_to_trust(healthy):
    assert only(healthy.url("/0")).id == "redis.ok"


def test_a_needless_password_is_a_warning_and_the_rest_is_still_examined(healthy):
    found = examined(healthy.url(password=PASSWORD))
    assert [(f.id, f.level) for f in found] == [
        ("redis.auth-unneeded", Level.WARNING),
        ("redis.ok", Level.OK),
    ]
    refused = examined(healthy.url("/0?protocol=2", password=PASSWORD))
    assert [(f.id, f.level) for f in refused] == [("redis.auth-unneeded", Level.ERROR)]
    assert "Set requirepass on the server, or remove the password here" in refused[0].hint
    assert only(healthy.url("/0?protocol=2")).id == "redis.ok"
    healthy.command("CONFIG", "SET", "requirepass", PASSWORD)
    try:
        assert only(healthy.url("/0?protocol=2", password=PASSWORD)).id == "redis.ok"
    finally:
        with Redis(port=healthy.port, password=PASSWORD) as owner:
            owner.config_set("requirepass", "")


def test_the_scheme_must_fit_the_port(healthy, encrypted, authority, tmp_path):
    assert only(healthy.url(scheme="rediss")).id == "redis.tls-to-plain"
    assert only(encrypted.url(scheme="redis")).id == "redis.plain-to-tls"
    ca = authority.write_ca(tmp_path / "ca.pem")
    assert only(encrypted.url(f"/0?ssl_ca_certs={ca}")).id == "redis.ok"


def test_an_unknown_authority_is_named_and_never_worked_around(encrypted):
    finding = only(encrypted.url())
    assert finding.id == "tls.untrusted-root"
    assert "ssl_ca_certs" in finding.hint
    assert "none" not in finding.hint.lower().split()


def test_tls_failures_of_the_clients_own_files(encrypted, authority, tmp_path):
    missing = only(encrypted.url("/0?ssl_ca_certs=/nowhere/ca.pem"))
    assert missing.id == "tls.bundle-missing"
    assert missing.summary.endswith(" Named are: /nowhere/ca.pem.")
    (tmp_path / "ca.pem").write_text("no certificate")
    broken = only(encrypted.url(f"/0?ssl_ca_certs={tmp_path}/ca.pem"))
    assert broken.id == "tls.bundle-broken"
    assert broken.summary.endswith(f" Named are: {tmp_path}/ca.pem.")
    context = authority.server_context("elsewhere.example")
    ca = authority.write_ca(tmp_path / "good.pem")
    with FakeRedis(tls=context) as fake:
        url = f"rediss://127.0.0.1:{fake.port}/0?ssl_ca_certs={ca}"
        assert only(url).id == "tls.wrong-name"
    with FakeRedis(tls=authority.server_context("127.0.0.1", expired=True)) as fake:
        url = f"rediss://127.0.0.1:{fake.port}/0?ssl_ca_certs={ca}"
        assert only(url).id == "tls.expired"


def test_faults_of_the_network():
    with Refused() as port:
        assert only(f"redis://127.0.0.1:{port.port}").id == "tcp.refused"
    with BlackHole() as hole:
        finding = only(f"redis://127.0.0.1:{hole.port}")
        assert finding.id == "tcp.timeout"
        assert 1900 <= float(finding.facts["waited_ms"]) <= 2000
    with Silence() as silence:
        assert only(f"redis://127.0.0.1:{silence.port}").id == "redis.silent"
        assert only(f"rediss://127.0.0.1:{silence.port}").id == "tls.handshake-timeout"
    with Reset() as reset:
        assert only(f"redis://127.0.0.1:{reset.port}").id == "redis.wrong-service"
        assert only(f"rediss://127.0.0.1:{reset.port}").id == "tls.reset"
    with Garbage() as web:
        assert only(f"redis://127.0.0.1:{web.port}").id == "redis.wrong-service"
        assert only(f"rediss://127.0.0.1:{web.port}").id == "redis.wrong-service"
    with Garbage(b"welcome to nothing that is known\r\n", greet=True) as stranger:
        assert only(f"rediss://127.0.0.1:{stranger.port}").id == "tls.plaintext-port"


def test_an_answer_that_trickles_is_told_from_none(healthy):
    with Proxy("127.0.0.1", healthy.port, fault=Trickle(pause=0.6)) as proxy:
        trickling = only(f"redis://127.0.0.1:{proxy.port}")
    with Silence() as silence:
        silent = only(f"redis://127.0.0.1:{silence.port}")
    assert trickling.id == silent.id == "redis.silent"
    received = int(str(trickling.facts["received_bytes"]))
    assert 1 <= received < len("+PONG\r\n")
    assert f"trickles: {received} bytes of its answer to PING" in trickling.summary
    assert "received_bytes" not in silent.facts
    assert "did not answer PING" in silent.summary


def test_a_host_that_does_not_resolve():
    finding = only("redis://no-such-host.invalid:6379")
    assert finding.id in ("dns.failed", "dns.timeout")
    assert "no-such-host.invalid" in finding.summary


def test_dns_that_hangs_is_left_behind(monkeypatch):
    """The one mock: no resolver here can be made to hang without changing the machine."""
    import threading

    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: threading.Event().wait(1) or [])
    found = list(
        redis.probe_of(targets.parse("redis://db.example", origin="argument")).run(Deadline(0.2))
    )
    assert [f.id for f in found] == ["dns.timeout"]


def test_a_unix_socket(tmp_path):
    path = tmp_path / "redis.sock"
    assert only(f"unix://{path}").id == "tcp.refused"
    with redis_server("--unixsocket", str(path), directory=tmp_path):
        assert only(f"unix://{path}?db=2").id == "redis.ok"


REPLIES = {
    "LOADING Redis is loading the dataset in memory": "redis.loading",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.": (
        "redis.master-down"
    ),
    "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to": (
        "redis.misconf"
    ),
    "NOREPLICAS Not enough good replicas to write.": "redis.no-replicas",
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL": "redis.busy",
    "CLUSTERDOWN Hash slot not served": "redis.cluster-down",
    "MOVED 12182 10.0.0.7:6379": "redis.cluster-client",
    "DENIED Redis is running in protected mode because protected mode is enabled": (
        "redis.protected-mode"
    ),
    "ERR max number of clients reached": "redis.max-clients",
    "OOM command not allowed when used memory > 'maxmemory'.": "redis.oom",
    "READONLY You can't write against a read only replica.": "redis.readonly",
    "ERR something that nobody has seen yet": "redis.error",
}


@pytest.mark.parametrize(("reply", "identifier"), REPLIES.items(), ids=REPLIES.values())
@pytest.mark.parametrize("command", ["GET", "SET"])
def test_every_error_reply_has_its_name(reply, identifier, command):
    with FakeRedis(errors={command: reply}) as fake:
        finding = only(f"redis://127.0.0.1:{fake.port}")
    assert finding.id == identifier
    assert finding.level is Level.ERROR
    assert finding.facts["command"] == command


@pytest.mark.parametrize("command", ["PING", "INFO"])
def test_a_command_that_a_cache_does_not_need_may_be_forbidden(command):
    refusal = f"NOPERM no permissions to run '{command}'"
    with FakeRedis({"EVAL": 1}, errors={command: refusal}) as fake:
        assert only(f"redis://127.0.0.1:{fake.port}").id == "redis.ok"


@pytest.mark.parametrize("read", [b"another value", None])
def test_a_key_that_reads_differently(read):
    with FakeRedis({"EVAL": 1, "GET": read}) as fake:
        finding = only(f"redis://127.0.0.1:{fake.port}")
    assert (finding.id, finding.level) == ("redis.mismatch", Level.ERROR)
    assert fake.commands[-1] == "DEL", "it is taken back all the same"


def test_a_key_that_reads_differently__twin():
    with FakeRedis({"EVAL": 1}) as fake:
        assert only(f"redis://127.0.0.1:{fake.port}").id == "redis.ok"


def test_a_cluster_node_refuses_database_1():
    with FakeRedis(errors={"SELECT": "ERR SELECT is not allowed in cluster mode"}) as fake:
        assert only(f"redis://127.0.0.1:{fake.port}/1").id == "redis.cluster-client"


def test_nothing_but_pings_is_sent_twice_and_no_key_outlives_the_probe(healthy):
    with FakeRedis(errors={"PING": "LOADING still"}) as fake:
        only(f"redis://127.0.0.1:{fake.port}")
        assert fake.commands == ["PING", "INFO"]
    key = "SET GET MGET EXISTS PTTL PEXPIRE PERSIST EVAL SCAN UNLINK DEL"
    with FakeRedis({"EVAL": 1}) as fake:
        only(f"redis://127.0.0.1:{fake.port}")
        assert fake.commands == [*["PING"] * 10, "INFO", "ACL WHOAMI", *key.split()]
    assert only(healthy.url()).id == "redis.ok"
    assert healthy.command("DBSIZE") == 0


ROWS = [
    b"role:slave\r\n",
    b"master_host:::1\r\n",
    b"master_link_down_since_seconds:-1\r\n",
    b"loading_eta_seconds:99999999999999999999999\r\n",
    b"loading_loaded_perc:37.5\r\n",
    b"maxmemory:x\r\n",
    b"used_memory:\xd9\xa3\r\n",
    b"rdb_last_bgsave_status:err\r\n",
]


@given(reply=st.binary(max_size=300) | st.lists(st.sampled_from(ROWS)).map(b"".join))
def test_whatever_info_says_it_is_read(reply):
    known = info.Info.read(reply)
    assert all(isinstance(fact, str | int | float) for fact in known.facts().values())
    failure = Finding("redis.loading", Level.ERROR, "redis", "Loading.", "Wait.")
    assert known.explain(failure).id == "redis.loading"


def test_a_replica_location_is_read_and_not_written(directory, healthy, settings, tmp_path):
    with redis_replica(healthy, tmp_path) as follower:
        settings.CACHES = {
            "default": {"BACKEND": DJANGO, "LOCATION": [healthy.url(), follower.url()]}
        }
        report = examine(probes_of(["redis"]), Deadline(20))
    assert [f.id for f in report.findings] == ["redis.ok", "redis.ok"]


def test_two_aliases_of_one_server_share_a_probe(healthy, settings):
    one = {"BACKEND": DJANGO, "LOCATION": healthy.url()}
    settings.CACHES = {
        "default": one,
        "second": one,
        "third": one | {"LOCATION": healthy.url("/1")},
    }
    assert len(probes_of(["redis"])) == 2


@pytest.mark.parametrize(
    ("location", "identifier"),
    [
        ("", "redis.url-invalid"),
        ("localhost:6379", "redis.url-invalid"),
        ("redis://localhost:port", "redis.url-invalid"),
        ("redis://:pa/ss@localhost", "redis.url-invalid"),
        ("redis://:p@pa/ss@localhost:6379/0", "redis.url-invalid"),
        ("redis://localhost/zero", "redis.url-invalid"),
        ("redis://localhost?socket_timeout=soon", "redis.url-invalid"),
        ("redis://localhost?family=0", "redis.family-option"),
        ("${{Redis.REDIS_URL}}", "redis.url-invalid"),
        ("redis://localhost?foo=1", "redis.url-invalid"),
        (" redis://localhost/0", "redis.url-invalid"),
        ("redis://localhost/0\n", "redis.url-invalid"),
        (["redis://localhost/0 "], "redis.url-invalid"),
    ],
)
def test_a_malformed_location_is_a_finding(location, identifier, settings):
    settings.CACHES = {"default": {"BACKEND": DJANGO_REDIS, "LOCATION": location}}
    report = examine(probes_of(["redis"]), Deadline(5))
    assert [f.id for f in report.findings] == [identifier]
    assert "pa/ss" not in repr(report)


def test_the_family_option_is_found_in_options_too(settings, healthy):
    options = {"CONNECTION_POOL_KWARGS": {"family": 0}}
    cache = {"BACKEND": DJANGO_REDIS, "LOCATION": healthy.url()}
    settings.CACHES = {"default": cache | {"OPTIONS": options}}
    [finding] = examine(probes_of(["redis"]), Deadline(5)).findings
    assert finding.id == "redis.family-option"
    settings.CACHES = {"default": cache}
    [finding] = examine(probes_of(["redis"]), Deadline(5)).findings
    assert finding.id == "redis.ok"


def test_what_is_wrong_with_a_location_is_said(settings):
    def said(location: str) -> str:
        settings.CACHES = {"default": {"BACKEND": DJANGO, "LOCATION": location}}
        [finding] = examine(probes_of(["redis"]), Deadline(5)).findings
        assert finding.facts["setting"] == "CACHES['default']['LOCATION']"
        return finding.summary

    assert said("redis://h?foo=1") == "redis-py refuses the Redis URL's option 'foo'."
    assert said("redis://h?socket_timeout=x") == (
        "redis-py refuses the Redis URL's option 'socket_timeout'."
    )
    for spaced in (" redis://h/0", "redis://h/0 ", "redis://h\n"):
        assert "white space" in said(spaced)


@pytest.mark.parametrize("cut", ["p@ss/w", "p@ss#w", "p@ss?w", "p@ss/w=1", "p@a@ss/w"])
def test_a_password_that_cuts_the_url_off_is_named_as_such(cut, settings):
    settings.CACHES = {"default": {"BACKEND": DJANGO, "LOCATION": f"redis://:{cut}@localhost/0"}}
    [finding] = examine(probes_of(["redis"]), Deadline(5)).findings
    assert finding.id == "redis.url-invalid"
    assert "percent-encode it" in finding.summary
    assert "ss" not in f"{finding.summary}{finding.subject}".replace("password", "")


def test_a_password_that_cuts_the_url_off__twin__where_an_at_sign_may_be():
    for url in (
        "redis://:p@ss@h/0",
        "redis://:p%40ss%2Fw@h/0",
        "redis://h/0?client_name=a@b",
        "unix:///run/a@b.sock",
    ):
        assert targets.parse(url, origin="test").host in ("h", "localhost")


def causes(report: Report) -> dict[str, str | None]:
    return {
        found.id: found.cause.id if found.cause else None for found in report.findings if found.hint
    }


def test_a_url_that_our_cache_refuses_too_is_one_root_cause(settings):
    location = "redis://:p@ss/w@localhost:6391/0"
    settings.CACHES = {"default": {"BACKEND": OURS, "LOCATION": location, "KEY_PREFIX": "shop"}}
    report = examine(probes_of(["cache"]), Deadline(5))
    assert causes(report) == {
        "cache.options-invalid": "redis.url-invalid",
        "redis.url-invalid": None,
    }


def test_a_url_that_our_cache_refuses_too__twin__an_option_that_is_none_of_its_business(settings):
    with Refused() as port:
        settings.CACHES = {
            "default": {
                "BACKEND": OURS,
                "LOCATION": f"redis://127.0.0.1:{port.port}/0",
                "OPTIONS": {"RESILIENCE": {"OPERATION_TIMOUT": 1}},
            }
        }
        report = examine(probes_of(["cache"]), Deadline(5))
    assert causes(report) == {"cache.options-invalid": None, "tcp.refused": None}


def test_what_is_wrong_with_a_location__twin__options_that_redis_py_takes(healthy):
    query = "socket_timeout=1&retry_on_timeout=true&health_check_interval=30&client_name=web"
    assert only(healthy.url(f"/0?{query}")).id == "redis.ok"


def test_an_option_of_the_pool_is_no_mistake(healthy, settings):
    """``timeout`` is BlockingConnectionPool's own, and never reaches a connection."""
    settings.CACHES = {
        "default": {
            "BACKEND": DJANGO,
            "LOCATION": healthy.url(),
            "OPTIONS": {"pool_class": "redis.BlockingConnectionPool", "timeout": 5},
        },
    }
    report = examine(probes_of(["cache", "redis"]), Deadline(20))
    assert {f.id for f in report.findings} == {"redis.ok", "cache.ok"}


def test_what_settings_silence_is_left_out(settings):
    settings.CACHES = {"default": {"BACKEND": DJANGO, "LOCATION": "redis://h?foo=1"}}
    for silenced, left in (([], 1), (["resilience.redis.url-invalid"], 0), (["redis.ok"], 1)):
        settings.SILENCED_SYSTEM_CHECKS = silenced
        report = examine(probes_of(["redis"]), Deadline(5))
        assert (len(report.findings), report.exit_code) == (left, left)


def test_sentinel_is_said_to_be_not_examined(settings):
    settings.CACHES = {
        "default": {
            "BACKEND": DJANGO_REDIS,
            "LOCATION": "redis://service/0",
            "OPTIONS": {"CONNECTION_FACTORY": "django_redis.pool.SentinelConnectionFactory"},
        }
    }
    report = examine(probes_of(["redis"]), Deadline(5))
    assert [(f.id, f.skipped) for f in report.findings] == [("redis.sentinel", True)]
