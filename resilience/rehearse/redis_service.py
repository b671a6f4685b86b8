"""The Redis of a stage: a real server where one is installed, else the fake; a proxy before it."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from resilience.simulation import redis_server
from resilience.simulation.fake_redis import FakeRedis
from resilience.simulation.proxy import Fault, Proxy, Refuse
from resilience.simulation.redis_server import RedisServer

if TYPE_CHECKING:
    from resilience.simulation.authority import Authority

HOST = "127.0.0.1"
_OOM = "OOM command not allowed when used memory > 'maxmemory'."
_WRITES = "SET DEL UNLINK PEXPIRE PERSIST MSET SETEX INCR INCRBY".split()


class RedisService:
    """One Redis as the project sees it, at ``port``, and what can be done to it.

    ``tls`` True gives it a certificate of a throw-away authority (needs trustme).
    """

    def __init__(self, folder: Path, *, tls: bool = False) -> None:
        self.tls = tls
        self._folder = folder
        self._held = ExitStack()
        self._server: RedisServer | None = None
        self._fake: FakeRedis | None = None
        self._ca = ""

    @property
    def is_real(self) -> bool:
        """Whether it is a redis-server and not the fake."""
        return self._server is not None

    def __enter__(self) -> Self:
        with ExitStack() as held:
            authority = self._authority() if self.tls else None
            if redis_server.is_installed():
                self._server = held.enter_context(RedisServer(self._folder, tls=authority))
                behind = self._server.port
            else:
                context = authority.server_context("localhost", HOST) if authority else None
                self._fake = held.enter_context(FakeRedis(tls=context))
                behind = self._fake.port
            self._proxy = held.enter_context(Proxy(HOST, behind))
            self._held = held.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._held.close()

    @property
    def port(self) -> int:
        """Where the project meets it."""
        return self._proxy.port

    @property
    def asked(self) -> int:
        """How many connections came."""
        return self._proxy.connections

    def address(self) -> dict[str, Any]:
        """What ``addresses`` puts in the place of the real one."""
        scheme = "rediss" if self.tls else "redis"
        return {"host": HOST, "port": self.port, "scheme": scheme, "ca": self._ca}

    # ── what goes wrong ─────────────────────────────────────────────────────────────────────────

    def fail(self, fault: Fault | None) -> None:
        """Break the network before it, or heal it with None."""
        self._proxy.fault = fault

    def require_password(self, password: str) -> None:
        if self._server:
            self._server.require_password(password)
        else:
            self._answer("*", "NOAUTH Authentication required.")

    def demote(self) -> None:
        """Make it the replica of a primary that lives, as a failover does with the old one."""
        if self._server:
            self._server.follow(self._held.enter_context(RedisServer(self._folder)))
        else:
            self._refuse_writes("READONLY You can't write against a read only replica.")

    def fill(self) -> None:
        if self._server:
            self._server.fill()
        else:
            self._refuse_writes(_OOM)

    def kill(self) -> None:
        """As the kernel does: connections are cut, the port refuses."""
        if self._server:
            self._server.kill()
        self._proxy.fault = Refuse()  # it would accept, and close

    def start(self) -> None:
        """Again, and empty; a fake forgets nothing."""
        if self._server:
            self._server.start()
        self._proxy.fault = None

    def _refuse_writes(self, text: str) -> None:
        for name in _WRITES:
            self._answer(name, text)

    def _answer(self, command: str, text: str) -> None:
        if self._fake is not None:
            self._fake.errors[command] = text

    def _authority(self) -> Authority:
        from resilience.simulation.authority import Authority  # noqa: PLC0415 - needs trustme

        made = Authority()
        self._ca = str(made.write_ca(self._folder / "redis-ca.pem"))
        return made
