"""How the caches of this process do, as far as it has used them: nothing is built for an answer."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from django.conf import settings


def statuses() -> dict[str, Mapping[str, Any]]:
    """``resilience.cache.status()`` of every alias of ours, by name; none before a first use."""
    backend = sys.modules.get("resilience.cache.backend")
    if backend is None:
        return {}
    from resilience.cache.state import status  # noqa: PLC0415 - imported with the backend

    return {
        alias: status(alias)
        for alias, config in settings.CACHES.items()
        if _is_ours(str(config.get("BACKEND", "")), backend.ResilientCache)
    }


def _is_ours(dotted: str, ours: type) -> bool:
    """Whether the backend is ours or a subclass of it; one that is not imported yet is none."""
    module, _, name = dotted.rpartition(".")
    found = getattr(sys.modules.get(module), name, None)
    return isinstance(found, type) and issubclass(found, ours)
