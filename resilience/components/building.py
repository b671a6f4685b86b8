"""Makes the object of a component, and keeps of an error what may be told."""

from __future__ import annotations

import importlib
import inspect
import os
import traceback
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from resilience import env, places, redact
from resilience.components.spec import Spec
from resilience.errors import UsageError, did_you_mean

_CHAIN = 5  # exceptions, each the cause of the one before
_FRAMES = 30  # a RecursionError has a thousand
_HERE = ("building.py", "lifecycle.py", "registry.py")
_PASSED_OVER = (
    "<frozen ",
    importlib.__file__,
    *(str(Path(__file__).with_name(name)) for name in _HERE),
)


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
    """What a dotted path names, its module imported: ``module.Class``, ``module.Class.method``.

    Raises UsageError for what its module, or the class in it, does not have, and whatever an import
    raises.
    """
    name, _, attribute = path.rpartition(".")
    found, names = _module(name), [attribute]
    while found is None:  # in module.Class.method the module is further up
        name, _, attribute = name.rpartition(".")
        names.insert(0, attribute)
        found = _module(name)
    for each in names:
        try:
            found = getattr(found, each)
        except AttributeError:
            hint = did_you_mean(each, dir(found))
            raise UsageError(f"{name} has no {each}.{hint}") from None
        name = f"{name}.{each}"
    return found


def _module(name: str) -> Any:
    """The module of this name; None if there is none, though its top module is there."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if "." not in missing or not f"{name}.".startswith(f"{missing}."):
            raise
    return None


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
    """What may be kept of an error: messages without values, places without source lines.

    One line for each exception, and one for each place below it.
    """
    told: list[str] = []
    known: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in known and len(known) < _CHAIN:
        known.add(id(following))
        because = "because of " if told else ""
        told += [f"{because}{redact.exception(following)}", *_way(following)]
        implied = None if following.__suppress_context__ else following.__context__
        following = following.__cause__ or implied
    return "\n".join(told)


def _way(error: BaseException) -> list[str]:
    """The lines that an exception came through, innermost first: no importlib, none of ours."""
    frames = traceback.extract_tb(error.__traceback__, limit=-_FRAMES)
    return [
        f"  {_file(frame.filename)}:{frame.lineno} in {frame.name}"
        for frame in reversed(frames)
        if not frame.filename.startswith(_PASSED_OVER)
    ]


def _file(filename: str) -> str:
    """Below the working directory, or below where packages are installed, as short as that."""
    for site in ("site-packages", "dist-packages"):
        before, _, inside = filename.rpartition(f"{os.sep}{site}{os.sep}")
        if before:
            return inside
    return places.shorten(filename)
