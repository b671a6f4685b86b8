"""Dials: which server, by which address, in which thread, within which time.

    Link ── wants a connection ──► Connector: a place, and a thread for this dial
                                        │ resilience-connect-<alias>
                                        ▼
    Dialler.dial ── addresses ── getaddrinfo ── TCP, each its share ── TLS ── AUTH, SELECT

All of it together has ``connect_timeout``. Only ``getaddrinfo`` knows no time: a dial that hangs in
it keeps its place, and what it finds too late is dropped. So that hanging names take no other
link's place, DIALS bounds only the further dials of a link: its only one always has a place.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from redis import exceptions
from redis.backoff import NoBackoff
from redis.connection import SSLConnection, UnixDomainSocketConnection, parse_url
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry

from resilience.cache.connection import Bound, TcpConnection, TlsConnection, UnixConnection
from resilience.cache.idle import CLOSER
from resilience.tls import policy
from resilience.tls.trust import Trust

DIALS = 4  # at once in this process; while there are so many, no link gets a second one

# What redis-py's URLs and pools know and a connection does not, and what is decided here.
_NOT_A_CONNECTIONS = frozenset(
    "cache cache_config cache_factory connection_class driver_info health_check_interval "
    "himport_registry lib_name lib_version maint_notifications_config max_connections "
    "parser_class queue_class retry retry_on_error retry_on_timeout socket_connect_timeout "
    "socket_timeout timeout".split()
)


@dataclass(frozen=True)
class Server:
    """What to connect to. ``options`` are redis-py's names; a parameter of the URL beats them.

    Times are seconds. ``addresses`` finds out where to dial, in the connector's thread and anew at
    every dial (Sentinel); without it, where the URL says. What redis-py refuses raises at
    once: ValueError for a URL, TypeError for a name, RedisError for a value.
    """

    url: str = field(repr=False)
    options: Mapping[str, Any] = field(default_factory=dict, repr=False, hash=False)
    operation_timeout: float = 0.25
    connect_timeout: float = 2.0
    max_connections: int = 16
    addresses: Callable[[], Iterable[tuple[str, int]]] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.connection()  # refuses now what every dial would refuse

    @cached_property
    def kwargs(self) -> dict[str, Any]:
        """The arguments of a redis-py connection: no retry, no round trip but AUTH and SELECT."""
        merged = {**self.options, **parse_url(self.url)}
        kept = {name: value for name, value in merged.items() if name not in _NOT_A_CONNECTIONS}
        if kept.get("protocol") is None:
            kept["protocol"] = 2
        return {
            **kept,
            "socket_timeout": self.operation_timeout,
            "socket_connect_timeout": self.connect_timeout,
            "retry": Retry(NoBackoff(), 0),
            "driver_info": None,
            "health_check_interval": 0,
            "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        }

    @cached_property
    def kind(self) -> type[Bound]:
        if self.url.startswith("rediss://"):
            return TlsConnection
        given = parse_url(self.url).get("connection_class")
        return UnixConnection if given is UnixDomainSocketConnection else TcpConnection

    @cached_property
    def where(self) -> str:
        """``host:port``, or the path of a socket."""
        host = str(self.kwargs.get("host", "localhost"))
        host = f"[{host}]" if ":" in host else host
        return str(self.kwargs.get("path") or f"{host}:{self.kwargs.get('port', 6379)}")

    def connection(self, clock: Callable[[], float] = time.monotonic, **differing: Any) -> Bound:
        """A connection that is not connected yet."""
        return self.kind(clock=clock, **{**self.kwargs, **differing})


class Dialler:
    """Connects connections to one server."""

    def __init__(self, server: Server, clock: Callable[[], float]) -> None:
        self._server, self._clock = server, clock
        self._context: Any = None  # redis-py builds one per connection, for 20 to 60 ms
        self._trust: Trust | None = None  # which is in it, besides what redis-py's options say

    def dial(self, connection: Bound) -> None:
        """Connect it. Raises redis-py's exceptions only, and closes it then."""
        ends = self._clock() + self._server.connect_timeout
        try:
            self._connect(connection, ends)
            connection.greet(ends)
        except BaseException as error:
            self._context = None  # its files may be replaced by now
            connection.disconnect()
            if isinstance(error, TimeoutError | exceptions.TimeoutError):
                seconds = f"{self._server.connect_timeout:g} s"
                raise exceptions.TimeoutError(f"it took more than {seconds}") from None
            if isinstance(error, exceptions.RedisError) or not isinstance(error, Exception):
                raise
            # A file, a name that is none, somebody's credential provider: always the same class.
            raise exceptions.ConnectionError(f"{type(error).__name__}: {error}") from error

    def _connect(self, connection: Bound, ends: float) -> None:
        if isinstance(connection, UnixConnection):
            self._open(connection, socket.AF_UNIX, connection.path, self._left(ends))
        elif isinstance(connection, TcpConnection | TlsConnection):
            self._connect_tcp(connection, ends)
            if isinstance(connection, TlsConnection):
                self._start_tls(connection, ends)

    def _connect_tcp(self, connection: TcpConnection | TlsConnection, ends: float) -> None:
        """To the first address that answers; each has its share of the time."""
        hosts = self._server.addresses or (lambda: [(connection.host, connection.port)])
        found = [
            (host, port, info)
            for host, port in hosts()
            for info in socket.getaddrinfo(host, port, connection.socket_type, socket.SOCK_STREAM)
        ]
        failures: list[OSError] = []
        for host, port, (family, _, _, _, address) in found:
            share = self._left(ends) / (len(found) - len(failures))
            connection.host, connection.port = host, int(port)
            try:
                self._open(connection, family, address, share)
            except OSError as failure:
                failures.append(failure)
            else:
                return
        raise min(failures, key=_rank, default=OSError("the name has no address"))

    def _open(self, connection: Bound, family: int, address: Any, seconds: float) -> None:
        sock = socket.socket(family, socket.SOCK_STREAM)
        connection.take_over(sock)
        try:
            if isinstance(connection, TcpConnection | TlsConnection):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if connection.socket_keepalive and not CLOSER.wanted:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                    for option, value in connection.socket_keepalive_options.items():
                        sock.setsockopt(socket.IPPROTO_TCP, option, value)
            sock.settimeout(seconds)
            sock.connect(address)
        except OSError:
            connection.disconnect()
            raise

    def _start_tls(self, connection: TlsConnection, ends: float) -> None:
        sock = connection._sock  # noqa: SLF001 - our own class
        if connection.ssl_validate_ocsp or connection.ssl_validate_ocsp_stapled:
            sock.settimeout(self._left(ends))
            connection.take_over(connection._wrap_socket_with_ssl(sock))  # type: ignore[no-untyped-call] # noqa: SLF001
            return
        trust, context = trust_of(connection), self._context
        if context is None or trust != self._trust or trust.insecure:
            context = context_of(connection)
            trust.add_to(context)
            self._context, self._trust = context, trust
        secured = context.wrap_socket(
            sock, server_hostname=connection.host, do_handshake_on_connect=False
        )
        connection.take_over(secured)  # before the handshake: a fork has to find it
        secured.settimeout(self._left(ends))
        secured.do_handshake()

    def _left(self, ends: float) -> float:
        left = ends - self._clock()
        if left <= 0:
            raise TimeoutError
        return left


