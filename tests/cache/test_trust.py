"""The cache's connections trust what ``RESILIENCE["TLS"]`` says; redis-py's options still hold."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from datetime import date
from typing import Any

import certifi
import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID
from redis import exceptions

from resilience.cache.connector import Dialler, Server
from resilience.simulation.fake_redis import FakeRedis
from resilience.tls import policy
from resilience.tls.pinning import pin_of
from resilience.tls.policy import Policy
from resilience.tls.trust import Insecure
from tests.tls.pki import ROOT, Issued, issue, leaf, load, server_context

LEAF = leaf()


@pytest.fixture
def fake() -> Iterator[FakeRedis]:
    with FakeRedis(tls=server_context(LEAF)) as server:
        yield server


def dialler(fake: FakeRedis, query: str = "", **options: Any) -> Dialler:
    return Dialler(Server(f"rediss://localhost:{fake.port}/0{query}", options), time.monotonic)


def dial(dialler: Dialler) -> None:
    connection = dialler._server.connection()
    try:
        dialler.dial(connection)
    finally:
        connection.disconnect()


def refused(dialler: Dialler) -> str:
    with pytest.raises(exceptions.ConnectionError) as error:
        dial(dialler)
    return str(error.value)


def test_the_users_authority(fake):
    policy.use(Policy(ca=ROOT.pem))
    dial(dialler(fake))


def test_the_users_authority__twin__without_it(fake):
    assert "CERTIFICATE_VERIFY_FAILED" in refused(dialler(fake))


@pytest.mark.parametrize("content", ["", None])
def test_without_a_system_store(content, tmp_path, monkeypatch):
    """SSL_CERT_FILE is empty, or names nothing; certifi's authority and the user's both verify."""
    public = issue("Public Root", ca=True)
    (tmp_path / "folder").mkdir()
    (tmp_path / "certifi.pem").write_text(public.pem)
    if content is not None:
        (tmp_path / "system.pem").write_text(content)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "system.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "folder"))
    monkeypatch.setattr(certifi, "where", lambda: str(tmp_path / "certifi.pem"))
    policy.use(Policy(ca=ROOT.pem))
    for by in (ROOT, public):
        with FakeRedis(tls=server_context(leaf(by))) as fake:
            dial(dialler(fake))
    with FakeRedis(tls=server_context(leaf(issue("Stranger", ca=True)))) as fake:
        assert "CERTIFICATE_VERIFY_FAILED" in refused(dialler(fake))


def test_its_own_options_still_hold(fake, tmp_path):
    path = tmp_path / "root.pem"
    path.write_text(ROOT.pem)
    dial(dialler(fake, f"?ssl_ca_certs={path}"))
    dial(dialler(fake, ssl_ca_data=ROOT.pem))
    dial(dialler(fake, "?ssl_cert_reqs=none"))
    policy.use(Policy(ca=ROOT.pem))
    dial(dialler(fake, "?ssl_cert_reqs=none"))
    assert "No such file" in refused(dialler(fake, "?ssl_ca_certs=/nowhere.pem"))


def test_a_pin_alone(fake):
    policy.use(Policy(pins={"redis": (pin_of(LEAF.der),)}))
    dial(dialler(fake))
    policy.use(Policy(pins={"redis": (pin_of(ROOT.der),)}))
    assert "is not pinned" in refused(dialler(fake))


def test_insecure_until_it_is_over(fake):
    entry = Insecure("redis", "Friday", date(2999, 1, 1))
    policy.use(Policy(insecure={"redis": entry}))
    same = dialler(fake)
    dial(same)
    dial(same)
    policy.use(Policy(insecure={"redis": entry._replace(until=date(2020, 1, 1))}))
    assert "switched off until 2020-01-01" in refused(same), "a context made before is no way out"
    policy.use(Policy(insecure={"email": entry}))
    assert "CERTIFICATE_VERIFY_FAILED" in refused(same)


def test_a_context_is_made_once_and_anew_when_the_trust_changes(fake, monkeypatch):
    policy.use(Policy(ca=ROOT.pem))
    same = dialler(fake)
    dial(same)
    first = same._context
    dial(same)
    assert same._context is first
    policy.use(Policy())
    assert "CERTIFICATE_VERIFY_FAILED" in refused(same)


def _client(tmp_path: Any, name: str, by: Issued) -> tuple[str, str]:
    folder = tmp_path / name
    folder.mkdir()
    mine = issue("client", by, usage=ExtendedKeyUsageOID.CLIENT_AUTH)
    certificate, key = load(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), folder, mine)
    return str(certificate), str(key)


def test_a_client_certificate(tmp_path):
    ours = _client(tmp_path, "ours", ROOT)
    strange = _client(tmp_path, "strange", issue("Stranger", ca=True))
    context = server_context(LEAF, client_ca=ROOT.pem)
    with FakeRedis(tls=context) as fake:
        policy.use(Policy(ca=ROOT.pem))
        with_password = {"password": "x"}  # its reply is what shows the alert of TLS 1.3
        assert refused(dialler(fake, **with_password))
        policy.use(Policy(ca=ROOT.pem, client_cert={"redis": ours}))
        dial(dialler(fake, **with_password))
        policy.use(Policy(ca=ROOT.pem, client_cert={"redis": strange}))
        own = {"ssl_certfile": ours[0], "ssl_keyfile": ours[1]}
        dial(dialler(fake, **with_password, **own))
