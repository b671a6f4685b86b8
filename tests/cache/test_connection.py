"""One connection alone, on a pair of sockets: what it says, what it keeps, what it lets go of."""

from __future__ import annotations

import os
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import pytest
from redis import exceptions

from resilience.cache.connection import (
    LINGER_NONE,
    Bound,
    Broken,
    LinkDown,
    LinkSaturated,
    RequestDials,
    TimedOut,
    may_be_done,
)
from resilience.cache.connector import Server
from resilience.simulation.authority import Authority
from tests.waiting import until

URL = "redis://cache.test:6379/0"
PING = b"*1\r\n$4\r\nPING\r\n"
LONG = 5.0  # seconds for what succeeds


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def tcp() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        mine = socket.create_connection(listener.getsockname())
        return mine, listener.accept()[0]


@contextmanager
def connected(
    clock: Callable[[], float] = time.monotonic,
    pair: Callable[[], tuple[socket.socket, socket.socket]] = socket.socketpair,
    url: str = URL,
    hello: bytes = b"",
) -> Iterator[tuple[Bound, socket.socket]]:
    """A connection, and the server's end of it."""
    mine, other = pair()
    connection = Server(url).connection(clock)
    with other:
        other.sendall(hello)
        connection.take_over(mine)
        connection.greet(clock() + LONG)
        try:
            yield connection, other
        finally:
            connection.disconnect()


def ask(connection: Bound, count: int = 1, seconds: float = LONG) -> list[object]:
    return connection.exchange(PING * count, count, time.monotonic() + seconds)


def silent(other: socket.socket) -> bool:
    """Whether nothing has come, and nothing has ended."""
    other.setblocking(False)
    try:
        other.recv(1)
    except BlockingIOError:
        return True
    return False


def drain(other: socket.socket) -> None:
    while other.recv(1_000_000):
        pass


# ── what an error says ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("error", "done"),
    [
        (LinkDown("said", ValueError()), False),
        (LinkSaturated("said"), False),
        (RequestDials("said"), False),
        (TimedOut("said", sent=False), False),
        (TimedOut("said", sent=True), True),
        (Broken("said", sent=False), False),
        (Broken("said", sent=True), True),
        (exceptions.InvalidResponse("said"), True),  # it does not know
    ],
)
def test_an_error_tells_whether_a_write_may_be_done(error, done):
    assert (str(error), may_be_done(error)) == ("said", done)


def test_an_error_keeps_its_cause_and_since_when():
    cause = ValueError()
    assert LinkDown("said", cause).cause is cause
    assert TimedOut("said", sent=True).since == 0


# ── our own commands ────────────────────────────────────────────────────────────────────────────


def test_a_new_connection_has_no_past():
    new = Server(URL).connection()
    assert (new.generation, new.waited_for, new.returned, new.expected) == (0, 0, 0, 0)
    assert new.is_stale()
    assert not new.is_clean()
    with connected() as (connection, other):
        assert connection.is_clean()
        assert not connection.is_stale()
        assert silent(other), "no AUTH and no SELECT are needed"


def test_a_round_trip_leaves_it_clean():
    with connected() as (connection, other):
        other.sendall(b"+PONG\r\n$1\r\nx\r\n-ERR no\r\n")
        pong, value, error = ask(connection, 3)
        assert (pong, value, str(error)) == (b"PONG", b"x", "no")
        assert isinstance(error, exceptions.ResponseError)
        assert other.recv(1000) == PING * 3
        assert (connection.expected, connection.is_clean(), connection.is_stale()) == (
            0, True, False,
        )  # fmt: skip


@pytest.mark.parametrize("reply", [b"-NOAUTH Authentication required.\r\n", b"-LOADING wait\r\n"])
def test_a_reply_about_the_connection_itself_spoils_it(reply):
    with connected() as (connection, other):
        other.sendall(reply)
        (error,) = ask(connection)
        assert isinstance(error, exceptions.ConnectionError)
        assert not connection.is_clean()


