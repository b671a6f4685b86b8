"""What a handshake shows, also when it failed; pins; one trust for every client library."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import socket
import ssl
from contextlib import suppress

import pytest
import requests
from hypothesis import given, strategies as st

from resilience.errors import UsageError
from resilience.simulation.listener import Listener
from resilience.tls import pinning
from resilience.tls.certificate import Certificate, draw, read_all
from resilience.tls.handshake import Handshake, shake
from resilience.tls.pinning import PinMismatch, pin_of
from resilience.tls.trust import Trust
from tests.tls.adapter import WithContext
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
        session.mount("https://", WithContext(pinned(mine)))
        with pytest.raises(requests.exceptions.SSLError):
            session.get(server.origin, timeout=1)
        assert server.requests == []
