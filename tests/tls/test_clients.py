"""One trust for every client, also where the machine has no store: which verifies all the same."""

from __future__ import annotations

import asyncio
import smtplib
import socket
import ssl
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import aiohttp
import certifi
import httpx
import langsmith
import pytest
import redis
import requests
from redis.backoff import NoBackoff
from redis.retry import Retry

from resilience.cache.connector import Dialler, Server
from resilience.components.langsmith import Client
from resilience.findings import Level
from resilience.probes.base import Deadline
from resilience.probes.stores import Stores
from resilience.simulation.fake_langsmith import FakeLangSmith
from resilience.simulation.fake_redis import FakeRedis
from resilience.tls import policy
from resilience.tls.policy import Policy
from resilience.tls.trust import Trust
from tests.tls.adapter import WithContext
from tests.tls.pki import ROOT, Issued, Scripted, issue, leaf, server_context

PUBLIC = issue("Public Root", ca=True)
KEY = "lsv2_canary_0123456789"


@pytest.fixture(params=["empty file", "missing file", "nothing at all"])
def store(request, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """No system store, in three ways; certifi's is a stand-in with one authority."""
    (tmp_path / "empty.pem").touch()
    (tmp_path / "folder").mkdir()
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_DIR", *policy.CA_VARIABLES):
        monkeypatch.delenv(name, raising=False)
    file = {"empty file": "empty.pem", "missing file": "missing.pem"}.get(request.param)
    if file:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / file))
    else:
        monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    machine = ssl.get_default_verify_paths()
    nothing = machine._replace(openssl_cafile=str(tmp_path / "none"), openssl_capath="/none")
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: nothing)
    monkeypatch.setattr("resilience.tls.reading._ELSEWHERE", ())
    (tmp_path / "certifi.pem").write_text(PUBLIC.pem)
    monkeypatch.setattr(certifi, "where", lambda: str(tmp_path / "certifi.pem"))
    policy.use(Policy(ca=ROOT.pem))
    return str(request.param)


# ── the clients: each connects as an application would have it do ───────────────────────────────


def by_requests(server: FakeLangSmith, trust: Trust) -> None:
    with requests.Session() as session:
        session.mount("https://", WithContext(trust.context()))
        session.get(f"{server.url}/info", timeout=1).raise_for_status()


def by_a_file(server: FakeLangSmith, trust: Trust) -> None:
    with requests.Session() as session:
        session.trust_env = False
        path = str(trust.bundle())
        session.get(f"{server.url}/info", timeout=1, verify=path).raise_for_status()


def by_httpx(server: FakeLangSmith, trust: Trust) -> None:
    with httpx.Client(verify=trust.context()) as client:
        client.get(f"{server.url}/info").raise_for_status()


def by_urllib(server: FakeLangSmith, trust: Trust) -> None:
    urllib.request.urlopen(  # noqa: S310 - the test's own server
        f"{server.url}/info", timeout=1, context=trust.context()
    ).close()


def by_aiohttp(server: FakeLangSmith, trust: Trust) -> None:
    async def fetch() -> None:
        connector = aiohttp.TCPConnector(ssl=trust.context())
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.get(f"{server.url}/info") as response,
        ):
            response.raise_for_status()

    asyncio.run(fetch())


def _langsmith(server: FakeLangSmith, call: Callable[[Client], object]) -> None:
    """It takes its trust from the policy by itself."""
    with ExitStack() as stack:
        stack.callback(langsmith.configure, client=None, enabled=None)
        client = Client(api_url=server.url, api_key=KEY, enabled=False)
        stack.callback(client.close, 0)
        call(client)


def by_langsmith_on_requests(server: FakeLangSmith, _: Trust) -> None:
    _langsmith(server, lambda client: list(client.list_projects(limit=1)))


def by_langsmith_on_httpx(server: FakeLangSmith, _: Trust) -> None:
    _langsmith(server, lambda client: client.agents.list())


