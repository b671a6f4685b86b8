"""One connection to Redis: it keeps a deadline to the byte, and it cannot dial.

``exchange()`` is the way of our own commands: packed by hiredis, one send, as many replies.
Everything else is redis-py's ``Connection``, for the clients that are built on it. On both ways
the time that is left is set before every send and every receive, so a server that trickles its
reply gains nothing.
"""

from __future__ import annotations

import os
import select
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import hiredis
from redis import exceptions
from redis._parsers.hiredis import NOT_ENOUGH_DATA
from redis.connection import (
    AbstractConnection,
    Connection,
    SSLConnection,
    UnixDomainSocketConnection,
)

from resilience.cache.replies import Parser

LINGER_NONE = struct.pack("ii", 1, 0)  # close() then forgets what was not delivered, and sends RST


class LinkDown(exceptions.ConnectionError):
    """The last dial failed and nothing is connected; ``cause`` says why. Nothing was sent."""

    sent = False

    def __init__(self, message: str, cause: Exception) -> None:
        super().__init__(message)
        self.cause = cause


class LinkSaturated(exceptions.MaxConnectionsError):
    """None became free while the caller had time enough to use it. Nothing was sent."""

    sent = False


class TimedOut(exceptions.TimeoutError):
    """The time was over in the middle; ``sent`` says whether the commands may have been done.

    ``since`` is when the caller got the connection, if it had to wait for one.
    """

    since = 0.0

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


class Broken(exceptions.ConnectionError):
    """Reset, or ended; ``sent`` says whether the commands may have been done."""

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


class RequestDials(exceptions.ConnectionError, RuntimeError):
    """A connection without a socket was used again, as redis-py does in order to reconnect.

    Both a ConnectionError, as which redis-py and django-redis treat it, and a RuntimeError, since
    nobody but the connector may dial.
    """

    sent = False


def may_be_done(error: BaseException) -> bool:
    """Whether the commands that ended with this error may have been executed nevertheless.

    True for every error that does not know, a reply that is no Redis for one.
    """
    return bool(getattr(error, "sent", True))


