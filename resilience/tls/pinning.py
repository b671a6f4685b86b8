"""Pins: a server that is known by its key, where no authority vouches for it.

As with SSH, the key is the identity: name, dates and issuer of the certificate do not count, and a
renewal with the same key changes nothing. Only the server's own key is compared. An issuer's would
prove nothing, since nobody checks what it has signed.
"""

from __future__ import annotations

import base64
import hashlib
import re
import socket
import ssl
from contextlib import suppress
from typing import Any

from resilience.errors import UsageError

_PREFIX = "sha256//"  # as curl's --pinnedpubkey writes it
_BASE64 = re.compile(r"(?:sha256//?)?([A-Za-z0-9+/]{43}=)")  # which may begin with a slash
_HEX = re.compile(r"(?:[0-9a-fA-F]{2}:?){32}")
_DIGEST = 32  # bytes


class PinMismatch(ssl.SSLError):
    """The server has another key than the pinned ones; ``found`` is its pin."""

    def __init__(self, found: str) -> None:
        super().__init__(f"the server's key is {found}, which is not pinned")
        self.found = found


def pin_of(der: bytes) -> str:
    """The pin of a certificate (DER), ``sha256//BASE64``. Raises ValueError for what is none."""
    # 30 ms that only the users of pins and reports pay.
    from cryptography import x509  # noqa: PLC0415
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415

    key = x509.load_der_x509_certificate(der).public_key()
    spki = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return _PREFIX + base64.b64encode(hashlib.sha256(spki).digest()).decode()


def parse(word: object) -> str:
    """A pin as curl, HPKP or openssl writes it, in our spelling. Raises UsageError."""
    text = word.strip() if isinstance(word, str) else ""
    if _HEX.fullmatch(text):
        digest = bytes.fromhex(text.replace(":", ""))
    else:
        found = _BASE64.fullmatch(text)
        digest = base64.b64decode(found[1]) if found else b""
    if len(digest) != _DIGEST:
        raise UsageError("a pin is sha256//, then 44 characters of base64; checktls prints it")
    return _PREFIX + base64.b64encode(digest).decode()


def demand(context: ssl.SSLContext, pins: tuple[str, ...]) -> None:
    """Have every connection of a context compare the server's key, instead of its issuer and name.

    The comparison is part of the handshake, and nothing is sent or read before it.
    """
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.sslsocket_class = type("PinnedSocket", (_PinnedSocket,), {"pins": pins})
    context.sslobject_class = type("PinnedObject", (_PinnedObject,), {"pins": pins})


def demands(context: ssl.SSLContext) -> bool:
    """Whether connections of this context compare a key."""
    return issubclass(context.sslsocket_class or object, _PinnedSocket)


class _Pinned:
    """What ``SSLSocket`` and ``SSLObject`` have in common here."""

    pins: tuple[str, ...] = ()
    _matched = False

    def do_handshake(self, *args: Any) -> None:
        super().do_handshake(*args)  # type: ignore[misc]
        try:
            found = pin_of(self.getpeercert(binary_form=True) or b"")  # type: ignore[attr-defined]
        except ValueError:
            found = "unreadable"
        self._matched = found in self.pins
        if not self._matched:
            if isinstance(self, socket.socket):
                with suppress(OSError):
                    socket.socket.shutdown(self, socket.SHUT_RDWR)
            raise PinMismatch(found)

    def read(self, *args: Any) -> Any:
        self._insist()
        return super().read(*args)  # type: ignore[misc]

    def write(self, *args: Any) -> Any:
        self._insist()
        return super().write(*args)  # type: ignore[misc]

    def _insist(self) -> None:
        """OpenSSL does a handshake of its own where none was done before."""
        if not self._matched:
            self.do_handshake()


class _PinnedSocket(_Pinned, ssl.SSLSocket):
    def send(self, *args: Any) -> int:
        self._insist()
        return super().send(*args)


class _PinnedObject(_Pinned, ssl.SSLObject):
    pass
