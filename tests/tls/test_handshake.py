"""What a handshake shows, also when it failed; pins; one trust for every client library."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import smtplib
import socket
import ssl
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import certifi
import httpx
import pytest
import requests
from hypothesis import given, strategies as st

from resilience.errors import UsageError
from resilience.simulation.listener import Listener
from resilience.tls import pinning, policy
from resilience.tls.certificate import Certificate, draw, read_all
from resilience.tls.handshake import Handshake, shake
from resilience.tls.pinning import PinMismatch, pin_of
from resilience.tls.policy import Policy
from resilience.tls.trust import Trust
from tests.tls.pki import MIDDLE, ROOT, Issued, Scripted, Web, issue, leaf, server_context


def shaken(context: ssl.SSLContext, server: Listener, name: str = "localhost") -> Handshake:
    seen, secured = shake(socket.create_connection(server.address, 1.0), context, name, 1.0)
    if secured is not None:
        secured.close()
    return seen


def test_what_is_seen_of_one_that_succeeds():
    mine = leaf(MIDDLE)
    with Web(mine, MIDDLE) as server:
        seen = shaken(Trust.only(ROOT.pem).context(), server)
    assert (seen.error, seen.code, seen.version) == (None, None, "TLSv1.3")
    assert seen.chain == (mine.der, MIDDLE.der)
    assert seen.path == (mine.der, MIDDLE.der, ROOT.der)
    assert draw(read_all(seen.chain)) == "localhost <- Our Intermediate <- (not sent) Our Root"
    assert (
        draw(read_all(seen.path), "tls.ok") == "localhost <- Our Intermediate <- Our Root: tls.ok"
    )


def test_what_is_seen_of_one_that_fails():
    """The chain, without a second handshake that would trust anybody."""
    mine = leaf(MIDDLE)
    with Web(mine, MIDDLE) as server:
        seen = shaken(Trust.only(issue("Other", ca=True).pem).context(), server)
        assert server.connections == 1
    assert (seen.code, seen.chain) == (20, (mine.der, MIDDLE.der))


def test_a_name_that_is_none_is_an_error_and_no_exception():
    with Web(leaf()) as server:
        assert isinstance(
            shaken(Trust.only(ROOT.pem).context(), server, "a" * 300).error, ValueError
        )


def test_a_certificate_that_cannot_be_read_is_left_out():
    assert read_all((b"", b"0\x03\x02\x01\x01", ROOT.der)) == [Certificate.read(ROOT.der)]


# ── pins ────────────────────────────────────────────────────────────────────────────────────────


def pinned(*certificates: Issued) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    pinning.demand(context, tuple(pin_of(each.der) for each in certificates))
    return context


def test_a_pin_is_the_digest_of_the_key():
    from cryptography.hazmat.primitives import serialization

    spki = ROOT.key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    digest = hashlib.sha256(spki).digest()
    assert pin_of(ROOT.der) == "sha256//" + base64.b64encode(digest).decode()


@given(st.binary(min_size=32, max_size=32))
def test_every_spelling_of_a_pin(digest):
    plain = base64.b64encode(digest).decode()
    spellings = (
        f"sha256//{plain}",
        f"sha256/{plain}",
        f" {plain} ",
        digest.hex(),
        digest.hex(":").upper(),
    )
    assert {pinning.parse(each) for each in spellings} == {f"sha256//{plain}"}


@given(st.one_of(st.text(), st.binary(), st.none(), st.integers()))
def test_what_is_no_pin_is_refused(word):
    with suppress(UsageError):
        assert len(pinning.parse(word)) == 52


def test_the_pinned_key_is_the_servers_own():
    """An authority's key would let through whatever somebody claims to be signed by it."""
    mine = leaf()
    with Web(mine, ROOT) as server:
        assert shaken(pinned(mine), server).error is None
        assert shaken(pinned(issue("x"), mine), server).error is None, "one of several"
        found = shaken(pinned(ROOT), server).error
    assert isinstance(found, PinMismatch)
    assert found.found == pin_of(mine.der)


@pytest.mark.parametrize(
    "use",
    [
        lambda sock: sock.sendall(b"secret"),
        lambda sock: sock.send(b"secret"),
        lambda sock: sock.write(b"secret"),
        lambda sock: sock.recv(1),
        lambda sock: sock.recv_into(bytearray(1)),
        lambda sock: sock.read(1),
        lambda sock: sock.makefile("rb").read(1),
    ],
)
def test_nothing_passes_before_the_pin_was_compared(use):
    """OpenSSL would do the handshake by itself at the first read or write."""
    arrived: list[bytes] = []

    def keep(connection: socket.socket) -> bool:
        with (
            suppress(OSError),
            server_context(leaf()).wrap_socket(connection.dup(), server_side=True) as secured,
        ):
            arrived.append(secured.recv(100))
        return False

    with Scripted(keep) as server:
        plain = socket.create_connection(server.address, 1.0)
        context = pinned(issue("another"))
        with context.wrap_socket(plain, do_handshake_on_connect=False) as sock:
            for _ in range(2):  # not at the second attempt either
                with pytest.raises((PinMismatch, OSError)) as refused:
                    use(sock)
                assert not isinstance(refused.value, TimeoutError)
    assert b"".join(arrived) == b""


