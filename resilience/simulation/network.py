"""What goes wrong below the protocol: one class per fault."""

from __future__ import annotations

import select
import socket
import struct
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from resilience.simulation.listener import CHUNK, Listener

if TYPE_CHECKING:
    import ssl
    from types import TracebackType

BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
LINGER_NONE = struct.pack("ii", 1, 0)  # SO_LINGER on, for 0 s: close() sends RST instead of FIN


class _Port:
    """A port of this machine that is held, and served by nobody."""

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.host = host
        self.port: int = port
        self._held = ExitStack()

    @property
    def address(self) -> tuple[str, int]:
        """Host and port, as ``socket.create_connection`` wants them."""
        return self.host, self.port

    def __enter__(self) -> Self:
        with ExitStack() as held:
            self._hold(held)
            self._held = held.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._held.close()

    def _hold(self, held: ExitStack) -> None:
        self._bind(held)

    def _bind(self, held: ExitStack) -> socket.socket:
        bound = held.enter_context(self._socket())
        bound.bind(self.address)
        self.port = bound.getsockname()[1]
        return bound

    def _socket(self) -> socket.socket:
        return socket.socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET)


class Refused(_Port):
    """A port that nothing listens on: connecting is answered by RST, so refused at once.

    The port stays bound without listening, so no other process is given it in the meantime; a
    merely free port could be taken by anybody, even by the client's own end of the connection.
    Entering raises OSError when an explicit ``port`` is taken.
    """


class BlackHole(_Port):
    """SYNs are never answered: connecting hangs until the client's own timeout.

    As behind a firewall that drops, or towards an address that nobody has; without root and
    without a route::

        listen(0)      the accept queue holds one connection …
        our connect    … this one, which nobody ever accepts
        any other SYN  is dropped by the kernel, and so is each repetition (after 1 s, 3 s, 7 s …)

    Linux drops (measured on 6.18; ``net.ipv4.tcp_abort_on_overflow=1`` would reset instead).
    Other systems may let connections in: entering the block therefore tries, and fails rather than
    simulate nothing. A connect still waiting when the block is left is refused at its next SYN.

    Entering raises OSError when an explicit ``port`` is taken, RuntimeError when this system keeps
    answering.
    """

    _TRIES = 64
    _ANSWERED_WITHIN = 0.05  # seconds; the kernel answers a SYN to itself in microseconds

    def _hold(self, held: ExitStack) -> None:
        self._bind(held).listen(0)
        for _ in range(self._TRIES):
            filler = held.enter_context(self._socket())
            filler.settimeout(0)
            filler.connect_ex(self.address)
            _, answered, _ = select.select([], [filler], [], self._ANSWERED_WITHIN)
            if not answered:
                return
        raise RuntimeError(
            f"port {self.port} answered {self._TRIES} connections that nobody accepted: "
            "this system cannot play a black hole without a firewall rule"
        )


class Silence(Listener):
    """Accepts, reads, never answers: the client's read times out.

    As a process that is stuck, or a TLS client on a port that speaks plain Redis. With ``tls=`` the
    handshake succeeds first; without it, a TLS client waits for it in vain.
    """

    def handle(self, connection: socket.socket) -> None:
        self.drain(connection)


class Reset(Listener):
    """Accepts, and answers the first bytes with RST: ``ECONNRESET``.

    As a proxy without a backend, or a TLS port that was sent plain text.
    """

    def handle(self, connection: socket.socket) -> None:
        if connection.recv(CHUNK):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NONE)


class Garbage(Listener):
    """Answers the first bytes with bytes of another protocol, then ends the stream.

    ``answer`` is sent as it is, once; the default is what a web server says to a Redis client.
    ``greet`` sends it as soon as the connection is there, as SSH, SMTP and MySQL do. The rest is
    the Listener's.
    """

    def __init__(
        self,
        answer: bytes = BAD_REQUEST,
        *,
        greet: bool = False,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(host=host, port=port, tls=tls)
        self.answer = answer
        self.greet = greet

    def handle(self, connection: socket.socket) -> None:
        if self.greet or connection.recv(CHUNK):
            connection.sendall(self.answer)
            self.hang_up(connection)
