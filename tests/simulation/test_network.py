"""Each fault as a client meets it, and the same code without the fault."""

from __future__ import annotations

import select
import socket
import ssl
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from resilience.simulation.listener import Listener
from resilience.simulation.network import BlackHole, Garbage, Refused, Reset, Silence

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resilience.simulation.authority import Authority

WAIT = 0.3  # seconds a client gives a fault that never answers
HTTP = b"HTTP/1.1 405 Method Not Allowed\r\n\r\n"


class Echo(Listener):
    """The twin without a fault: says back what it hears."""

    def handle(self, connection: socket.socket) -> None:
        while heard := connection.recv(100):
            connection.sendall(heard)


def ask(address: tuple[str, int], question: bytes = b"PING\r\n") -> bytes:
    """Connect, send, read until the other side ends it or has nothing more to say."""
    with socket.create_connection(address, timeout=WAIT) as line:
        line.sendall(question)
        return line.recv(100)


@contextmanager
def secure(address: tuple[str, int], authority: Authority) -> Iterator[ssl.SSLSocket]:
    """Connect and shake hands."""
    context = authority.client_context()
    with (
        socket.create_connection(address, timeout=WAIT) as line,
        context.wrap_socket(line, server_hostname="localhost") as secured,
    ):
        yield secured


def test_twin__answers():
    with Echo() as twin:
        assert ask(twin.address) == b"PING\r\n"
        assert twin.connections == 1


# ── BlackHole ───────────────────────────────────────────────────────────────────────────────────


def test_black_hole__connecting_times_out():
    with BlackHole() as fault:
        start = time.monotonic()
        with pytest.raises(TimeoutError):
            socket.create_connection(fault.address, timeout=WAIT)
        assert time.monotonic() - start >= WAIT


def test_black_hole__swallows_the_repeated_syn_too():
    """The client's kernel repeats its SYN after 1 s; nobody hears that one either."""
    with BlackHole() as fault, pytest.raises(TimeoutError):
        socket.create_connection(fault.address, timeout=1.3)


def test_black_hole__swallows_many_at_once():
    with BlackHole() as fault, ExitStack() as stack:
        clients = [stack.enter_context(socket.socket()) for _ in range(20)]
        for client in clients:
            client.settimeout(0)
            client.connect_ex(fault.address)
        assert select.select([], clients, clients, WAIT) == ([], [], [])


def test_black_hole__twin_with_room_in_its_queue_connects():
    with socket.create_server(("127.0.0.1", 0), backlog=10) as twin:
        socket.create_connection(twin.getsockname(), timeout=WAIT).close()


def test_black_hole__is_gone_afterwards():
    with BlackHole() as fault:
        pass
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(fault.address, timeout=WAIT)


def test_black_hole__says_so_where_the_kernel_answers_everything(monkeypatch):
    monkeypatch.setattr(BlackHole, "_TRIES", 1)  # the one that fits into the queue
    with pytest.raises(RuntimeError, match="cannot play a black hole"), BlackHole():
        pass


# ── Refused ─────────────────────────────────────────────────────────────────────────────────────


def test_refused__at_once():
    with Refused() as fault:
        start = time.monotonic()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(fault.address, timeout=5)
        assert time.monotonic() - start < 1


def test_refused__keeps_the_port_to_itself():
    with Refused() as fault, pytest.raises(OSError, match="in use"), Echo(port=fault.port):
        pass


def test_refused__frees_the_port_afterwards():
    with Refused() as fault:
        pass
    with Echo(port=fault.port) as twin:
        assert ask(twin.address) == b"PING\r\n"


# ── Silence ─────────────────────────────────────────────────────────────────────────────────────


def test_silence__accepts_and_never_answers():
    with Silence() as fault:
        with pytest.raises(TimeoutError):
            ask(fault.address)
        assert fault.connections == 1


def test_silence__stalls_a_tls_handshake(authority):
    with Silence() as fault, pytest.raises(TimeoutError), secure(fault.address, authority):
        pass


def test_silence__after_a_handshake(authority):
    context = authority.server_context("localhost")
    with Silence(tls=context) as fault, secure(fault.address, authority) as line:
        assert line.version() == "TLSv1.3"
        line.sendall(b"PING\r\n")
        with pytest.raises(TimeoutError):
            line.recv(1)


# ── Reset ───────────────────────────────────────────────────────────────────────────────────────


def test_reset__after_the_first_bytes():
    with Reset() as fault, pytest.raises(ConnectionResetError):
        ask(fault.address)


def test_reset__not_before():
    with Reset() as fault, socket.create_connection(fault.address, timeout=WAIT) as line:
        with pytest.raises(TimeoutError):
            line.recv(1)
        line.sendall(b"x")
        with pytest.raises(ConnectionResetError):
            line.recv(1)


