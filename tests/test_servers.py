"""The servers that the other tests rely on are in the state that they promise."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
import redis
from redis import exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from resilience.simulation.authority import Authority
from tests import servers
from tests.servers import (
    postgres_server,
    redis_full,
    redis_replica,
    redis_server,
    redis_with_databases,
    redis_with_limited_user,
    redis_with_password,
)


def ping(url: str) -> bool:
    """Ask over a URL, once: the default of redis-py is to try eleven times."""
    with redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0)) as client:
        return bool(client.ping())


def gone(pid: int) -> bool:
    """Tell whether no process has this number any more."""
    return not Path(f"/proc/{pid}").exists()


# ── redis ───────────────────────────────────────────────────────────────────────────────────────


def test_redis__answers_and_ends(tmp_path):
    with redis_server(directory=tmp_path) as server:
        assert server.command("SET", "key", "value")
        assert server.command("GET", "key") == b"value"
        assert server.command("INFO", "server")["process_id"] == server.pid
        with redis.Redis.from_url(server.url("/1")) as client:
            assert client.get("key") is None
    assert gone(server.pid)


def test_redis__takes_options_and_restarts_on_its_port(tmp_path):
    with redis_server("--maxclients", "77", directory=tmp_path) as server:
        assert server.command("CONFIG", "GET", "maxclients") == {b"maxclients": b"77"}
    with redis_server(directory=tmp_path, port=server.port) as again:
        assert again.port == server.port
        assert again.pid != server.pid


def test_redis__is_ended_although_stopped_or_killed(tmp_path):
    with redis_server(directory=tmp_path) as server:
        os.kill(server.pid, signal.SIGSTOP)
    assert gone(server.pid)
    with redis_server(directory=tmp_path) as server:
        os.kill(server.pid, signal.SIGKILL)
    assert gone(server.pid)


def test_redis__takes_another_port_when_one_is_taken(tmp_path, monkeypatch):
    with redis_server(directory=tmp_path) as first:
        offers = iter([first.port, servers.free_port()])
        monkeypatch.setattr(servers, "free_port", lambda: next(offers))
        with redis_server(directory=tmp_path) as second:
            assert second.port != first.port
            assert second.command("INFO", "server")["process_id"] == second.pid


def test_redis__says_why_it_did_not_start(tmp_path):
    with pytest.raises(RuntimeError, match="no-such-option"):
        redis_server("--no-such-option", "1", directory=tmp_path).__enter__()


def test_redis__says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="run scripts/test, or install redis-server"):
        redis_server(directory=tmp_path).__enter__()


def test_redis__url(tmp_path):
    server = servers.RedisServer(port=6380, pid=0, tls=None)
    assert server.url() == "redis://127.0.0.1:6380/0"
    assert server.url("/4", password="p@/:") == "redis://:p%40%2F%3A@127.0.0.1:6380/4"
    assert server.url("", "p", "u", "rediss") == "rediss://u:p@127.0.0.1:6380"


def test_password(tmp_path):
    with redis_with_password(tmp_path, "s3cret/:@") as server:
        with pytest.raises(exceptions.AuthenticationError, match=r"required|HELLO"):
            server.command("PING")
        with pytest.raises(exceptions.AuthenticationError, match="invalid username-password"):
            server.command("PING", password="wrong")
        assert server.command("PING", password="s3cret/:@")
        assert ping(server.url(password="s3cret/:@"))


def test_limited_user(tmp_path):
    with redis_with_limited_user(tmp_path, password="pw") as server:
        assert server.command("PING", username="limited", password="pw")
        with pytest.raises(exceptions.NoPermissionError):
            server.command("GET", "key", username="limited", password="pw")
        assert server.command("SET", "key", "the default user may")


def test_full(tmp_path):
    with redis_full(tmp_path) as server:
        for _ in range(20):
            with pytest.raises(exceptions.OutOfMemoryError):
                server.command("SET", "key", "value")
        assert server.command("PING")
        assert server.command("GET", "key") is None
        server.command("CONFIG", "SET", "maxmemory", "0")
        assert server.command("SET", "key", "value")


def test_replica(tmp_path):
    with redis_server(directory=tmp_path) as primary:
        primary.command("SET", "key", "value")
        with redis_replica(primary, tmp_path) as replica:
            assert replica.command("GET", "key") == b"value"
            with pytest.raises(exceptions.ReadOnlyError):
                replica.command("SET", "key", "other")
        assert primary.command("SET", "key", "other")


def test_few_databases(tmp_path):
    with redis_with_databases(tmp_path, 4) as server:
        assert ping(server.url("/3"))
        with pytest.raises(exceptions.ResponseError, match="out of range"):
            ping(server.url("/4"))


def test_tls(tmp_path):
    authority = Authority()
    with redis_server(directory=tmp_path, tls=authority) as server:
        assert server.url().startswith("rediss://")
        assert server.command("PING")
        with pytest.raises(exceptions.ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
            ping(server.url())
        with pytest.raises(exceptions.ConnectionError):
            ping(server.url(scheme="redis"))


# ── PostgreSQL ──────────────────────────────────────────────────────────────────────────────────


def test_postgres__answers_and_ends(tmp_path):
    with ExitStack() as client:
        with postgres_server(tmp_path) as server:
            connection = client.enter_context(psycopg.connect(server.url()))
            row = connection.execute("SELECT current_user, inet_server_port()").fetchone()
            assert row == (server.user, server.port)
            directory = connection.execute("SHOW data_directory").fetchone()
            with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
                psycopg.connect(server.url(password="wrong"))
        assert gone(server.pid)
        assert directory is not None
        assert not Path(directory[0]).parent.exists()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")


def test_postgres__says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(Path, "glob", lambda *_: iter(()))
    with pytest.raises(RuntimeError, match="run scripts/test, or install postgresql"):
        postgres_server(tmp_path).__enter__()
