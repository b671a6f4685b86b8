"""The first words inside TLS."""

from __future__ import annotations

import re
import ssl
import time
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple

from resilience.probes import preludes
from resilience.probes.base import Deadline
from resilience.probes.endpoints import Endpoint

_LISTEN = (0.02, 0.5)  # seconds: at least and at most


class Greeting(NamedTuple):
    """What the server said, in a few words, and the time that it has, if it said so."""

    said: str = ""
    time: datetime | None = None


def greet(endpoint: Endpoint, sock: ssl.SSLSocket, took_ms: float, deadline: Deadline) -> Greeting:
    """Read once, then say what the protocol says first. Raises OSError and SSLError."""
    first = listen(sock, took_ms, deadline)
    ends = time.monotonic() + deadline.stage()
    if endpoint.protocol == "http":
        host = endpoint.where.removesuffix(":443")
        lines = ("HEAD / HTTP/1.1", f"Host: {host}", "User-Agent: checktls", "Connection: close")
        sock.sendall("\r\n".join([*lines, "", ""]).encode())
        return _of_http(preludes.read(sock, ends, lambda text: b"\r\n\r\n" in text))
    if endpoint.protocol == "redis":
        sock.sendall(b"PING\r\n")
        answer = preludes.read(sock, ends, lambda text: text.endswith(b"\n"))
        return Greeting("Redis answers" if answer.startswith((b"+", b"-")) else "it is no Redis")
    if endpoint.protocol == "smtp" and not endpoint.starttls:
        answer = first or preludes.read(sock, ends, lambda text: text.endswith(b"\n"))
        return Greeting("SMTP answers" if answer.startswith(b"220") else "it is no SMTP server")
    return Greeting()


def listen(sock: ssl.SSLSocket, took_ms: float, deadline: Deadline) -> bytes:
    """What a server says by itself, two handshakes long. Raises SSLError for its alert.

    With TLS 1.3 the server judges our certificate after our side of the handshake has ended: its
    alert comes with the first read, one round trip later. What is sent before could destroy it.
    """
    sock.settimeout(min(max(2 * took_ms / 1000, _LISTEN[0]), _LISTEN[1], deadline.stage()))
    with suppress(TimeoutError):
        return sock.recv(256)
    return b""


def _of_http(answer: bytes) -> Greeting:
    status = re.match(rb"HTTP/1\.[01] (\d{3})\b", answer)
    if not status:
        return Greeting("it is no web server")
    date = re.search(rb"^Date: ([^\r\n]+)", answer, re.MULTILINE | re.IGNORECASE)
    said = f"HTTP {int(status[1])}"
    if date:
        with suppress(ValueError, TypeError):
            then = parsedate_to_datetime(date[1].decode("ascii", "replace"))
            return Greeting(said, then if then.tzinfo else then.replace(tzinfo=UTC))
    return Greeting(said)
