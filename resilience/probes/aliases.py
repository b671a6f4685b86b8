"""An alias of ``CACHES`` on our backend, as that backend itself reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.cache.backends.base import InvalidCacheBackendError

from resilience import env as environment
from resilience.probes import targets

if TYPE_CHECKING:
    from resilience.cache.options import Options


def settings_of(alias: str) -> Mapping[str, Any]:
    """Its entry; empty if there is none, or none of any use: the area of the cache says so."""
    caches = settings.CACHES
    config = caches.get(alias) if isinstance(caches, Mapping) else None
    if not isinstance(config, Mapping) or environment.placeholder_in(config) is not None:
        return {}
    return config


def options_of(alias: str) -> Options | None:
    """Its options; None for another backend, and for options that it refuses."""
    config = settings_of(alias)
    if targets.redis_kind(str(config.get("BACKEND", ""))) != targets.OURS:
        return None
    from resilience.cache import options  # noqa: PLC0415 - redis, which only its users pay

    try:
        return options.parse(alias, config)
    except InvalidCacheBackendError:
        return None
