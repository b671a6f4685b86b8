"""The connections of one alias: on time in every fault, dialled by nobody but the connector."""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Self

import pytest
import redis
from redis import exceptions

from resilience.cache import dials, lending
from resilience.cache.connection import (
    Bound,
    Broken,
    LinkDown,
    LinkSaturated,
    RequestDials,
    TcpConnection,
    TimedOut,
    may_be_done,
)
from resilience.cache.connector import CONNECTOR, DIALS, Server
from resilience.cache.link import Link
from resilience.cache.pool import deadline
from resilience.simulation.authority import Authority
from resilience.simulation.fake_redis import FakeRedis
from resilience.simulation.listener import CHUNK, Listener
from resilience.simulation.network import BlackHole, Garbage, Refused, Reset, Silence
from resilience.simulation.proxy import Latency, Proxy
from tests.servers import RedisServer, redis_server, redis_with_password
from tests.waiting import until

SHORT = 0.05  # seconds for an operation that meets a fault
MARGIN = 0.5  # seconds that a busy machine may add
LONG = 5.0  # seconds for what succeeds


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[RedisServer]:
    with redis_server(directory=tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


_made: list[Link] = []


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    yield
    while _made:
        _made.pop().drop()
    assert until(lambda: not CONNECTOR.snapshot()["running"])


def link_to(url: str, name: str = "default", **kwargs: Any) -> Link:
    _made.append(Link(Server(url, **kwargs), name))
    return _made[-1]


def url_of(fault: Any, scheme: str = "redis") -> str:
    return f"{scheme}://{fault.host}:{fault.port}/0"


def ask(link: Link, *commands: tuple[Any, ...], seconds: float = LONG) -> list[Any]:
    return link.exchange(commands, time.monotonic() + seconds)


@contextmanager
def lent_by(link: Link) -> Iterator[Bound]:
    """One connection for a block, returned in whatever state it is."""
    ends = time.monotonic() + LONG
    connection = link.take(ends)
    connection.bind(ends)
    try:
        yield connection
    finally:
        link.give_back(connection)


@contextmanager
def on_time(seconds: float = SHORT) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds + MARGIN


# ── what works ──────────────────────────────────────────────────────────────────────────────────


def test_commands_go_together_and_come_back_in_order(server):
    link = link_to(server.url())
    assert ask(link, ("SET", "many", b"\x00\xff", "PX", 10_000), ("GET", "many")) == [
        b"OK",
        b"\x00\xff",
    ]
    assert ask(link, *[("ECHO", number) for number in range(500)]) == [
        str(number).encode() for number in range(500)
    ]
    assert ask(link, ("GET", "absent"), ("INCRBYFLOAT", "float", 1.5)) == [None, b"1.5"]
    assert link.snapshot()["dials"] == 1


def test_nothing_to_ask_needs_no_connection(server):
    link = link_to(server.url())
    assert ask(link) == []
    assert link.snapshot()["dials"] == 0


def test_a_large_value_survives_both_ways(server):
    link, value = link_to(server.url()), os.urandom(3_000_000)
    assert ask(link, ("SET", "large", value), ("GET", "large"), ("DEL", "large"))[1] == value


def test_error_replies_are_returned_and_the_connection_stays(server):
    link = link_to(server.url())
    replies = ask(link, ("RPUSH", "list", "1"), ("GET", "list"), ("PING",))
    assert isinstance(replies[1], exceptions.ResponseError)
    assert str(replies[1]).startswith("WRONGTYPE")
    assert replies[2] == b"PONG"
    assert link.snapshot() | {"ready": 1, "dials": 1} == link.snapshot()


def test_what_redis_cannot_be_told_is_refused_before_any_io(server):
    link = link_to(server.url())
    with pytest.raises(exceptions.DataError):
        ask(link, ("SET", "key", None))
    assert link.snapshot()["dials"] == 0


def test_a_connection_says_nothing_but_auth_and_select():
    with FakeRedis() as fake:
        link = link_to(f"redis://user:secret-word@{fake.host}:{fake.port}/3")
        ask(link, ("GET", "key"))
        assert fake.commands == ["AUTH", "SELECT", "GET"]
    with FakeRedis() as fake:
        ask(link_to(fake.url), ("GET", "key"))
        assert fake.commands == ["GET"]


def test_an_inherited_protocol_3_is_spoken(server):
    link = link_to(server.url(), options={"protocol": 3, "decode_responses": True})
    assert ask(link, ("SET", "three", "3"), ("GET", "three")) == [b"OK", b"3"]
    assert ask(link, ("CONFIG", "GET", "databases")) == [{b"databases": b"16"}]


def test_tls_password_and_database(tmp_path, authority):
    trust = {"ssl_ca_data": authority.ca_pem.decode()}
    with redis_server(
        "--requirepass", "secret-word", directory=tmp_path, tls=authority
    ) as encrypted:
        link = link_to(encrypted.url("/2", password="secret-word"), options=trust)
        assert ask(link, ("SET", "where", "two"), ("CLIENT", "INFO"))[1].count(b" db=2 ") == 1
        stuck = [link.take(time.monotonic() + LONG) for _ in range(3)]  # one context for them all
        for connection in stuck:
            link.give_back(connection)
        assert ask(link, ("GET", "where")) == [b"two"]
        assert link.snapshot()["dials"] == 3
        client = redis.Redis(connection_pool=link.pool())
        value = os.urandom(500_000)
        with deadline(time.monotonic() + LONG):
            client.set("large", value)
            assert client.get("large") == value


def test_tls_tickets_are_no_reason_to_dial_again(tmp_path, authority):
    """TLS 1.3 sends them after the handshake: the idle socket has something to read."""
    trust = {"ssl_ca_data": authority.ca_pem.decode()}
    with redis_server(directory=tmp_path, tls=authority) as encrypted:
        link = link_to(encrypted.url(), options=trust)
        link.dial()
        assert ask(link, ("PING",)) == [b"PONG"]
        assert link.snapshot()["dials"] == 1
        encrypted.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        assert ask(link, ("PING",)) == [b"PONG"]  # and it does notice the end
        assert link.snapshot()["dials"] == 2


def test_tls_without_trust_is_a_cause_that_says_so(tmp_path, authority):
    with redis_server(directory=tmp_path, tls=authority) as encrypted:
        link = link_to(encrypted.url())
        with pytest.raises(LinkDown) as down:
            ask(link, ("PING",))
    assert "CERTIFICATE_VERIFY_FAILED" in str(down.value.cause.__cause__)
    link = link_to(encrypted.url("?ssl_cert_reqs=none"))  # URL parameters are honoured
    assert link.server.kwargs["ssl_cert_reqs"] == "none"


def test_unix_socket(tmp_path):
    path = tmp_path / "redis.sock"
    with redis_server("--unixsocket", str(path), directory=tmp_path):
        link = link_to(f"unix://{path}?db=1")
        assert ask(link, ("SET", "here", "1"), ("GET", "here")) == [b"OK", b"1"]
    assert link.server.where == str(path)
    with pytest.raises((Broken, LinkDown)):
        ask(link, ("PING",))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_by_name_or_by_address(server, host):
    assert ask(link_to(f"redis://{host}:{server.port}/0"), ("PING",)) == [b"PONG"]


def test_where_to_dial_is_asked_anew_at_every_dial(server):
    asked = []

    def addresses() -> list[tuple[str, int]]:
        asked.append(threading.current_thread().name)
        return [(server.host, server.port)]

    link = link_to("redis://no-such-host.invalid/0", addresses=addresses)
    assert ask(link, ("PING",)) == [b"PONG"]
    link.drop()
    assert ask(link, ("PING",)) == [b"PONG"]
    assert asked == ["resilience-connect-default"] * 2


def test_a_dead_address_leaves_time_for_the_next(server):
    with BlackHole() as hole:
        link = link_to(
            "redis://two.invalid/0",
            connect_timeout=1.0,
            addresses=lambda: [hole.address, (server.host, server.port)],
        )
        with on_time(1.0):
            assert ask(link, ("PING",)) == [b"PONG"]


# ── faults ──────────────────────────────────────────────────────────────────────────────────────


class Trickle(Listener):
    """A reply of 1000 bytes, one every 5 ms: never silent long enough for a socket's timeout."""

    def handle(self, connection: socket.socket) -> None:
        connection.recv(CHUNK)
        for byte in b"$1000\r\n" + b"x" * 1000:
            connection.sendall(bytes([byte]))
            self.pause(0.005)


class Half(Listener):
    """The beginning of a reply, then the end of the stream."""

    def handle(self, connection: socket.socket) -> None:
        connection.recv(CHUNK)
        connection.sendall(b"$1000\r\nhalf")
        self.hang_up(connection)


FAULTS: dict[str, tuple[Callable[[], Any], type[Exception]]] = {
    "refused": (Refused, LinkDown),
    "black hole": (BlackHole, LinkSaturated),
    "silence": (Silence, TimedOut),
    "slow": (lambda: FakeRedis(delay=1.0), TimedOut),
    "trickle": (Trickle, TimedOut),
    "reset": (Reset, Broken),
    "half a reply": (Half, Broken),
    "garbage": (Garbage, exceptions.InvalidResponse),
    "banner": (lambda: Garbage(b"SSH-2.0-OpenSSH\r\n", greet=True), exceptions.InvalidResponse),
}


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_ends_in_time_with_its_own_error(name):
    fault, error = FAULTS[name]
    with fault() as faulty:
        link = link_to(url_of(faulty), connect_timeout=0.3)
        with on_time(), pytest.raises(error) as raised:
            ask(link, ("SET", "key", "value"), seconds=SHORT)
        assert may_be_done(raised.value) is (error not in {LinkDown, LinkSaturated})
        assert link.snapshot() | {"ready": 0, "lent": 0, "waiting": 0} == link.snapshot()


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_ends_in_time_for_a_client_on_the_pool(name):
    fault, error = FAULTS[name]
    if error is TimedOut:
        error = exceptions.TimeoutError
    if error is Broken:
        error = exceptions.ConnectionError
    with fault() as faulty:
        link = link_to(url_of(faulty), connect_timeout=0.3)
        client = redis.Redis(connection_pool=link.pool())
        with on_time(), pytest.raises(error), deadline(time.monotonic() + SHORT):
            client.get("key")
        assert link.snapshot() | {"ready": 0, "lent": 0, "waiting": 0} == link.snapshot()


@pytest.mark.parametrize(
    ("fault", "scheme"),
    [(Silence, "redis"), (Silence, "rediss"), (Trickle, "redis"), (BlackHole, "redis")],
)
def test_a_dial_that_gets_nowhere_ends_in_connect_timeout(fault, scheme):
    with fault() as faulty:
        link = link_to(url_of(faulty, scheme), options={"password": "pw"}, connect_timeout=0.2)
        with on_time(), pytest.raises(LinkSaturated):
            ask(link, ("PING",), seconds=SHORT)
        with on_time(0.2), pytest.raises(LinkDown) as down:
            link.dial()
        assert isinstance(down.value.cause, exceptions.RedisError)
        with on_time(0), pytest.raises(LinkDown):
            ask(link, ("PING",), seconds=LONG)


def test_tls_spoken_to_a_stalled_server_is_bounded_too(authority):
    trust = {"ssl_ca_data": authority.ca_pem.decode()}
    with Silence(tls=authority.server_context("127.0.0.1")) as silent:
        link = link_to(url_of(silent, "rediss"), options=trust)
        ask_for_a_dial(link)
        with on_time(0.2), pytest.raises(TimedOut) as late:
            ask(link, ("SET", "key", bytes(1_000_000)), seconds=0.2)
        assert late.value.sent


def ask_for_a_dial(link: Link) -> None:
    """Connect beforehand, so that a short time is spent on the fault itself."""
    link.dial()
    assert link.snapshot()["ready"] == 1


def test_a_refused_link_says_so_at_once_and_why():
    with Refused() as refused:
        link = link_to(url_of(refused))
        for _ in range(3):
            with on_time(0), pytest.raises(LinkDown, match="refused") as down:
                ask(link, ("PING",), seconds=LONG)
            assert isinstance(down.value.cause.__cause__, ConnectionRefusedError)
        assert link.snapshot()["dials"] == 1
        assert link.snapshot()["down_since"] is not None


def test_the_link_recovers_behind_its_callers(tmp_path):
    with Refused() as refused:
        link, port = link_to(url_of(refused)), refused.port
        with pytest.raises(LinkDown):
            ask(link, ("PING",))
        with pytest.raises(LinkDown):
            link.dial()
    with redis_server(directory=tmp_path, port=port) as server:
        assert until(lambda: answers(link))  # nobody but its callers asks for a dial
        assert link.snapshot() | {"ready": 1, "down_since": None} == link.snapshot()
        pid = server.pid
    assert pid
    with pytest.raises(LinkDown):  # stopped: the idle connection's end is noticed beforehand
        ask(link, ("PING",))
    with redis_server(directory=tmp_path, port=port):
        link.dial()
        assert ask(link, ("PING",)) == [b"PONG"]


def answers(link: Link) -> bool:
    with suppress(LinkDown):
        return ask(link, ("PING",)) == [b"PONG"]
    return False


def test_a_wrong_password_is_the_cause(tmp_path):
    with redis_with_password(tmp_path, "right-word") as server:
        link = link_to(server.url(password="wrong-canary"))
        with pytest.raises(LinkDown) as down:
            ask(link, ("PING",))
        assert isinstance(down.value.cause, exceptions.AuthenticationError)
        said = repr(link.server) + str(down.value) + repr(link.snapshot())
        assert "wrong-canary" not in said
        without = link_to(server.url())
        assert isinstance(ask(without, ("GET", "key"))[0], exceptions.AuthenticationError)
        assert without.snapshot()["ready"] == 0  # it would be refused for ever, password or not


def test_loading_is_a_reply_and_not_the_end():
    with FakeRedis(errors={"GET": "LOADING Redis is loading the dataset in memory"}) as fake:
        link = link_to(fake.url)
        assert isinstance(ask(link, ("GET", "key"))[0], exceptions.BusyLoadingError)
        fake.errors.clear()
        assert ask(link, ("GET", "key")) == [None]


def test_a_time_that_is_over_sends_nothing_and_keeps_the_connection(server):
    link = link_to(server.url())
    ask(link, ("PING",))
    with pytest.raises(TimedOut) as late:
        ask(link, ("SET", "never", "1"), seconds=0)
    assert not late.value.sent
    assert ask(link, ("GET", "never")) == [None]
    assert link.snapshot()["dials"] == 1


def test_an_answer_that_comes_too_late_is_never_given_to_the_next():
    with FakeRedis(replies={"GET": b"first"}, delay=0.15) as fake:
        link = link_to(fake.url)
        ask_for_a_dial(link)
        with pytest.raises(TimedOut):
            ask(link, ("GET", "a"), seconds=SHORT)
        fake.replies["GET"] = b"second"
        assert ask(link, ("GET", "b")) == [b"second"]
        assert fake.connections == 2


# ── who dials, how many ─────────────────────────────────────────────────────────────────────────

_listening: list[list[tuple[str, Any]]] = []  # an audit hook stays for the life of the process


@pytest.fixture(scope="module")
def audit() -> None:
    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event == "socket.connect":
            for each in _listening:
                each.append((threading.current_thread().name, args[1]))

    sys.addaudithook(hook)


@pytest.fixture
def connects(audit) -> Iterator[list[tuple[str, Any]]]:
    """Every connect of this process: the thread and the address."""
    seen: list[tuple[str, Any]] = []
    _listening.append(seen)
    yield seen
    _listening.remove(seen)


def test_only_the_connector_dials(connects, server, tmp_path):
    with FakeRedis() as fake, Reset() as reset, Refused() as refused:
        for faulty in (fake, reset, refused):
            link = link_to(url_of(faulty), "shop")
            client = redis.Redis(connection_pool=link.pool())
            for _ in range(3):
                with suppress(exceptions.RedisError):
                    ask(link, ("GET", "key"))
                with suppress(exceptions.RedisError):
                    client.get("key")
    assert len(connects) >= 1 + 6 + 1
    assert {name for name, _ in connects} == {"resilience-connect-shop"}


def test_only_the_connector_dials__twin(connects, server):
    redis.Redis(port=server.port).ping()
    assert connects == [("MainThread", (server.host, server.port))]


def test_the_pool_is_bounded_and_everybody_gets_a_turn():
    with FakeRedis(replies={"GET": b"here"}, delay=0.002) as fake:
        link = link_to(fake.url, max_connections=4)
        with ThreadPoolExecutor(32) as threads:
            replies = list(threads.map(lambda _: ask(link, ("GET", "key")), range(640)))
        assert replies == [[b"here"]] * 640
        assert fake.connections <= 4
        assert link.snapshot() | {"lent": 0, "waiting": 0, "failed_dials": 0} == link.snapshot()


def test_who_waits_in_vain_is_saturated(server):
    link = link_to(server.url(), max_connections=1)
    with lent_by(link), on_time(), pytest.raises(LinkSaturated) as full:
        ask(link, ("PING",), seconds=SHORT)
    assert not may_be_done(full.value)
    assert ask(link, ("PING",)) == [b"PONG"]
    assert link.snapshot() | {"waiting": 0, "lent": 0, "dials": 1} == link.snapshot()


@pytest.mark.parametrize("works", [True, False])
def test_one_outcome_frees_all_who_wait(server, works):
    go = threading.Event()

    def addresses() -> list[tuple[str, int]]:
        go.wait(LONG)
        if not works:
            raise ConnectionRefusedError("refused")
        return [(server.host, server.port)]

    link = link_to("redis://later.invalid/0", addresses=addresses)
    with ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(ask, link, ("PING",)) for _ in range(8)]
        assert until(lambda: link.snapshot()["waiting"] == 8)
        go.set()
        with on_time(0):
            errors = [each.exception() for each in asked]
    assert all(error is None if works else isinstance(error, LinkDown) for error in errors)
    assert link.snapshot()["waiting"] == 0


