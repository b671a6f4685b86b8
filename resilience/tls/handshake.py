"""One handshake, and everything that was to be seen in it, also when it failed.

The chain of a server that does not verify is read from the very handshake that failed, which
verified: there is no second one that trusts anybody.
"""

from __future__ import annotations

import socket
import ssl
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Handshake:
    """How it ended. ``chain`` is what the server sent (DER, its own certificate first).

    ``path`` is what OpenSSL made of it, up to a certificate of the store where it found one; also
    for a handshake that failed. Both may be empty. ``error`` is None if it succeeded.
    """

    error: BaseException | None
    chain: tuple[bytes, ...] = field(repr=False)
    path: tuple[bytes, ...] = field(repr=False)
    version: str
    cipher: str
    took_ms: float

    @property
    def code(self) -> int | None:
        """OpenSSL's verify code (``X509_V_ERR_*``), if that is why it failed."""
        return getattr(self.error, "verify_code", None)


def shake(
    sock: socket.socket, context: ssl.SSLContext, name: str, seconds: float
) -> tuple[Handshake, ssl.SSLSocket | None]:
    """A handshake on a connected socket, which is closed if it fails.

    ``name`` is a host name or an address, ``seconds`` the time for all of it. Raises nothing that
    the network or the server does.
    """
    began = time.perf_counter()
    secured: ssl.SSLSocket | None = None
    error: BaseException | None = None
    try:
        sock.settimeout(seconds)
        name.encode("idna")  # wrap_socket would notice too late, and lose the socket
        secured = context.wrap_socket(sock, server_hostname=name, do_handshake_on_connect=False)
        secured.do_handshake()
    except (OSError, ValueError) as failure:  # ValueError: a name that is none
        error = failure
    seen = Handshake(
        error=error,
        chain=_chain(secured, "get_unverified_chain"),
        path=_chain(secured, "get_verified_chain"),
        version=(secured.version() if secured and not error else None) or "",
        cipher=(secured.cipher() or ("",))[0] if secured and not error else "",
        took_ms=round((time.perf_counter() - began) * 1000, 2),
    )
    if error is None:
        return seen, secured
    (secured or sock).close()
    return seen, None


def _chain(sock: ssl.SSLSocket | None, method: str) -> tuple[bytes, ...]:
    """Public on Python 3.13, there before it, and perhaps missing elsewhere."""
    for holder in (sock, getattr(sock, "_sslobj", None)):
        ask = getattr(holder, method, None)
        if ask is not None:
            with suppress(OSError, ValueError, AttributeError):
                return tuple(map(_der, ask() or ()))
    return ()


def _der(certificate: Any) -> bytes:
    if isinstance(certificate, bytes):
        return certificate
    import _ssl  # noqa: PLC0415 - only where the public method is missing

    found: bytes = certificate.public_bytes(_ssl.ENCODING_DER)
    return found
