"""What a ``proxy`` does to connections and bytes: one class per fault, and the base of your own."""

from __future__ import annotations

import asyncio
import random
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from typing import ClassVar, Literal, NamedTuple

from resilience.simulation.listener import CHUNK
from resilience.simulation.network import BAD_REQUEST, LINGER_NONE

Door = Literal["open", "closed", "deaf"]
Direction = Literal["up", "down"]

SLICE = 0.05  # seconds from one slice to the next under a limited bandwidth
BEHIND = 64  # chunks that leave together with a delayed one, at most


class Line(NamedTuple):
    """One live connection, as a fault strikes it."""

    client: socket.socket
    task: asyncio.Task[None]

    def was_reset(self) -> bool:
        """Whether the client sent RST, if what it sent before has not been read yet."""
        return bool(self.client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

    def end(self) -> None:
        """Close both sides."""
        self.task.cancel()

    def reset(self) -> None:
        """The same, and the client is told by RST."""
        _say_reset(self.client)
        self.task.cancel()


class Flow:
    """One direction of a connection, as a fault carries bytes along it.

    ``sent`` counts the bytes that went through since the fault was set.
    """

    def __init__(
        self,
        direction: Direction,
        source: socket.socket,
        sink: socket.socket,
        total: dict[Direction, int],
    ) -> None:
        self.is_reply: bool = direction == "down"
        self.source = source
        self.sink = sink
        self.sent: int = 0
        self.over: asyncio.Event = asyncio.Event()
        self._direction = direction
        self._total = total

    async def send(self, data: bytes) -> None:
        self.sent += len(data)
        self._total[self._direction] += len(data)  # first: who has received them finds them counted
        await asyncio.get_running_loop().sock_sendall(self.sink, data)

    async def is_over(self, within: float | None = None) -> bool:
        """Wait so long; True as soon as another fault is set."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                return await self.over.wait()
        return False

    def behind(self) -> bytes:
        """What has arrived behind the bytes in hand."""
        found = b""
        with suppress(BlockingIOError):
            for _ in range(BEHIND):
                found += self.source.recv(CHUNK)
        return found


class Fault:
    """What the network does, here nothing but its duty. A subclass changes one thing.

    ``door``: who connects is let in, refused or not answered. ``mute``: the end of a stream is
    held back, too. A fault keeps no state of a connection, so that several proxies may share it.
    """

    door: ClassVar[Door] = "open"
    mute: ClassVar[bool] = False

    def strike(self, line: Line) -> None:
        """What happens to a live connection when the fault is set."""

    async def carry(self, flow: Flow, data: bytes) -> bytes:
        """Do to bytes what the fault does; return what the next fault still has to carry.

        An OSError closes the connection.
        """
        await flow.send(data)
        return b""


class Refuse(Fault):
    """Nobody listens: connecting is refused. Live connections are closed.

    As when the server's process was killed.
    """

    door: ClassVar[Door] = "closed"

    def strike(self, line: Line) -> None:
        line.end()


@dataclass(frozen=True)
class Silence(Fault):
    """Accepts and answers nothing: bytes vanish both ways, on live connections too.

    As a server that is stuck. Healed, the connections work again, but what vanished stays away.
    With ``late`` it arrives when the fault is over, so that a write which the client gave up may
    still happen: as with a kernel, unless the client has reset the connection by then.
    """

    late: bool = False
    mute = True

    async def carry(self, flow: Flow, data: bytes) -> bytes:
        if not self.late:
            return b""
        await flow.is_over()
        return data


class BlackHole(Silence):
    """Connecting is not answered either; live connections as under Silence, ``late`` as there.

    As behind a firewall that drops. Who still waits for the connection when the fault is over gets
    it with the next SYN: the kernel repeats it after 1 s, 3 s, 7 s.
    """

    door: ClassVar[Door] = "deaf"


@dataclass(frozen=True)
class Latency(Fault):
    """Replies take ``seconds`` longer, give or take ``jitter``, on live connections too.

    What arrives behind delayed bytes leaves with them: a long reply is late once.
    """

    seconds: float
    jitter: float = 0.0
    _random: random.Random = field(
        default_factory=lambda: random.Random(0),  # noqa: S311 - the same delays in every run
        init=False,
        repr=False,
        compare=False,
    )

    async def carry(self, flow: Flow, data: bytes) -> bytes:
        if flow.is_reply:
            more = self._random.uniform(-self.jitter, self.jitter)
            if await flow.is_over(max(0.0, self.seconds + more)):
                return data
            data += flow.behind()
        return await super().carry(flow, data)


@dataclass(frozen=True)
class Trickle(Fault):
    """Replies come in steps with pauses, on live connections too.

    Each step comes before a client's timeout for one read, all of them long after.
    """

    bytes_per_step: int = 1
    pause: float = 0.05

    async def carry(self, flow: Flow, data: bytes) -> bytes:
        if not flow.is_reply:
            return await super().carry(flow, data)
        return await _in_slices(flow, data, self.bytes_per_step, self.pause)


class Reset(Fault):
    """RST: at once to live connections, to new ones when the first bytes come.

    As a load balancer whose backend is gone, or one that forgot a connection.
    """

    def strike(self, line: Line) -> None:
        line.reset()

    async def carry(self, flow: Flow, data: bytes) -> bytes:  # noqa: ARG002 - they go nowhere
        _say_reset(flow.sink if flow.is_reply else flow.source)
        raise ConnectionResetError


@dataclass(frozen=True)
class Truncate(Fault):
    """Each connection, live ones too, gets ``after`` more bytes of replies and is closed then.

    The requests were done: their outcome is unknown to the client.
    """

    after: int

    async def carry(self, flow: Flow, data: bytes) -> bytes:
        left = self.after - flow.sent
        if not flow.is_reply or len(data) < left:
            return await super().carry(flow, data)
        await flow.send(data[:left])
        raise ConnectionAbortedError


@dataclass(frozen=True)
class Garbage(Fault):
    """Instead of each reply come these bytes, on live connections too; the requests were done."""

    answer: bytes = BAD_REQUEST

    async def carry(self, flow: Flow, data: bytes) -> bytes:
        return await super().carry(flow, self.answer if flow.is_reply else data)


@dataclass(frozen=True)
class Bandwidth(Fault):
    """Each connection, live ones too, passes so many bytes per second in each direction."""

    bytes_per_second: float

    async def carry(self, flow: Flow, data: bytes) -> bytes:
        step = max(1, int(self.bytes_per_second * SLICE))
        return await _in_slices(flow, data, step, step / self.bytes_per_second)


async def _in_slices(flow: Flow, data: bytes, step: int, pause: float) -> bytes:
    for start in range(0, len(data), step):
        await flow.send(data[start : start + step])
        if await flow.is_over(pause):
            return data[start + step :]
    return b""


def _say_reset(client: socket.socket) -> None:
    """Have its close() send RST."""
    with suppress(OSError):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NONE)
