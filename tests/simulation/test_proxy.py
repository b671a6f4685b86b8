"""Each fault in front of a real Redis, and the same connection or client when it is healed."""

from __future__ import annotations

import re
import socket
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis

from resilience.simulation import faults
from resilience.simulation.listener import Listener
from resilience.simulation.network import LINGER_NONE
from resilience.simulation.proxy import (
    Bandwidth,
    BlackHole,
    Fault,
    Garbage,
    Latency,
    Proxy,
    Refuse,
    Reset,
    Silence,
    Trickle,
    Truncate,
)
from tests.servers import redis_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.servers import RedisServer

WAIT = 0.1  # seconds a client gives a fault that never answers
AMPLE = 2.0  # seconds for what must happen
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "test-with-faults.md"


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[RedisServer]:
    with redis_server(directory=tmp_path_factory.mktemp("proxy")) as running:
        yield running


@pytest.fixture
def proxy(server) -> Iterator[Proxy]:
    with Proxy(server.host, server.port) as running:
        yield running


@pytest.fixture
def line(proxy) -> Iterator[socket.socket]:
    """A live connection through the proxy, which has just been used."""
    with socket.create_connection(proxy.address, AMPLE) as live:
        assert ask(live) == b"+PONG\r\n"
        live.settimeout(WAIT)
        yield live


def ask(live: socket.socket, question: bytes = b"PING\r\n") -> bytes:
    live.sendall(question)
    return live.recv(100)


def read(live: socket.socket, count: int) -> bytes:
    live.settimeout(AMPLE)
    found = b""
    while len(found) < count and (more := live.recv(count - len(found))):
        found += more
    return found