class Bound(AbstractConnection):
    """What the three kinds of connections have in common.

    ``generation``, ``waited_for`` and ``returned`` are the pool's. ``expected`` counts the replies
    still to come: a connection that is closed while one is missing is reset instead, because the
    kernel would go on to deliver a command that nobody waits for any more.
    """

    generation = 0
    peer: Any = None  # the address that answered
    waited_for = 0.0  # when the last caller who had to wait got it
    returned = 0.0  # when the last caller gave it back
    expected = 0
    _sock: Any
    _tls: bool
    _adopted: socket.socket | None = None
    _spoiled = False

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, **kwargs: Any) -> None:
        super().__init__(parser_class=Parser, **kwargs)
        self._clock = clock
        self._parser.clock = clock
        self._buffer = bytearray(self._socket_read_size)
        self._poll: Any = None

    # ── from the connector ──────────────────────────────────────────────────────────────────────

    def take_over(self, sock: socket.socket) -> None:
        """Own a socket that is being connected, so that closing this closes it."""
        self._sock = self._adopted = sock

    def greet(self, ends: float) -> None:
        """AUTH and SELECT, or what else the options ask for."""
        self.bind(ends)
        if self.redis_connect_func is not None:
            self.redis_connect_func(self)  # type: ignore[call-arg] # redis-py's hint lacks it
        else:
            self.on_connect()  # type: ignore[no-untyped-call]
        self._tls = isinstance(self._adopted, ssl.SSLSocket)
        self.peer = self._sock.getpeername()
        self._poll = select.poll()
        self._poll.register(self._adopted, select.POLLIN)  # also when the server ends it

    # ── from the pool ───────────────────────────────────────────────────────────────────────────

    def bind(self, ends: float) -> None:
        """Let every send and receive from now on end at this time of the clock."""
        self.ends = self._parser.ends = ends

    def is_stale(self) -> bool:
        """Whether the server ended the idle connection, or said what nobody asked for."""
        if self._sock is None:
            return True
        if not self._poll.poll(0):
            return False
        if not self._tls:
            return True
        try:  # TLS 1.3 sends session tickets after the handshake; reading takes them in
            self._sock.settimeout(0)
            self._sock.recv(1)
        except ssl.SSLWantReadError:
            return False
        except (OSError, ValueError):
            return True
        return True

    def is_clean(self) -> bool:
        """Whether the next caller would find it as a new one: connected, nothing left to read."""
        return (
            self.expected == 0
            and self._sock is not None
            and self._sock is self._adopted
            and not self._spoiled
            and not self._parser._reader.has_data()  # noqa: SLF001 - our own parser
        )

    def disown(self) -> None:
        """In a forked child: let go of the parent's socket without a word to the server."""
        sock, self._sock = self._sock, None
        if sock is not None:
            with suppress(OSError):
                os.close(sock.detach())

    # ── our own commands ────────────────────────────────────────────────────────────────────────

    def exchange(self, packed: bytes, count: int, ends: float) -> list[Any]:
        """Send packed commands and read ``count`` replies; error replies are among them.

        Raises TimedOut, Broken and redis-py's InvalidResponse.
        """
        try:
            return self._round_trip(packed, count, ends)
        except TimeoutError:
            sent = self.expected > 0
            raise TimedOut(f"{self._where()} did not answer in time", sent=sent) from None
        except OSError as error:
            raise self._broken(error, sent=True) from error

    def _round_trip(self, packed: bytes, count: int, ends: float) -> list[Any]:
        self.connect_check_health()
        sock, reader, buffer = self._sock, self._parser._reader, self._buffer  # noqa: SLF001
        gets, replies = reader.gets, []
        sock.settimeout(self._left(ends))
        self.expected = count
        sock.sendall(packed)  # over TLS, too, it has one time for all of its records
        while True:
            reply = gets(False)  # noqa: FBT003 - no decoding, whatever the options say
            if reply is NOT_ENOUGH_DATA:
                sock.settimeout(self._left(ends))
                size = sock.recv_into(buffer)
                if not size:
                    raise Broken(f"{self._where()} ended the connection", sent=True)
                reader.feed(buffer, 0, size)
            elif type(reply) is not hiredis.PushNotification:
                if isinstance(reply, exceptions.ConnectionError):  # NOAUTH, LOADING …
                    self._spoiled = True
                replies.append(reply)
                if len(replies) == count:
                    self.expected = 0
                    return replies

    # ── redis-py's names ────────────────────────────────────────────────────────────────────────

    def connect(self) -> None:
        self.connect_check_health()

    def connect_check_health(
        self,
        check_health: bool = True,  # noqa: FBT001, FBT002, ARG002 - redis-py's signature
        retry_socket_connect: bool = True,  # noqa: FBT001, FBT002, ARG002
    ) -> None:
        if self._sock is None or self._sock is not self._adopted:
            raise RequestDials("this connection is closed, and a request never dials")

    def _connect(self) -> None:
        raise RequestDials("a request never dials")

    def send_command(self, *args: Any, **_: Any) -> None:
        packed = self._command_packer.pack(*args)
        self.expected += 1
        self.send_packed_command(packed)

    def pack_commands(self, commands: Iterable[Any]) -> Any:
        commands = list(commands)
        packed = super().pack_commands(commands)  # type: ignore[no-untyped-call]
        self.expected += len(commands)  # redis-py packs many only in order to send them
        return packed

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:  # noqa: FBT001, FBT002, ARG002
        self.connect_check_health()
        sent = False
        try:
            for item in [command] if isinstance(command, bytes) else command:
                sent = True
                self._sock.settimeout(self._left(self.ends))
                self._sock.sendall(item)
        except TimeoutError:
            self.disconnect()
            raise TimedOut(f"{self._where()} took no command in time", sent=sent) from None
        except OSError as error:
            self.disconnect()
            raise self._broken(error, sent=sent) from error
        except BaseException:
            self.disconnect()
            raise

    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        try:
            response = super().read_response(*args, **kwargs)
        except exceptions.ResponseError:
            self.expected -= 1
            raise
        self.expected -= 1
        return response

    def disconnect(self, *_: Any, **__: Any) -> None:
        """Close; if a reply is missing, so that what the kernel still holds is never delivered.

        Never ``shutdown()``, which would promise delivery, and no farewell of TLS.
        """
        sock, self._sock = self._sock, None
        self._parser.on_disconnect()
        if sock is None:
            return
        if self.expected and os.getpid() == self.pid:
            with suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NONE)
        with suppress(OSError):
            sock.close()

    def _left(self, ends: float) -> float:
        left = ends - self._clock()
        if left <= 0:
            raise TimeoutError
        return left

    def _where(self) -> str:
        return f"Redis at {self._host_error()}"  # type: ignore[no-untyped-call]

    def _broken(self, error: OSError, *, sent: bool) -> Broken:
        said = error.strerror or type(error).__name__
        return Broken(f"the connection to {self._where()} broke: {said}", sent=sent)


class TcpConnection(Bound, Connection):
    """redis://."""


class TlsConnection(Bound, SSLConnection):
    """rediss://."""


class UnixConnection(Bound, UnixDomainSocketConnection):
    """unix://."""