def context_of(connection: SSLConnection) -> ssl.SSLContext:
    """What redis-py makes of the options of a connection, which it does not give away."""
    # A socket that is not connected does no handshake.
    with socket.socket() as blank:
        unused = connection._wrap_socket_with_ssl(blank)  # noqa: SLF001
        with unused:
            context: ssl.SSLContext = unused.context
    return context


def trust_of(connection: SSLConnection) -> Trust:
    """What our settings add to the options of a connection, which beat them."""
    trust = policy.trust_of("redis", connection.host, connection.port)
    return replace(trust, client_cert=None) if connection.certfile else trust


def _rank(error: OSError) -> int:
    """The error that says most comes first: that of a host that was reached."""
    if isinstance(error, ConnectionRefusedError):
        return 0
    return 1 if isinstance(error, TimeoutError) else 2


class Connector:
    """Places and threads for dials: started on need, gone when their dial is over.

    A link has two dials at most and gets the second only while fewer than DIALS are under way, so
    no more than two links have two: there are never more than links, and two.
    """

    def __init__(self) -> None:
        self.after_fork()

    def take_place(self, *, only: bool) -> bool:
        """Whether a dial may be started; ``start`` must follow. Always, if it is its link's only.

        Neither waits nor queues: who gets none asks again at the next occasion.
        """
        with self._lock:
            if self._running >= DIALS and not only:
                return False
            self._running += 1
            return True

    def start(self, name: str, job: Callable[[], None]) -> None:
        """Run a job that raises nothing, on a place that was taken, in a daemon thread.

        Raises RuntimeError when the process can have no more threads; the place is free again.
        """
        work = threading.Thread(
            target=self._work, args=(job,), name=f"resilience-connect-{name}", daemon=True
        )
        try:
            work.start()
        except BaseException:
            self._free_place()
            raise

    def after_fork(self) -> None:
        """Begin anew: the threads of the parent are not here. Harmless if done twice."""
        self._lock = threading.Lock()
        self._running = 0

    def snapshot(self) -> dict[str, int]:
        with self._lock:
            return {"running": self._running, "limit": DIALS}

    def _work(self, job: Callable[[], None]) -> None:
        try:
            job()
        finally:
            self._free_place()

    def _free_place(self) -> None:
        with self._lock:
            self._running -= 1


CONNECTOR = Connector()  # of this process
