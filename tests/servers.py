"""Real servers for the tests: a redis-server in any state, a PostgreSQL cluster.

Context managers, so that a fixture is two lines. Each starts its own process on a free port of
127.0.0.1, waits until it answers, and ends it; nothing else on the machine is touched.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from resilience.simulation.postgres_server import PostgresServer, postgres_server
from resilience.simulation.program import (
    HOST,
    PORTS,
    START_WITHIN,
    free_port,
    not_started,
    running,
    until,
    userinfo,
)

__all__ = ["HOST", "PostgresServer", "free_port", "postgres_server"]

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resilience.simulation.authority import Authority


@dataclass(frozen=True)
class RedisServer:
    """A running redis-server."""

    port: int
    pid: int
    tls: Authority | None = field(repr=False)
    host: str = HOST

    def url(
        self,
        path: str = "/0",
        password: str | None = None,
        username: str | None = None,
        scheme: str | None = None,
    ) -> str:
        """Spell the URL; the scheme that fits the server unless another is given."""
        scheme = scheme or ("redis" if self.tls is None else "rediss")
        return f"{scheme}://{userinfo(username, password)}{self.host}:{self.port}{path}"

    def command(
        self, *args: str | bytes | float, password: str | None = None, username: str | None = None
    ) -> Any:
        """Send one command on a connection of its own; redis-py's exceptions are the caller's."""
        trust: dict[str, Any] = {}
        if self.tls is not None:
            trust = {"ssl": True, "ssl_ca_data": self.tls.ca_pem.decode()}
        with redis.Redis(
            host=self.host,
            port=self.port,
            username=username,
            password=password,
            socket_timeout=START_WITHIN,
            retry=Retry(NoBackoff(), 0),
            **trust,
        ) as client:
            return client.execute_command(*args)


@contextmanager
def redis_server(
    *args: str,
    directory: Path,
    port: int = 0,
    tls: Authority | None = None,
    acl: str | None = None,
) -> Iterator[RedisServer]:
    """Run a redis-server that keeps nothing on disk.

    ``args`` are more of its options, ``"--maxmemory", "1mb"``; ``directory`` takes its files, each
    server in a new one below. ``port`` 0 is a free port, another one is used as it is (a restart).
    With ``tls`` it speaks TLS alone, with a certificate for localhost and 127.0.0.1. ``acl`` is the
    text of an ACL file. Raises RuntimeError, with the end of its log, when it does not start.
    """
    program = shutil.which("redis-server")
    if program is None:
        raise RuntimeError("no redis-server here: run scripts/test, or install redis-server")
    home = Path(tempfile.mkdtemp(prefix="redis-", dir=directory))
    options = _redis_options(home, tls, acl)
    for tries_left in reversed(range(1 if port else PORTS)):
        chosen = port or free_port()
        listening = ["--port", str(chosen)]
        if tls is not None:
            listening = ["--port", "0", "--tls-port", str(chosen)]
        log = home / "redis.log"
        with running([program, *listening, *options, *args], log=log) as process:
            if _redis_started(process, chosen, log, tls):
                yield RedisServer(port=chosen, pid=process.pid, tls=tls)
                return
        if not tries_left or "already in use" not in log.read_text():
            raise not_started("redis-server", log)


@contextmanager
def redis_with_password(directory: Path, password: str) -> Iterator[RedisServer]:
    """Run one that answers NOAUTH without the password and WRONGPASS to another one."""
    with redis_server("--requirepass", password, directory=directory) as server:
        yield server


@contextmanager
def redis_with_limited_user(
    directory: Path, *, username: str = "limited", password: str, rules: str = "~* &* -@all +ping"
) -> Iterator[RedisServer]:
    """Run one whose user ``username`` may do what ``rules`` say, by default PING and nothing else.

    The default user stays without a password and may do everything, for preparation.
    """
    acl = f"user default on nopass ~* &* +@all\nuser {username} on >{password} {rules}\n"
    with redis_server(directory=directory, acl=acl) as server:
        yield server


@contextmanager
def redis_full(directory: Path) -> Iterator[RedisServer]:
    """Run one that holds 4 MB under ``maxmemory 1mb`` and evicts nothing: SET answers OOM.

    Filled first, then limited, so it is over the limit for sure. DEL filler does not reliably
    heal it, an empty Redis needs about 1 MB itself; CONFIG SET maxmemory 0 does.
    """
    with redis_server("--maxmemory-policy", "noeviction", directory=directory) as server:
        server.command("SET", "filler", b"x" * 4 * 1024 * 1024)
        server.command("CONFIG", "SET", "maxmemory", "1mb")
        yield server


@contextmanager
def redis_replica(primary: RedisServer, directory: Path, *args: str) -> Iterator[RedisServer]:
    """Run a replica of another server without password and TLS, in sync: writes answer READONLY."""
    # By default a primary waits 5 s for more replicas before it sends anything.
    primary.command("CONFIG", "SET", "repl-diskless-sync-delay", "0")
    follow = ["--replicaof", f"{primary.host} {primary.port}"]
    with redis_server(*follow, *args, directory=directory) as server:
        for _ in until(START_WITHIN):
            with suppress(redis.exceptions.BusyLoadingError):  # while it takes the data over
                if server.command("INFO", "replication")["master_link_status"] == "up":
                    yield server
                    return
        raise RuntimeError(f"the replica did not reach its primary within {START_WITHIN:g} s")


@contextmanager
def redis_with_databases(directory: Path, count: int = 4) -> Iterator[RedisServer]:
    """Run one with few databases: SELECT of a later one answers that the index is out of range."""
    with redis_server("--databases", str(count), directory=directory) as server:
        yield server


# ── redis ───────────────────────────────────────────────────────────────────────────────────────


def _redis_options(home: Path, tls: Authority | None, acl: str | None) -> list[str]:
    options = ["--bind", HOST, "--daemonize", "no", "--dir", str(home)]
    options += ["--save", "", "--appendonly", "no"]
    if tls is not None:
        cert, key = home / "server.pem", home / "server.key"
        tls.write_server(cert, key, "localhost", HOST)
        options += ["--tls-cert-file", str(cert), "--tls-key-file", str(key)]
        options += ["--tls-ca-cert-file", str(tls.write_ca(home / "ca.pem"))]
        options += ["--tls-auth-clients", "no"]
    if acl is not None:
        users = home / "users.acl"
        users.touch(mode=0o600)
        users.write_text(acl)
        options += ["--aclfile", str(users)]
    return options


def _redis_started(
    process: subprocess.Popen[bytes], port: int, log: Path, tls: Authority | None
) -> bool:
    """Wait until this very process serves the port; False when it ended or says nothing.

    "Server initialized" comes after it took the port: without it, the answer might be that of
    another server which was faster.
    """
    for _ in until(START_WITHIN):
        if process.poll() is not None:
            return False
        if "Server initialized" in log.read_text() and _redis_answers(port, tls):
            return True
    return False


def _redis_answers(port: int, tls: Authority | None) -> bool:
    """Tell whether an inline PING gets +PONG or any error: -NOAUTH, -LOADING or another."""
    with suppress(OSError), ExitStack() as stack:
        line: socket.socket = stack.enter_context(socket.create_connection((HOST, port), 1.0))
        if tls is not None:
            secured = tls.client_context().wrap_socket(line, server_hostname=HOST)
            line = stack.enter_context(secured)
        line.sendall(b"PING\r\n")
        return line.recv(1) in (b"+", b"-")
    return False
