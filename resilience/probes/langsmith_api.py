"""Asks a web server one question, within a time that holds for the whole answer.

``http.client`` alone bounds each read, not their sum: a server that sends a byte a second would
never end.
"""

from __future__ import annotations

import io
import json
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse
from typing import Any

_MOST = 65536  # bytes of a body that are read
_HTML = ("text/html", "application/xhtml")
_REDIRECTS = (301, 302, 303, 307, 308)


class NoAnswer(Exception):
    """Nothing came that is HTTP; ``error`` is why, None if bytes came that are something else."""

    def __init__(self, error: OSError | None) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass(frozen=True)
class Answer:
    """A status, and what came with it. Header names are in lower case."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    took_ms: float = 0.0

    @property
    def is_fine(self) -> bool:
        return 200 <= self.status < 300  # noqa: PLR2004 - what HTTP calls success

    @property
    def is_html(self) -> bool:
        kind = self.headers.get("content-type", "").lower()
        return kind.startswith(_HTML) or self.body.lstrip()[:9].lower() in (b"<!doctype", b"<html")

    @property
    def location(self) -> str:
        """Where it redirects to; empty if it does not."""
        return self.headers.get("location", "") if self.status in _REDIRECTS else ""

    @property
    def json(self) -> Any:
        """What the body says; None if it is no JSON."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):  # the latter: 60 000 opening brackets
            return None

    def word(self, name: str) -> str:
        """A text of a JSON object; empty if there is none."""
        found = self.json
        value = found.get(name) if isinstance(found, dict) else None
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
        """One request on a connection of its own; no redirect is followed. Raises NoAnswer."""
        lines = [
            f"{method} {path} HTTP/1.1",
            f"Host: {self.host}",
            "User-Agent: checkdeploy",
            "Accept: application/json",
            "Connection: close",
            *(f"{name}: {value}" for name, value in (headers or {}).items()),
            *([f"Content-Length: {len(body)}"] if method == "POST" else []),
        ]
        began = time.perf_counter()
        with self.dial() as sock:
            reading = _Bounded(sock, time.monotonic() + self.seconds())
            try:
                sock.settimeout(self.seconds())
                sock.sendall("\r\n".join([*lines, "", ""]).encode("ascii") + body)
                with closing(HTTPResponse(reading, method=method)) as response:  # type: ignore[arg-type]
                    response.begin()
                    content = response.read(_MOST)
            except HTTPException:
                raise NoAnswer(None) from None
            except OSError as error:
                raise NoAnswer(error) from None
            given = {name.lower(): value for name, value in response.getheaders()}
            took = round((time.perf_counter() - began) * 1000, 2)
            return Answer(response.status, given, content, took)


class _Bounded(io.RawIOBase):
    """Reads of a socket that all end at one time; what ``HTTPResponse`` takes for a socket."""

    def __init__(self, sock: socket.socket, ends: float) -> None:
        self._sock, self._ends = sock, ends

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._ends - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(left)
        return self._sock.recv_into(buffer)
