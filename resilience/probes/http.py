"""One HTTP request on a connection of its own, within its time. No redirect is ever followed."""

from __future__ import annotations

import http.client
import io
import re
import socket
import ssl
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, cast
from urllib.parse import urlsplit

from resilience import redact
from resilience.errors import UsageError
from resilience.probes import network, preludes
from resilience.probes.base import Deadline, elapsed_ms
from resilience.probes.discovery import through_proxy
from resilience.probes.endpoints import Endpoint, parse
from resilience.tls import policy
from resilience.tls.diagnosis import diagnose
from resilience.tls.handshake import shake

ANSWER_SECONDS = 5.0
"""The longest that one answer may take: behind the network the app has its own work to do."""

_MOST = 262144  # bytes of one body: a page of an app, or everything that /readyz tells
_MOST_SENT = 8 * _MOST  # bytes of one answer with its headers, and chunks as small as they can be
_INTERIM = (102, 103)  # of an answer that is still to come; http.client knows 100 itself
_PROMISES = 20
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class NoAnswer(Exception):
    """The request got no HTTP answer; the text says what happened instead."""


class Answer(NamedTuple):
    """What came back. ``took_ms`` is from the first packet to the end of the body."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes
    took_ms: float

    def header(self, name: str) -> str:
        """The value of a header, "" if it was not sent."""
        return str(self.headers.get(name, ""))


@dataclass(frozen=True)
class Site:
    """Where a deployment answers: scheme, host, port and the path of its front page."""

    secure: bool
    endpoint: Endpoint
    path: str = "/"
    subject: str = field(default="", compare=False)

    @property
    def name(self) -> str:
        """The Host header: with the port where it is not the usual one."""
        usual = 443 if self.secure else 80
        if self.endpoint.port != usual:
            return self.endpoint.where
        return f"[{self.endpoint.host}]" if ":" in self.endpoint.host else self.endpoint.host

    @property
    def origin(self) -> str:
        return f"{'https' if self.secure else 'http'}://{self.name}"

    @property
    def keeps_secrets(self) -> bool:
        """Whether a token may be sent there: encrypted, or not over any network."""
        return self.secure or self.endpoint.host in _LOOPBACK


def read_site(word: str) -> Site:
    """A site of ``https://host[:port][/path]``. Raises UsageError, which does not repeat it."""
    text = word.strip()
    redact.register_url(text)
    try:
        parts = urlsplit(text) if text.startswith(("https://", "http://")) else None
    except ValueError:
        raise UsageError("--url does not parse: look at its host, and at brackets in it.") from None
    if parts is None:
        raise UsageError("--url is written as https://host, with its scheme.")
    if parts.username is not None or parts.query or parts.fragment:
        raise UsageError(
            "--url has a host and a path, no password or query: the token comes from STATUS_TOKEN."
        )
    if not re.fullmatch(r"[!-~]*", parts.path):
        raise UsageError("The path of --url must be written in ASCII, as a browser sends it.")
    secure = parts.scheme == "https"
    endpoint = parse(text if secure else f"https{text.removeprefix('http')}")
    if not secure and parts.port is None:
        endpoint = replace(endpoint, port=80)
    site = Site(secure, endpoint, parts.path or "/")
    return replace(site, subject=f"deploy.{site.name}")


class Client:
    """Asks one site. It prepares whom it trusts once, which takes longer than a request."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._context: ssl.SSLContext | None = None

    def ask(
        self,
        path: str,
        deadline: Deadline,
        *,
        host: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """GET a path. ``host`` is the Host header, the site's own if empty.

        TLS always verifies. Raises StageFailed as DNS and TCP do, NoAnswer for the rest.
        """
        began = time.perf_counter()
        sock = self._connect(deadline)
        lines = {
            "Host": host or self._site.name,
            "User-Agent": "checkdeploy",
            "Connection": "close",
            **(headers or {}),
        }
        request = f"GET {path} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in lines.items())
        allowed = max(0.001, min(ANSWER_SECONDS, deadline.left() * 0.9))
        try:
            sock.settimeout(allowed)
            sock.sendall(request.encode("latin-1") + b"\r\n")
            wire = _Wire(sock, time.monotonic() + allowed)
            with closing(
                http.client.HTTPResponse(cast(socket.socket, wire), method="GET")
            ) as response:
                _begin(response)
                body = response.read(_MOST)
        except TimeoutError:
            raise NoAnswer(f"did not answer {path} within {allowed:.1f} s") from None
        # ValueError: of a chunk with a negative length.
        except (http.client.HTTPException, ValueError) as error:
            raise NoAnswer(f"does not speak HTTP ({type(error).__name__})") from None
        except OSError as error:
            raise NoAnswer(f"hung up ({error.strerror or type(error).__name__})") from None
        finally:
            sock.close()
        return Answer(response.status, response.msg, body, elapsed_ms(began))

    def _connect(self, deadline: Deadline) -> socket.socket:
        site = self._site
        if not site.secure:
            endpoint = site.endpoint
            addresses = network.resolve(site.subject, endpoint.host, endpoint.port, deadline)
            return network.connect(site.subject, addresses, endpoint.where, deadline)
        endpoint = through_proxy(site.endpoint)
        if self._context is None:
            trust = policy.trust_of(endpoint.component, endpoint.host, endpoint.port)
            self._context = replace(trust, insecure=None).context()
        sock = preludes.connect(endpoint, deadline)
        seen, secured = shake(sock, self._context, endpoint.host, deadline.stage())
        if secured is not None:
            return secured
        why = diagnose(seen.error).id if seen.error else "no answer"
        raise NoAnswer(f"has no TLS that verifies ({why})")


def _begin(response: http.client.HTTPResponse) -> None:
    """Read the head of the answer, and before it those that only promise one."""
    response.begin()
    for _ in range(_PROMISES):
        if response.status not in _INTERIM:
            return
        cast(Any, response).headers = None  # as before the first
        response.begin()
    raise NoAnswer("sends without end")


class _Wire(io.RawIOBase):
    """A socket for HTTPResponse, all of whose reads end at one moment, and after 2 MiB."""

    def __init__(self, sock: socket.socket, ends: float) -> None:
        self._sock = sock
        self._ends = ends
        self._room = _MOST_SENT

    def makefile(self, *_: Any, **__: Any) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._ends - time.monotonic()
        if left <= 0:
            raise TimeoutError
        if self._room <= 0:
            raise NoAnswer("sends without end")
        self._sock.settimeout(left)
        got = self._sock.recv_into(buffer)
        self._room -= got
        return got
