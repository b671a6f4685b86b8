"""One HTTP request on a connection of its own, within a time that holds for the whole answer.

``http.client`` alone bounds each read, not their sum: a server that sends a byte a second would
never end. No redirect is ever followed.
"""

from __future__ import annotations

import io
import json
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPMessage, HTTPResponse
from typing import Any, cast

from resilience.probes.base import elapsed_ms

_MOST = 262144  # bytes of one body: a page of an app, or everything that /readyz tells
_MOST_SENT = 8 * _MOST  # bytes of one answer with its headers, and chunks as small as they can be
_INTERIM = (102, 103)  # of an answer that is still to come; http.client knows 100 itself
_PROMISES = 20
_HTML = ("text/html", "application/xhtml")
_REDIRECTS = (301, 302, 303, 307, 308)


class NoAnswer(Exception):
    """No HTTP came back: the text says what happened instead.

    ``error`` is why, None if bytes came that are something else.
    """

    def __init__(self, said: str, error: OSError | None = None) -> None:
        super().__init__(said)
        self.error = error


@dataclass(frozen=True)
class Answer:
    """A status, and what came with it. ``took_ms`` is from the first packet to the body's end."""

    status: int
    headers: HTTPMessage = field(repr=False)
    body: bytes = field(repr=False)
    took_ms: float = 0.0

    def header(self, name: str) -> str:
        """The value of a header, "" if it was not sent."""
        return str(self.headers.get(name, ""))

    @property
    def is_fine(self) -> bool:
        return 200 <= self.status < 300  # noqa: PLR2004 - what HTTP calls success

    @property
    def is_html(self) -> bool:
        kind = self.header("Content-Type").lower()
        return kind.startswith(_HTML) or self.body.lstrip()[:9].lower() in (b"<!doctype", b"<html")

    @property
    def location(self) -> str:
        """Where it redirects to; empty if it does not."""
        return self.header("Location") if self.status in _REDIRECTS else ""

    @property
    def document(self) -> dict[str, Any]:
        """The JSON object of the body, an empty one for anything else."""
        try:
            found = json.loads(self.body)
        except (ValueError, RecursionError):  # the latter: 60 000 opening brackets
            return {}
        return found if isinstance(found, dict) else {}

    def word(self, name: str) -> str:
        """A text of the JSON object; empty if there is none."""
        value = self.document.get(name)
        return value if isinstance(value, str) else ""


@dataclass(frozen=True)
class Api:
    """One address. ``dial`` gives a connection on which HTTP may begin, ``seconds`` its time."""

    host: str  # as the header Host has it
    dial: Callable[[], socket.socket] = field(repr=False)
    seconds: Callable[[], float] = field(repr=False)

    def ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> Answer:
        """Raises NoAnswer, and what ``dial`` raises."""
        lines = [
            f"{method} {path} HTTP/1.1",
            f"Host: {self.host}",
            "User-Agent: checkdeploy",
            "Connection: close",
            *(f"{name}: {value}" for name, value in (headers or {}).items()),
            *([f"Content-Length: {len(body)}"] if method == "POST" else []),
        ]
        request = "\r\n".join([*lines, "", ""]).encode("latin-1") + body
        began = time.perf_counter()
        with self.dial() as sock:
            allowed = self.seconds()
            reading = _Bounded(sock, time.monotonic() + allowed)
            try:
                sock.settimeout(allowed)
                sock.sendall(request)
                with closing(HTTPResponse(reading, method=method)) as response:  # type: ignore[arg-type]
                    _begin(response)
                    content = response.read(_MOST)
            except TimeoutError as error:
                said = f"did not answer {path} within {allowed:.1f} s"
                raise NoAnswer(said, error) from None
            # ValueError: of a chunk with a negative length.
            except (HTTPException, ValueError) as error:
                raise NoAnswer(f"does not speak HTTP ({type(error).__name__})") from None
            except OSError as error:
                said = f"hung up ({error.strerror or type(error).__name__})"
                raise NoAnswer(said, error) from None
        return Answer(response.status, response.msg, content, elapsed_ms(began))


def _begin(response: HTTPResponse) -> None:
    """Read the head of the answer, and before it those that only promise one."""
    response.begin()
    for _ in range(_PROMISES):
        if response.status not in _INTERIM:
            return
        cast(Any, response).headers = None  # as before the first
        response.begin()
    raise NoAnswer("sends without end")


class _Bounded(io.RawIOBase):
    """Reads of a socket that all end at one time, and after 2 MiB; HTTPResponse's socket."""

    def __init__(self, sock: socket.socket, ends: float) -> None:
        self._sock, self._ends, self._room = sock, ends, _MOST_SENT

    def makefile(self, _mode: str) -> io.BufferedReader:
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
