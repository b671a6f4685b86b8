"""Replies read as hiredis reads them, but for those that announce more than ever comes."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import hiredis
import pytest
import redis
from hypothesis import given, strategies as st
from redis import exceptions
from redis._parsers.hiredis import NOT_ENOUGH_DATA

from resilience.cache import replies
from resilience.cache.connection import LinkDown
from resilience.cache.connector import Server
from resilience.cache.link import Link
from resilience.cache.pool import deadline
from resilience.cache.replies import ELEMENTS, LINE, VALUE, Reader
from resilience.simulation.listener import CHUNK, Listener

SHORT = 0.05  # seconds for an operation that meets a fault
MARGIN = 0.5  # seconds that a busy machine may add


def read(made: Any, stream: bytes, cuts: set[int]) -> list[Any]:
    """What the reader finds in a stream that comes in pieces."""
    found: list[Any] = []
    ends = [*sorted(cut for cut in cuts if 0 < cut < len(stream)), len(stream)]
    begin = 0
    for end in ends:
        made.feed(bytearray(stream), begin, end - begin)
        begin = end
        while (reply := made.gets(False)) is not NOT_ENOUGH_DATA:
            found.append(reply)
    return found


def reader(cls: type[hiredis.Reader]) -> Any:
    """With error replies as text, which can be compared."""
    return cls(
        protocolError=exceptions.InvalidResponse,
        replyError=str,  # type: ignore[arg-type]
        notEnoughData=NOT_ENOUGH_DATA,
    )


# ── everything that Redis says ──────────────────────────────────────────────────────────────────

# Values that look like headers are what a guard must not fall for.
VALUES = st.binary(max_size=40) | st.sampled_from(
    [b"*1000000000\r\n", b"$1000000000\r\n", b"\r\n*1000000000\r\n", b"\r", b"\n", b"%9\r\n"]
)
WORDS = st.text("abc *$1%", max_size=20).map(str.encode)


def value(data: bytes | None) -> bytes:
    return b"$-1\r\n" if data is None else b"$%d\r\n%b\r\n" % (len(data), data)


def array(kind: bytes, size: int, items: list[bytes]) -> bytes:
    return b"%b%d\r\n%b" % (kind, size, b"".join(items))


SCALARS = (
    VALUES.map(value)
    | st.sampled_from([b"$-1\r\n", b"*-1\r\n", b"*0\r\n", b"_\r\n", b"#t\r\n", b",1.5\r\n"])
    | st.integers(-(2**63), 2**63 - 1).map(b":%d\r\n".__mod__)
    | WORDS.map(b"+%b\r\n".__mod__)
    | WORDS.map(b"-ERR %b\r\n".__mod__)
    | VALUES.map(lambda data: b"=%d\r\ntxt:%b\r\n" % (len(data) + 4, data))
)


def arrays(inner: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    some = st.lists(inner, max_size=5)
    pairs = st.lists(st.tuples(VALUES.map(value), inner), max_size=4)
    return (
        some.map(lambda items: array(b"*", len(items), items))
        | some.map(lambda items: array(b">", len(items) + 1, [value(b"push"), *items]))
        | pairs.map(lambda items: array(b"%", len(items), [b"".join(pair) for pair in items]))
    )


STREAMS = st.lists(st.recursive(SCALARS, arrays, max_leaves=12), max_size=6).map(b"".join)


@given(STREAMS, st.sets(st.integers(1, 400), max_size=12))
def test_what_redis_says_is_read_as_hiredis_reads_it(stream, cuts):
    guarded = reader(Reader)
    assert read(guarded, stream, cuts) == read(reader(hiredis.Reader), stream, cuts)
    assert (guarded._due, guarded._skip, guarded._line) == (0, 0, b"")


@given(
    STREAMS,
    st.sampled_from(
        [
            b"*%d\r\n" % (ELEMENTS + 1),
            b">1000000000\r\n",
            b"~1000000000\r\n",
            b"%%%d\r\n" % (ELEMENTS // 2 + 1),
            b"|1000000000\r\n",
            b"*2\r\n:1\r\n*1000000000\r\n",
            b"*%d\r\n*%d\r\n" % (ELEMENTS // 2 + 1, ELEMENTS // 2 + 1),
            b"*3000000\r\n" * 3,
            b"$%d\r\n" % (VALUE + 1),
            b"=1000000000\r\n",
            b"*x\r\n",
            b"$\r\n",
            b"*%b\r\n" % (b"9" * 5000),
        ]
    ),
    st.sets(st.integers(1, 400), max_size=12),
)
def test_what_announces_too_much_is_refused_wherever_it_stands(stream, header, cuts):
    with pytest.raises(exceptions.InvalidResponse):
        read(reader(Reader), stream + header, cuts)


def test_the_largest_that_is_accepted():
    guarded = reader(Reader)
    for _ in range(3):  # what has come is no longer due
        guarded.feed(b"*%d\r\n" % 1000 + b":1\r\n" * 1000)
        assert guarded.gets() == [1] * 1000
    for header in (b"*%d\r\n" % ELEMENTS, b"$%d\r\n" % VALUE, b"+" + b"x" * (LINE - 1)):
        guarded = reader(Reader)
        guarded.feed(header)
        assert guarded.gets() is NOT_ENOUGH_DATA
    with pytest.raises(exceptions.InvalidResponse, match="in one line"):
        guarded.feed(b"x")


def test_a_long_reply_that_does_come_is_accepted(monkeypatch):
    monkeypatch.setattr(replies, "ELEMENTS", 100)
    guarded, item = reader(Reader), b"*2\r\n:1\r\n:2\r\n"
    guarded.feed(b"*90\r\n" + item * 90)
    assert guarded.gets() == [[1, 2]] * 90  # 270 in all, but never 100 due
    with pytest.raises(exceptions.InvalidResponse):
        guarded.feed(b"*90\r\n" + b"*9\r\n" * 2)


# ── on a link ───────────────────────────────────────────────────────────────────────────────────


class Says(Listener):
    """Answers the first bytes with these, and then nothing."""

    def __init__(self, answer: bytes) -> None:
        super().__init__()
        self.answer = answer

    def handle(self, connection: socket.socket) -> None:
        if connection.recv(CHUNK):
            connection.sendall(self.answer)
            self.drain(connection)


@pytest.fixture(
    params=[b"*1000000000\r\n", b"$1000000000\r\n", b">1000000000\r\n", b"*2\r\n*1000000000\r\n"]
)
def url(request) -> Iterator[str]:
    with Says(request.param) as server:
        yield f"redis://{server.host}:{server.port}/0"


def test_what_announces_too_much_ends_in_time(url):
    link = Link(Server(url), "default")
    link.dial()
    client, began = redis.Redis(connection_pool=link.pool()), time.monotonic()
    with pytest.raises(exceptions.InvalidResponse, match="announces 100000000"):
        link.exchange([("GET", "key")], began + SHORT)
    link.dial()
    with pytest.raises(exceptions.InvalidResponse), deadline(time.monotonic() + SHORT):
        client.get("key")
    assert time.monotonic() - began < 2 * SHORT + MARGIN
    assert link.snapshot() | {"ready": 0, "lent": 0} == link.snapshot()


def test_what_announces_too_much_ends_a_dial_in_time(url):
    link, began = Link(Server(url, {"password": "pw"}), "default"), time.monotonic()
    with pytest.raises(LinkDown) as down:
        link.dial()
    assert isinstance(down.value.cause, exceptions.InvalidResponse)
    assert time.monotonic() - began < MARGIN


HIREDIS = """
import sys, time, hiredis
reader = hiredis.Reader()
reader.feed(sys.argv[1].encode() + b"\\r\\n")
began = time.monotonic()
assert reader.gets() is False
del reader
print(time.monotonic() - began)
"""


def seconds_of_hiredis(header: str) -> float:
    command = [sys.executable, "-c", HIREDIS, header]
    return float(subprocess.run(command, check=True, capture_output=True, timeout=20).stdout)


def test_what_announces_too_much_ends_in_time__twin():
    """Of hiredis alone: why the limit is needed, and what the largest array costs."""
    assert seconds_of_hiredis(f"*{ELEMENTS}") < SHORT
    assert seconds_of_hiredis("*300000000") > 2 * SHORT
