"""A name server that nobody hears from, for whatever resolves by itself.

In a network of one's own, where port 53 is free, with ``mounts`` that name it: then libc, and every
library in C, waits as it does in production (resolv.conf(5): 5 s for each of two tries).
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from types import TracebackType
from typing import Self

HOST, PORT = "127.0.0.1", 53
_SWITCH = Path("/etc/nsswitch.conf")
CACHES = (
    "/run/nscd",
    "/var/run/nscd",
)  # of answers: glibc would ask it first, whatever the files say


class SilentNameServer:
    """Takes every question and answers none. Entering raises OSError where the port is not ours."""

    def __init__(self, *, port: int = PORT) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.port = port

    def __enter__(self) -> Self:
        try:
            self._socket.bind((HOST, self.port))
        except OSError:
            self._socket.close()
            raise
        self.port = self._socket.getsockname()[1]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()

    @property
    def was_asked(self) -> bool:
        """Whether a question waits to be answered."""
        try:
            return bool(self._socket.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK))
        except BlockingIOError:
            return False


def written(folder: Path) -> dict[str, str]:
    """Files that send every question for a name to HOST, by what they replace."""
    lines = _SWITCH.read_text().splitlines() if _SWITCH.exists() else []
    kept = [line for line in lines if not line.lstrip().startswith("hosts:")]
    texts = {
        os.path.realpath("/etc/resolv.conf"): f"nameserver {HOST}\n",
        str(_SWITCH): "\n".join([*kept, "hosts: files dns", ""]),
    }
    made = {}
    for path, text in texts.items():
        file = folder / Path(path).name
        file.write_text(text)
        made[path] = str(file)
    return made
