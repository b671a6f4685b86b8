"""A redis-server that dies, stops, forgets and comes back, always at the same ports of its proxies.

It writes every command to disk before it answers (``appendfsync always``), so a kill loses nothing
that it acknowledged.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from resilience.simulation.proxy import Fault, Proxy
from tests.servers import HOST, RedisServer, redis_replica, redis_server

USER, PASSWORD, OTHER_PASSWORD = "app", "right", "changed"
_USERS = f"user default on nopass ~* &* +@all\nuser {USER} on >{PASSWORD} ~* &* +@all\n"
_ON_DISK = ("--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0")
_NOT_ON_DISK = ("--appendonly", "no")
_FAULTS = ("--enable-protected-configs", "yes")  # so that a fault may change where it writes
_REWRITTEN_WITHIN = 5.0  # seconds


class Server:
    """``running`` is the server of now; ``proxy()`` makes a way to whoever that is."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._held = ExitStack()
        self._outside = ExitStack()
        self.proxies: list[Proxy] = []

    def __enter__(self) -> Self:
        self.data = Path(tempfile.mkdtemp(prefix="data-", dir=self._directory))
        self._start(*_ON_DISK)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._outside.close()
        self._held.close()

    def proxy(self) -> Proxy:
        """A way to the server for one process."""
        made = self._outside.enter_context(Proxy(self.running.host, self.running.port))
        self.proxies.append(made)
        return made

    def url(self, proxy: Proxy, database: int) -> str:
        return f"redis://{USER}:{PASSWORD}@{HOST}:{proxy.port}/{database}"

    def command(self, *args: str | float) -> Any:
        return self.running.command(*args)

    @contextmanager
    def network(self, fault: Fault, proxies: list[Proxy] | None = None) -> Any:
        """A fault of the network on the ways of these, or all processes."""
        struck = self.proxies if proxies is None else proxies
        for proxy in struck:
            proxy.fault = fault
        try:
            yield
        finally:
            for proxy in struck:
                proxy.fault = None

    # ── its life ────────────────────────────────────────────────────────────────────────────────

    def kill(self) -> None:
        """SIGKILL."""
        os.kill(self.running.pid, signal.SIGKILL)
        self._held.close()

    def restart(self) -> None:
        """With what it has on disk."""
        self._start(*_ON_DISK)

    def restart_empty(self) -> None:
        shutil.rmtree(self.data)
        self.data.mkdir()
        self._start(*_ON_DISK)

    def restart_from_snapshot(self) -> None:
        """With what SAVE wrote, as if nothing had happened since."""
        shutil.rmtree(self.data / "appendonlydir")
        self._start(*_NOT_ON_DISK)
        self.command("CONFIG", "SET", "appendonly", "yes")
        ends = time.monotonic() + _REWRITTEN_WITHIN
        while self.command("INFO", "persistence")["aof_rewrite_in_progress"]:
            assert time.monotonic() < ends
            time.sleep(0.01)

    @contextmanager
    def replica(self) -> Any:
        """A replica in sync; yields what makes it the server."""
        home = Path(tempfile.mkdtemp(prefix="data-", dir=self._directory))
        with ExitStack() as held:
            options = ["--dir", str(home), *_ON_DISK, *_FAULTS]
            acl = home / "users.acl"
            acl.write_text(_USERS)
            options += ["--aclfile", str(acl)]
            replica = held.enter_context(redis_replica(self.running, self._directory, *options))

            def promote() -> None:
                replica.command("REPLICAOF", "NO", "ONE")
                self.data, self._held = home, held.pop_all()
                self._serve(replica)

            yield promote

    def _start(self, *options: str) -> None:
        options = (*options, "--dir", str(self.data), *_FAULTS)
        server = redis_server(*options, directory=self._directory, acl=_USERS)
        self._serve(self._held.enter_context(server))

    def _serve(self, server: RedisServer) -> None:
        self.running = server
        for proxy in self.proxies:
            proxy.target = (server.host, server.port)
