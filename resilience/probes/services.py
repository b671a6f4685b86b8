"""What listens at a port that does not answer as Redis does: asked on connections of their own."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import struct

from resilience.findings import Fact
from resilience.probes.base import Deadline
from resilience.tls import certificate, handshake

REDIS = "Redis"
MAIL = "a mail or FTP server"
MYSQL = "MySQL or MariaDB"
POSTGRESQL = "PostgreSQL"
Peer = tuple[str, int]
"""An address, not a name: DNS has its own stage, and may answer another address now."""

# PostgreSQL's SSLRequest: its length and 80877103, answered by one byte (documentation, "Message
# Formats"). It takes anything else for a wrong length and hangs up.
_SSL_REQUEST = struct.pack("!ii", 8, 80877103)
_LONGEST = 64  # bytes of an answer
_NAMES_SHOWN = 5

# What is said, and the beginning of the answer that gives a service away.
_QUESTIONS: tuple[tuple[bytes, tuple[tuple[re.Pattern[bytes], str], ...]], ...] = (
    (
        b"PING\r\n",
        (
            # An error is an answer too: -NOAUTH, -DENIED, -LOADING, -MISCONF, -BUSY.
            (re.compile(rb"\+PONG|-[A-Z]{2,}[ \r]"), REDIS),
            # Without a status line it is HTTP 0.9, which Python's http.server speaks to strangers.
            (re.compile(rb"HTTP/|\s*<(!doctype|html)", re.IGNORECASE), "a web server (HTTP)"),
            (re.compile(rb"\x15\x03"), "TLS"),
            (re.compile(rb"220[ -]"), MAIL),
            (re.compile(rb"SSH-"), "SSH"),
            (re.compile(rb".{3}\0[\x0a\xff]", re.DOTALL), MYSQL),
            (re.compile(rb"AMQP"), "RabbitMQ (AMQP)"),
            (re.compile(rb"ERROR\r\n"), "memcached"),
        ),
    ),
    (_SSL_REQUEST, ((re.compile(rb"[SN]$"), POSTGRESQL),)),
    (b"GET / HTTP/1.0\r\n\r\n", ((re.compile(rb"HTTP/"), "a web server (HTTP)"),)),
)


def identify(peer: Peer, deadline: Deadline) -> str | None:
    """The service without TLS that answers at an address, ``REDIS`` among them; None if unknown.

    Takes half a stage at most: whoever asks has waited for a whole one already. Nothing secret is
    sent.
    """
    allowed = deadline.stage() / 2 / len(_QUESTIONS)
    for question, answers in _QUESTIONS:
        said = _ask(peer, question, allowed)
        for form, service in answers:
            if form.match(said):
                return service
    return None


def tls_facts(peer: Peer, name: str, deadline: Deadline) -> dict[str, Fact] | None:
    """None if a port does not speak TLS, else its version and the names of its certificate.

    ``name`` is the host name to ask for. An untrusted certificate is an answer too, and is not
    trusted: nothing is sent.
    """
    allowed = deadline.stage()
    try:
        plain = socket.create_connection(peer, allowed)
    except OSError:
        return None
    seen, secured = handshake.shake(plain, ssl.create_default_context(), name, allowed)
    if secured is not None:
        secured.close()
    reason = getattr(seen.error, "reason", None) or ""
    if not (seen.error is None or seen.chain or seen.code or "ALERT" in reason):
        return None
    facts: dict[str, Fact] = {"tls_version": seen.version} if seen.version else {}
    for first in certificate.read_all(seen.chain[:1]):
        facts["certificate_names"] = ", ".join(first.names[:_NAMES_SHOWN]) or first.subject
    return facts


def _ask(peer: Peer, question: bytes, seconds: float) -> bytes:
    """The first bytes of the answer, or of a greeting, which waits for no question."""
    said = b""
    with contextlib.suppress(OSError), socket.create_connection(peer, seconds) as sock:
        sock.settimeout(seconds)
        sock.sendall(question)
        said = sock.recv(_LONGEST)
    return said
