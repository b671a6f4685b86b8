"""The fake Redis, asked by the real redis-py and by bare bytes."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

import pytest
from redis import exceptions

from resilience.simulation.fake_redis import FakeRedis
from resilience.simulation.resp import ErrorReply, Reply, encode
from tests.servers import RedisServer, redis_server

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Run a real one, to compare."""
    with redis_server(directory=tmp_path_factory.mktemp("real")) as server:
        yield server


def raw(address: tuple[str, int], sent: bytes) -> bytes:
    """Send bytes, end our side, read everything."""
    with socket.create_connection(address, timeout=2) as line:
        line.sendall(sent)
        line.shutdown(socket.SHUT_WR)
        with line.makefile("rb") as stream:
            return stream.read()


@pytest.mark.parametrize("protocol", [2, 3])
def test_keeps_what_it_is_given(connect, protocol):
    with FakeRedis() as fake:
        client = connect(fake.url, protocol=protocol)
        assert client.ping()
        assert client.set("key", b"\r\n\x00 value")
        assert client.get("key") == b"\r\n\x00 value"
        assert client.get("other") is None
        assert client.mget("key", "other") == [b"\r\n\x00 value", None]
        assert client.set("key", "2", nx=True) is None
        assert client.set("other", "2", xx=True) is None
        assert client.set("key", b"\r\n\x00 value", xx=True)
        assert client.delete("key", "other") == 1
        assert client.set("key", "2", nx=True)
        assert client.unlink("key") == 1
        assert client.get("key") is None


def test_values_expire_by_the_clock(connect):
    now = 1000.0
    with FakeRedis(clock=lambda: now) as fake:
        client = connect(fake.url)
        client.set("seconds", "1", ex=2)
        client.set("milliseconds", "1", px=1500)
        client.set("forever", "1")
        keys = ["seconds", "milliseconds", "forever", "never"]
        assert [client.pttl(key) for key in keys] == [2000, 1500, -1, -2]
        now += 1.5
        assert client.mget(keys) == [b"1", None, b"1", None]
        now += 0.5
        assert client.mget(keys) == [None, None, b"1", None]


@pytest.mark.parametrize("protocol", [2, 3])
def test_info_is_readable(connect, protocol):
    with FakeRedis() as fake:
        info = connect(fake.url, protocol=protocol).info()
    assert info["redis_version"] == "7.0.15"
    assert info["loading"] == 0


def test_databases_are_apart(connect):
    with FakeRedis() as fake:
        zero, four = connect(fake.url), connect(fake.url.replace("/0", "/4"))
        zero.set("key", "zero")
        assert four.get("key") is None
        four.set("key", "four")
        assert zero.get("key") == b"zero"


def test_a_database_out_of_range(connect):
    with FakeRedis() as fake, pytest.raises(exceptions.ResponseError, match="out of range"):
        connect(fake.url.replace("/0", "/16")).ping()


def test_values_survive_a_restart(connect):
    fake = FakeRedis()
    with fake:
        connect(fake.url).set("key", "kept")
    with pytest.raises(exceptions.ConnectionError):
        connect(fake.url).get("key")
    with fake:
        assert connect(fake.url).get("key") == b"kept"


# The states of a real server in its own words, and what redis-py makes of them.
STATES = [
    ("LOADING Redis is loading the dataset in memory", exceptions.BusyLoadingError),
    ("READONLY You can't write against a read only replica.", exceptions.ReadOnlyError),
    ("NOAUTH Authentication required.", exceptions.AuthenticationError),
    (
        "OOM command not allowed when used memory > 'maxmemory'.",
        exceptions.OutOfMemoryError,
    ),
    ("NOPERM this user has no permissions to run the 'ping' command", exceptions.NoPermissionError),
    ("DENIED Redis is running in protected mode", exceptions.ResponseError),
    ("ERR max number of clients reached", exceptions.ConnectionError),
    (
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        exceptions.MasterDownError,
    ),
]


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize(
    ("text", "expected"), STATES, ids=[text.partition(" ")[0] for text, _ in STATES]
)
def test_errors_arrive_as_from_a_real_server(connect, text, expected, protocol):
    with FakeRedis(errors={"ping": text}) as fake:
        client = connect(fake.url, protocol=protocol)
        with pytest.raises(expected) as raised:
            client.ping()
        assert type(raised.value) is expected
        assert client.set("key", "other commands still work")
        fake.errors.clear()
        assert client.ping()