def test_a_reply_too_many_is_left_to_nobody():
    with connected() as (connection, other):
        other.sendall(b"+A\r\n+B\r\n+C\r\n")
        assert ask(connection, 2) == [b"A", b"B"]
        assert not connection.is_clean()


def test_replies_are_bytes_whatever_the_options_say():
    with connected(url=f"{URL}?decode_responses=True") as (connection, other):
        other.sendall(b"$1\r\n\xff\r\n")
        assert ask(connection) == [b"\xff"]


def test_what_the_server_pushes_is_no_reply():
    hello = b"%1\r\n+proto\r\n:3\r\n"
    with connected(url=f"{URL}?protocol=3", hello=hello) as (connection, other):
        other.sendall(b">2\r\n+message\r\n+news\r\n+PONG\r\n")
        assert ask(connection) == [b"PONG"]
        assert connection.is_clean()


def test_an_answer_that_does_not_come():
    with connected() as (connection, other):
        began = time.monotonic()
        with pytest.raises(
            TimedOut, match=r"^Redis at cache\.test:6379 did not answer in time$"
        ) as late:
            ask(connection, 2, seconds=0.05)
        assert 0.05 <= time.monotonic() - began < 0.5
        assert (late.value.sent, connection.expected) == (True, 2)
        assert not connection.is_clean()
        assert other.recv(1000) == PING * 2


@pytest.mark.parametrize("late", [0.0, 1.0])
def test_a_time_that_is_over_sends_nothing(late):
    clock = Clock()
    with connected(clock) as (connection, other):
        with pytest.raises(TimedOut) as raised:
            connection.exchange(PING, 1, clock.now - late)
        assert not raised.value.sent
        assert silent(other)
        assert connection.is_clean()


def test_half_a_reply_does_not_begin_the_time_anew():
    """The clock of the connection decides, not the socket's: here an hour passes at each look."""
    clock = Clock()

    def passing() -> float:
        clock.now += 3600
        return clock.now

    with connected(passing) as (connection, other):
        other.sendall(b"$10\r\nhalf")
        with pytest.raises(TimedOut):
            connection.exchange(PING, 1, clock.now + 2 * 3600 + 1)
        assert other.recv(1000) == PING


def test_the_end_of_the_stream():
    with connected() as (connection, other):
        other.sendall(b"$10\r\nhalf")
        other.shutdown(socket.SHUT_WR)
        with pytest.raises(Broken, match=r"^Redis at cache\.test:6379 ended the conn") as ended:
            ask(connection)
        assert ended.value.sent
        assert connection.is_stale()


def test_a_connection_that_breaks():
    with connected() as (connection, other):
        other.close()
        with pytest.raises(Broken, match=r"to Redis at cache.test:6379 broke: Broken pipe$") as end:
            ask(connection)
        assert end.value.sent


# ── what the pool asks ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("says", [b"", b"+unasked\r\n"])
def test_an_idle_connection_that_is_over_is_stale(says):
    with connected(pair=tcp) as (connection, other):
        assert not connection.is_stale()
        other.sendall(says)
        other.shutdown(socket.SHUT_WR)
        assert until(connection.is_stale)


def test_to_ask_whether_it_is_stale_takes_no_time():
    def seconds() -> float:
        began = time.perf_counter()
        assert not connection.is_stale()
        return time.perf_counter() - began

    with connected() as (connection, _):
        assert min(seconds() for _ in range(50)) < 0.0005


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def secured(authority) -> Iterator[tuple[Bound, ssl.SSLSocket]]:
    """As connected(), over TLS; the tickets of the handshake are still to be read."""
    mine, other = tcp()
    mine.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 262_144)
    other.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 262_144)
    with ThreadPoolExecutor(1) as pool:
        context = authority.server_context("localhost")
        server = pool.submit(context.wrap_socket, other, server_side=True)
        client = authority.client_context().wrap_socket(mine, server_hostname="localhost")
        with server.result(5) as theirs:
            connection = Server("rediss://cache.test:6379/0").connection()
            connection.take_over(client)
            connection.greet(time.monotonic() + LONG)
            yield connection, theirs
            connection.disconnect()