def test_each_who_waits_gets_one_even_if_none_is_returned(server):
    link, all_have_one = link_to(server.url()), threading.Barrier(6)

    def hold() -> None:
        with lent_by(link):
            all_have_one.wait(LONG)

    with ThreadPoolExecutor(6) as threads:
        for each in [threads.submit(hold) for _ in range(6)]:
            each.result()
    assert link.snapshot() | {"ready": 6, "dials": 6} == link.snapshot()


def test_the_last_returned_is_lent_first(server):
    link = link_to(server.url())
    first, second, third = (link.take(time.monotonic() + LONG) for _ in range(3))
    for connection in (third, first, second):
        link.give_back(connection)
    with lent_by(link) as lent:
        assert lent is second
    assert link._ready == [third, first, second]


def test_an_idle_connection_that_the_server_closed_costs_nobody_an_error(server):
    link = link_to(server.url())
    three = [link.take(time.monotonic() + LONG) for _ in range(3)]
    for connection in three:
        link.give_back(connection)
    server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    assert ask(link, ("PING",)) == [b"PONG"]
    assert link.snapshot() | {"ready": 1, "dials": 4} == link.snapshot()


def test_drop_closes_the_idle_now_and_the_lent_later(server):
    link = link_to(server.url())
    with lent_by(link) as lent:
        ask(link, ("PING",))
        link.drop()
        assert link.snapshot() | {"ready": 0, "lent": 1} == link.snapshot()
        lent.send_command("PING")
        assert lent.read_response() == b"PONG"  # until it is returned it works
    assert link.snapshot() | {"ready": 0, "lent": 0} == link.snapshot()
    assert ask(link, ("PING",)) == [b"PONG"]
    link.reset()
    assert link.snapshot() | {"ready": 0, "dials": 0, "waits": 0} == link.snapshot()


