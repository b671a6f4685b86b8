"""What django-redis's own callers know: conditional sets, and a time to live that moves along."""

from __future__ import annotations

from typing import Any

import pytest

from resilience.simulation.network import Refused
from tests.cache.aliases import BACKEND, DJANGO_REDIS, alias, url_of


@pytest.fixture(params=[BACKEND, DJANGO_REDIS])
def cache(request, fresh):
    with alias(fresh.url(), backend=request.param) as found:
        yield found


@pytest.fixture
def outage():
    with Refused() as port, alias(url_of(port)) as found:
        yield found


def test_a_set_may_ask_for_absence_or_presence(cache):
    ask(cache)


def test_in_an_outage_this_process_answers_for_itself(outage):
    ask(outage)


def ask(cache: Any) -> None:
    assert cache.set("a", 1, nx=True) is True
    assert cache.set("a", 2, nx=True) is False
    assert cache.get("a") == 1
    assert cache.set("b", 1, xx=True) is False
    assert cache.get("b") is None
    assert cache.set("a", 3, xx=True) is True
    assert cache.get("a") == 3


def test_a_new_version_keeps_the_time_to_live(cache):
    cache.set("short", 1, timeout=1000)
    cache.set("for-ever", 1, timeout=None)
    for key in ("short", "for-ever"):
        assert cache.incr_version(key) == 2
        assert cache.get(key) is None
        assert cache.get(key, version=2) == 1
    assert 990 <= cache.ttl("short", version=2) <= 1000
    assert cache.ttl("for-ever", version=2) is None