def eventually(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + AMPLE
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def new_connection_works(proxy: Proxy) -> bool:
    with socket.create_connection(proxy.address, AMPLE) as fresh:
        return ask(fresh) == b"+PONG\r\n"


# ── without a fault ─────────────────────────────────────────────────────────────────────────────


def test_healthy__a_client_does_not_notice(proxy, server, connect):
    client = connect(f"redis://127.0.0.1:{proxy.port}/0")
    value = bytes(range(256)) * 4096
    assert client.set("big", value)
    assert client.get("big") == value
    assert server.command("GET", "big") == value
    assert proxy.fault is None
    assert proxy.connections == 1
    assert proxy.bytes_up > len(value)
    assert proxy.bytes_down > len(value)


def test_healthy__counts_exactly(proxy, line):
    assert (proxy.connections, proxy.bytes_up, proxy.bytes_down) == (1, 6, 7)


def test_healthy__the_end_of_each_direction_is_passed_on(proxy, line):
    line.sendall(b"PING\r\n")
    line.shutdown(socket.SHUT_WR)
    assert read(line, 100) == b"+PONG\r\n"  # and then Redis's end


def test_healthy__without_a_server():
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with Proxy(*nobody.getsockname()) as proxy:
            with socket.create_connection(proxy.address, AMPLE) as live:
                assert live.recv(1) == b""


def test_healthy__many_at_once(proxy):
    with ExitStack() as stack:
        lines = [
            stack.enter_context(socket.create_connection(proxy.address, AMPLE)) for _ in range(30)
        ]
        for number, live in enumerate(lines):
            live.sendall(b"ECHO %02d\r\n" % number)
        assert [live.recv(100) for live in lines] == [b"$2\r\n%02d\r\n" % n for n in range(30)]


# ── each fault, on the live connection and on a new one, and healed ─────────────────────────────


def test_refuse(proxy, line):
    proxy.fault = Refuse()
    assert line.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(proxy.address, AMPLE)
    proxy.fault = None
    assert new_connection_works(proxy)


def test_refuse__nobody_else_gets_the_port(proxy):
    proxy.fault = Refuse()
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(proxy.address)


def test_black_hole(proxy, line):
    proxy.fault = BlackHole()
    line.sendall(b"ECHO lost\r\n")
    with pytest.raises(TimeoutError):
        line.recv(1)
    with pytest.raises(TimeoutError):
        socket.create_connection(proxy.address, WAIT)
    proxy.fault = None
    assert new_connection_works(proxy)
    assert ask(line) == b"+PONG\r\n"  # what was lost stays lost


def test_black_hole__ends_for_whoever_still_connects(proxy):
    proxy.fault = BlackHole()
    with socket.socket() as waiting:
        waiting.settimeout(0)
        waiting.connect_ex(proxy.address)
        proxy.fault = None
        waiting.settimeout(AMPLE)
        eventually(lambda: proxy.connections)  # the kernel repeats the SYN after a second
        assert ask(waiting) == b"+PONG\r\n"


def test_silence(proxy, line):
    proxy.fault = Silence()
    line.sendall(b"ECHO lost\r\n")
    with pytest.raises(TimeoutError):
        line.recv(1)
    with socket.create_connection(proxy.address, WAIT) as fresh, pytest.raises(TimeoutError):
        ask(fresh)
    assert proxy.connections == 2
    proxy.fault = None
    assert ask(line) == b"+PONG\r\n"
    assert new_connection_works(proxy)


def test_silence__holds_back_the_end_too(proxy, line):
    proxy.fault = Silence()
    line.shutdown(socket.SHUT_WR)
    with pytest.raises(TimeoutError):
        line.recv(1)
    proxy.fault = None
    assert read(line, 1) == b""


@pytest.mark.parametrize("fault", [Silence(late=True), BlackHole(late=True)], ids=repr)
def test_late__a_write_that_was_given_up_happens_after_all(proxy, server, fault):
    server.command("SET", "k", "old")
    with socket.create_connection(proxy.address, WAIT) as live:
        assert ask(live) == b"+PONG\r\n"
        proxy.fault = fault
        live.sendall(b"SET k new\r\n")
        with pytest.raises(TimeoutError):
            live.recv(1)
    assert server.command("GET", "k") == b"old"
    proxy.fault = None
    eventually(lambda: server.command("GET", "k") == b"new")


@pytest.mark.parametrize("fault", [Silence(late=True), BlackHole(late=True)], ids=repr)
def test_late__but_not_over_a_reset(proxy, server, fault):
    server.command("SET", "k", "old")
    with socket.create_connection(proxy.address, WAIT) as live:
        assert ask(live) == b"+PONG\r\n"
        proxy.fault = fault
        live.sendall(b"SET k new\r\n")
        live.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NONE)
    proxy.fault = None
    eventually(lambda: not proxy._lines)
    assert server.command("GET", "k") == b"old"


def test_late__a_reply_arrives(proxy, line):
    proxy.fault = Silence(late=True)
    line.sendall(b"PING\r\n")
    with pytest.raises(TimeoutError):
        line.recv(1)
    proxy.fault = None
    assert read(line, 7) == b"+PONG\r\n"


@pytest.mark.parametrize("jitter", [0.0, 0.02])
def test_latency(proxy, line, jitter):
    line.settimeout(AMPLE)
    proxy.fault = Latency(0.06, jitter)
    for _ in range(2):
        start = time.monotonic()
        assert ask(line) == b"+PONG\r\n"
        assert time.monotonic() - start >= 0.06 - jitter
    start = time.monotonic()
    assert new_connection_works(proxy)
    assert time.monotonic() - start >= 0.06 - jitter
    proxy.fault = None
    assert fastest(line) < 0.04


def test_latency__a_long_reply_is_late_once(proxy, server):
    server.command("SET", "long", b"x" * 1_000_000)
    proxy.fault = Latency(0.1)
    with socket.create_connection(proxy.address, AMPLE) as live:
        live.sendall(b"GET long\r\n")
        start = time.monotonic()
        assert len(read(live, 1_000_000)) == 1_000_000
        assert 0.1 <= time.monotonic() - start < 1.0  # it is 16 chunks long


