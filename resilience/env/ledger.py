"""What was declared so far, by name: where, and where its value came from. Never a value."""

from __future__ import annotations

import os
import sys
import threading
from dataclasses import dataclass, replace
from pathlib import Path

from resilience import places
from resilience.env import discovery, sources, state
from resilience.errors import EnvError, MissingVariable

_HERE = str(Path(__file__).parent / "_")[:-1]


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
_referred: set[str] = set()  # only referred to: what became of them is asked anew every time


def record(item: Declared) -> None:
    """Keep a typed declaration. A reference to the same name has nothing to add to it."""
    with _lock:
        earlier = None if item.name in _referred else _declared.get(item.name)
        # A second, more lenient declaration elsewhere does not hide that the first one failed.
        if earlier is None or earlier.problem is None or earlier.location == item.location:
            _declared[item.name] = item
            _referred.discard(item.name)


def refer(name: str, location: str) -> None:
    """Keep the name and place of a reference, and nothing else: it is resolved later."""
    with _lock:
        if name not in _declared:
            _declared[name] = Declared(name, location, None)
            _referred.add(name)


def declared() -> list[Declared]:
    """Every variable declared so far, in order; a reference as it would resolve now."""
    with _lock:
        items, referred = list(_declared.values()), frozenset(_referred)
    return [_as_of_now(item) if item.name in referred else item for item in items]


def spelling(name: str) -> str:
    """``name`` as it was declared, should only its case differ."""
    with _lock:
        if name in _declared:
            return name
        return next((known for known in _declared if known.lower() == name.lower()), name)


def forget() -> None:
    """Forget every declaration (tests)."""
    with _lock:
        _declared.clear()
        _referred.clear()


def missing(name: str, location: str, *, empty: bool, kind: str = "") -> MissingVariable:
    """The error of a name that no source has, or that has nothing in it."""
    return MissingVariable(
        name,
        f"{name} is {'empty' if empty else 'not set'}{f' ({kind}, no default)' if kind else ''}",
        f"Set {name} in the environment{_or_in_a_file(location)}.",
        location=location,
    )


def caller() -> str:
    """``file:line`` of the declaration: the nearest frame outside this package."""
    frame = sys._getframe(1)  # noqa: SLF001 - where the user wrote it
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_HERE):
        frame = frame.f_back
    return f"{places.shorten(frame.f_code.co_filename)}:{frame.f_lineno}"


def _or_in_a_file(location: str) -> str:
    """The end of a hint: the file that may have it, if one is read, or what keeps it from that."""
    now = state.current()
    if now.loaded and now.root is not None:
        if not now.tried:
            return "; RESILIENCE_DOTENV switches .env files off"
        return f" or in {places.shorten(str(now.root / '.env'))}"
    file = Path(location.rpartition(":")[0]).absolute()
    root = None if now.loaded else discovery.project_root(str(file))
    if root is None or not discovery.is_file(root / ".env"):
        return ""
    inside = [each for each in file.parents if discovery.is_file(each / "__init__.py")]
    package = inside[-1].name if inside else ""
    line = f"on line 1 of {package}/__init__.py" if package else "above this line"
    return f", or load .env: env.load() {line}"


def _as_of_now(item: Declared) -> Declared:
    try:
        found = sources.lookup(item.name)
    except EnvError as problem:
        return replace(item, problem=problem.bare())
    return replace(item, origin=found.origin if found is not None and found.text.strip() else None)


def _after_fork() -> None:
    global _lock  # noqa: PLW0603 - another thread may have held it
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
