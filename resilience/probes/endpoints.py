"""One TLS server, and how its client uses it; the words that users write for one."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from resilience import redact
from resilience.errors import UsageError, did_you_mean

_LAST_PORT = 65535
_HOST = re.compile(r"[\w.-]{1,253}|[0-9a-fA-F:.]+(?:%\w+)?")
_BARE = re.compile(r"(\[[^\]]+\]|[^:/\[\]]+)(?::(\d+))?")


class Scheme(NamedTuple):
    """The usual port, what is spoken inside TLS, and whether TLS is asked for first (STARTTLS)."""

    port: int
    protocol: str
    starttls: bool = False


SCHEMES = {
    "https": Scheme(443, "http"),
    "wss": Scheme(443, "http"),
    "rediss": Scheme(6379, "redis"),
    "smtps": Scheme(465, "smtp"),
    "smtp": Scheme(587, "smtp", starttls=True),
    "postgres": Scheme(5432, "postgres", starttls=True),
    "postgresql": Scheme(5432, "postgres", starttls=True),
    "postgis": Scheme(5432, "postgres", starttls=True),
    "amqps": Scheme(5671, ""),
    "ldaps": Scheme(636, ""),
    "tls": Scheme(0, ""),
}
_PLAIN = {"http": "https", "ws": "wss", "redis": "rediss", "amqp": "amqps", "ldap": "ldaps"}
_BY_PORT = {
    25: SCHEMES["smtp"],
    443: SCHEMES["https"],
    465: SCHEMES["smtps"],
    587: SCHEMES["smtp"],
    5432: SCHEMES["postgres"],
    6379: SCHEMES["rediss"],
    6380: SCHEMES["rediss"],
}


@dataclass(frozen=True)
class Endpoint:
    """``origins`` say where it is configured, ``component`` whose trust it is (§ TLS settings).

    ``stores`` are those that the client chooses by itself (``tls.stores``); empty means that it
    takes its trust from this package. ``ca`` are its own authorities besides, ``only_ca`` a file
    that is all it trusts. ``verifies`` False: its options switch verification off. ``proxy`` is the
    URL of the proxy that it goes through.
    """

    host: str
    port: int
    protocol: str = ""
    starttls: bool = False
    component: str = ""
    origins: tuple[str, ...] = ("argument",)
    stores: tuple[str, ...] = ()
    ca: tuple[str, ...] = ()
    only_ca: str | None = None
    client_cert: tuple[str, str | None] | None = None
    verifies: bool = True
    proxy: str = field(default="", repr=False)

    @property
    def where(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def subject(self) -> str:
        return f"tls.{self.where}"


def parse(word: str) -> Endpoint:
    """``HOST``, ``HOST:PORT`` or a URL. Raises UsageError, which does not repeat the word."""
    text = word.strip()
    if "://" in text:
        return _of_url(text)
    found = _BARE.fullmatch(text)
    if not found:
        raise UsageError("A target is HOST:PORT or a URL such as https://host or rediss://host.")
    host, port = found[1].strip("[]"), _port(found[2] or "443")
    scheme = _BY_PORT.get(port, SCHEMES["tls"])
    return Endpoint(_host(host), port, scheme.protocol, scheme.starttls)


def _of_url(text: str) -> Endpoint:
    redact.register_url(text)
    try:
        parts = urlsplit(text)
    except ValueError:
        raise UsageError("The URL does not parse: look at the brackets of its host.") from None
    name = parts.scheme.lower()
    if name in _PLAIN:
        raise UsageError(f"{name}:// is a connection without TLS: write {_PLAIN[name]}://.")
    if name not in SCHEMES:
        raise UsageError(f"The scheme is one of {', '.join(SCHEMES)}.{did_you_mean(name, SCHEMES)}")
    scheme = SCHEMES[name]
    return Endpoint(
        _host(parts.hostname or ""), _port_of(parts, scheme), scheme.protocol, scheme.starttls
    )


def _port_of(parts: SplitResult, scheme: Scheme) -> int:
    try:
        port = scheme.port if parts.port is None else parts.port
    except ValueError:
        raise UsageError("The port is not a number from 1 to 65535.") from None
    return _port(str(port))


def _port(digits: str) -> int:
    if not 0 < int(digits[:6]) <= _LAST_PORT:
        raise UsageError("The port is not a number from 1 to 65535.")
    return int(digits)


def _host(host: str) -> str:
    if not host:
        raise UsageError("The target names no host.")
    try:
        ascii_ = host if host.isascii() else host.encode("idna").decode()
    except UnicodeError:
        ascii_ = ""
    if not _HOST.fullmatch(ascii_) or ".." in ascii_:
        raise UsageError("The host of the target is neither a host name nor an address.")
    return ascii_
