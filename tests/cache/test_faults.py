"""Every error that redis-py, Redis, ssl or the kernel can raise has its kind, found on purpose."""

from __future__ import annotations

import asyncio
import pickle
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import redis
from django_redis.exceptions import ConnectionInterrupted
from redis import exceptions
from redis._parsers.base import BaseParser
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError

from resilience.cache.faults import Kind, classify
from resilience.simulation.authority import Authority
from resilience.simulation.network import BlackHole, Garbage, Refused, Reset, Silence
from tests.servers import RedisServer, redis_full, redis_server, redis_with_limited_user

PASSWORD = "open-sesame"

CLASSES = {
    Kind.OUTAGE: "ConnectionError TimeoutError BusyLoadingError ExternalAuthProviderError "
    "InvalidResponse ResponseError TryAgainError NoScriptError ClusterError ClusterDownError "
    "MasterDownError RedisClusterException SlotNotCoveredError",
    Kind.WRITE_OUTAGE: "OutOfMemoryError",
    Kind.READONLY: "ReadOnlyError",
    Kind.CONFIGURATION: "AuthenticationError AuthorizationError MovedError AskError "
    "AuthenticationWrongNumberOfArgsError",
    Kind.PERMISSION: "NoPermissionError",
    Kind.SATURATION: "MaxConnectionsError ChildDeadlockedError",
    Kind.BUG: "RedisError DataError PubSubError WatchError ExecAbortError ModuleError LockError "
    "NoSuchFieldsetError LockNotOwnedError ClusterCrossSlotError CrossSlotTransactionError "
    "InvalidPipelineStack IncorrectPolicyType",
}
EXPECTED = {name: kind for kind, names in CLASSES.items() for name in names.split()}
TEXTS = {  # as redis-py leaves them, without the first word
    "ExecAbortError": "Transaction discarded because of previous errors.",
    "ModuleError": "Error unloading module: no such module with that name",
    "NoSuchFieldsetError": "no such fieldset",
    "ClusterCrossSlotError": "Keys in request don't hash to the same slot",
    "MovedError": "3999 127.0.0.1:6381",
    "AskError": "3999 127.0.0.1:6381",
}
CODES = {
    "ExecAbortError": "EXECABORT",
    "ModuleError": "ERR",
    "NoSuchFieldsetError": "ERR",
    "ClusterCrossSlotError": "CROSSSLOT",
}


def classes_of(module: object) -> dict[str, type[BaseException]]:
    return {
        name: cls
        for name, cls in vars(module).items()
        if isinstance(cls, type) and issubclass(cls, BaseException)
    }


def test_every_class_of_redis_py_has_its_kind():
    """A new version with a new class fails here, so that somebody decides."""
    found = {}
    for name, cls in classes_of(exceptions).items():
        code = {"status_code": CODES[name]} if name in CODES else {}
        found[name] = classify(cls(TEXTS.get(name, "text"), **code))
    assert found == EXPECTED


def test_every_class_of_ssl_has_its_kind():
    found = {name: classify(cls()) for name, cls in classes_of(ssl).items()}
    configuration = {"SSLCertVerificationError", "CertificateError"}
    assert {name for name, kind in found.items() if kind is Kind.CONFIGURATION} == configuration
    assert set(found.values()) == {Kind.OUTAGE, Kind.CONFIGURATION}


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("UNEXPECTED_EOF_WHILE_READING", Kind.OUTAGE),
        ("DECRYPTION_FAILED_OR_BAD_RECORD_MAC", Kind.OUTAGE),
        ("WRONG_VERSION_NUMBER", Kind.CONFIGURATION),
        ("TLSV1_ALERT_PROTOCOL_VERSION", Kind.CONFIGURATION),
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", Kind.CONFIGURATION),
    ],
)
def test_tls_by_its_reason(reason, kind):
    error = ssl.SSLError(1, "text")
    error.reason = reason
    assert classify(error) is kind
    assert classify(raised_by_redis_py(error)) is kind


def raised_by_redis_py(beneath: BaseException) -> BaseException:
    """As its connections do: inside ``except``, often without ``from``."""
    error = exceptions.ConnectionError("Error while reading from socket")
    error.__context__ = beneath
    return error


