"""Real servers for the tests: a redis-server in any state, a PostgreSQL cluster.

Context managers, so that a fixture is two lines. Each starts its own process on a free port of
127.0.0.1, waits until it answers, and ends it; nothing else on the machine is touched.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resilience.simulation.authority import Authority

HOST = "127.0.0.1"
START_WITHIN = 10.0  # seconds
STOP_WITHIN = 5.0  # seconds, then the next harder signal
POLL = 0.02  # seconds
PORTS = 5  # ports tried before a start counts as failed


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
        return f"{scheme}://{_userinfo(username, password)}{self.host}:{self.port}{path}"

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
        chosen = port or _free_port()
        listening = ["--port", str(chosen)]
        if tls is not None:
            listening = ["--port", "0", "--tls-port", str(chosen)]
        log = home / "redis.log"
        with _running([program, *listening, *options, *args], log=log) as process:
            if _redis_started(process, chosen, log, tls):
                yield RedisServer(port=chosen, pid=process.pid, tls=tls)
                return
        if not tries_left or "already in use" not in log.read_text():
            raise _not_started("redis-server", log)


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
        for _ in _until(START_WITHIN):
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


@dataclass(frozen=True)
class PostgresServer:
    """A running PostgreSQL cluster with one superuser."""

    port: int
    pid: int
    password: str = field(repr=False)
    host: str = HOST
    user: str = "tester"
    database: str = "postgres"

    def url(self, password: str | None = None) -> str:
        """Spell the URL, with the right password unless another is given."""
        userinfo = _userinfo(self.user, self.password if password is None else password)
        return f"postgresql://{userinfo}{self.host}:{self.port}/{self.database}"


@contextmanager
def postgres_server(directory: Path) -> Iterator[PostgresServer]:
    """Run a new, empty PostgreSQL cluster: passwords over TCP (scram), no care for the disk.

    ``directory`` takes its logs. PostgreSQL refuses to be root: as root it runs as ``postgres``,
    else ``nobody``, with its data in the system's temporary directory, where such a user may go.
    Raises RuntimeError, with the end of the log, when it is not installed or does not start.
    """
    programs = _postgres_programs()
    logs = Path(tempfile.mkdtemp(prefix="postgres-", dir=directory))
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="postgres-")))
        identity = _postgres_identity(home)
        password = secrets.token_urlsafe(16)
        data = _postgres_data(programs, home, logs / "initdb.log", password, identity)
        server = [str(programs / "postgres"), "-D", str(data), *_postgres_options(home)]
        # Fast, then immediate. Never SIGKILL at once: it leaves shared memory behind for ever.
        ends = (signal.SIGINT, signal.SIGQUIT)
        for tries_left in reversed(range(PORTS)):
            port = _free_port()
            log = logs / "postgres.log"
            start = [*server, "-p", str(port)]
            with _running(start, log=log, ends=ends, cwd=home, **identity) as process:
                if _postgres_started(process, data):
                    yield PostgresServer(port=port, pid=process.pid, password=password)
                    return
            if not tries_left or "already in use" not in log.read_text():
                raise _not_started("postgres", log)


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
    for _ in _until(START_WITHIN):
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


# ── PostgreSQL ──────────────────────────────────────────────────────────────────────────────────


def _postgres_programs() -> Path:
    """Find the newest directory that holds initdb and postgres."""
    installed = Path("/usr/lib/postgresql").glob("*/bin/postgres")  # Debian keeps them off PATH
    found = sorted(installed, key=lambda path: float(path.parts[-3]), reverse=True)
    if on_path := shutil.which("postgres"):
        found.append(Path(on_path))
    for program in found:
        if (program.parent / "initdb").exists():
            return program.parent
    raise RuntimeError("no PostgreSQL server here: run scripts/test, or install postgresql")


def _postgres_identity(home: Path) -> dict[str, Any]:
    """Choose who runs it, as arguments for Popen, and give that user the directory."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            user = pwd.getpwnam(name)
            os.chown(home, user.pw_uid, user.pw_gid)
            return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    raise RuntimeError("PostgreSQL refuses to run as root, and neither postgres nor nobody exists")


def _postgres_data(
    programs: Path, home: Path, log: Path, password: str, identity: dict[str, Any]
) -> Path:
    data, secret = home / "data", home / "password"
    secret.touch(mode=0o600)
    secret.write_text(password)
    if identity:
        os.chown(secret, identity["user"], identity["group"])
    create = [str(programs / "initdb"), "-D", str(data), "-U", PostgresServer.user]
    create += ["--auth=scram-sha-256", f"--pwfile={secret}"]
    create += ["--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"]
    with log.open("wb") as output:
        status = subprocess.run(
            create, stdout=output, stderr=output, cwd=home, check=False, timeout=60, **identity
        ).returncode
    secret.unlink()
    if status:
        raise _not_started("initdb", log)
    return data


def _postgres_options(home: Path) -> list[str]:
    settings = {
        "listen_addresses": HOST,
        "unix_socket_directories": str(home),
        # A client that connects during the shutdown and then stays silent is not signalled: no
        # signal but SIGKILL ends the server before this time (15, measured; by default a minute).
        "authentication_timeout": "2s",
        "autovacuum": "off",
        "fsync": "off",
        "full_page_writes": "off",
        "max_connections": "40",
        "max_wal_senders": "0",
        "shared_buffers": "16MB",
        "synchronous_commit": "off",
        "wal_level": "minimal",
    }
    return [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]


def _postgres_started(process: subprocess.Popen[bytes], data: Path) -> bool:
    """Wait for the word in the eighth line of postmaster.pid, as pg_ctl does."""
    for _ in _until(START_WITHIN):
        if process.poll() is not None:
            return False
        with suppress(OSError):
            lines = (data / "postmaster.pid").read_text().splitlines()
            if lines[7:] and lines[7].strip() == "ready":
                return True
    return False


# ── any server ──────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _running(
    command: list[str],
    *,
    log: Path,
    ends: tuple[signal.Signals, ...] = (signal.SIGTERM,),
    **options: Any,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server with its output in a file; end it by the first signal it obeys, or SIGKILL."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, **options
        )
    try:
        yield process
    finally:
        for end in (*ends, signal.SIGKILL):
            process.send_signal(end)  # to a process that is gone, Popen sends nothing
            process.send_signal(signal.SIGCONT)  # a test may have left it stopped
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_WITHIN)
                break


def _until(seconds: float) -> Iterator[None]:
    """Come round every POLL until the time is up."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        yield
        time.sleep(POLL)


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as unused:
        port: int = unused.getsockname()[1]
    return port


def _userinfo(username: str | None, password: str | None) -> str:
    if username is None and password is None:
        return ""
    secret = "" if password is None else ":" + quote(password, safe="")
    return quote(username or "", safe="") + secret + "@"


def _not_started(what: str, log: Path) -> RuntimeError:
    tail = log.read_text(errors="replace").strip()[-2000:]
    return RuntimeError(f"{what} did not start; the end of its log:\n{tail}")
