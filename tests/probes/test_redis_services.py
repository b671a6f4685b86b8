"""Who listens where Redis should: another service, named; Redis on the other side of TLS."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from resilience.findings import Finding
from resilience.probes import redis, services, targets
from resilience.probes.base import Deadline
from resilience.simulation.authority import Authority
from resilience.simulation.fake_redis import FakeRedis
from resilience.simulation.network import Garbage, Reset, Silence
from tests.servers import PostgresServer, postgres_server, redis_server

GREETINGS = {
    b"SSH-2.0-OpenSSH_9.6\r\n": "SSH",
    b"220 mail.example ESMTP\r\n": "a mail or FTP server",
    b"J\0\0\0\x0a8.0.36\0": "MySQL or MariaDB",
    b"E\0\0\0\xffj\x04Host is blocked": "MySQL or MariaDB",
}
ANSWERS = {
    b"HTTP/1.1 400 Bad Request\r\n\r\n": "a web server (HTTP)",
    b"<!DOCTYPE HTML>\n": "a web server (HTTP)",
    b"AMQP\0\0\x09\x01": "RabbitMQ (AMQP)",
    b"ERROR\r\n": "memcached",
}
REDIS = [
    b"+PONG\r\n",
    b"-NOAUTH Authentication required.\r\n",
    b"-DENIED Redis is running in protected mode\r\n",
    b"-LOADING Redis is loading\r\n",
    b"-ERR max number of clients reached\r\n",
]


def only(url: str) -> Finding:
    [finding] = redis.probe_of(targets.parse(url, origin="argument")).run(Deadline(10))
    return finding


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("services")


@pytest.fixture(scope="module")
def postgres(directory: Path) -> Iterator[PostgresServer]:
    with postgres_server(directory) as server:
        yield server


@pytest.fixture(scope="module")
def web() -> Iterator[int]:
    """Python's own web server, which answers strangers without a status line."""

    class Quiet(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
def test_a_real_postgresql_is_named(postgres, scheme):
    finding = only(f"{scheme}://127.0.0.1:{postgres.port}/0")
    assert (finding.id, finding.facts["service"]) == ("redis.wrong-service", "PostgreSQL")
    assert finding.summary.endswith(": this is PostgreSQL.")


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
def test_a_real_web_server_is_named(web, scheme):
    finding = only(f"{scheme}://127.0.0.1:{web}/0")
    assert (finding.id, finding.facts["service"]) == ("redis.wrong-service", "a web server (HTTP)")


@pytest.mark.parametrize("greeting", GREETINGS, ids=GREETINGS.values())
def test_who_greets_is_named(greeting):
    with Garbage(greeting, greet=True) as stranger:
        finding = only(f"redis://127.0.0.1:{stranger.port}/0")
    assert (finding.id, finding.facts["service"]) == ("redis.wrong-service", GREETINGS[greeting])


@pytest.mark.parametrize("answer", ANSWERS, ids=repr)
def test_who_answers_is_named(answer):
    with Garbage(answer) as stranger:
        finding = only(f"redis://127.0.0.1:{stranger.port}/0")
    assert (finding.id, finding.facts["service"]) == ("redis.wrong-service", ANSWERS[answer])


def test_who_is_unknown_is_not_guessed():
    with Garbage(b"\x01\x02\x03") as stranger:
        finding = only(f"redis://127.0.0.1:{stranger.port}/0")
    assert (finding.id, dict(finding.facts)) == ("redis.wrong-service", {})
    with Reset() as reset:
        assert services.identify(reset.address, Deadline(3)) is None


@pytest.mark.parametrize("answer", REDIS, ids=lambda answer: answer.split()[0].decode())
def test_redis_is_recognised_in_whatever_state_it_is(answer):
    with Garbage(answer, greet=True) as door:
        assert services.identify(door.address, Deadline(3)) == services.REDIS


def test_who_says_nothing_costs_half_a_stage():
    with Silence() as silence:
        began = time.monotonic()
        assert services.identify(silence.address, Deadline(1)) is None
        assert time.monotonic() - began < 0.6


def test_a_sentinel_is_no_redis():
    with FakeRedis({"EVAL": 1, "INFO": b"redis_mode:sentinel\r\n"}) as fake:
        finding = only(fake.url)
        assert finding.id == "redis.wrong-service"
        assert "SENTINELS" in finding.hint
        assert "SET" not in fake.commands
        fake.replies["INFO"] = b"redis_mode:standalone\r\n"
        assert only(fake.url).id == "redis.ok"


def test_a_port_with_tls_tells_its_version_and_whom_its_certificate_names(directory):
    """Nobody here trusts it: it is read from the handshake that failed."""
    authority = Authority()
    with redis_server(directory=directory, tls=authority) as server:
        finding = only(server.url(scheme="redis"))
        assert finding.id == "redis.plain-to-tls"
        assert finding.facts["certificate_names"] == "localhost, 127.0.0.1"
        assert "a certificate for localhost" in finding.summary
        assert "rediss://" in finding.hint
        ca = authority.write_ca(directory / "ca.pem")
        assert only(server.url(f"/0?ssl_ca_certs={ca}")).id == "redis.ok"


def test_a_plain_port_of_redis_whatever_it_answers(directory):
    with redis_server("--requirepass", "a-password", directory=directory) as server:
        finding = only(server.url(scheme="rediss"))
        assert finding.id == "redis.tls-to-plain"
        assert "private network redis:// is right" in finding.hint
        assert only(server.url(scheme="redis", password="a-password")).id == "redis.ok"
    with Garbage(b"-DENIED Redis is running in protected mode\r\n", greet=True) as door:
        assert only(f"rediss://127.0.0.1:{door.port}/0").id == "redis.tls-to-plain"


@pytest.mark.parametrize("host", ["redis.railway.internal", "monorail.proxy.rlwy.net"])
def test_rediss_is_no_improvement_on_railway(host, directory, monkeypatch):
    """Names that exist only there: here they lead to this machine."""
    real = socket.getaddrinfo

    def resolve(name, *args, **kwargs):
        return real("127.0.0.1" if name == host else name, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with redis_server(directory=directory) as server:
        finding = only(f"rediss://{host}:{server.port}/0")
        assert finding.id == "redis.tls-to-plain"
        assert "that network itself is encrypted (WireGuard)" in finding.hint
        assert ("in clear" in finding.hint) is host.endswith("rlwy.net")
        assert only(f"redis://{host}:{server.port}/0").id == "redis.ok"