OS_ERRORS = [
    (ConnectionRefusedError(), Kind.HARD_OUTAGE),
    (ConnectionResetError(), Kind.HARD_OUTAGE),
    (ConnectionAbortedError(), Kind.HARD_OUTAGE),
    (BrokenPipeError(), Kind.HARD_OUTAGE),
    (TimeoutError(), Kind.OUTAGE),
    (socket.gaierror(), Kind.OUTAGE),
    (FileNotFoundError(), Kind.OUTAGE),  # the path of a Unix socket
    (OSError(113, "No route to host"), Kind.OUTAGE),
]


@pytest.mark.parametrize(("error", "kind"), OS_ERRORS, ids=repr)
def test_the_kernels_errors_bare_and_below_redis_pys(error, kind):
    assert classify(error) is kind
    assert classify(raised_by_redis_py(error)) is kind


def test_what_is_not_beneath_does_not_count():
    error = raised_by_redis_py(ConnectionRefusedError())
    error.__suppress_context__ = True  # raise … from None
    assert classify(error) is Kind.OUTAGE
    assert classify(raised_by_redis_py(ValueError())) is Kind.OUTAGE


@pytest.mark.parametrize(
    "error",
    [
        ValueError(),
        TypeError(),
        KeyError(),
        pickle.PicklingError(),
        KeyboardInterrupt(),
        asyncio.CancelledError(),
    ],
    ids=repr,
)
def test_what_is_no_matter_of_redis_is_raised(error):
    assert classify(error) is Kind.BUG


def test_django_redis_wraps_and_we_look_inside():
    wrapped = ConnectionInterrupted(None)
    wrapped.__cause__ = exceptions.ReadOnlyError("You can't write against a read only replica.")
    assert classify(wrapped) is Kind.READONLY
    assert classify(ConnectionInterrupted(None)) is Kind.BUG


def test_sentinel_without_a_master_is_an_outage():
    assert classify(MasterNotFoundError("No master found for 'main'")) is Kind.OUTAGE


REPLIES = [
    ("LOADING Redis is loading the dataset in memory", Kind.OUTAGE),
    ("BUSY Redis is busy running a script. You can only call SCRIPT KILL.", Kind.OUTAGE),
    ("CLUSTERDOWN The cluster is down", Kind.OUTAGE),
    ("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", None),
    ("TRYAGAIN Multiple keys request during rehashing of slot", Kind.OUTAGE),
    ("NOSCRIPT No matching script. Please use EVAL.", Kind.OUTAGE),
    ("ERR max number of clients reached", Kind.OUTAGE),
    ("ERR max number of clients + cluster connections reached", Kind.OUTAGE),
    ("ERR max requests limit exceeded. Limit: 500000, Usage: 500001.", Kind.OUTAGE),
    ("ERR max daily request limit exceeded. Limit: 10000, Usage: 10000.", Kind.OUTAGE),
    ("ERR problem with LDAP service", Kind.OUTAGE),
    ("no upstream host", Kind.OUTAGE),  # Envoy
    ("upstream failure", Kind.OUTAGE),
    ("", Kind.OUTAGE),
    ("MISCONF Redis is configured to save RDB snapshots, but is unable to", Kind.WRITE_OUTAGE),
    ("NOREPLICAS Not enough good replicas to write.", Kind.WRITE_OUTAGE),
    ("OOM command not allowed when used memory > 'maxmemory'.", Kind.WRITE_OUTAGE),
    ("READONLY You can't write against a read only replica.", Kind.READONLY),
    ("NOAUTH Authentication required.", Kind.CONFIGURATION),
    ("WRONGPASS invalid username-password pair or user is disabled.", Kind.CONFIGURATION),
    ("ERR invalid password", Kind.CONFIGURATION),
    ("ERR Client sent AUTH, but no password is set", Kind.CONFIGURATION),
    ("DENIED Redis is running in protected mode because", Kind.CONFIGURATION),
    ("NOPROTO unsupported protocol version", Kind.CONFIGURATION),
    ("ERR DB index is out of range", Kind.CONFIGURATION),
    ("ERR invalid DB index", Kind.CONFIGURATION),
    ("ERR SELECT is not allowed in cluster mode", Kind.CONFIGURATION),
    ("MOVED 3999 127.0.0.1:6381", Kind.CONFIGURATION),
    ("NOPERM this user has no permissions to run the 'set' command", Kind.PERMISSION),
    ("ERR unknown command 'UNLINK', with args beginning with: 'k'", Kind.PERMISSION),
    ("ERR unknown subcommand 'X'. Try CLIENT HELP.", Kind.PERMISSION),
    ("WRONGTYPE Operation against a key holding the wrong kind of value", Kind.BUG),
    ("ERR value is not an integer or out of range", Kind.BUG),
    ("ERR syntax error", Kind.BUG),
    ("ERR", Kind.BUG),
    ("CROSSSLOT Keys in request don't hash to the same slot", Kind.BUG),
    ("BUSYGROUP Consumer Group name already exists", Kind.BUG),  # not BUSY
    ("BUSYKEY Target key name already exists.", Kind.BUG),
    ("ERR wrong number of arguments for 'get' command", Kind.BUG),
    ("EXECABORT Transaction discarded because of previous errors.", Kind.BUG),
    ("EXECABORT Transaction discarded because of: OOM command not allowed", Kind.WRITE_OUTAGE),
    ("EXECABORT Transaction discarded because of: READONLY You can't write", Kind.READONLY),
    (
        "ERR Error running script (call to f_1): @user_script:1: @user_script: 1: -MISCONF Redis",
        Kind.WRITE_OUTAGE,
    ),
    ("ERR Error running script (call to f_1): @user_script:1: -WRONGTYPE Operation", Kind.BUG),
    ("ERR Error running script (call to f_1): @user_script:1: no such thing", Kind.BUG),
    # An argument that an error repeats is no reply.
    ("ERR syntax error: unknown command", Kind.BUG),
    ("ERR no such key 'Transaction discarded because of: READONLY x'", Kind.BUG),
    ("WRONGTYPE unknown command", Kind.BUG),
]


