"""Certificates with any fault, and servers that show them."""

from __future__ import annotations

import socket
import ssl
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import (
    AuthorityInformationAccessOID,
    ExtendedKeyUsageOID,
    NameOID,
    ObjectIdentifier,
)

from resilience.simulation.listener import Listener

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
Extension = tuple[x509.ExtensionType, bool]


@dataclass(frozen=True)
class Issued:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: Any

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def key_pem(self) -> str:
        pem: bytes = self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return pem.decode()


@cache
def rsa_key(bits: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


def _key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def issue(
    name: str,
    by: Issued | None = None,
    *,
    ca: bool = False,
    names: tuple[str, ...] = (),
    begins: datetime = NOW - DAY,
    ends: datetime = NOW + 365 * DAY,
    key: Any = None,
    path_length: int | None = None,
    usage: ObjectIdentifier | None = None,
    without: tuple[type[x509.ExtensionType], ...] = (),
    more: tuple[Extension, ...] = (),
    issuer_url: bool = False,
) -> Issued:
    """Signed by ``by`` or by itself; without options it is a certificate that everybody accepts."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    signer = by or Issued(None, key)  # type: ignore[arg-type]
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer = by.certificate.subject if by else subject
    extensions: list[Extension] = [
        (x509.BasicConstraints(ca=ca, path_length=path_length if ca else None), True),
        (_key_usage(ca=ca), True),
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.key.public_key()), False),
        *more,
    ]
    if not ca:
        extensions.append(
            (x509.ExtendedKeyUsage([usage or ExtendedKeyUsageOID.SERVER_AUTH]), False)
        )
    if names:
        extensions.append((x509.SubjectAlternativeName([_general(each) for each in names]), False))
    if issuer_url:
        access = x509.AccessDescription(
            AuthorityInformationAccessOID.CA_ISSUERS,
            x509.UniformResourceIdentifier("http://ca.test/issuer.der"),
        )
        extensions.append((x509.AuthorityInformationAccess([access]), False))
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
    )
    for extension, critical in extensions:
        if not isinstance(extension, without):
            builder = builder.add_extension(extension, critical)
    return Issued(builder.sign(signer.key, hashes.SHA256()), key)


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def with_sha1(issued: Issued, by: Issued) -> Issued:
    """Signed again with SHA-1, which cryptography would not do by itself; ``by`` has an RSA key."""
    sha256, sha1 = bytes.fromhex("2a864886f70d01010b"), bytes.fromhex("2a864886f70d010105")
    signed = issued.certificate.tbs_certificate_bytes.replace(sha256, sha1)
    signature = by.key.sign(signed, padding.PKCS1v15(), hashes.SHA1())  # noqa: S303
    der = issued.der.replace(sha256, sha1).replace(issued.certificate.signature, signature)
    return Issued(x509.load_der_x509_certificate(der), issued.key)


ROOT = issue("Our Root", ca=True)
MIDDLE = issue("Our Intermediate", ROOT, ca=True)


def leaf(by: Issued = ROOT, name: str = "localhost", **options: Any) -> Issued:
    """A server's certificate for localhost."""
    options.setdefault("names", ("localhost",))
    return issue(name, by, **options)


def server_context(
    *chain: Issued, ciphers: str | None = None, client_ca: str | None = None
) -> ssl.SSLContext:
    """Shows this chain, the server's own certificate first, however weak it is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers(ciphers or "DEFAULT@SECLEVEL=0")
    with tempfile.TemporaryDirectory() as folder:
        load(context, Path(folder), *chain)
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=client_ca)
    return context


def load(context: ssl.SSLContext, folder: Path, *chain: Issued) -> tuple[Path, Path]:
    certificate, key = folder / "chain.pem", folder / "key.pem"
    certificate.write_text("".join(each.pem for each in chain))
    key.write_text(chain[0].key_pem)
    context.load_cert_chain(certificate, key)
    return certificate, key


class Web(Listener):
    """Answers every request, with the time that it believes in."""

    def __init__(self, *chain: Issued, ahead: timedelta = timedelta(), **options: Any) -> None:
        tls = options.pop("tls", None) or (server_context(*chain, **options) if chain else None)
        super().__init__(tls=tls)
        self.ahead = ahead
        self.requests: list[bytes] = []

    @property
    def origin(self) -> str:
        return f"{'http' if self.tls is None else 'https'}://localhost:{self.port}"

    def handle(self, connection: Any) -> None:
        request = b""
        while not request.endswith((b"\r\n\r\n", b"PING\r\n")):
            more = connection.recv(4096)
            if not more:
                return
            request += more
        self.requests.append(request)
        date = format_datetime(datetime.now(UTC) + self.ahead, usegmt=True)
        answer = f"HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Length: 0\r\n\r\n"
        connection.sendall(answer.encode())
        with suppress(OSError):
            connection.recv(1)


class Scripted(Listener):
    """Plays a dialogue in plain text, then speaks TLS on the same connection if it has a context.

    ``script`` gets the connection; True says that TLS begins now.
    """

    def __init__(
        self, script: Callable[[Any], bool], context: ssl.SSLContext | None = None
    ) -> None:
        super().__init__()
        self._script, self._context = script, context

    def handle(self, connection: Any) -> None:
        if self._script(connection) and self._context:
            with suppress(OSError):
                with self._context.wrap_socket(connection.dup(), server_side=True) as secured:
                    while secured.recv(4096):
                        pass


class ConnectProxy(Listener):
    """An HTTP proxy: every CONNECT, whatever it names, leads to the server of ``route``."""

    def __init__(self, route: Callable[[str], tuple[str, int]], *, status: str = "200 OK") -> None:
        super().__init__()
        self._route, self._status = route, status
        self.asked: list[str] = []

    def handle(self, connection: Any) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += connection.recv(1)
        self.asked.append(head.decode())
        connection.sendall(f"HTTP/1.1 {self._status}\r\n\r\n".encode())
        if not self._status.startswith("200"):
            return
        with socket.create_connection(self._route(head.split()[1].decode())) as server:
            back = threading.Thread(target=_copy, args=(server, connection), daemon=True)
            back.start()
            _copy(connection, server)
            back.join(1.0)


def _copy(source: Any, sink: Any) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