def test_errors_for_every_command(connect):
    with FakeRedis(errors={"*": "NOAUTH Authentication required."}) as fake:
        with pytest.raises(exceptions.AuthenticationError):
            connect(fake.url, protocol=3).ping()
        assert (
            raw(fake.address, b"GET a\r\nUNHEARD\r\n")
            == b"-NOAUTH Authentication required.\r\n" * 2
        )


def test_errors_the_nearest_name_wins(connect):
    errors = {"*": "ERR every", "CLIENT": "ERR client", "client tracking": "ERR tracking"}
    with FakeRedis(errors=errors) as fake:
        answer = raw(fake.address, b"PING\r\nCLIENT ID\r\nCLIENT TRACKING ON\r\n")
    assert answer == b"-ERR every\r\n-ERR client\r\n-ERR tracking\r\n"


@pytest.mark.parametrize("protocol", [2, 3])
def test_a_wrong_password(connect, protocol):
    text = "WRONGPASS invalid username-password pair or user is disabled."
    with FakeRedis(errors={"AUTH": text}) as fake:
        with pytest.raises(exceptions.AuthenticationError, match="invalid username-password"):
            connect(fake.url, password="wrong", protocol=protocol).ping()
        assert connect(fake.url, protocol=protocol).ping()


@pytest.mark.parametrize("protocol", [2, 3])
def test_any_password(connect, protocol):
    with FakeRedis() as fake:
        assert connect(fake.url, username="u", password="p", protocol=protocol).ping()


def test_replies(connect):
    replies: dict[str, Reply] = {
        "INFO": b"redis_version:6.2.0\r\n",
        "DBSIZE": 7,
        "GET": None,
        "ROLE": ["slave", b"10.0.0.1", 6379],
        "TIME": ErrorReply("ERR no clock"),
    }
    with FakeRedis(replies) as fake:
        client = connect(fake.url)
        client.set("key", "value")
        assert client.get("key") is None
        assert client.info()["redis_version"] == "6.2.0"
        assert client.dbsize() == 7
        assert client.role() == [b"slave", b"10.0.0.1", 6379]
        with pytest.raises(exceptions.ResponseError, match="no clock"):
            client.time()


def test_what_it_does_not_know(connect):
    unknown = pytest.raises(exceptions.ResponseError, match="unknown command 'FLUSHDB'")
    with FakeRedis() as fake, unknown:
        connect(fake.url).flushdb()
    with FakeRedis(default="OK") as fake:
        assert connect(fake.url).flushdb()


def test_never_claims_to_track(connect):
    """An L1 that relied on invalidations from a fake would serve stale values for ever."""
    with FakeRedis() as fake, pytest.raises(exceptions.ResponseError, match="'TRACKING'"):
        connect(fake.url).execute_command("CLIENT", "TRACKING", "ON")


def test_without_resp3(connect):
    with FakeRedis(resp3=False, default="OK") as fake:
        assert raw(fake.address, b"HELLO 3\r\n") == b"-ERR unknown command 'HELLO'\r\n"
        with pytest.raises(exceptions.RedisError):
            connect(fake.url, protocol=3).ping()
        assert connect(fake.url, protocol=2).ping()


def test_delay(connect):
    with FakeRedis(delay=0.1) as fake:
        start = time.monotonic()
        assert raw(fake.address, b"PING\r\nPING\r\n") == b"+PONG\r\n" * 2
        assert time.monotonic() - start >= 0.2
        fake.delay = 60.0
        with pytest.raises(exceptions.TimeoutError):
            connect(fake.url, socket_timeout=0.2).ping()
        start = time.monotonic()
    assert time.monotonic() - start < 1


def test_commands_hold_names_and_no_arguments(connect):
    with FakeRedis() as fake:
        connect(fake.url, username="somebody", password="hunter2", protocol=3).set("key", "secret")
        raw(fake.address, b"auth hunter2\r\nclient setname secret\r\n\x16\x03\x01 secret\r\n")
    assert fake.commands[0] == "HELLO"
    assert fake.commands[-4:] == ["SET", "AUTH", "CLIENT SETNAME", "?"]
    assert "CLIENT SETINFO" in fake.commands
    assert not [name for name in fake.commands if "SECRET" in name or "HUNTER2" in name]


CLIENT_HELLO = b"\x16\x03\x01\x02\x00\x01\n"  # how TLS begins, with a newline in its random bytes

