"""A Django cache on Redis that answers in time whatever Redis does.

::

    CACHES = {"default": {"BACKEND": "resilience.cache.ResilientCache", "LOCATION": "redis://…"}}

``status(alias)`` tells how an alias does in this process, ``force(alias, …)`` holds it open or
closed. What they need is imported with them, not with the app.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resilience.cache.backend import ResilientCache
    from resilience.cache.hot import HotCache
    from resilience.cache.state import force, state_changed, status

__all__ = ["HotCache", "ResilientCache", "force", "state_changed", "status"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = {"HotCache": "hot", "ResilientCache": "backend"}.get(name, "state")
    return getattr(import_module(f"{__name__}.{module}"), name)
