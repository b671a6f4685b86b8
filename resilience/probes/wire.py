"""Commands and their replies on one socket, each round trip within its time.

redis-py's connection wraps the socket in TLS and reads the replies; it neither dials nor retries.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from collections.abc import Sequence
from typing import Any

from django.conf import settings

from resilience.probes import network, services, targets
from resilience.probes.base import Deadline

Command = tuple[str, ...]

_INFO_SIZE, _BYTES_RECEIVED = 136, slice(128, 136)  # struct tcp_info in <linux/tcp.h>


class Silent(Exception):
    """No reply within ``waited`` seconds, or only ``received`` bytes of it."""

    def __init__(self, command: str, waited: float, received: int = 0) -> None:
        super().__init__(command, waited, received)
        self.command, self.waited, self.received = command, waited, received


class Foreign(Exception):
    """The bytes that came are no reply of Redis."""


class Ended(Exception):
    """The connection ended instead of answering; ``__cause__`` says how, if it knows."""


class Cut:
    """Ends what a socket does after some seconds in all: its own timeout is for each byte."""

    def __init__(self, sock: socket.socket, seconds: float) -> None:
        self.seconds = seconds
        self.happened = False
        self.received = 0
        # A socket of its own for the same connection: wrapping in TLS detaches the first one.
        self._sock = socket.fromfd(sock.fileno(), sock.family, sock.type)
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True

    def _cut(self) -> None:
        self.happened = True
        self.received = _received(self._sock)  # now: the peer's end of it would count as a byte
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._timer.join()
        self._sock.close()


def dial(target: targets.Target, deadline: Deadline) -> socket.socket:
    """A connection to where it listens. Raises StageFailed."""
    if target.path:
        return network.connect_unix(target.subject, target.path, deadline)
    addresses = network.resolve(target.subject, target.host, target.port, deadline)
    return network.connect(target.subject, addresses, target.where, deadline)


class Wire:
    """A connected socket, with the trust of a target once TLS has started."""

    def __init__(self, target: targets.Target, sock: socket.socket, deadline: Deadline) -> None:
        self._deadline = deadline
        self._sock = sock
        self._connection = _connection(target)
        self._target = target
        # Asked now: a peer that has gone has no name any more. Of a socket file it is its path.
        self.peer: services.Peer = sock.getpeername()[:2] if not target.path else ("", 0)

    def start_tls(self) -> None:
        """Shake hands, as the client itself would. Raises TimeoutError or what redis-py raises."""
        allowed = self._deadline.stage()
        self._sock.settimeout(allowed)
        cut = Cut(self._sock, allowed)
        try:
            with cut:
                self._sock = self._secured()
        except Exception:
            if cut.happened:
                raise TimeoutError from None
            raise

    def _secured(self) -> socket.socket:
        connection = self._connection
        if not _trusts_as_we_do(self._target):
            secured: socket.socket = connection._wrap_socket_with_ssl(self._sock)  # noqa: SLF001
            return secured
        from resilience.cache.connector import context_of, trust_of  # noqa: PLC0415 - as above

        context = context_of(connection)
        trust_of(connection).add_to(context)
        return context.wrap_socket(self._sock, server_hostname=connection.host)

    def start(self) -> None:
        """Hand the socket to redis-py: commands may follow."""
        self._connection._sock = self._sock  # noqa: SLF001
        self._connection._parser.on_connect(self._connection)  # noqa: SLF001

    def send(self, *command: str) -> object:
        """The reply, or an error reply as ``str``: every other reply is bytes, int, list or None.

        Raises Silent, Foreign or Ended.
        """
        return self.exchange([command])[0]

    def exchange(self, commands: Sequence[Command]) -> list[object]:
        """As :meth:`send`, for several commands in one round trip."""
        from redis import exceptions  # noqa: PLC0415 - see targets.parse

        replies: list[object] = []
        if not commands:
            return replies
        waiting = commands[0][0]
        allowed = self._deadline.stage()
        self._sock.settimeout(allowed)
        before = _received(self._sock)
        cut = Cut(self._sock, allowed)
        try:
            with cut:
                # Who is refused at the door (no client left, protected mode) is told why before
                # anything is sent: the answer is read even where sending fails.
                with contextlib.suppress(ConnectionError):
                    for chunk in self._connection.pack_commands(commands):
                        self._sock.sendall(chunk)
                for waiting, *_ in commands:  # noqa: B007 - for the error
                    replies.append(self._read(allowed))
        except exceptions.InvalidResponse:
            raise Foreign from None
        except (exceptions.TimeoutError, TimeoutError):
            raise Silent(waiting, allowed) from None
        except (exceptions.RedisError, OSError) as error:
            if cut.happened:
                # Of one reply: after whole ones, and with TLS, the bytes may be of something else.
                alone = not (replies or self._target.tls)
                raise Silent(waiting, allowed, (cut.received - before) * alone) from None
            raise Ended from error
        return replies

    def close(self) -> None:
        self._connection.disconnect()
        self._sock.close()

    def _read(self, seconds: float) -> object:
        from redis import exceptions  # noqa: PLC0415 - see targets.parse

        try:
            return self._connection.read_response(timeout=seconds, disconnect_on_error=False)
        except exceptions.InvalidResponse:
            raise
        except exceptions.RedisError as error:
            reply = _error_reply(error)
            if reply is None:
                raise
            return reply


def _received(sock: socket.socket) -> int:
    """Bytes that a TCP connection has brought so far; 0 where nobody counts them."""
    with contextlib.suppress(OSError, AttributeError):
        told = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_SIZE)
        return int.from_bytes(told[_BYTES_RECEIVED], sys.byteorder)
    return 0


def _connection(target: targets.Target) -> Any:
    """A redis-py connection of the right class that never dials, retries or sends a handshake."""
    from redis.backoff import NoBackoff  # noqa: PLC0415 - see targets.parse
    from redis.connection import Connection, SSLConnection  # noqa: PLC0415
    from redis.retry import Retry  # noqa: PLC0415

    kept = {name: value for name, value in target.options.items() if name.startswith("ssl_")}
    cls, extra = (SSLConnection, kept) if target.tls else (Connection, {})
    return cls(host=target.host, port=target.port, retry=Retry(NoBackoff(), 0), protocol=2, **extra)


def _trusts_as_we_do(target: targets.Target) -> bool:
    """Our backend adds what ``RESILIENCE["TLS"]`` says; every other client knows its options alone.

    An argument of the command line has no client, and may try the trust that it would get.
    """
    if any(target.options.get(f"ssl_validate_ocsp{kind}") for kind in ("", "_stapled")):
        return False  # redis-py does that itself
    alias = target.origin.removeprefix("caches.")
    backend = str((settings.CACHES.get(alias) or {}).get("BACKEND", ""))
    return target.origin == "argument" or targets.redis_kind(backend) == targets.OURS


def _error_reply(error: BaseException) -> str | None:
    """The server's own line: redis-py cuts the code off some of its messages and keeps others."""
    from redis import exceptions  # noqa: PLC0415 - see targets.parse

    code, text = getattr(error, "status_code", None), str(error)
    if code:
        return text if text.startswith(code) else f"{code} {text}"
    return text if isinstance(error, exceptions.ResponseError) else None