def test_a_dial_that_began_before_the_drop_is_not_lent():
    go, asked = threading.Event(), threading.Event()
    with FakeRedis() as old, FakeRedis() as new:
        places = [old.address]

        def addresses() -> list[tuple[str, int]]:
            where = list(places)
            asked.set()
            go.wait(LONG)
            return where

        link = link_to("redis://moves.invalid/0", addresses=addresses)
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(ask, link, ("PING",))
            assert asked.wait(LONG)
            places[:] = [new.address]
            link.drop()
            go.set()
            assert waiting.result() == [b"PONG"]
        assert (old.commands, new.commands) == ([], ["PING"])


def test_a_dial_takes_the_place_of_the_oldest(server):
    link = link_to(server.url(), max_connections=1)
    link.dial()
    link.dial()
    assert link.snapshot() | {"ready": 1, "dials": 2} == link.snapshot()
    with lent_by(link):
        link.dial()  # nothing to do: it is connected
    assert link.snapshot()["dials"] == 2


# ── hanging names ───────────────────────────────────────────────────────────────────────────────


@dataclass
class Names:
    """``getaddrinfo``, hanging for ``*.hangs.invalid`` until released."""

    real: Any
    released: threading.Event = field(default_factory=threading.Event)

    def __call__(self, host: str, *args: Any, **kwargs: Any) -> Any:
        if host.endswith("hangs.invalid"):
            self.released.wait(LONG)
            host = "127.0.0.1"
        return self.real(host, *args, **kwargs)