def test_latency__ends_when_it_is_healed(proxy, line):
    proxy.fault = Latency(60)
    line.sendall(b"PING\r\n")
    with pytest.raises(TimeoutError):
        line.recv(1)
    proxy.fault = None
    assert read(line, 7) == b"+PONG\r\n"


def fastest(live: socket.socket) -> float:
    """Seconds of the quickest of five round trips: the machine may be busy."""
    live.settimeout(AMPLE)
    took = []
    for _ in range(5):
        start = time.monotonic()
        ask(live)
        took.append(time.monotonic() - start)
    return min(took)


def test_trickle(proxy, line):
    proxy.fault = Trickle(1, pause=0.02)
    start = time.monotonic()
    line.sendall(b"PING\r\n")
    assert [line.recv(100) for _ in range(7)] == [b"+", b"P", b"O", b"N", b"G", b"\r", b"\n"]
    assert time.monotonic() - start >= 0.12
    proxy.fault = None
    assert ask(line) == b"+PONG\r\n"


def test_trickle__healed_in_the_middle(proxy, line):
    proxy.fault = Trickle(2, pause=60)
    assert ask(line) == b"+P"
    proxy.fault = None
    assert read(line, 5) == b"ONG\r\n"


def test_bandwidth(proxy, line):
    proxy.fault = Bandwidth(2000)
    start = time.monotonic()
    line.sendall(b"*2\r\n$4\r\nECHO\r\n$200\r\n" + b"x" * 200 + b"\r\n")
    assert len(read(line, 208)) == 208
    assert time.monotonic() - start >= 0.15  # 222 bytes up and 208 down, but for the first slices
    proxy.fault = None
    assert fastest(line) < 0.04


def test_reset(proxy, line):
    proxy.fault = Reset()
    with pytest.raises(ConnectionResetError):
        line.recv(1)
    with socket.create_connection(proxy.address, WAIT) as fresh:
        with pytest.raises(TimeoutError):
            fresh.recv(1)
        with pytest.raises(ConnectionResetError):
            ask(fresh)
    proxy.fault = None
    assert new_connection_works(proxy)


def test_truncate(proxy, line, server):
    server.command("DEL", "n")
    proxy.fault = Truncate(5)
    assert ask(line, b"INCR n\r\n") == b":1\r\n"
    line.sendall(b"INCR n\r\n")
    assert read(line, 100) == b":"
    assert server.command("GET", "n") == b"2"  # done, although the client cannot know
    with socket.create_connection(proxy.address, AMPLE) as fresh:
        assert ask(fresh) == b"+PONG"
        assert fresh.recv(1) == b""
    proxy.fault = None
    assert new_connection_works(proxy)


def test_truncate__counts_from_when_it_is_set(proxy, line):
    proxy.fault = Truncate(0)
    line.sendall(b"PING\r\n")
    assert read(line, 100) == b""


def test_garbage(proxy, line, connect):
    proxy.fault = Garbage(b"SSH-2.0-OpenSSH_9.2\r\n")
    assert ask(line) == b"SSH-2.0-OpenSSH_9.2\r\n"
    client = connect(f"redis://127.0.0.1:{proxy.port}/0?protocol=2")
    with pytest.raises(redis.RedisError):
        client.ping()
    proxy.fault = None
    assert ask(line) == b"+PONG\r\n"
    assert client.ping()


def test_garbage__is_a_web_server_by_default(proxy, line):
    proxy.fault = Garbage()
    assert ask(line).startswith(b"HTTP/1.1 400 ")


# ── the proxy ───────────────────────────────────────────────────────────────────────────────────

ALL = [
    Refuse(),
    BlackHole(),
    Silence(late=True),
    Latency(0.01),
    Trickle(),
    Reset(),
    Truncate(3),
    Garbage(b"x"),
    Bandwidth(100),
]
NAMES = [type(each).__name__ for each in ALL]  # several processes have to agree on them


