"""What stands before a handshake: a proxy's CONNECT, PostgreSQL's SSLRequest, SMTP's STARTTLS."""

from __future__ import annotations

import base64
import re
import socket
import struct
import time
from collections.abc import Callable
from typing import NoReturn
from urllib.parse import SplitResult, unquote, urlsplit

from resilience import redact
from resilience.findings import Finding, Level
from resilience.probes import network
from resilience.probes.base import Deadline
from resilience.probes.endpoints import Endpoint

_SSL_REQUEST = struct.pack("!ii", 8, 80877103)  # PostgreSQL: protocol, section "SSLRequest"
# The kernel repeats a SYN after 1 s and 3 s: half a second more than this would bring nothing but a
# report of ten servers that ends later.
_CONNECT_SECONDS = 1.5
_MOST = 16384  # bytes of one answer
_OK = 200  # HTTP
_AUTH = 407


def connect(endpoint: Endpoint, deadline: Deadline) -> socket.socket:
    """A socket on which the handshake may begin. Raises StageFailed."""
    if endpoint.proxy:
        return _through_proxy(endpoint, deadline)
    addresses = network.resolve(endpoint.subject, endpoint.host, endpoint.port, deadline)
    sock = network.connect(endpoint.subject, addresses, endpoint.where, _brisk(deadline))
    if not endpoint.starttls:
        return sock
    try:
        {"postgres": _postgres, "smtp": _smtp}[endpoint.protocol](endpoint, sock, deadline)
    except OSError as error:
        sock.close()
        said = "did not answer in time" if isinstance(error, TimeoutError) else "hung up"
        _no_starttls(endpoint, f"{said} when it was asked for TLS")
    except BaseException:
        sock.close()
        raise
    return sock


def _brisk(deadline: Deadline) -> Deadline:
    """One whose stage is a connection's; a stage keeps a tenth of what is left."""
    return Deadline(min(deadline.left(), _CONNECT_SECONDS / 0.9))


def _no_starttls(endpoint: Endpoint, said: str) -> NoReturn:
    raise network.failed(
        "tls.no-starttls",
        endpoint.subject,
        f"{endpoint.where} {said}.",
        "Switch TLS on at the server (PostgreSQL: ssl = on; SMTP: a certificate for STARTTLS), or "
        "correct the port: 465 and other ports that begin with TLS are smtps:// or EMAIL_USE_SSL.",
    )


def _postgres(endpoint: Endpoint, sock: socket.socket, deadline: Deadline) -> None:
    sock.settimeout(deadline.stage())
    sock.sendall(_SSL_REQUEST)
    answer = sock.recv(1)
    if answer == b"N":
        _no_starttls(endpoint, "is a PostgreSQL whose TLS is off")
    if answer != b"S":
        _no_starttls(endpoint, "does not speak PostgreSQL")


def _smtp(endpoint: Endpoint, sock: socket.socket, deadline: Deadline) -> None:
    ends = time.monotonic() + deadline.stage()
    for words in (None, "EHLO localhost", "STARTTLS"):
        if words is not None:
            sock.sendall(words.encode() + b"\r\n")
        answer = read(
            sock, ends, lambda text: re.search(rb"^\d{3} [^\n]*\n", text, re.MULTILINE) is not None
        )
        expected = b"250" if words == "EHLO localhost" else b"220"
        if not answer.startswith(expected):
            _no_starttls(
                endpoint,
                "is a mail server without STARTTLS"
                if re.match(rb"\d{3}", answer)
                else "does not speak SMTP",
            )


def read(sock: socket.socket, ends: float, is_whole: Callable[[bytes], bool]) -> bytes:
    """What arrives until it is whole, the peer ends, or 16 KiB. Raises TimeoutError at ``ends``."""
    text = b""
    while not is_whole(text) and len(text) < _MOST:
        left = ends - time.monotonic()
        if left <= 0:
            raise TimeoutError
        sock.settimeout(left)
        more = sock.recv(4096)
        if not more:
            break
        text += more
    return text


# ── proxy ───────────────────────────────────────────────────────────────────────────────────────


def _through_proxy(endpoint: Endpoint, deadline: Deadline) -> socket.socket:
    redact.register_url(endpoint.proxy)
    parts = urlsplit(endpoint.proxy if "://" in endpoint.proxy else f"//{endpoint.proxy}")
    try:
        host, port = parts.hostname or "", parts.port or 80
    except ValueError:
        host, port = "", 0
    if parts.scheme == "https" or parts.scheme.startswith("socks"):
        raise network.StageFailed(_unexamined(endpoint, parts.scheme))
    if not host:
        _proxy_failed(
            endpoint,
            "The proxy of HTTPS_PROXY or ALL_PROXY does not parse",
            "Write HTTPS_PROXY=http://<host>:<port>.",
        )
    addresses = network.resolve(endpoint.subject, host, port, deadline)
    sock = network.connect(
        endpoint.subject, addresses, f"the proxy {host}:{port}", _brisk(deadline)
    )
    try:
        _tunnel(endpoint, sock, parts, deadline)
    except OSError:
        sock.close()
        _proxy_failed(
            endpoint,
            f"The proxy {host}:{port} did not answer CONNECT {endpoint.where}",
            "Correct HTTPS_PROXY, or name this host in NO_PROXY.",
        )
    except BaseException:
        sock.close()
        raise
    return sock


def _unexamined(endpoint: Endpoint, scheme: str) -> Finding:
    """A proxy that the application may well get through, and this examination does not."""
    kind = "SOCKS" if scheme.startswith("socks") else "https://"
    return Finding(
        "tls.not-examined",
        Level.INFO,
        endpoint.subject,
        f"Not examined: the way to {endpoint.where} leads through a proxy over {kind}, which only "
        "the application itself can take. For a look, set HTTPS_PROXY=http://<host>:<port>, or "
        f"name {endpoint.host} in NO_PROXY.",
        skipped=True,
    )


def _tunnel(
    endpoint: Endpoint, sock: socket.socket, proxy: SplitResult, deadline: Deadline
) -> None:
    lines = [f"CONNECT {endpoint.where} HTTP/1.1", f"Host: {endpoint.where}"]
    if proxy.username:
        pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
        lines.append("Proxy-Authorization: Basic " + base64.b64encode(pair.encode()).decode())
    ends = time.monotonic() + deadline.stage()
    sock.settimeout(deadline.stage())
    sock.sendall("\r\n".join([*lines, "", ""]).encode())
    answer = read(sock, ends, lambda text: b"\r\n\r\n" in text)
    status = re.match(rb"HTTP/1\.[01] (\d{3})\b", answer)
    if status and int(status[1]) == _OK:
        return
    if status and int(status[1]) == _AUTH:
        _proxy_failed(
            endpoint,
            "The proxy wants a user and a password (407)",
            "Write HTTPS_PROXY=http://<user>:<password>@<host>:<port>, percent-encoded.",
        )
    said = (
        f"refused CONNECT {endpoint.where} with {int(status[1])}" if status else "is no HTTP proxy"
    )
    _proxy_failed(
        endpoint,
        f"The proxy {said}",
        "Have this host and port allowed on the proxy, or name the host in NO_PROXY.",
    )


def _proxy_failed(endpoint: Endpoint, said: str, hint: str) -> NoReturn:
    raise network.failed("tls.proxy", endpoint.subject, f"{said}.", hint)
