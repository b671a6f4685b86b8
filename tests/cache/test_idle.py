"""Under ``BACKGROUND = False`` nothing keeps a connection that nobody uses.

Counted by redis-server itself.
"""

from __future__ import annotations

import os
import socket
import threading
import time

import pytest

from resilience.cache import idle
from resilience.cache.idle import CLOSER
from tests.cache.aliases import alias, state_of
from tests.waiting import until

SOON = 0.15  # seconds, in the place of a minute


@pytest.fixture
def soon(monkeypatch):
    monkeypatch.setattr(CLOSER, "close_after", SOON)


def clients(server) -> set[str]:
    """The ids of all connections but the one that asks."""
    rows = server.command("CLIENT", "LIST").decode().splitlines()
    return {row.split()[0] for row in rows if " cmd=client" not in row}


def connections(server) -> int:
    return len(clients(server))


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "resilience-idle"]


def test_it_is_a_minute_and_off_by_default():
    assert idle.CLOSE_AFTER == CLOSER.close_after == 60.0
    assert not CLOSER.wanted


def test_an_idle_connection_is_closed_and_the_next_call_has_a_new_one(fresh, settings, soon):
    settings.RESILIENCE = {"BACKGROUND": False}
    with alias(fresh.url()) as cache:
        cache.set("k", "v")
        assert connections(fresh) == 1
        assert threads() == ["resilience-idle"]
        assert until(lambda: connections(fresh) == 0)
        assert until(lambda: not threads())
        assert cache.get("k") == "v"
        assert connections(fresh) == 1
        assert until(lambda: connections(fresh) == 0)


def test_one_that_is_used_stays(fresh, settings, soon):
    settings.RESILIENCE = {"BACKGROUND": False}
    with alias(fresh.url()) as cache:
        cache.set("k", "v")
        before = clients(fresh)
        ends = time.monotonic() + 4 * SOON
        while time.monotonic() < ends:
            assert cache.get("k") == "v"
            time.sleep(SOON / 10)
        assert len(before) == 1
        assert clients(fresh) == before


def test_of_several_the_idle_ones_are_closed(fresh, settings, soon):
    settings.RESILIENCE = {"BACKGROUND": False}
    with alias(fresh.url()) as cache:
        link = state_of(cache).primary[0]
        taken = [link.take(time.monotonic() + 1) for _ in range(3)]
        for connection in taken:
            link.give_back(connection)
        assert connections(fresh) == 3
        assert until(lambda: connections(fresh) == 0)
        assert link.snapshot()["ready"] == 0
        assert link.snapshot()["down_since"] is None


@pytest.mark.parametrize("resilience", [{}, {"BACKGROUND": True}, {"BACKGROUND": "no"}])
def test_with_background_connections_stay(fresh, settings, soon, resilience):
    settings.RESILIENCE = resilience
    with alias(fresh.url()) as cache:
        cache.set("k", "v")
        time.sleep(3 * SOON)
        assert connections(fresh) == 1
        assert not threads()
        settings.RESILIENCE = {"BACKGROUND": False}  # from now on
        assert until(lambda: connections(fresh) == 0)


@pytest.mark.parametrize("background", [True, False])
def test_keepalives_are_sent_with_background_only(fresh, settings, background):
    settings.RESILIENCE = {"BACKGROUND": background}
    with alias(fresh.url()) as cache:
        cache.set("k", "v")
        (connection,) = state_of(cache).primary[0]._ready
        kept = connection._sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert bool(kept) is background


def test_a_forked_child_closes_its_own(fresh, settings, soon):
    settings.RESILIENCE = {"BACKGROUND": False}
    with alias(fresh.url()) as cache:
        cache.set("k", "v")
        assert threads()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                assert cache.get("k") == "v"
                link = state_of(cache).primary[0]
                assert link.has_idle
                assert until(lambda: not link.has_idle)
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
