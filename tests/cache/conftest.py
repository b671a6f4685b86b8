"""What every test of the cache gets: a process in which no alias was used yet."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from resilience.cache import state
from tests.servers import RedisServer, redis_server


@pytest.fixture(autouse=True)
def clean_cache() -> Iterator[None]:
    """No test sees another one's breakers, connections and values."""
    state.reset()
    yield
    state.reset()


@pytest.fixture(scope="module")
def redis(tmp_path_factory) -> Iterator[RedisServer]:
    """A real one for the tests of a module."""
    with redis_server(directory=tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture
def fresh(redis: RedisServer) -> RedisServer:
    """The same, empty."""
    redis.command("FLUSHALL")
    return redis
