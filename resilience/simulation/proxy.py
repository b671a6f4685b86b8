"""A real server behind a network that fails on command, and heals.

::

    with Proxy("127.0.0.1", 6379) as proxy:
        client = redis.Redis.from_url(f"redis://127.0.0.1:{proxy.port}/0", socket_timeout=0.1)
        proxy.fault = Silence()
        with pytest.raises(redis.TimeoutError):
            client.ping()

When the assignment returns, the fault is in force, for new connections and for those that are
there; each class of ``faults`` says what becomes of them. ``proxy.fault = None`` heals. TLS passes
through. For a server that need not be real see ``network`` and ``fake_redis``.

    client ◄──► Proxy ◄──► server      one thread, an event loop; per connection two tasks:
                                       recv ─► fault.carry() ─► send, one for each direction
"""

from __future__ import annotations

import asyncio
import socket
import threading
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Self

from resilience.simulation import network
from resilience.simulation.faults import (
    Bandwidth,
    BlackHole,
    Direction,
    Door,
    Fault,
    Flow,
    Garbage,
    Latency,
    Line,
    Refuse,
    Reset,
    Silence,
    Trickle,
    Truncate,
)
from resilience.simulation.listener import CHUNK, STOP_WITHIN

__all__ = [
    "Bandwidth",
    "BlackHole",
    "Fault",
    "Garbage",
    "Latency",
    "Proxy",
    "Refuse",
    "Reset",
    "Silence",
    "Trickle",
    "Truncate",
]


class Proxy:
    """Passes bytes between its clients and a server, as ``fault`` lets it.

    ``host`` is the address to listen on, IPv6 if it holds a colon. ``port`` 0 lets the kernel
    choose; inside the block it is the real one, and stays this proxy's, refused or not. A client
    is accepted before the server is asked: without a server it is closed at once.

    ``connections`` counts what was accepted so far, ``bytes_up`` and ``bytes_down`` what was
    passed on to the server and to its clients.

    Entering raises OSError when the port is taken. Leaving closes what is live.
    """

    def __init__(
        self,
        target_host: str,
        target_port: int,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        fault: Fault | None = None,
    ) -> None:
        self.target: tuple[str, int] = (target_host, target_port)
        self.host = host
        self.port: int = port
        self.connections: int = 0
        self._fault = fault or Fault()
        self._total: dict[Direction, int] = {"up": 0, "down": 0}
        self._lines: set[Line] = set()
        self._door = ExitStack()
        self._door_is: Door = "closed"
        self._listening: socket.socket | None = None
        self._outside = ExitStack()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Host and port, as ``socket.create_connection`` wants them."""
        return self.host, self.port

    @property
    def bytes_up(self) -> int:
        return self._total["up"]

    @property
    def bytes_down(self) -> int:
        return self._total["down"]

    @property
    def fault(self) -> Fault | None:
        return None if type(self._fault) is Fault else self._fault

    @fault.setter
    def fault(self, fault: Fault | None) -> None:
        if self._loop is None:
            self._fault = fault or Fault()
        else:
            switch = self._switch(fault or Fault())
            asyncio.run_coroutine_threadsafe(switch, self._loop).result(STOP_WITHIN)

    def __enter__(self) -> Self:
        if self._loop is not None:
            raise RuntimeError(f"the proxy already listens on port {self.port}")
        with ExitStack() as outside:
            self._hold_port(outside)
            ready: Future[asyncio.AbstractEventLoop] = Future()
            thread = threading.Thread(
                target=lambda: asyncio.run(self._run(ready)),
                name=f"Proxy-{self.port}",
                daemon=True,
            )
            thread.start()
            outside.callback(thread.join, STOP_WITHIN)
            self._loop = ready.result(STOP_WITHIN)
            self._outside = outside.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._loop = None
            self._outside.close()

    def _hold_port(self, outside: ExitStack) -> None:
        """Bind it without listening: nobody else is given it while the door is closed."""
        holding = outside.enter_context(socket.socket(_family(self.host)))
        if self.port:
            holding.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holding.bind(self.address)
        holding.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.port = holding.getsockname()[1]

    # ── in the event loop ───────────────────────────────────────────────────────────────────────

    async def _run(self, ready: Future[asyncio.AbstractEventLoop]) -> None:
        loop = asyncio.get_running_loop()
        self._stop, self._over = asyncio.Event(), asyncio.Event()
        try:
            self._open(self._fault.door, loop)
        except BaseException as error:  # noqa: BLE001 - __enter__ raises it
            ready.set_exception(error)
            return
        ready.set_result(loop)
        await self._stop.wait()
        self._open("closed", loop)
        for line in self._lines:
            line.end()
        await self._ended()

    async def _switch(self, fault: Fault) -> None:
        self._accept()  # who connected before this is a live connection
        if self._fault.mute:  # over RST no kernel repeats anything
            for line in self._lines:
                if line.was_reset():
                    line.end()
            await self._ended()
        self._fault, over = fault, self._over
        self._over = asyncio.Event()
        over.set()
        for line in self._lines:
            fault.strike(line)
        self._open(fault.door, asyncio.get_running_loop())
        await self._ended()

    def _open(self, door: Door, loop: asyncio.AbstractEventLoop) -> None:
        if door == self._door_is:
            return
        self._door.close()
        self._listening, self._door_is = None, "closed"
        if door == "deaf":
            self._door.enter_context(_Deaf(host=self.host, port=self.port))
        elif door == "open":
            listening = socket.create_server(self.address, family=_family(self.host))
            self._listening = self._door.enter_context(listening)
            listening.settimeout(0)
            loop.add_reader(listening, self._accept)
            self._door.callback(loop.remove_reader, listening)
        self._door_is = door

    def _accept(self) -> None:
        with suppress(OSError):  # nobody waits any more, or who did is gone
            while self._listening is not None:
                client, _ = self._listening.accept()
                self.connections += 1
                client.settimeout(0)
                line = Line(client, asyncio.get_running_loop().create_task(self._serve(client)))
                self._lines.add(line)
                line.task.add_done_callback(lambda _, line=line: self._end(line))  # type: ignore[misc]

    def _end(self, line: Line) -> None:
        line.client.close()
        self._lines.discard(line)

    async def _ended(self) -> None:
        """Wait for the connections that were told to end."""
        if ending := [line.task for line in self._lines if line.task.cancelling()]:
            await asyncio.wait(ending)

    async def _serve(self, client: socket.socket) -> None:
        with socket.socket(_family(self.target[0])) as server:
            server.settimeout(0)
            try:
                for each in (client, server):
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                await asyncio.get_running_loop().sock_connect(server, self.target)
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._pump(Flow("up", client, server, self._total)))
                    both.create_task(self._pump(Flow("down", server, client, self._total)))
            except* OSError:
                pass  # one side is gone, or the fault ended it

    async def _pump(self, flow: Flow) -> None:
        loop = asyncio.get_running_loop()
        while data := await loop.sock_recv(flow.source, CHUNK):
            while data:
                if flow.over is not self._over:
                    flow.over, flow.sent = self._over, 0
                data = await self._fault.carry(flow, data)
        while self._fault.mute:
            await self._over.wait()
        flow.sink.shutdown(socket.SHUT_WR)


class _Deaf(network.BlackHole):
    """On a port that is held already, and may have live connections."""

    def _socket(self) -> socket.socket:
        made = super()._socket()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return made


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
