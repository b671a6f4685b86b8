"""A real redis-server that is thrown away: killed, restarted, filled, made a replica.

It keeps nothing on disk but its log, and ends with the process that started it.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from resilience.simulation.constrained import bound_to_parent
from resilience.simulation.program import HOST, PORTS, START_WITHIN, free_port, not_started, until

if TYPE_CHECKING:
    from resilience.simulation.authority import Authority

STOP_WITHIN = 3.0  # seconds, then SIGKILL
_FILLER = 4 * 1024 * 1024  # bytes


def is_installed() -> bool:
    """Whether there is a redis-server on PATH."""
    return shutil.which("redis-server") is not None


class RedisServer:
    """A redis-server on a free port of 127.0.0.1, from entering the block until leaving it.

    ``directory`` takes its files. With ``tls`` it speaks TLS alone. Entering raises RuntimeError,
    with the end of its log, when it does not start; ``start()`` after ``kill()`` takes the same
    port. The states below are undone by ``restart()``.
    """

    def __init__(self, directory: Path, *, tls: Authority | None = None) -> None:
        self.tls = tls
        self.port: int = 0
        self._directory = directory
        self._home = directory
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the running server; 0 while there is none."""
        return self._process.pid if self._process else 0

    def __enter__(self) -> Self:
        self._home = Path(tempfile.mkdtemp(prefix="redis-", dir=self._directory))
        for _ in range(PORTS - 1):
            self.port = free_port()
            with suppress(RuntimeError):
                self.start()
                return self
        self.port = free_port()
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start it and wait until it answers."""
        program = shutil.which("redis-server")
        if program is None:
            raise RuntimeError("no redis-server here")
        log = self._home / "server.log"
        with log.open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603 - the program is redis-server
                bound_to_parent([program, *self._options()]),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                process_group=0,
            )
        for _ in until(START_WITHIN):
            if self._process.poll() is not None:
                break
            # "Server initialized" comes after it took the port: nobody else answers there.
            if b"Server initialized" in log.read_bytes() and self._answers():
                return
        self.kill()
        raise not_started("redis-server", log)

    def kill(self) -> None:
        """SIGKILL: connections are cut, and the port refuses."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM, then SIGKILL."""
        self._end(signal.SIGTERM)

    def restart(self) -> None:
        """A new one on the same port: empty, without a password, nobody's replica."""
        self.kill()
        self.start()

    def require_password(self, password: str) -> None:
        """Answer NOAUTH to whoever does not know it."""
        self.command("CONFIG", "SET", "requirepass", password)

    def follow(self, primary: RedisServer) -> None:
        """Be the replica of one without TLS, up to date: reads are answered, writes are READONLY.

        Raises RuntimeError where it does not get that far.
        """
        primary.command("CONFIG", "SET", "repl-diskless-sync-delay", "0")
        self.command("REPLICAOF", HOST, str(primary.port))
        for _ in until(START_WITHIN):
            if self.command("INFO", "replication").get("master_link_status") == "up":
                return
        raise RuntimeError("the replica did not catch up with its primary")

    def fill(self) -> None:
        """Hold more than is allowed and evict nothing: writes are OOM."""
        self.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
        self.command("SET", "rehearsal:filler", b"x" * _FILLER)
        self.command("CONFIG", "SET", "maxmemory", "1mb")

    def command(self, *words: str | bytes) -> Any:
        """One command on a connection of its own; redis-py's exceptions are the caller's."""
        trust: dict[str, Any] = {}
        if self.tls is not None:
            trust = {"ssl": True, "ssl_ca_data": self.tls.ca_pem.decode()}
        with redis.Redis(
            host=HOST,
            port=self.port,
            socket_timeout=STOP_WITHIN,
            socket_connect_timeout=STOP_WITHIN,
            retry=Retry(NoBackoff(), 0),
            **trust,
        ) as client:
            return client.execute_command(*words)

    def _options(self) -> list[str]:
        listening = ["--port", str(self.port)]
        if self.tls is not None:
            listening = ["--port", "0", "--tls-port", str(self.port), "--tls-auth-clients", "no"]
            cert, key = self._home / "server.pem", self._home / "server.key"
            self.tls.write_server(cert, key, "localhost", HOST)
            listening += ["--tls-cert-file", str(cert), "--tls-key-file", str(key)]
            listening += ["--tls-ca-cert-file", str(self.tls.write_ca(self._home / "ca.pem"))]
        keeping = ["--save", "", "--appendonly", "no", "--dir", str(self._home)]
        return ["--bind", HOST, "--daemonize", "no", *listening, *keeping]

    def _answers(self) -> bool:
        with suppress(OSError, redis.exceptions.RedisError):
            return bool(self.command("PING"))
        return False

    def _end(self, by: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        for each in (by, signal.SIGKILL):
            process.send_signal(each)
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_WITHIN)
                return
