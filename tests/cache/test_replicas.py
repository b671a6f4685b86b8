"""Reads from several replicas outlive one of them; what a caller loses is lost to nobody else."""

from __future__ import annotations

import gc
import os
import signal
import warnings

import pytest

from resilience.cache import status
from tests.cache.aliases import alias, state_of
from tests.servers import redis_replica, redis_server
from tests.waiting import until


def test_reads_leave_out_a_replica_that_has_gone(fresh, tmp_path):
    with redis_replica(fresh, tmp_path) as gone, redis_replica(fresh, tmp_path) as stays:
        with alias([fresh.url(), gone.url(), stays.url()], MAX_STALE=0) as cache:
            cache.set("key", 1)
            assert until(lambda: cache.get("key") == 1)
            fresh.command("SET", ":1:later", 2)
            os.kill(gone.pid, signal.SIGKILL)

            def settled() -> bool:
                return all(cache.get("later") == 2 for _ in range(20))

            assert until(settled)
            assert status()["read"]["state"] == "closed"


def test_twin__with_every_replica_gone_reads_fall_back(fresh, tmp_path):
    with redis_replica(fresh, tmp_path) as gone:
        with alias([fresh.url(), gone.url()], MAX_STALE=0) as cache:
            cache.set("key", 1)
            assert until(lambda: cache.get("key") == 1)
        url = [fresh.url(), gone.url()]
    with alias(url, MAX_STALE=0) as cache:
        assert until(lambda: cache.get("key") is None and status()["read"]["state"] != "closed")


@pytest.mark.parametrize("kept", [False, True])
def test_a_connection_that_its_caller_lost_is_not_lent_for_ever(fresh, kept):
    with alias(fresh.url(), MAX_CONNECTIONS=1, OPERATION_TIMEOUT=0.3) as cache:
        assert cache.set("key", 1)
        state = state_of(cache)
        taken = [state.primary[0].take(state.clock() + 1)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            if not kept:
                taken.clear()  # as a signal handler that raises between taking and giving back
                gc.collect()
        cache.set("key", 2)
        assert (fresh.command("GET", ":1:key") == b"2") is not kept


@pytest.mark.parametrize("read_only", [False, True])
def test_writes_go_on_where_replicas_may_be_written(read_only, fresh, tmp_path):
    with redis_server(directory=tmp_path) as first:
        options = {"REPLICA_READ_ONLY": read_only}
        with alias([first.url(), fresh.url()], options=options, MAX_STALE=0) as cache:
            cache.set("key", 1)
            os.kill(first.pid, signal.SIGKILL)

            def written() -> bool:
                cache.set("key", 2)
                return bool(fresh.command("GET", ":1:key") == b"2")

            assert until(written, 2.0) is not read_only
