"""What a project does while it is imported: reads variables, builds clients, connects.

``scan(paths)`` reads source and runs nothing. ``trace(module, …)`` imports modules in a child
process of their own, without a network, and joins what happened with what the source says. Both
return findings, one for each cause, and no value of any variable.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resilience.audit.files import scan
    from resilience.audit.traced import trace

__all__ = ["scan", "trace"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "files" if name == "scan" else "traced"
    return getattr(import_module(f"{__name__}.{module}"), name)
