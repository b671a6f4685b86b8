"""A TCP listener on threads: the base of every fault that accepts connections.

    accept thread ──► connection 1 ──► thread: TLS handshake, if wanted ──► handle()
                 └──► connection 2 ──► thread: …

Leaving the block cuts the live connections, and ``handle()`` sees the end of its stream.
"""

from __future__ import annotations

import selectors
import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import ssl
    from types import TracebackType

CHUNK = 65536  # bytes per read
STOP_WITHIN = 1.0  # seconds for all threads of one listener together


class Listener:
    """Listens, and gives every connection to ``handle()`` on a thread of its own.

    ``host`` is the address to listen on, IPv6 if it holds a colon. ``port`` 0 lets the kernel
    choose; inside the block it is the real one, and entering again later takes the same one, as a
    restarted server does. ``tls`` is a server's context; a connection whose handshake fails is
    closed. ``connections`` counts what was accepted so far.

    Entering raises OSError when the port is taken, RuntimeError inside its own block. Leaving
    raises RuntimeError when a ``handle()`` does not end within a second of its connection.
    """

    def __init__(
        self, *, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
    ) -> None:
        self.host = host
        self.port: int = port
        self.tls = tls
        self.connections: int = 0
        self._lock = threading.Lock()
        self._live: dict[threading.Thread, socket.socket] = {}
        self._stopping = threading.Event()
        self._listening: socket.socket | None = None
        self._wake: socket.socket | None = None
        self._accepting: threading.Thread | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Host and port, as ``socket.create_connection`` wants them."""
        return self.host, self.port

    def handle(self, connection: socket.socket) -> None:
        """Answer one connection, until its end; the caller closes it.

        An ``OSError`` ends it quietly: the peer went away, or the block was left.
        """
        raise NotImplementedError

    def pause(self, seconds: float) -> None:
        """Wait inside ``handle()``; raises ConnectionAbortedError as soon as the block is left."""
        if self._stopping.wait(seconds):
            raise ConnectionAbortedError("the listener stops")

    def hang_up(self, connection: socket.socket) -> None:
        """End our side after the last answer, then read until the peer ends its own.

        Closing over unread bytes would send RST, and RST may overtake the answer.
        """
        socket.socket.shutdown(connection, socket.SHUT_WR)
        self.drain(connection)

    def drain(self, connection: socket.socket) -> None:
        """Read until the peer ends the connection."""
        while connection.recv(CHUNK):
            pass

    def __enter__(self) -> Self:
        if self._accepting is not None:
            raise RuntimeError(f"{type(self).__name__} already listens on port {self.port}")
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        listening = socket.create_server((self.host, self.port), family=family)
        listening.settimeout(0)
        self.port = listening.getsockname()[1]
        self._listening = listening
        self._wake, woken = socket.socketpair()
        self._stopping.clear()
        self._accepting = threading.Thread(
            target=self._accept, args=(listening, woken), name=self._name("accept"), daemon=True
        )
        self._accepting.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._accepting is None or self._wake is None or self._listening is None:
            return
        deadline = time.monotonic() + STOP_WITHIN
        self._stopping.set()
        self._wake.close()
        self._accepting.join()
        self._listening.close()
        self._listening = self._wake = self._accepting = None
        with self._lock:
            threads = list(self._live)
            for connection in self._live.values():
                _cut(connection)
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        if stuck := [thread.name for thread in threads if thread.is_alive()]:
            raise RuntimeError(
                f"{', '.join(stuck)} did not end within {STOP_WITHIN:g} s: "
                "handle() must return when its connection ends"
            )

    def _accept(self, listening: socket.socket, woken: socket.socket) -> None:
        with woken, selectors.DefaultSelector() as selector:
            selector.register(listening, selectors.EVENT_READ)
            selector.register(woken, selectors.EVENT_READ)
            while True:
                ready = [key.fileobj for key, _ in selector.select()]
                if woken in ready:
                    return
                with suppress(OSError):  # the peer was gone before it was accepted
                    connection, _ = listening.accept()
                    connection.settimeout(None)
                    self._start(connection)

    def _start(self, connection: socket.socket) -> None:
        self.connections += 1
        thread = threading.Thread(
            target=self._serve, args=(connection,), name=self._name(self.connections), daemon=True
        )
        with self._lock:
            self._live[thread] = connection
        thread.start()

    def _serve(self, connection: socket.socket) -> None:
        thread = threading.current_thread()
        try:
            with suppress(OSError):  # the peer went away, or __exit__ cut the connection
                self.handle(self._secure(thread, connection))
        finally:
            # Popped and closed under the lock, so that __exit__ never cuts a file number that
            # already belongs to somebody else.
            with self._lock:
                self._live.pop(thread).close()

    def _secure(self, thread: threading.Thread, connection: socket.socket) -> socket.socket:
        if self.tls is None:
            return connection
        with self._lock:  # no I/O here; the wrapped socket takes the file number over
            secured = self.tls.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
            self._live[thread] = secured
        secured.do_handshake()
        return secured

    def _name(self, what: object) -> str:
        return f"{type(self).__name__}-{self.port}-{what}"


def _cut(connection: socket.socket) -> None:
    """End both directions, so that a thread that reads or writes wakes up.

    Below TLS on purpose: ``SSLSocket.shutdown`` takes the TLS state away under the other thread.
    """
    with suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