def test_reset__of_a_tls_connection(authority):
    context = authority.server_context("localhost")
    with Reset(tls=context) as fault, secure(fault.address, authority) as line:
        line.sendall(b"PING\r\n")
        # Python 3.11 and 3.12 call a reset inside TLS an end of file …
        with suppress(ConnectionResetError):
            assert line.recv(1) == b""
        # … but the socket below cannot send any more, as it could after FIN.
        with pytest.raises(BrokenPipeError):
            socket.socket.send(line, b"x")


# ── Garbage ─────────────────────────────────────────────────────────────────────────────────────


def test_garbage__answers_and_ends():
    with Garbage(HTTP) as fault, socket.create_connection(fault.address, WAIT) as line:
        line.sendall(b"PING\r\n" * 1000)
        assert b"".join(iter(lambda: line.recv(100), b"")) == HTTP


def test_garbage__waits_to_be_asked():
    with Garbage(HTTP) as fault, pytest.raises(TimeoutError):
        ask(fault.address, b"")


def test_garbage__or_speaks_first():
    greeting = b"SSH-2.0-OpenSSH_9.2\r\n"
    with Garbage(greeting, greet=True) as fault:
        assert ask(fault.address, b"") == greeting


def test_garbage__inside_tls(authority):
    context = authority.server_context("localhost")
    with Garbage(HTTP, tls=context) as fault, secure(fault.address, authority) as line:
        line.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert line.recv(100) == HTTP


def test_garbage__is_no_tls_to_a_tls_client(authority):
    with (
        Garbage(HTTP) as fault,
        pytest.raises(ssl.SSLError, match="WRONG_VERSION_NUMBER"),
        secure(fault.address, authority),
    ):
        pass


# ── what all listeners share ────────────────────────────────────────────────────────────────────


def test_listener__serves_many_at_once_and_counts_them():
    with Echo() as twin, ExitStack() as stack:
        lines = [
            stack.enter_context(socket.create_connection(twin.address, WAIT)) for _ in range(20)
        ]
        for number, line in enumerate(lines):
            line.sendall(b"%d" % number)
        assert [line.recv(10) for line in lines] == [b"%d" % number for number in range(20)]
        assert twin.connections == 20


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "in-handshake"])
def test_listener__cuts_live_connections_within_a_second(authority, secure):
    tls = authority.server_context("localhost") if secure else None
    with ExitStack() as clients:
        with Silence(tls=tls) as fault:
            lines = [
                clients.enter_context(socket.create_connection(fault.address, 5)) for _ in range(10)
            ]
            lines[0].sendall(b"x")
            while fault.connections < 10:
                threading.Event().wait(0.01)
            start = time.monotonic()
        assert time.monotonic() - start < 1
        for line in lines:
            with suppress(ConnectionResetError):  # as good an end as any
                assert line.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        ask(fault.address)


def test_listener__cuts_an_established_tls_connection(authority):
    with ExitStack() as client:
        with Silence(tls=authority.server_context("localhost")) as fault:
            line = client.enter_context(secure(fault.address, authority))
        assert line.recv(1) == b""


def test_listener__comes_back_on_its_port():
    twin = Echo()
    with twin:
        before = twin.address
        ask(before)
    with twin:
        assert twin.address == before
        assert ask(before) == b"PING\r\n"


def test_listener__refuses_to_be_entered_twice():
    with Echo() as twin:
        with pytest.raises(RuntimeError, match="already listens"), twin:
            pass
        assert ask(twin.address) == b"PING\r\n"


def test_listener__survives_a_failed_handshake(authority):
    with Echo(tls=authority.server_context("localhost")) as twin:
        with suppress(ConnectionResetError):
            assert ask(twin.address) != b"PING\r\n"
        with secure(twin.address, authority) as line:
            line.sendall(b"PING\r\n")
            assert line.recv(100) == b"PING\r\n"


def test_listener__reports_a_handler_that_does_not_end(monkeypatch):
    release = threading.Event()

    class Stuck(Listener):
        def handle(self, connection: socket.socket) -> None:
            connection.sendall(b"!")
            release.wait()

    monkeypatch.setattr("resilience.simulation.listener.STOP_WITHIN", 0.05)
    with pytest.raises(RuntimeError, match=r"Stuck-\d+-1 did not end within 0.05 s"), Stuck() as it:
        assert ask(it.address) == b"!"
    release.set()
    for thread in threading.enumerate():
        if thread.name.startswith("Stuck-"):
            thread.join()


def test_listener__speaks_ipv6():
    with Echo(host="::1") as twin:
        assert ask(twin.address) == b"PING\r\n"