@pytest.fixture
def names(monkeypatch) -> Iterator[Names]:
    hanging = Names(socket.getaddrinfo)
    monkeypatch.setattr(socket, "getaddrinfo", hanging)
    yield hanging
    hanging.released.set()
    assert until(lambda: not CONNECTOR.snapshot()["running"])


def test_a_hanging_name_keeps_its_place_and_nobody_waits_for_it(names, server):
    link = link_to(f"redis://hangs.invalid:{server.port}/0", connect_timeout=0.2)
    with on_time(), pytest.raises(LinkSaturated):
        ask(link, ("PING",), seconds=SHORT)
    with on_time(0.2), pytest.raises(LinkDown, match="resolved"):
        link.dial()
    assert CONNECTOR.snapshot()["running"] == 1
    with on_time(0), pytest.raises(LinkDown):
        ask(link, ("PING",), seconds=LONG)
    with pytest.raises(LinkDown):
        link.dial()
    with on_time(0), pytest.raises(LinkDown):
        link.dial()
    assert CONNECTOR.snapshot()["running"] == link.snapshot()["dialing"] == dials.AT_ONCE
    assert ask(link_to(server.url()), ("PING",)) == [b"PONG"]  # the others go on
    names.released.set()
    assert until(lambda: not link.snapshot()["dialing"])
    assert link.snapshot()["ready"] == 0  # what came too late was dropped
    link.dial()
    assert ask(link, ("PING",)) == [b"PONG"]