@pytest.mark.parametrize(("text", "kind"), REPLIES, ids=[text[:40] for text, _ in REPLIES])
def test_replies(text, kind):
    error = BaseParser.parse_error(text)
    kind = kind or Kind.OUTAGE
    assert classify(error) is kind
    redis.Redis().pipeline().annotate_exception(error, 1, ["SET", "k", "v"])
    assert classify(error) is kind


# ── asked of real ones ──────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faults")


@pytest.fixture(scope="module")
def server(directory: Path) -> Iterator[RedisServer]:
    with redis_server(directory=directory) as running:
        yield running


def failed(server: RedisServer, *command: str | int, **login: str) -> Kind:
    with pytest.raises(exceptions.RedisError) as raised:
        server.command(*command, **login)
    return classify(raised.value)


SUM = "return redis.call('incr', KEYS[1])"


def test_the_callers_own_mistakes(server):
    server.command("RPUSH", "list", "a")
    server.command("SET", "text", "a")
    assert failed(server, "GET", "list") is Kind.BUG
    assert failed(server, "INCR", "text") is Kind.BUG
    assert failed(server, "EVAL", SUM, 1, "list") is Kind.BUG
    assert failed(server, "SET", "text", "a", "PX", 0) is Kind.BUG
    assert failed(server, "GET") is Kind.BUG


def test_commands_and_databases_that_it_does_not_have(server):
    assert failed(server, "UNLINC", "a") is Kind.PERMISSION
    assert failed(server, "SELECT", 99) is Kind.CONFIGURATION
    assert failed(server, "EVALSHA", "0" * 40, 0) is Kind.OUTAGE


def test_an_unneeded_password(server):
    assert failed(server, "AUTH", PASSWORD) is Kind.CONFIGURATION


def test_too_few_replicas(server):
    server.command("CONFIG", "SET", "min-replicas-to-write", 1)
    assert failed(server, "SET", "a", 1) is Kind.WRITE_OUTAGE
    assert failed(server, "EVAL", SUM, 1, "a") is Kind.WRITE_OUTAGE
    assert server.command("GET", "a") is None
    server.command("CONFIG", "SET", "min-replicas-to-write", 0)
    assert server.command("SET", "a", 1)


