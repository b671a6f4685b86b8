"""Certificates that verify, and each way in which they do not."""

from __future__ import annotations

import importlib
import socket
import ssl
import stat
import sys
from typing import TYPE_CHECKING

import pytest

from resilience.simulation.authority import Authority
from resilience.simulation.network import Silence

if TYPE_CHECKING:
    from pathlib import Path

# What OpenSSL calls it: X509_V_ERR_…
EXPIRED = 10
UNKNOWN_ISSUER = 20
WRONG_NAME = 62
WRONG_ADDRESS = 64


def shake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> str | None:
    """Shake hands over a real connection; the version agreed on."""
    with (
        Silence(tls=server) as fault,
        socket.create_connection(fault.address, timeout=2) as line,
        client.wrap_socket(line, server_hostname=name) as secured,
    ):
        return secured.version()


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "redis.internal"])
def test_verifies_for_each_name(authority, name):
    server = authority.server_context("localhost", "127.0.0.1", "redis.internal")
    assert shake(server, authority.client_context(), name) == "TLSv1.3"


@pytest.mark.parametrize(
    ("name", "code"), [("redis.internal", WRONG_NAME), ("127.0.0.1", WRONG_ADDRESS)]
)
def test_not_for_another_name(authority, name, code):
    with pytest.raises(ssl.SSLCertVerificationError) as raised:
        shake(authority.server_context("localhost"), authority.client_context(), name)
    assert raised.value.verify_code == code


def test_not_for_a_client_of_another_authority(authority):
    with pytest.raises(ssl.SSLCertVerificationError) as raised:
        shake(authority.server_context("localhost"), Authority().client_context(), "localhost")
    assert raised.value.verify_code == UNKNOWN_ISSUER


def test_not_once_expired(authority):
    server = authority.server_context("localhost", expired=True)
    with pytest.raises(ssl.SSLCertVerificationError) as raised:
        shake(server, authority.client_context(), "localhost")
    assert raised.value.verify_code == EXPIRED


def test_not_without_a_name(authority):
    with pytest.raises(ValueError, match="identit"):
        authority.server_context()


@pytest.mark.parametrize("expired", [False, True])
def test_files_say_the_same(authority, tmp_path: Path, expired):
    cert, key = tmp_path / "server.pem", tmp_path / "server.key"
    authority.write_server(cert, key, "localhost", expired=expired)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(cert, key)
    client = ssl.create_default_context(cafile=str(authority.write_ca(tmp_path / "ca.pem")))
    if expired:
        with pytest.raises(ssl.SSLCertVerificationError):
            shake(server, client, "localhost")
    else:
        assert shake(server, client, "localhost") == "TLSv1.3"


def test_the_key_is_for_its_owner_alone(authority, tmp_path: Path):
    key = tmp_path / "server.key"
    authority.write_server(tmp_path / "server.pem", key, "localhost")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_verifies_strictly_too(authority):
    """Python 3.13 sets this flag by default."""
    client = authority.client_context()
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    assert shake(authority.server_context("localhost"), client, "localhost") == "TLSv1.3"


def test_without_trustme_the_import_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "trustme", None)
    monkeypatch.delitem(sys.modules, "resilience.simulation.authority")
    with pytest.raises(
        ModuleNotFoundError, match=r"pip install 'django-resilience-ops\[rehearse\]'"
    ):
        importlib.import_module("resilience.simulation.authority")