def test_tickets_of_tls_are_no_reply(secured):
    connection, theirs = secured
    assert not connection.is_stale()
    theirs.sendall(b"+PONG\r\n")
    assert ask(connection) == [b"PONG"]
    assert theirs.recv(1000) == PING
    assert not connection.is_stale()


@pytest.mark.parametrize("how", ["said something", "said goodbye", "garbage", "reset"])
def test_an_idle_connection_over_tls_that_is_over_is_stale(secured, how):
    connection, theirs = secured
    assert not connection.is_stale()
    if how == "said something":
        theirs.sendall(b"+unasked\r\n")
    elif how == "said goodbye":
        theirs.setblocking(False)
        with suppress(ssl.SSLWantReadError):
            theirs.unwrap()
    elif how == "garbage":
        with socket.socket(fileno=os.dup(theirs.fileno())) as plain:
            plain.sendall(b"no record of TLS")
    else:
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NONE)
        theirs.close()
    assert select.select([connection._sock], [], [], 1)[0]
    assert connection.is_stale()


@pytest.mark.parametrize(
    "send",
    [
        lambda connection, data, ends: connection.exchange(data, 1, ends),
        lambda connection, data, _: connection.send_packed_command(data),
    ],
    ids=["ours", "of redis-py"],
)
def test_a_server_that_takes_record_by_record_has_one_time_for_all(secured, send):
    """A socket's timeout is that of one sendall(), however many records it makes."""
    connection, theirs = secured
    over = threading.Event()

    def take_slowly() -> None:
        with suppress(OSError):
            while not over.wait(0.005) and theirs.recv(16384):
                pass

    taking = threading.Thread(target=take_slowly)
    taking.start()
    data = b"x" * 8_000_000  # two seconds and more
    began = time.monotonic()
    connection.bind(began + 0.2)
    with pytest.raises(TimedOut) as late:
        send(connection, data, began + 0.2)
    took = time.monotonic() - began
    over.set()
    taking.join(5)
    assert late.value.sent
    assert 0.2 <= took < 0.7


def test_a_foreign_socket_is_not_clean():
    mine, other = socket.socketpair()
    with mine, other, connected() as (connection, _):
        own, connection._sock = connection._sock, mine
        assert not connection.is_clean()
        with pytest.raises(RequestDials):
            ask(connection)
        connection._sock = own
        assert connection.is_clean()


def test_a_child_lets_go_without_a_word():
    with connected(pair=tcp) as (connection, other):
        parents = connection._sock.dup()  # as a fork leaves it
        connection.expected = 1
        connection.disown()
        connection.disown()
        assert connection.is_stale()
        assert silent(other)
        with parents:
            parents.sendall(b"still mine")
        other.setblocking(True)
        assert other.recv(100) == b"still mine"


@pytest.mark.parametrize(("missing", "forked"), [(0, False), (1, False), (1, True), (0, True)])
def test_a_connection_with_a_reply_missing_is_reset(missing, forked):
    """Else the kernel goes on to deliver a command that nobody waits for; never in a child."""
    with connected(pair=tcp) as (connection, other):
        connection.expected = missing
        connection.pid = os.getppid() if forked else os.getpid()
        connection.disconnect()
        connection.disconnect()  # as often as anybody likes
        assert connection.is_stale()
        if missing and not forked:
            with pytest.raises(ConnectionResetError):
                other.recv(1)
        else:
            assert other.recv(1) == b""


# ── redis-py's names ────────────────────────────────────────────────────────────────────────────


def test_a_command_of_redis_py_is_counted_until_its_reply_is_read():
    with connected() as (connection, other):
        connection.bind(time.monotonic() + LONG)
        connection.send_command("PING")
        connection.send_command("PING")
        assert other.recv(1000) == PING * 2
        assert (connection.expected, connection.is_clean()) == (2, False)
        other.sendall(b"+PONG\r\n-ERR no\r\n")
        assert connection.read_response() == b"PONG"
        assert connection.expected == 1
        with pytest.raises(exceptions.ResponseError, match="no"):
            connection.read_response()
        assert (connection.expected, connection.is_clean()) == (0, True)


