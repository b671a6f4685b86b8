"""The sentences that people paste, as Redis, redis-py, django-redis and this package print them."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import redis
from django.core.cache import InvalidCacheBackendError
from django_redis.cache import RedisCache
from redis.backoff import NoBackoff
from redis.retry import Retry

from resilience.cache import ResilientCache
from resilience.errors import CacheUnavailable
from resilience.simulation.authority import Authority
from resilience.simulation.fake_redis import FakeRedis
from resilience.simulation.network import Garbage, Refused, Silence
from resilience.simulation.program import until
from tests.servers import (
    redis_full,
    redis_replica,
    redis_server,
    redis_with_limited_user,
    redis_with_password,
)

PASSWORD = "sesame-and-more"
HTTP = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"
LOOP = "while true do end"


def said_by(call: Callable[[], object], kind: type[Exception] = Exception) -> str:
    """What the exception prints at the end of a traceback."""
    with pytest.raises(kind) as caught:
        call()
    return "".join(traceback.format_exception(caught.value))


def answer(url: str, *command: str, **options: Any) -> str:
    """What redis-py raises for this command; without retries, which say the same later."""
    options = {"socket_timeout": 2.0, "retry": Retry(NoBackoff(), 0), **options}
    with redis.Redis.from_url(url, **options) as client:
        return said_by(lambda: client.execute_command(*(command or ("PING",))))


def refused(folder: Path) -> str:
    with Refused() as port:
        return answer(f"redis://127.0.0.1:{port.port}/0")


def unknown_host(folder: Path) -> str:
    return answer("redis://redis.railway.invalid:6379/0")


def no_password(folder: Path) -> str:
    with redis_with_password(folder, PASSWORD) as server:
        return answer(server.url(), protocol=2)


def no_password_with_hello(folder: Path) -> str:
    with redis_with_password(folder, PASSWORD) as server:
        return answer(server.url(), protocol=3)


def wrong_password(folder: Path) -> str:
    with redis_with_password(folder, PASSWORD) as server:
        return answer(server.url(password="another"))


def needless_password(folder: Path) -> str:
    with redis_server(directory=folder) as server:
        return answer(server.url(password="another"), protocol=2)


def forbidden(folder: Path) -> str:
    with redis_with_limited_user(folder, password=PASSWORD) as server:
        return answer(server.url(password=PASSWORD, username="limited"), "GET", "a")


def no_such_database(folder: Path) -> str:
    with redis_server("--databases", "4", directory=folder) as server:
        return answer(server.url("/9"))


def full(folder: Path) -> str:
    with redis_full(folder) as server:
        return answer(server.url(), "SET", "a", "1")


def replica(folder: Path) -> str:
    with redis_server(directory=folder) as primary, redis_replica(primary, folder) as server:
        return answer(server.url(), "SET", "a", "1")


def primary_away(folder: Path) -> str:
    lost = ("--replicaof", "127.0.0.1 1", "--replica-serve-stale-data", "no")
    with redis_server(*lost, directory=folder) as server:
        return answer(server.url(), "GET", "a")


def too_few_replicas(folder: Path) -> str:
    with redis_server("--min-replicas-to-write", "1", directory=folder) as server:
        return answer(server.url(), "SET", "a", "1")


def no_slots(folder: Path) -> str:
    with redis_server("--cluster-enabled", "yes", directory=folder) as server:
        return answer(server.url(), "GET", "a")


def renamed(folder: Path) -> str:
    with redis_server("--rename-command", "FLUSHDB", "", directory=folder) as server:
        return answer(server.url(), "FLUSHDB")


def busy(folder: Path) -> str:
    with redis_server("--busy-reply-threshold", "1", directory=folder) as server:
        with redis.Redis(port=server.port, socket_timeout=5) as client:
            running = threading.Thread(target=_until_killed, args=(client,))
            running.start()
            try:
                return _once_refused(server.url(), "GET", "a")
            finally:
                server.command("SCRIPT", "KILL")
                running.join()


def _until_killed(client: Any) -> None:
    with suppress(redis.ResponseError):
        client.eval(LOOP, 0)


def _once_refused(url: str, *command: str) -> str:
    """The first error reply to this command, which works for a moment yet."""
    for _ in until(10.0):
        with suppress(pytest.fail.Exception):
            return answer(url, *command)
    raise AssertionError(f"{command[0]} was never refused")


def unable_to_save(folder: Path) -> str:
    with redis_server("--save", "3600 1", directory=folder) as server:
        Path(server.command("CONFIG GET", "dir")["dir"], "dump.rdb").mkdir()  # nobody saves over it
        server.command("BGSAVE")
        try:
            return _once_refused(server.url(), "SET", "a", "1")
        finally:  # else it saves before it ends, and does not end
            server.command("CONFIG SET", "save", "")


def too_many_clients(folder: Path) -> str:
    with redis_server("--maxclients", "1", directory=folder) as server:
        with redis.Redis(port=server.port) as first:
            first.ping()
            return answer(server.url())


def loading(folder: Path) -> str:
    text = "LOADING Redis is loading the dataset in memory"
    with FakeRedis(errors={"GET": text}) as fake:  # the words of a real one, which is fast here
        return answer(fake.url, "GET", "a")


def silent(folder: Path) -> str:
    with Silence() as port:
        return answer(f"redis://127.0.0.1:{port.port}/0", socket_timeout=0.1)


def tls_to_plain(folder: Path) -> str:
    with redis_server(directory=folder) as server:
        return answer(server.url(scheme="rediss"), socket_timeout=0.2, socket_connect_timeout=0.2)


def plain_to_tls(folder: Path) -> str:
    with redis_server(directory=folder, tls=Authority()) as server:
        return answer(server.url(scheme="redis"))


def another_service(folder: Path) -> str:
    with Garbage(HTTP) as port:
        return answer(f"redis://127.0.0.1:{port.port}/0")


def pool_used_up(folder: Path) -> str:
    with redis_server(directory=folder) as server:
        pool = redis.ConnectionPool.from_url(server.url(), max_connections=1)
        taken = pool.get_connection()
        try:
            return said_by(pool.get_connection)
        finally:
            taken.disconnect()
            pool.disconnect()


def no_scheme(folder: Path) -> str:
    return said_by(lambda: redis.Redis.from_url("cache.internal:6379/0"))


def slash_in_password(folder: Path) -> str:
    return said_by(lambda: redis.Redis.from_url("redis://:pass/word@cache.internal:6379/0"))


def family(folder: Path) -> str:
    return answer("redis://127.0.0.1:1/0?family=0")


def django_redis(folder: Path) -> str:
    with Refused() as port:
        cache = RedisCache(f"redis://127.0.0.1:{port.port}/0", {})
        return said_by(lambda: cache.get("a"))


@contextmanager
def _ours(**resilience: object) -> Iterator[ResilientCache]:
    with ExitStack() as stack:
        port = stack.enter_context(Refused())
        options = {"OPTIONS": {"RESILIENCE": resilience}}
        yield ResilientCache(f"redis://127.0.0.1:{port.port}/0", options)


def lock_in_an_outage(folder: Path) -> str:
    with _ours() as cache:
        return said_by(lambda: cache.lock("a").acquire(), CacheUnavailable)


def misspelt_option(folder: Path) -> str:
    with pytest.raises(InvalidCacheBackendError) as caught, _ours(OPERATION_TIMOUT=1):
        pass
    return f"InvalidCacheBackendError: {caught.value}"


def log_line(folder: Path, caplog: pytest.LogCaptureFixture) -> str:
    with _ours() as cache:
        for _ in range(3):
            cache.get("a")
    return caplog.text