def hanging(names: Names, port: int, count: int) -> list[Link]:
    """Links with two dials each that hang, as long as there are places."""
    links = [
        link_to(f"redis://{number}.hangs.invalid:{port}/0", str(number), connect_timeout=0.1)
        for number in range(count)
    ]
    for link in links:
        for _ in range(2):
            with on_time(0.1), pytest.raises(LinkDown):
                link.dial()
    assert not names.released.is_set()
    return links


def test_hanging_names_keep_no_other_link_from_connecting(names, server):
    hanging(names, server.port, 2)
    assert CONNECTOR.snapshot() == {"running": DIALS, "limit": DIALS}
    link = link_to(server.url())
    assert ask(link, ("PING",), seconds=MARGIN) == [b"PONG"]
    with ThreadPoolExecutor(4) as threads, ExitStack() as stack:  # one dial after the other
        for each in [threads.submit(link.take, time.monotonic() + LONG) for _ in range(4)]:
            stack.callback(link.give_back, each.result())
    assert until(lambda: CONNECTOR.snapshot()["running"] == DIALS)  # the last thread ends after it


def test_hanging_names_keep_no_other_link_from_connecting__twin(names, server, monkeypatch):
    """Without a place of its own for each link."""
    hanging(names, server.port, 2)
    with monkeypatch.context() as patch:
        shared = CONNECTOR.take_place
        patch.setattr(CONNECTOR, "take_place", lambda **_: shared(only=False))
        with pytest.raises(LinkSaturated):
            ask(link_to(server.url()), ("PING",), seconds=MARGIN)