def test_all_faults_are_here():
    classes = {each for each in vars(faults).values() if isinstance(each, type)}
    assert {each for each in classes if issubclass(each, Fault)} == {Fault, *map(type, ALL)}


@pytest.mark.parametrize("fault", ALL, ids=NAMES)
def test_every_fault__from_the_start_and_left_while_it_holds(server, fault):
    with Proxy(server.host, server.port, fault=fault) as proxy, ExitStack() as clients:
        if fault.door == "open":
            live = clients.enter_context(socket.create_connection(proxy.address, WAIT))
            live.sendall(b"PING\r\n")
        assert proxy.fault is fault
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(proxy.address, WAIT)


@pytest.mark.parametrize("fault", ALL, ids=NAMES)
def test_every_fault__healed_and_set_again(server, fault):
    with Proxy(server.host, server.port) as proxy:
        for _ in range(2):
            proxy.fault = fault
            proxy.fault = None
            assert new_connection_works(proxy)


def test_from_one_fault_to_another(proxy, line):
    """Bytes that a fault still holds are the next one's."""
    proxy.fault = Latency(60)
    line.sendall(b"PING\r\n")
    eventually(lambda: proxy.bytes_up == 12)
    proxy.fault = Trickle(3, pause=0.01)
    line.settimeout(AMPLE)
    assert line.recv(100) == b"+PO"
    proxy.fault = None
    assert read(line, 4) == b"NG\r\n"


def test_a_fault_of_ones_own(proxy, line):
    class Shout(Fault):
        async def carry(self, flow: Any, data: bytes) -> bytes:
            return await super().carry(flow, data.lower() if flow.is_reply else data)

    proxy.fault = Shout()
    assert ask(line) == b"+pong\r\n"


def test_leaving_cuts_live_connections(server):
    with socket.socket() as live:
        with Proxy(server.host, server.port) as proxy:
            live.connect(proxy.address)
            assert ask(live) == b"+PONG\r\n"
        assert live.recv(1) == b""


def test_comes_back_on_its_port(server):
    proxy = Proxy(server.host, server.port)
    for _ in range(2):
        with proxy:
            assert new_connection_works(proxy)
            with pytest.raises(RuntimeError, match="already listens"), proxy:
                pass
    proxy.fault = Silence()  # outside of the block, for the next one
    with proxy, socket.create_connection(proxy.address, WAIT) as live, pytest.raises(TimeoutError):
        ask(live)


def test_a_port_that_is_taken(server):
    with pytest.raises(OSError, match="in use"), Proxy(server.host, 1, port=server.port):
        pass


def test_a_black_hole_that_this_system_cannot_play(server, monkeypatch):
    monkeypatch.setattr("resilience.simulation.network.BlackHole._TRIES", 1)
    with pytest.raises(RuntimeError, match="cannot play a black hole"):
        with Proxy(server.host, server.port, fault=BlackHole()):
            pass
    with Proxy(server.host, server.port) as proxy:
        with pytest.raises(RuntimeError, match="cannot play a black hole"):
            proxy.fault = BlackHole()
        proxy.fault = None
        assert new_connection_works(proxy)


def test_speaks_ipv6():
    class Echo(Listener):
        def handle(self, connection: socket.socket) -> None:
            connection.sendall(connection.recv(100))

    with Echo(host="::1") as echo, Proxy(*echo.address, host="::1") as proxy:
        with socket.create_connection(proxy.address, AMPLE) as live:
            assert ask(live) == b"PING\r\n"


# ── the page ────────────────────────────────────────────────────────────────────────────────────


def test_the_page__its_example_runs(server):
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert example.count("6379") == 1
    names: dict[str, Any] = {}
    exec(example.replace("6379", str(server.port)), names)  # noqa: S102 - our own page
    names["test_a_silent_redis"]()


def test_the_page__names_every_fault():
    page = PAGE.read_text(encoding="utf-8")
    assert [type(each).__name__ for each in ALL if f"| `{type(each).__name__}(" not in page] == []
