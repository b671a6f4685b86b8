"""Real and fake services, and what becomes of the process that is bound to another."""

from __future__ import annotations

import os
import signal
import smtplib
import subprocess
import sys
import time
from contextlib import suppress
from email.message import EmailMessage
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from resilience.simulation import redis_server
from resilience.simulation.authority import Authority
from resilience.simulation.constrained import bound_to_parent
from resilience.simulation.fake_smtp import FakeSmtp
from resilience.simulation.redis_server import RedisServer
from tests.processes import ROOT


def gone(pid: int, limit: float = 5.0) -> bool:
    ends = time.monotonic() + limit
    while time.monotonic() < ends:
        with suppress(OSError):
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX":
                time.sleep(0.02)
                continue
        return True
    return False


def test_a_redis_is_killed_and_comes_back_on_its_port(tmp_path):
    with RedisServer(tmp_path) as server:
        port, pid = server.port, server.pid
        server.command("SET", "k", "v")
        server.kill()
        assert gone(pid)
        with pytest.raises(redis.ConnectionError):
            server.command("PING")
        server.start()
        assert (server.port, server.command("GET", "k")) == (port, None)
        assert server.pid not in (0, pid)
        pid = server.pid
    assert gone(pid)


@pytest.mark.parametrize(
    ("state", "error"),
    [
        (lambda server: server.require_password("secret"), redis.AuthenticationError),
        (lambda server: server.fill(), redis.exceptions.OutOfMemoryError),
    ],
)
def test_its_states_and_their_end(tmp_path, state, error):
    with RedisServer(tmp_path) as server:
        assert server.command("SET", "k", "v") is True
        state(server)
        with pytest.raises(error):
            server.command("SET", "k", "v")
        server.restart()
        assert server.command("SET", "k", "v") is True


def test_a_replica_has_what_its_live_primary_has_and_takes_nothing(tmp_path):
    with RedisServer(tmp_path, tls=Authority()) as replica, RedisServer(tmp_path) as primary:
        primary.command("SET", "k", "before")
        replica.command("SET", "own", "v")
        replica.follow(primary)
        assert replica.command("INFO", "replication")["role"] == "slave"
        assert (replica.command("GET", "k"), replica.command("GET", "own")) == (b"before", None)
        with pytest.raises(redis.exceptions.ReadOnlyError):
            replica.command("SET", "k", "v")
        primary.command("SET", "k", "after")
        assert primary.command("WAIT", "1", "2000") == 1
        assert replica.command("GET", "k") == b"after"


def test_a_replica_whose_primary_is_away_is_not_taken_for_one_that_follows__twin(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(redis_server, "START_WITHIN", 0.3)
    with RedisServer(tmp_path) as replica, RedisServer(tmp_path) as primary:
        primary.command("CONFIG", "SET", "requirepass", "secret")  # as good as away
        monkeypatch.setattr(primary, "command", lambda *_: True)
        with pytest.raises(RuntimeError, match="did not catch up"):
            replica.follow(primary)


def test_with_tls_it_speaks_nothing_else(tmp_path):
    with RedisServer(tmp_path, tls=Authority()) as server:
        assert server.command("PING") is True
        once = Retry(NoBackoff(), 0)
        with redis.Redis(port=server.port, socket_timeout=0.3, retry=once) as plain:
            with pytest.raises((redis.ConnectionError, redis.TimeoutError)):
                plain.ping()


def test_a_redis_that_does_not_start_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr(RedisServer, "_options", lambda _: ["--no-such-option", "1"])
    with pytest.raises(RuntimeError, match="no-such-option"):
        RedisServer(tmp_path).__enter__()


def test_whether_it_is_installed(monkeypatch, tmp_path):
    assert redis_server.is_installed()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not redis_server.is_installed()


@pytest.mark.parametrize("bound", [True, False], ids=["bound", "twin"])
def test_what_is_bound_to_a_process_ends_with_it(bound):
    """However that ends: SIGKILL lets nobody tidy up."""
    code = (
        "import subprocess, sys, time\n"
        "from resilience.simulation.constrained import bound_to_parent\n"
        "command = ['sleep', '60']\n"
        f"child = subprocess.Popen(bound_to_parent(command) if {bound} else command)\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        ends = time.monotonic() + 5
        while b"sleep\x0060" not in Path(f"/proc/{pid}/cmdline").read_bytes():
            assert time.monotonic() < ends
            time.sleep(0.01)
        parent.kill()
    assert gone(pid, 2.0 if bound else 0.2) == bound
    if not bound:
        os.kill(pid, signal.SIGKILL)


def test_the_wrapper_leaves_output_and_status_alone():
    done = subprocess.run(
        bound_to_parent(["sh", "-c", "echo out; exit 7"]), capture_output=True, check=False
    )
    assert (done.returncode, done.stdout) == (7, b"out\n")


def test_mail_is_taken_and_goes_nowhere():
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@example.org", "b@example.org", "s"
    message.set_content("first\n.dot\nlast")
    with FakeSmtp() as fake:
        for _ in range(2):
            with smtplib.SMTP(fake.host, fake.port, timeout=5) as client:
                client.send_message(message)
    assert len(fake.messages) == 2
    assert b"first\r\n.dot\r\nlast" in fake.messages[0]