def test_there_are_never_more_dials_than_links_and_two(names, server):
    links = hanging(names, server.port, 6)
    assert CONNECTOR.snapshot()["running"] == 6 + 2
    assert sum(each.name.startswith("resilience-connect-") for each in threading.enumerate()) == 8
    for link in links:
        with on_time(0), pytest.raises(LinkDown, match="take up every place"):
            link.dial()
        with on_time(0), pytest.raises(LinkDown):
            ask(link, ("PING",))
    names.released.set()
    assert until(lambda: not CONNECTOR.snapshot()["running"])
    for link in links:
        link.dial()
        assert ask(link, ("PING",)) == [b"PONG"]


def test_a_dial_this_slow_keeps_nobody_waiting_twice(names, server):
    link = link_to(f"redis://hangs.invalid:{server.port}/0", operation_timeout=SHORT)
    with on_time(), pytest.raises(LinkSaturated):
        ask(link, ("PING",), seconds=2 * SHORT)
    with on_time(0), pytest.raises(LinkDown):
        ask(link, ("PING",), seconds=LONG)


# ── more callers than Redis can answer in time ──────────────────────────────────────────────────


def who_gets_it(url: str) -> list[BaseException | None]:
    """How it ends for two who wait for the only connection, the first with too little time."""
    link = link_to(url, operation_timeout=10.0, max_connections=1)
    with ThreadPoolExecutor(2) as threads:
        with lent_by(link):
            asked = [threads.submit(ask, link, ("PING",), seconds=4.9)]
            assert until(lambda: link.snapshot()["waiting"] == 1)
            asked.append(threads.submit(ask, link, ("PING",), seconds=10.0))
            assert until(lambda: link.snapshot()["waiting"] == 2)
        with on_time(0):
            return [each.exception() for each in asked]


def test_who_has_too_little_time_left_is_told_so_when_a_connection_is_returned(server):
    late, other = who_gets_it(server.url())
    assert isinstance(late, LinkSaturated)
    assert not may_be_done(late)
    assert other is None


def test_who_has_too_little_time_left_is_told_so__twin(server, monkeypatch):
    monkeypatch.setattr(lending, "ENOUGH", 0.4)
    assert who_gets_it(server.url()) == [None, None]


def overload(server: RedisServer) -> tuple[int, int]:
    """Callers for twice as long as one may wait, on a slow link: who was served, connections."""
    with Proxy(server.host, server.port) as proxy:
        link = link_to(url_of(proxy), operation_timeout=0.1, max_connections=4)
        link.dial()
        proxy.fault = Latency(0.02)
        ends = time.monotonic() + 0.8

        def work(_: int) -> int:
            served = 0
            while time.monotonic() < ends:
                with suppress(exceptions.TimeoutError, LinkSaturated):
                    served += ask(link, ("PING",), seconds=0.1) == [b"PONG"]
            return served

        with ThreadPoolExecutor(40) as threads:
            return sum(threads.map(work, range(40))), proxy.connections


def test_more_callers_than_redis_can_answer_cost_no_connections(server):
    served, connections = overload(server)
    assert served > 80  # of 160 that the connections can carry
    assert connections < 60  # 4, if the machine has nothing else to do


def test_more_callers_than_redis_can_answer_cost_no_connections__twin(server, monkeypatch):
    monkeypatch.setattr(lending, "ENOUGH", 0.0)
    served, connections = overload(server)
    assert served < 80
    assert connections > 80


# ── what the kernel would deliver late ──────────────────────────────────────────────────────────


class Clogged(Listener):
    """Forwards to a server; reads nothing while clogged, so the client's kernel keeps the bytes."""

    def __init__(self, to: tuple[str, int]) -> None:
        super().__init__()
        self.to = to
        self.open = threading.Event()
        self.open.set()
        self.ends: list[str] = []

    def __enter__(self) -> Self:
        super().__enter__()
        assert self._listening is not None
        self._listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # its connections'
        return self

    def handle(self, connection: socket.socket) -> None:
        with socket.create_connection(self.to) as upstream:
            while True:
                readable, _, _ = select.select([connection, upstream], [], [], 0.01)
                self.pause(0)
                if not self.open.is_set():
                    self.pause(0.01)
                    continue
                for source in readable:
                    try:
                        data = source.recv(CHUNK)
                    except ConnectionResetError:
                        self.ends.append("reset")
                        return
                    if not data:
                        self.ends.append("end")
                        return
                    (upstream if source is connection else connection).sendall(data)


LATE = b"x" * 200_000  # more than the proxy's buffer, less than the client's