async def fetch(port: int, context: ssl.SSLContext) -> bytes:
    reader, writer = await asyncio.open_connection("localhost", port, ssl=context)
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    answer = await reader.readline()
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return answer


def test_a_pin_in_asyncio():
    mine = leaf()
    with Web(mine) as server:
        assert asyncio.run(fetch(server.port, pinned(mine))).startswith(b"HTTP/1.1 200")
        with pytest.raises(PinMismatch):
            asyncio.run(fetch(server.port, pinned(ROOT)))
        assert len(server.requests) == 1


def test_a_pin_in_a_library_that_verifies_by_itself_refuses():
    mine = leaf()
    with Web(mine) as server, requests.Session() as session:
        session.mount("https://", _Adapter(pinned(mine)))
        with pytest.raises(requests.exceptions.SSLError):
            session.get(server.origin, timeout=1)
        assert server.requests == []


# ── one trust for all ───────────────────────────────────────────────────────────────────────────


class _Adapter(requests.adapters.HTTPAdapter):
    """As an application hands a context to requests; its own certifi stays out."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__()

    def init_poolmanager(self, *args, **kwargs):
        super().init_poolmanager(*args, **kwargs, ssl_context=self._context)

    def cert_verify(self, conn, *_):
        conn.cert_reqs, conn.ca_certs, conn.ca_cert_dir = "CERT_REQUIRED", None, None


def by_requests(server: Web, trust: Trust) -> None:
    with requests.Session() as session:
        session.mount("https://", _Adapter(trust.context()))
        session.get(server.origin, timeout=1).raise_for_status()


def by_a_file(server: Web, trust: Trust) -> None:
    with requests.Session() as session:
        session.trust_env = False
        session.get(server.origin, timeout=1, verify=str(trust.bundle())).raise_for_status()


def by_httpx(server: Web, trust: Trust) -> None:
    with httpx.Client(verify=trust.context()) as client:
        client.get(server.origin).raise_for_status()


def by_urllib(server: Web, trust: Trust) -> None:
    urllib.request.urlopen(  # noqa: S310 - the test's own server
        server.origin, timeout=1, context=trust.context()
    ).close()


def by_asyncio(server: Web, trust: Trust) -> None:  # what aiohttp's TCPConnector(ssl=…) does
    assert asyncio.run(fetch(server.port, trust.context())).startswith(b"HTTP/1.1 200")


BY = (by_requests, by_a_file, by_httpx, by_urllib, by_asyncio)


@pytest.fixture(params=["empty file", "missing file", "nothing at all"])
def store(request, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No system store, in three ways; certifi's is a stand-in with one authority."""
    (tmp_path / "empty.pem").touch()
    (tmp_path / "folder").mkdir()
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", *policy.CA_VARIABLES):
        monkeypatch.delenv(name, raising=False)
    file = {"empty file": "empty.pem", "missing file": "missing.pem"}.get(request.param)
    if file:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / file))
    else:
        monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "folder"))
    machine = ssl.get_default_verify_paths()
    nothing = machine._replace(openssl_cafile=str(tmp_path / "none"), openssl_capath="/none")
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: nothing)
    (tmp_path / "certifi.pem").write_text(PUBLIC.pem)
    monkeypatch.setattr(certifi, "where", lambda: str(tmp_path / "certifi.pem"))


PUBLIC = issue("Public Root", ca=True)


@pytest.mark.parametrize("client", BY)
def test_without_a_system_store_every_client_verifies(store, client: Callable[[Web, Trust], None]):
    policy.use(Policy(ca=ROOT.pem))
    trust = policy.trust_of("langsmith")
    with Web(leaf()) as ours, Web(leaf(PUBLIC)) as public:
        client(ours, trust)
        client(public, trust)
        assert len(ours.requests) == len(public.requests) == 1


@pytest.mark.parametrize("client", BY)
def test_without_a_system_store__twin__a_stranger_is_refused(store, client):
    policy.use(Policy(ca=ROOT.pem))
    with Web(leaf(issue("Stranger", ca=True))) as server:
        with pytest.raises(Exception, match="CERTIFICATE_VERIFY_FAILED"):
            client(server, policy.trust_of("langsmith"))
        assert server.requests == []


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
