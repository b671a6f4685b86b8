"""Aliases of CACHES for the tests of the cache."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.cache import caches
from django.test import override_settings

from resilience.cache import state

BACKEND = "resilience.cache.ResilientCache"
DJANGO_REDIS = "django_redis.cache.RedisCache"
SHORT = 0.05  # seconds for an operation that meets a fault
MARGIN = 0.6  # seconds that a busy machine may add; benchmarks/cache.py measures the real ones
LONG = 5.0  # seconds for what succeeds


def url_of(fault: Any) -> str:
    return f"redis://{fault.host}:{fault.port}/0"


def config(
    location: str | list[str],
    *,
    backend: str = BACKEND,
    options: dict[str, Any] | None = None,
    params: dict[str, Any] | None = None,
    **resilience: Any,
) -> dict[str, Any]:
    """One entry of CACHES; keywords in upper case are RESILIENCE's."""
    found = {"BACKEND": backend, "LOCATION": location, **(params or {})}
    found["OPTIONS"] = dict(options or {})
    if resilience:
        found["OPTIONS"]["RESILIENCE"] = {"CONNECT_TIMEOUT": 0.5, **resilience}
    return found


@contextmanager
def using(**configs: dict[str, Any]) -> Iterator[Any]:
    """CACHES with these aliases; yields the default one."""
    with override_settings(CACHES=configs):
        yield caches["default"]


@contextmanager
def alias(location: str | list[str], **given: Any) -> Iterator[Any]:
    """The one alias of CACHES."""
    with using(default=config(location, **given)) as cache:
        yield cache


def state_of(cache: Any) -> state.AliasState:
    found: state.AliasState = cache._state
    return found