def test_a_write_that_timed_out_is_never_delivered(server):
    with Clogged((server.host, server.port)) as proxy:
        link = link_to(url_of(proxy))
        assert ask(link, ("DEL", "late"), ("PING",)) == [0, b"PONG"]
        proxy.open.clear()
        with on_time(), pytest.raises(TimedOut) as late:
            ask(link, ("SET", "late", LATE), seconds=SHORT)
        assert late.value.sent
        proxy.open.set()
        assert until(lambda: proxy.ends)
    assert proxy.ends == ["reset"]
    assert server.command("EXISTS", "late") == 0


def test_nor_by_a_client_on_the_pool(server):
    with Clogged((server.host, server.port)) as proxy:
        client = redis.Redis(connection_pool=link_to(url_of(proxy)).pool())
        assert client.ping()
        proxy.open.clear()
        with pytest.raises(exceptions.TimeoutError), deadline(time.monotonic() + SHORT):
            client.set("late", LATE)
        proxy.open.set()
        assert until(lambda: proxy.ends)
    assert proxy.ends == ["reset"]
    assert server.command("EXISTS", "late") == 0


def test_a_write_that_timed_out_is_never_delivered__twin(server):
    """redis-py says goodbye in good order, and the kernel keeps its promise."""
    with Clogged((server.host, server.port)) as proxy:
        client = redis.Redis.from_url(url_of(proxy), socket_timeout=SHORT, protocol=2)
        client.ping()
        proxy.open.clear()
        with pytest.raises(exceptions.TimeoutError):
            client.set("late", LATE)
        proxy.open.set()
        assert until(lambda: server.command("EXISTS", "late"))
        server.command("DEL", "late")
        client.close()


# ── redis-py on top ─────────────────────────────────────────────────────────────────────────────


def test_a_client_on_the_pool_shares_the_connections(server):
    link = link_to(server.url())
    ask(link, ("DEL", "set", "lock", "hash", "list"))
    client = redis.Redis(connection_pool=link.pool())
    with deadline(time.monotonic() + LONG):
        with client.lock("lock", timeout=1):
            assert client.get("lock")
        with client.pipeline(transaction=False) as pipe:
            pipe.sadd("set", 1)
            pipe.scard("set")
            assert pipe.execute() == [1, 1]
        with client.pipeline() as transaction:
            transaction.watch("hash")
            transaction.multi()
            transaction.hset("hash", "field", 1)
            transaction.hlen("hash")
            assert transaction.execute() == [1, 1]
        assert list(client.scan_iter("set")) == [b"set"]
        with pytest.raises(exceptions.ResponseError):
            client.lpush("set", 1)
        assert client.eval("return 1", 0) == 1
    assert link.snapshot() | {"ready": 1, "lent": 0, "dials": 1} == link.snapshot()


def test_a_client_on_the_pool_sees_what_it_is_connected_to(server):
    link = link_to(server.url("/3?decode_responses=True"), max_connections=7)
    pool = link.pool()
    assert (pool.max_connections, pool.connection_class) == (7, TcpConnection)
    assert (pool.connection_kwargs["db"], pool.connection_kwargs["port"]) == (3, server.port)
    client = redis.Redis(connection_pool=pool)
    assert (client.set("key", "ü"), client.get("key")) == (True, "ü")
    assert link.snapshot()["ready"] == 1
    pool.disconnect()
    assert link.snapshot()["ready"] == 0


def test_one_deadline_for_everything_in_it():
    with FakeRedis(delay=0.02) as fake:
        client = redis.Redis(connection_pool=link_to(fake.url).pool())
        with on_time(0.2), pytest.raises(exceptions.TimeoutError), deadline(time.monotonic() + 0.2):
            [client.get("key") for _ in range(100)]
        assert client.get("key") is None  # without one: operation_timeout each


def test_a_closed_connection_is_not_connected_again(server, connects):
    link = link_to(server.url())
    with lent_by(link) as lent:
        lent.connect()  # nothing to do
        lent.disconnect()
        for again in (lent.connect, lent.can_read, lambda: lent.send_command("PING")):
            with pytest.raises(RuntimeError, match="a request never dials"):
                again()
        with pytest.raises(RequestDials):
            lent._connect()
        with pytest.raises(RuntimeError, match="a request never dials"):
            link.pool().make_connection()
    assert link.snapshot() | {"ready": 0, "lent": 0} == link.snapshot()
    assert len(connects) == 1


def test_a_foreign_socket_is_not_used(server):
    link = link_to(server.url())
    mine, other = socket.socketpair()
    with mine, other, lent_by(link) as lent:
        own, lent._sock = lent._sock, mine
        with own, pytest.raises(RuntimeError, match="a request never dials"):
            lent.send_command("PING")
    assert link.snapshot() | {"ready": 0, "lent": 0} == link.snapshot()


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, None])
def test_a_reply_that_nobody_read_is_no_answer_to_the_next(server, error):
    link = link_to(server.url())
    with suppress(error or ValueError), lent_by(link) as lent:
        lent.send_command("ECHO", "mine")
        if error is not None:
            raise error
    assert ask(link, ("ECHO", "yours")) == [b"yours"]
    assert link.snapshot()["dials"] == 2


