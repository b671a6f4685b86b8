"""Typed declarations: what the project needs from the environment, known by name.

The first missing or malformed variable raises where it is declared. Under ``env.collecting()`` (the
doctor) nothing raises: every problem is kept, and the declaration returns a placeholder whose
text ends in ``.invalid`` (RFC 2606), so that nothing can be reached with it by accident.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from resilience.env import casts, ledger, sources, state
from resilience.env.collect import is_collecting
from resilience.env.ledger import Declared
from resilience.env.placeholders import placeholder_in, placeholder_of
from resilience.env.state import Value
from resilience.errors import BrokenSource, EnvError, InvalidVariable, MissingVariable

T = TypeVar("T")


class _Required:
    """Type of the marker for "no default"."""


REQUIRED = _Required()


class _Written:
    """A default as text, which is cast where it is judged. Its repr, in a frame, says nothing."""

    def __init__(self, text: str) -> None:
        self.text = text


def str_(name: str, *, default: str | _Required = REQUIRED) -> str:
    """Any text. Raises EnvError when it is missing and has no default."""
    return _declare(name, "text", casts.to_str, default, placeholder_of(name))


def secret(name: str, *, default: str | _Required = REQUIRED) -> str:
    """Text that is masked in every report from now on; an empty one counts as missing."""
    # Long enough for Django not to call a missing SECRET_KEY a weak one as well.
    placeholder = f"{placeholder_of(name)}/0123456789-abcdefghijklmnopqrstuvwxyz"
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
    placeholder = f"{(schemes or ('https',))[0]}://{placeholder_of(name)}"
    return _declare(name, "URL", lambda text: casts.to_url(text, schemes), default, placeholder)


def db(name: str, *, default: str | _Required = REQUIRED) -> dict[str, Any]:
    """A database URL as an entry of Django's ``DATABASES`` (schemes: django-environ's)."""

    def cast(text: str) -> dict[str, Any]:
        return casts.to_db(text, sources.project_root())

    placeholder = {"ENGINE": "django.db.backends.dummy", "NAME": placeholder_of(name)}
    fallback = default if isinstance(default, _Required) else _Written(default)
    del default  # it may be another variable's value: no frame of a traceback shows it
    return _declare(name, "database URL", cast, fallback, placeholder)


def reset() -> None:
    """Forget every declaration, and take back what ``load()`` put into ``os.environ`` (tests)."""
    ledger.forget()
    state.reset()


def _declare(
    name: str,
    kind: str,
    cast: Callable[[str], T],
    default: T | _Written | _Required,
    placeholder: T,
) -> T:
    value, item = _judge(name, kind, cast, default, placeholder)
    ledger.record(item)
    if item.problem is not None and not is_collecting():
        raise _outside(item.problem)  # here, where no frame of the traceback holds the text
    return value


def _outside(problem: EnvError) -> EnvError:
    """As it is raised, which is at the first of them. The doctor needs no word about itself."""
    if not isinstance(problem, MissingVariable):
        return problem
    way_out = "`python -m resilience checkdeploy env` names all that is missing."
    hint = f"{problem.hint} {way_out}"
    return MissingVariable(problem.subject, problem.problem, hint, location=problem.location)


def _judge(
    name: str,
    kind: str,
    cast: Callable[[str], T],
    default: T | _Written | _Required,
    placeholder: T,
) -> tuple[T, Declared]:
    location = ledger.caller()
    required = isinstance(default, _Required)
    value = placeholder if isinstance(default, _Required | _Written) else default
    found, origin = None, None if required else "default"
    try:
        if isinstance(default, _Written):
            value = _cast(name, Value(default.text, "its default"), cast, location)
        found = sources.lookup(name)
        if found is None or (kind == "secret" and not found.text.strip()):
            if required:
                raise ledger.missing(name, location, empty=found is not None, kind=kind)
        else:
            origin = found.origin
            if is_collecting() and casts.is_unresolved(found.text, secret=kind == "secret"):
                raise _unresolved(name, location)
            value = _cast(name, found, cast, location)
    except EnvError as problem:
        # What stands on this variable must not be examined with a default that the app never uses.
        value = placeholder if placeholder_in(placeholder) else value
        origin = found.origin if found is not None else None
        return value, Declared(name, location, origin, problem.bare())
    return value, Declared(name, location, origin)


def _cast(name: str, found: Value, cast: Callable[[str], T], location: str) -> T:
    empty = "" if found.text.strip() else "is empty, and "
    try:
        return cast(found.text)
    except casts.Refused as refused:
        raise InvalidVariable(
            name,
            f"{name} (from {found.origin}) {empty}{refused}",
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
