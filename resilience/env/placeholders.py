"""What a doctor gets for a missing variable: it leads nowhere, and is recognised again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from resilience.env import ledger

# urlsplit().hostname, which settings may have taken a host from, is in lower case.
_PLACEHOLDER = re.compile(r"missing\.([a-z_]\w*)\.invalid", re.IGNORECASE)


def placeholder_of(name: str) -> str:
    """A text that no resolver answers for (RFC 2606) and that says what is missing."""
    return f"missing.{name}.invalid"


def placeholder_in(value: object) -> str | None:
    """The name of the missing variable whose placeholder ``value`` holds, at any depth."""
    found = _find(value)
    return None if found is None else ledger.spelling(found)


def _find(value: object) -> str | None:
    if isinstance(value, str | Path):
        found = _PLACEHOLDER.search(str(value))
        return found[1] if found else None
    items: list[object] = []
    if isinstance(value, Mapping):
        items = list(value.values())
    elif isinstance(value, list | tuple | set | frozenset):
        items = list(value)
    return next((name for name in map(_find, items) if name), None)
