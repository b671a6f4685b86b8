"""How to make one more of a decoded value of plain parts, faster than from its bytes.

A value that nobody can change is shared. Of the others everybody gets one of his own, to its depth.
"""

from __future__ import annotations

import datetime as dt
import decimal
import sys
import uuid
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

DEPTH = 4  # of containers in containers; below, the bytes are as fast

_SHAREABLE = frozenset(
    {
        *(bool, bytes, complex, float, int, str, type(None)),
        *(dt.date, dt.timedelta, decimal.Decimal, uuid.UUID),
    }
)
"""Types whose values nobody can change. No subclass, which may have attributes; no time with a
zone, whose class is anybody's."""

_CHANGEABLE = (dict, list, set)

Make = Callable[[], Any]


class Copier(NamedTuple):
    """``make()`` gives the value, which nobody else has if it can be changed; ``size`` in bytes."""

    make: Make
    size: int


class _NotPlain(Exception):
    """Only its bytes can make it anew."""


def copier_of(value: Any) -> Copier | None:
    """None for objects, for what is in it twice and for what is in itself."""
    sizes: list[int] = []
    try:
        make = _make_of(value, DEPTH, set(), sizes)
    except _NotPlain:
        return None
    return Copier(make or (lambda: value), sum(sizes))


def _make_of(value: Any, depth: int, seen: set[int], sizes: list[int]) -> Make | None:
    """None: it can be shared. Adds the sizes of its parts to ``sizes``. Raises _NotPlain."""
    kind = type(value)
    sizes.append(sys.getsizeof(value))
    if kind in _SHAREABLE:
        return None
    if kind not in (*_CHANGEABLE, frozenset, tuple) or not depth or id(value) in seen:
        raise _NotPlain
    if kind in _CHANGEABLE:
        seen.add(id(value))
    own = [
        (place, make)
        for place, part in _parts(value)
        if (make := _make_of(part, depth - 1, seen, sizes)) is not None
    ]
    if kind in _CHANGEABLE:
        return _deep(value, own) if own else value.copy
    if own:
        raise _NotPlain
    return None


def _parts(value: Any) -> Iterable[tuple[Any, Any]]:
    """Each with its place. Raises _NotPlain."""
    if type(value) is dict:
        if not all(type(key) in _SHAREABLE for key in value):
            raise _NotPlain
        return value.items()
    return enumerate(value)


def _deep(value: Any, own: list[tuple[Any, Make]]) -> Make:
    def make() -> Any:
        copy = value.copy()
        for place, part in own:
            copy[place] = part()
        return copy

    return make