def by_redis(server: FakeRedis, trust: Trust) -> None:
    options: dict[str, Any] = {**trust.redis_options(), "retry": Retry(NoBackoff(), 0)}
    with redis.Redis(host="localhost", port=server.port, ssl=True, **options) as client:
        client.ping()


def by_the_cache(server: FakeRedis, _: Trust) -> None:
    # AUTH, which the fake takes: the connection itself says nothing else.
    dialler = Dialler(Server(f"rediss://:geheim@localhost:{server.port}/0", {}), time.monotonic)
    connection = dialler._server.connection()
    try:
        dialler.dial(connection)
    finally:
        connection.disconnect()


OF_REDIS = (by_redis, by_the_cache)
BY = (
    by_requests,
    by_a_file,
    by_httpx,
    by_urllib,
    by_aiohttp,
    by_langsmith_on_requests,
    by_langsmith_on_httpx,
    *OF_REDIS,
)
each_client = pytest.mark.parametrize("client", BY)


def server_of(client: object, certificate: Issued) -> FakeLangSmith | FakeRedis:
    context = server_context(certificate)
    return FakeRedis(tls=context) if client in OF_REDIS else FakeLangSmith(KEY, tls=context)


def heard(server: FakeLangSmith | FakeRedis) -> int:
    return len(server.commands if isinstance(server, FakeRedis) else server.requests)


@each_client
def test_without_a_system_store_every_client_verifies(store, client: Callable[[Any, Trust], None]):
    trust = policy.trust_of("langsmith")
    with server_of(client, leaf()) as ours, server_of(client, leaf(PUBLIC)) as public:
        client(ours, trust)
        client(public, trust)
        assert heard(ours)
        assert heard(public)


@each_client
def test_without_a_system_store__twin__a_stranger_is_refused(store, client):
    with server_of(client, leaf(issue("Stranger", ca=True))) as server:
        with pytest.raises(Exception, match=r"(?s).*") as refused:
            client(server, policy.trust_of("langsmith"))
        assert any("CERTIFICATE_VERIFY_FAILED" in str(each) for each in causes(refused.value))
        assert heard(server) == 0


def causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def test_the_report_says_what_is_wrong_with_the_store(store):
    found = [each for each in Stores("tls").run(Deadline(1)) if each.level >= Level.WARNING]
    id, subject, words = {
        "empty file": ("tls.bundle-broken", "tls.SSL_CERT_FILE", "empty.pem: no PEM block"),
        "missing file": ("tls.bundle-missing", "tls.SSL_CERT_FILE", "missing.pem: No such file"),
        "nothing at all": ("tls.empty-store", "tls", "The system's store is empty"),
    }[store]
    assert [(each.id, each.subject) for each in found] == [(id, subject)]
    assert words in found[0].summary
    assert found[0].hint


def test_the_report_says_what_is_wrong_with_the_store__twin__once_it_is_mended(
    store, monkeypatch, tmp_path
):
    (tmp_path / "system.pem").write_text(issue("Some Root", ca=True).pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "system.pem"))
    assert [each.id for each in Stores("tls").run(Deadline(1))] == ["tls.ok"]


def test_smtplib_with_our_context():
    def script(connection: socket.socket) -> bool:
        connection.sendall(b"220 mail ESMTP\r\n")
        for answer in (b"250-mail\r\n250 STARTTLS\r\n", b"220 go\r\n"):
            connection.recv(1024)
            connection.sendall(answer)
        return True

    with Scripted(script, server_context(leaf())) as server:
        for trust, passes in ((Trust.only(ROOT.pem), True), (Trust.only(PUBLIC.pem), False)):
            with suppress(smtplib.SMTPException), smtplib.SMTP("localhost", server.port) as mail:
                if passes:
                    mail.starttls(context=trust.context())
                    mail.close()
                else:
                    with pytest.raises(ssl.SSLCertVerificationError):
                        mail.starttls(context=trust.context())
                    mail.close()
