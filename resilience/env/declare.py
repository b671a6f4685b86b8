"""Typed declarations: what the project needs from the environment, known by name.

The first missing or malformed variable raises where it is declared. Under ``env.collecting()`` (the
doctor) nothing raises: every problem is kept, and the declaration returns a placeholder whose
text ends in ``.invalid`` (RFC 2606), so that nothing can be reached with it by accident.
"""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from resilience import places
from resilience.env import casts, sources
from resilience.env.collect import is_collecting
from resilience.errors import BrokenSource, EnvError, InvalidVariable, MissingVariable

T = TypeVar("T")
_PLACEHOLDER = re.compile(r"missing\.([A-Za-z_]\w*)\.invalid")


class _Required:
    """Type of the marker for "no default"."""


REQUIRED = _Required()


@dataclass(frozen=True)
class Declared:
    """One declared variable: where it was declared and what became of it. Never its value.

    ``origin`` is where the value came from (``default`` included), None when there is none.
    """

    name: str
    location: str
    origin: str | None
    problem: EnvError | None = None


_lock = threading.Lock()
_declared: dict[str, Declared] = {}


def str_(name: str, *, default: str | _Required = REQUIRED) -> str:
    """Any text. Raises EnvError when it is missing and has no default."""
    return _declare(name, "text", casts.to_str, default, _placeholder(name))


def secret(name: str, *, default: str | _Required = REQUIRED) -> str:
    """Text that is masked in every report from now on; an empty one counts as missing."""
    # Long enough for Django not to call a missing SECRET_KEY a weak one as well.
    placeholder = f"{_placeholder(name)}/0123456789-abcdefghijklmnopqrstuvwxyz"
    return _declare(name, "secret", casts.to_secret, default, placeholder)


def bool_(name: str, *, default: bool | _Required = REQUIRED) -> bool:
    """``true false 1 0 yes no on off`` in any case; every other word is an error, never False."""
    return _declare(name, "true or false", casts.to_bool, default, placeholder=False)


def int_(name: str, *, default: int | _Required = REQUIRED) -> int:
    """A whole number in decimal digits."""
    return _declare(name, "whole number", casts.to_int, default, 0)


def float_(name: str, *, default: float | _Required = REQUIRED) -> float:
    """A finite decimal number."""
    return _declare(name, "number", casts.to_float, default, 0.0)


def list_(name: str, *, default: list[str] | _Required = REQUIRED) -> list[str]:
    """Texts separated by commas; spaces around them and empty ones are dropped."""
    found = _declare(name, "comma-separated list", casts.to_list, default, [])
    return list(found)


def url(name: str, *, default: str | _Required = REQUIRED, schemes: tuple[str, ...] = ()) -> str:
    """A URL with a scheme (one of ``schemes``, if given), a host and a sound port."""
    placeholder = f"{(schemes or ('https',))[0]}://{_placeholder(name)}"
    return _declare(name, "URL", lambda text: casts.to_url(text, schemes), default, placeholder)


def db(name: str, *, default: str | _Required = REQUIRED) -> dict[str, Any]:
    """A database URL as an entry of Django's ``DATABASES`` (schemes: django-environ's)."""

    def cast(text: str) -> dict[str, Any]:
        return casts.to_db(text, sources.project_root())

    placeholder = {"ENGINE": "django.db.backends.dummy", "NAME": _placeholder(name)}
    fallback = default if isinstance(default, _Required) else cast(default)
    return _declare(name, "database URL", cast, fallback, placeholder)


def declared() -> list[Declared]:
    """Every variable declared so far, in order."""
    with _lock:
        return list(_declared.values())


def reset() -> None:
    """Forget every declaration, and take back what ``load()`` put into ``os.environ`` (tests)."""
    with _lock:
        _declared.clear()
    sources.reset()


def placeholder_in(value: object) -> str | None:
    """The name of the missing variable whose placeholder ``value`` holds, at any depth."""
    if isinstance(value, str | Path):
        found = _PLACEHOLDER.search(str(value))
        return found[1] if found else None
    items: list[object] = []
    if isinstance(value, Mapping):
        items = list(value.values())
    elif isinstance(value, list | tuple | set | frozenset):
        items = list(value)
    return next((name for name in map(placeholder_in, items) if name), None)


def _placeholder(name: str) -> str:
    return f"missing.{name}.invalid"


def _declare(
    name: str,
    kind: str,
    cast: Callable[[str], T],
    default: T | _Required,
    placeholder: T,
) -> T:
    location = _caller()
    required = isinstance(default, _Required)
    value = placeholder if isinstance(default, _Required) else default
    origin, problem = None if required else "default", None
    try:
        found = sources.lookup(name)
        if found is None or (kind == "secret" and not found.text.strip()):
            if required:
                raise _missing(name, kind, location, empty=found is not None)
        else:
            origin = found.origin
            if is_collecting() and casts.is_unresolved(found.text, secret=kind == "secret"):
                raise _unresolved(name, location)
            value = _cast(name, found, cast, location)
    except EnvError as error:
        problem = error
        # What stands on this variable must not be examined with a default that the app never uses.
        value = placeholder if placeholder_in(placeholder) else value
    with _lock:
        earlier = _declared.get(name)
        # A second, more lenient declaration elsewhere does not hide that the first one failed.
        if earlier is None or earlier.problem is None or earlier.location == location:
            _declared[name] = Declared(name, location, origin, problem)
    if problem is not None and not is_collecting():
        raise problem from None
    return value


def _cast(name: str, found: sources.Value, cast: Callable[[str], T], location: str) -> T:
    try:
        return cast(found.text)
    except casts.Refused as refused:
        raise InvalidVariable(
            name,
            f"{name} (from {found.origin}) {refused}",
            f"Correct {name} where it is set, or change its declaration.",
            location=location,
        ) from None


def _unresolved(name: str, location: str) -> BrokenSource:
    return BrokenSource(
        "env.unresolved-reference",
        name,
        f"{name} holds a reference to another variable that nobody resolved",
        "Correct the service or variable name in the reference (both are case-sensitive), or put "
        "the value itself there: no shell expands it here.",
        location=location,
    )


def _missing(name: str, kind: str, location: str, *, empty: bool) -> MissingVariable:
    root = sources.project_root()
    where = f" or in {places.shorten(str(root / '.env'))}" if root else ""
    return MissingVariable(
        name,
        f"{name} is {'empty' if empty else 'not set'} ({kind}, no default)",
        f"Set {name} in the environment{where}.",
        location=location,
    )


def _caller() -> str:
    """``file:line`` of the declaration: the nearest frame outside this package."""
    here = str(Path(__file__).parent)
    frame = sys._getframe(1)  # noqa: SLF001 - where the user wrote it
    while frame.f_back is not None and frame.f_code.co_filename.startswith(here):
        frame = frame.f_back
    return f"{places.shorten(frame.f_code.co_filename)}:{frame.f_lineno}"