BARE = [
    (b"PING\r\n", b"+PONG\r\n"),
    (b"ping\n", b"+PONG\r\n"),
    (b"\r\n*0\r\n*-1\r\nPING\r\n", b"+PONG\r\n"),
    (b"*1\r\n$4\r\nPING\r\n", b"+PONG\r\n"),
    (b"*2\r\n$4\r\nPING\r\n$2\r\n\r\n\r\n", b"$2\r\n\r\n\r\n"),
    (
        b"SET k v\r\nGET k\r\nPTTL k\r\nDEL k k x\r\nPTTL k\r\n",
        b"+OK\r\n$1\r\nv\r\n:-1\r\n:1\r\n:-2\r\n",
    ),
    (b"SET k v NX XX\r\n", b"-ERR syntax error\r\n"),
    (b"SET k v EX 1 PX 1\r\n", b"-ERR syntax error\r\n"),
    (b"SET k v EX\r\n", b"-ERR syntax error\r\n"),
    (b"SET k v EX x\r\n", b"-ERR value is not an integer or out of range\r\n"),
    (b"SET k v PX 0\r\n", b"-ERR invalid expire time in 'set' command\r\n"),
    (b"GET\r\n", b"-ERR wrong number of arguments for 'get' command\r\n"),
    (b"PING a b\r\n", b"-ERR wrong number of arguments for 'ping' command\r\n"),
    (b"SELECT x\r\n", b"-ERR value is not an integer or out of range\r\n"),
    (b"SELECT 16\r\n", b"-ERR DB index is out of range\r\n"),
    (b"HELLO 4\r\n", b"-NOPROTO unsupported protocol version\r\n"),
    (b"CLIENT GETNAME\r\n", b"$-1\r\n"),
    (b"CLIENT BOGUS\r\n", b"-ERR unknown subcommand 'BOGUS'. Try CLIENT HELP.\r\n"),
    (b"*x\r\nPING\r\n", b"-ERR Protocol error: invalid multibulk length\r\n"),
    (b"*1\r\n:1\r\nPING\r\n", b"-ERR Protocol error: expected '$', got ':'\r\n"),
    (b"*1\r\n$-1\r\nPING\r\n", b"-ERR Protocol error: invalid bulk length\r\n"),
    (b"x" * 65537, b"-ERR Protocol error: too big inline request\r\n"),
    (CLIENT_HELLO + b"\r\nPING\r\n", b""),
    (b"*1\r\n$4\r\nPI", b""),
    (b"*2\r\n$4\r\nPING\r\n", b""),
    (b"PING", b""),
    (b"", b""),
]


@pytest.mark.parametrize(("sent", "answer"), BARE, ids=[repr(sent[:20]) for sent, _ in BARE])
def test_bare_bytes_get_the_answer_of_a_real_redis(sent, answer, real):
    with FakeRedis() as fake:
        assert raw(fake.address, sent) == answer
    assert raw((real.host, real.port), sent) == answer


def test_hello_switches_the_protocol():
    with FakeRedis() as fake:
        answer = raw(fake.address, b"GET k\r\nHELLO 3\r\nGET k\r\nHELLO 2\r\nGET k\r\n")
    assert answer.startswith(b"$-1\r\n%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n")
    assert b"*0\r\n_\r\n*14\r\n$6\r\nserver" in answer
    assert answer.endswith(b"*0\r\n$-1\r\n")


def test_each_connection_has_its_number():
    with FakeRedis() as fake:
        numbers = [raw(fake.address, b"CLIENT ID\r\n") for _ in range(2)]
    assert numbers == [b":1\r\n", b":2\r\n"]


def test_an_error_stays_on_one_line():
    assert encode(ErrorReply("ERR one\r\n+OK"), 2) == b"-ERR one +OK\r\n"


def test_over_tls(connect, authority):
    with FakeRedis(tls=authority.server_context("localhost", "127.0.0.1")) as fake:
        assert fake.url.startswith("rediss://")
        assert connect(fake.url, ssl_ca_data=authority.ca_pem.decode()).ping()
        with pytest.raises(exceptions.ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
            connect(fake.url).ping()


def test_tls_client_on_a_plain_port_waits_in_vain(connect):
    """As with a real Redis, which waits for the newline of an inline command."""
    with FakeRedis() as fake, pytest.raises(exceptions.TimeoutError):
        connect(fake.url.replace("redis:", "rediss:"), socket_timeout=0.3).ping()
