"""What this process read from files and put into ``os.environ``: the one state of ``env``."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from resilience.env import handover
from resilience.env.early import Early
from resilience.errors import BrokenSource

PROCESS = "environment"
# Linux starts no process with a variable of more than 128 KiB: every child would fail.
_LONGEST = 100_000  # bytes, name and value


class Value(NamedTuple):
    """A text and where it was found: ``environment``, ``FILE:LINE`` or a path."""

    text: str
    origin: str

    def __repr__(self) -> str:
        return f"<{self.origin}>"  # a page that shows the variables of a frame shows this


@dataclass(repr=False)
class State:
    root: Path | None = None
    loaded: bool = False
    late: bool = False
    tried: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    # What we put into os.environ, or would have but for its length: name -> text and origin.
    exported: dict[str, Value] = field(default_factory=dict)
    problems: list[BrokenSource] = field(default_factory=list)
    # Names that were asked for before load(), and those of them that load() then found.
    asked: set[str] = field(default_factory=set)
    early: tuple[str, ...] = ()
    imported: tuple[Early, ...] = ()
    # What our parent put there, until load() reads it anew; None before anybody looked.
    inherited: dict[str, Value] | None = None
    inherited_root: str = ""
    handover: handover.Handover = field(default_factory=handover.Handover)


lock = threading.RLock()
_state = State()


def current() -> State:
    """The state; to be used under ``lock``."""
    return _state


def export(name: str, value: Value) -> Value:
    """Put a value where SDKs see it, and remember that it is ours.

    One of more than 100 000 bytes is remembered only. Raises ValueError or OSError for what no
    variable can hold.
    """
    if len(os.fsencode(name)) + len(os.fsencode(value.text)) > _LONGEST:
        if "\0" in value.text:
            raise ValueError
        os.environ.pop(name, None)
        _state.handover.forget(name)
    elif _state.exported.get(name) != value or os.environ.get(name) != value.text:
        os.environ[name] = value.text
        _state.handover.note(name, value.text, value.origin)
    _state.exported[name] = value
    return value


def adopt() -> None:
    """Once: take what our parent put into ``os.environ`` for what it is, no choice of the user."""
    if _state.inherited is not None:
        return
    parents = handover.received()
    _state.inherited = {name: Value(text, origin) for name, text, origin in parents.inherited()}
    _state.inherited_root = parents.root
    for name, value in _state.inherited.items():
        export(name, value)


def disown() -> None:
    """Before the files are read: forget the parent's values, so that an edited file counts.

    A parent of another project gave us its values, as every parent does: ours to keep. What it had
    from a secret file or directory stays as it is, and is read anew by whoever asks.
    """
    adopt()
    same = _state.root is not None and _state.inherited_root == str(_state.root)
    for name, value in (_state.inherited or {}).items():
        if _state.exported.get(name) is not value:  # read anew already
            continue
        if same:
            os.environ.pop(name, None)
        if same or value.origin.startswith(".env"):
            del _state.exported[name]
            _state.handover.forget(name)


def publish() -> None:
    """Tell the children of this process."""
    _state.handover.root = str(_state.root)
    _state.handover.publish()


def reset() -> None:
    """Take back what was put into ``os.environ`` and forget everything (tests, reloads)."""
    global _state  # noqa: PLW0603 - the one process-wide state of this mechanism
    with lock:
        for name, value in _state.exported.items():
            if os.environ.get(name) == value.text:
                del os.environ[name]
        handover.withdraw()
        _state = State()


def _after_fork() -> None:
    global lock  # noqa: PLW0603 - another thread may have held it
    lock = threading.RLock()


os.register_at_fork(after_in_child=_after_fork)
