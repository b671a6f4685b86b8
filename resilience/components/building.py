"""Makes the object of a component, and keeps of an error what may be told."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from resilience import env, places, redact
from resilience.components.spec import Spec
from resilience.errors import UsageError, did_you_mean

_CHAIN = 5  # exceptions, each the cause of the one before


def build(spec: Spec) -> Any:
    """The object of a component: BACKEND called with OPTIONS, variables filled in.

    Raises whatever the package raises; EnvError for a variable; UsageError for a BACKEND that does
    not exist in its module, or whose object would have to be awaited.
    """
    made = find(spec.backend)(**resolve(spec.options))
    if inspect.iscoroutine(made):
        made.close()
        raise UsageError(
            f"{spec.backend} is an async function: no event loop runs where components are built; "
            "name a class or a function"
        )
    return made


def find(path: str) -> Any:
    """What a dotted path names, its module imported."""
    name, _, attribute = path.rpartition(".")
    module = import_module(name)
    try:
        return getattr(module, attribute)
    except AttributeError:
        hint = did_you_mean(attribute, dir(module))
    raise UsageError(f"{name} has no {attribute}.{hint}")


def resolve(value: Any) -> Any:
    """A copy with every ``env.ref`` replaced by its value, at any depth."""
    if isinstance(value, env.Ref):
        return value.resolve()
    if isinstance(value, Mapping):
        return {key: resolve(item) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(resolve, value))
    for kind in (list, tuple, set, frozenset):
        if isinstance(value, kind):
            return kind(map(resolve, value))
    return value


def kept(error: BaseException) -> str:
    """What may be kept of an error: messages without values, places without source lines."""
    told: list[str] = []
    known: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in known and len(told) < _CHAIN:
        known.add(id(following))
        told.append(f"{redact.exception(following)} [{places.trace(following)}]")
        implied = None if following.__suppress_context__ else following.__context__
        following = following.__cause__ or implied
    return "\nbecause of ".join(told)
