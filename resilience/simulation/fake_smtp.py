"""A mail server in this process: takes every message and delivers none."""

from __future__ import annotations

import socket

from resilience.simulation.listener import Listener

_GREETING = b"220 fake.invalid ESMTP\r\n"
_OK = b"250 OK\r\n"


class FakeSmtp(Listener):
    """SMTP without TLS and without accounts. ``messages`` are the texts that arrived."""

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0) -> None:
        super().__init__(host=host, port=port)
        self.messages: list[bytes] = []

    def handle(self, connection: socket.socket) -> None:
        connection.sendall(_GREETING)
        with connection.makefile("rb") as lines:
            for line in lines:
                verb = line[:4].strip().upper()
                if verb == b"DATA":
                    connection.sendall(b"354 End with a dot\r\n")
                    text = b""
                    for part in lines:
                        if part == b".\r\n":
                            break
                        text += part.removeprefix(b".")
                    self.messages.append(text)
                if verb == b"QUIT":
                    connection.sendall(b"221 Bye\r\n")
                    self.hang_up(connection)
                    return
                connection.sendall(b"250 fake.invalid\r\n" if verb in (b"EHLO", b"HELO") else _OK)
