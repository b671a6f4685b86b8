"""What Redis itself is seen to do, by its MONITOR: UNLINKs, and SETs that come late."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections import Counter
from contextlib import suppress
from types import TracebackType
from typing import Self

from tests.servers import HOST
from tests.soak.crew import OPERATION_TIMEOUT
from tests.soak.server import Server

LATE = 3 * OPERATION_TIMEOUT  # seconds from the begin of a SET to its execution: given up long ago
# Of the first versions alone: incr_version() copies old values to the second ones.
_LINE = re.compile(rb'\+(\d+\.\d+) \[\d+ [^]]*\] "(SET|UNLINK)" ("soak:1:.*)')
_BEGAN = re.compile(rb"\|\d+\|(\d+\.\d{4})")
_AGAIN_AFTER = 0.02  # seconds, when there is no server


class Watch:
    """``fault`` is what late SETs are counted under, in ``late``."""

    def __init__(self, server: Server) -> None:
        self.fault = ""
        self.late: Counter[str] = Counter()
        self.unlinks = 0
        self._server = server
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._epoch = time.time() - time.monotonic()  # Redis tells the time of day

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(_AGAIN_AFTER):
            with suppress(OSError):
                self._watch(self._server.running.port)

    def _watch(self, port: int) -> None:
        """Until the server is gone, or another one has taken its place."""
        with socket.create_connection((HOST, port), 1.0) as line:
            line.sendall(b"MONITOR\r\n")
            line.settimeout(0.1)
            rest = b""
            while not self._over.is_set() and port == self._server.running.port:
                with suppress(TimeoutError):
                    data = line.recv(1 << 20)
                    if not data:
                        return
                    *lines, rest = (rest + data).split(b"\r\n")
                    for each in lines:
                        self._note(each)

    def _note(self, line: bytes) -> None:
        found = _LINE.match(line)
        if found is None:
            return
        at, command, rest = found.groups()
        if command == b"UNLINK":
            self.unlinks += 1
        elif began := _BEGAN.search(rest):
            self.late[self.fault] += float(at) - self._epoch - float(began[1]) > LATE