def test_a_replica_that_lost_its_primary(server):
    with Refused() as nobody:
        server.command("REPLICAOF", *nobody.address)
        assert failed(server, "SET", "a", 1) is Kind.READONLY
        assert failed(server, "EVAL", SUM, 1, "a") is Kind.READONLY
        server.command("CONFIG", "SET", "replica-serve-stale-data", "no")
        assert failed(server, "GET", "a") is Kind.OUTAGE
        server.command("REPLICAOF", "NO", "ONE")
    assert server.command("SET", "a", 1)


def test_busy_with_a_script(server):
    server.command("CONFIG", "SET", "busy-reply-threshold", 1)

    def spin() -> None:
        with suppress(exceptions.ResponseError):  # killed
            server.command("EVAL", "while true do end", 0)

    script = threading.Thread(target=spin)
    script.start()
    kind, deadline = None, time.monotonic() + 5
    while kind is None and time.monotonic() < deadline:
        with suppress(pytest.fail.Exception):  # not busy yet
            kind = failed(server, "GET", "a")
    server.command("SCRIPT", "KILL")
    script.join()
    assert kind is Kind.OUTAGE


def test_full(directory):
    with redis_full(directory) as server:
        assert failed(server, "SET", "a", 1) is Kind.WRITE_OUTAGE
        assert failed(server, "EVAL", SUM, 1, "a") is Kind.WRITE_OUTAGE
        assert server.command("GET", "a") is None


def test_users(directory):
    with redis_with_limited_user(directory, password=PASSWORD) as server:
        limited = {"username": "limited", "password": PASSWORD}
        assert failed(server, "GET", "a", **limited) is Kind.PERMISSION
        assert failed(server, "PING", **{**limited, "password": "x"}) is Kind.CONFIGURATION
        server.command("CONFIG", "SET", "requirepass", PASSWORD)
        assert failed(server, "PING") is Kind.CONFIGURATION


def test_a_cluster(directory):
    with redis_server("--cluster-enabled", "yes", directory=directory) as server:
        assert failed(server, "GET", "a") is Kind.OUTAGE  # CLUSTERDOWN: nobody has the slot
        assert failed(server, "SELECT", 1) is Kind.CONFIGURATION
        server.command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        assert failed(server, "MGET", "a", "b") is Kind.BUG


def ask(url: str) -> BaseException:
    client = redis.Redis.from_url(
        url, socket_timeout=0.3, socket_connect_timeout=0.3, retry=Retry(NoBackoff(), 0)
    )
    with client, pytest.raises(exceptions.RedisError) as raised:
        client.get("a")
    return raised.value


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Refused, Kind.HARD_OUTAGE),
        (Reset, Kind.HARD_OUTAGE),
        (BlackHole, Kind.OUTAGE),
        (Silence, Kind.OUTAGE),
        (Garbage, Kind.OUTAGE),
        (lambda: Garbage(b""), Kind.OUTAGE),  # the end of the stream
        (lambda: Garbage(b"$12\r\nhalf"), Kind.OUTAGE),
        (lambda: Garbage(b":many\r\n"), Kind.OUTAGE),
    ],
)
def test_the_network(fault: Callable[[], Refused], kind: Kind):
    with fault() as running:
        host, port = running.address
        assert classify(ask(f"redis://{host}:{port}/0")) is kind


def test_names_that_do_not_resolve():
    assert classify(ask("redis://redis.invalid:6379/0")) is Kind.OUTAGE


def test_tls_that_does_not_verify_and_ports_without(directory, server):
    secured = Authority()
    with redis_server(directory=directory, tls=secured) as encrypted:
        assert classify(ask(encrypted.url())) is Kind.CONFIGURATION
        assert encrypted.command("PING")
        plain = classify(ask(encrypted.url(scheme="redis")))
        assert plain in (Kind.OUTAGE, Kind.HARD_OUTAGE)
    assert classify(ask(server.url(scheme="rediss"))) in (Kind.OUTAGE, Kind.HARD_OUTAGE)
    with Garbage(greet=True) as web:
        assert classify(ask(f"rediss://127.0.0.1:{web.port}/0")) is Kind.CONFIGURATION