def test_a_command_that_nobody_takes():
    """Reset too: what the kernel has taken of it may be a whole command."""
    with connected(pair=tcp) as (connection, other):
        connection.bind(time.monotonic() + 0.05)
        with pytest.raises(
            TimedOut, match=r"^Redis at cache\.test:6379 took no command in time$"
        ) as late:
            connection.send_command("SET", "key", b"x" * 10_000_000)
        assert late.value.sent
        assert connection.is_stale()
        with pytest.raises(ConnectionResetError):
            drain(other)


def test_commands_that_are_packed_together_are_counted_too():
    with connected() as (connection, other):
        connection.bind(time.monotonic() + LONG)
        packed = connection.pack_commands(iter([("PING",), ("PING",)]))
        assert connection.expected == 2
        connection.send_packed_command(packed)
        assert other.recv(1000) == PING * 2


def test_what_was_never_sent_is_not_in_doubt():
    def none() -> bytes:
        raise OSError

    with connected() as (connection, _):
        connection.bind(time.monotonic() + LONG)
        with pytest.raises(Broken, match=r"broke: OSError$") as broken:
            connection.send_packed_command(iter(none, b""))
        assert not broken.value.sent


def test_a_reply_that_redis_py_does_not_want_decoded():
    with connected(url=f"{URL}?decode_responses=True") as (connection, other):
        connection.bind(time.monotonic() + LONG)
        other.sendall(b"$1\r\nx\r\n$1\r\nx\r\n")
        assert connection.read_response(disable_decoding=True) == b"x"
        assert connection.read_response() == "x"


def test_a_closed_connection_gives_no_reply_that_it_had_read():
    with connected() as (connection, other):
        connection.bind(time.monotonic() + LONG)
        other.sendall(b"+mine\r\n+yours\r\n")
        assert connection.read_response() == b"mine"
        connection.disconnect()
        with pytest.raises(exceptions.ConnectionError):
            connection.read_response()


def test_a_command_to_a_connection_that_breaks():
    with connected() as (connection, other):
        other.close()
        connection.bind(time.monotonic() + LONG)
        with pytest.raises(Broken, match="broke: Broken pipe") as broken:
            connection.send_command("PING")
        assert broken.value.sent
        assert connection._sock is None


def test_a_command_that_is_interrupted_costs_the_connection():
    def interrupt() -> float:
        raise KeyboardInterrupt

    with connected() as (connection, _):
        connection._clock = interrupt
        with pytest.raises(KeyboardInterrupt):
            connection.send_command("PING")
        assert connection._sock is None


def test_a_reply_of_redis_py_has_the_same_time():
    clock = Clock()
    clock.now = -1000.0  # no time of the machine's own clock
    with connected(clock) as (connection, other):
        connection.bind(clock.now + LONG)
        other.sendall(b"+PONG\r\n")
        connection.expected = 1
        assert connection.read_response() == b"PONG"
        connection.bind(clock.now)
        with pytest.raises(exceptions.TimeoutError):
            connection.read_response()


def test_a_closed_connection_says_so():
    with connected() as (connection, _):
        connection.connect()
        connection.disconnect()
        for again in (connection.connect, lambda: connection.send_command("PING")):
            with pytest.raises(RequestDials, match=r"connection is closed, and a request never d"):
                again()
        with pytest.raises(RequestDials, match=r"^a request never dials$"):
            connection._connect()


def test_what_an_option_does_on_connecting_is_done_instead():
    seen: list[Bound] = []
    mine, other = socket.socketpair()
    connection = Server(URL, {"redis_connect_func": seen.append}).connection()
    with other:
        connection.take_over(mine)
        connection.greet(time.monotonic() + LONG)
        assert seen == [connection]
        connection.disconnect()