def test_an_error_reply_does_not_cost_the_connection(server):
    link = link_to(server.url())
    with suppress(exceptions.ResponseError), lent_by(link) as lent:
        lent.send_command("NONSENSE")
        pytest.fail(lent.read_response())
    ask(link, ("PING",))
    assert link.snapshot()["dials"] == 1


# ── fork ────────────────────────────────────────────────────────────────────────────────────────


def in_child(work: Callable[[], bytes]) -> bytes:
    """Run in a forked child; what it returns, or the error's name."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other threads live: that is the test
        pid = os.fork()
    if not pid:
        signal.alarm(10)
        try:
            os.write(writing, work())
        except BaseException as error:  # noqa: BLE001
            os.write(writing, repr(error).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        said = answer.read()
    os.waitpid(pid, 0)
    return said


def test_a_forked_child_has_connections_of_its_own(server, tmp_path, authority):
    link = link_to(server.url())
    (parent,) = ask(link, ("CLIENT", "ID"))
    with ExitStack() as stack:
        trust = {"ssl_ca_data": authority.ca_pem.decode()}
        encrypted = stack.enter_context(redis_server(directory=tmp_path, tls=authority))
        secured = link_to(encrypted.url(), options=trust)
        (over_tls,) = ask(secured, ("CLIENT", "ID"))
        lent = stack.enter_context(lent_by(link))

        def child() -> bytes:
            assert link.snapshot() | {"ready": 0, "lent": 0, "dials": 0} == link.snapshot()
            mine = [ask(each, ("CLIENT", "ID"))[0] for each in (link, secured)]
            assert mine[0] != parent
            assert mine[1] != over_tls
            with pytest.raises(RuntimeError):
                lent.send_command("PING")
            return b"its own"

        assert in_child(child) == b"its own"
        lent.send_command("CLIENT", "ID")
        assert lent.read_response() == parent
        assert ask(secured, ("CLIENT", "ID")) == [over_tls]
    assert ask(link, ("CLIENT", "ID")) == [parent]


def test_a_fork_while_everything_is_busy(server, names):
    """Locks held, a dial under way, a request on the wire: the child begins anew."""
    link = link_to(server.url())
    hanging = link_to(f"redis://hangs.invalid:{server.port}/0", "hanging")
    with pytest.raises(LinkSaturated):
        ask(hanging, ("PING",), seconds=SHORT)
    stop = threading.Event()

    def busy() -> int:
        done = 0
        while not stop.is_set():
            word = f"{threading.get_ident()}-{done}".encode()
            assert ask(link, ("ECHO", word)) == [word]
            done += 1
        return done

    with ThreadPoolExecutor(8) as threads:
        working = [threads.submit(busy) for _ in range(8)]
        with link._lock:
            said = in_child(lambda: b"".join(ask(link, ("ECHO", b"child")) * 3))
        said += b"".join(in_child(lambda: b"".join(ask(link, ("ECHO", b"!")))) for _ in range(5))
        stop.set()
        assert all(each.result() for each in working)
    assert said == b"childchildchild!!!!!"


# ── what to connect to ──────────────────────────────────────────────────────────────────────────


def test_the_url_beats_the_options():
    options = {"db": 1, "password": "from-options", "protocol": 3, "socket_timeout": 9}
    server = Server("redis://:from-url@host.example:6380/2?protocol=2", options)
    assert server.where == "host.example:6380"
    assert server.kwargs | {"db": 2, "password": "from-url", "protocol": 2} == server.kwargs
    assert server.kwargs["socket_timeout"] == server.operation_timeout
    assert Server("redis://[::1]/0").where == "[::1]:6379"
    for inherited in ({"lib_name": "x", "driver_info": 1, "retry": 1}, {"retry_on_timeout": True}):
        connection = Server("redis://host.example/0", inherited).connection()
        assert connection.retry.get_retries() == 0
        assert connection.driver_info is None


def test_what_redis_py_refuses_is_refused_at_once():
    with pytest.raises(ValueError, match="schemes"):
        Server("http://host.example/0")
    with pytest.raises(TypeError, match="nonsense"):
        Server("redis://host.example/0", {"nonsense": 1})


def test_no_secret_in_a_repr():
    server = Server("redis://:canary-1@host.example/0", {"username": "canary-2"})
    link = Link(server, "default")
    assert "canary" not in f"{server!r} {link!r} {link.pool()!r} {server.connection()!r}"


def test_no_thread_to_be_had_is_a_link_that_is_down(server, monkeypatch):
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    link = link_to(server.url())
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with on_time(0), pytest.raises(LinkDown, match="no thread"):
            ask(link, ("PING",))
    link.dial()
    assert ask(link, ("PING",)) == [b"PONG"]
