"""What the tests of the simulation share."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from resilience.simulation.authority import Authority

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="session")
def authority() -> Authority:
    """One CA for the whole run: it keeps no state."""
    return Authority()


@pytest.fixture(autouse=True)
def no_thread_stays() -> Iterator[None]:
    """Every fault takes its threads along when its block ends."""
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


@pytest.fixture
def connect() -> Iterator[Callable[..., redis.Redis]]:
    """Make a redis-py client that tries once, answers within a second and is closed at the end."""
    clients: list[redis.Redis] = []

    def client(url: str, **options: object) -> redis.Redis:
        settings = {"socket_timeout": 1.0, "retry": Retry(NoBackoff(), 0), **options}
        clients.append(redis.Redis.from_url(url, **settings))
        return clients[-1]

    yield client
    for each in clients:
        each.close()
