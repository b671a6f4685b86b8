"""Whether problems are collected instead of raised: the doctor's mode."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_depth = 0


@contextmanager
def collecting() -> Iterator[None]:
    """Keep problems instead of raising them: for a doctor that must outlive broken settings.

    Process-wide on purpose: settings may be imported by any thread.
    """
    global _depth  # noqa: PLW0603
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1


def is_collecting() -> bool:
    """Whether :func:`collecting` is in force."""
    return _depth > 0
