"""What is written about a component, as a frozen object. A wrong declaration says so, and stays."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from resilience import env, places
from resilience.errors import UsageError, did_you_mean

KEYS = ("BACKEND", "OPTIONS", "PACKAGES", "REQUIRES", "PROBE", "CLOSE")

_NAME = re.compile(r"\w+(?:[.-]\w+)*")
_PATH = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)+")
_ATTRIBUTE = re.compile(r"[^\W\d]\w*")
# PEP 508 without URLs, and without importing what parses it until somebody asks.
_VERSIONS = r"(?:===?|!=|~=|<=?|>=?)\s*[\w.*+!-]+"
_PACKAGE = re.compile(
    rf"[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?\s*(?:\[[\w\s.,-]*\]\s*)?"
    rf"(?:{_VERSIONS}(?:\s*,\s*{_VERSIONS})*)?\s*(?:;.+)?"
)
_EXAMPLE = 'Write {"BACKEND": "package.module.Class"} and what else it needs.'


@dataclass(frozen=True)
class Spec:
    """One declared component.

    ``location`` is the file of the declaration, or ``file:line``. ``problem`` says what is wrong
    with it, as the rest of a sentence, and ``repair`` what to write instead; such a component is
    blocked.
    """

    name: str
    backend: str = ""
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)  # they may be secrets
    packages: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    probe: str = ""
    close: str = ""
    location: str = ""
    problem: str = ""
    repair: str = ""

    @property
    def shown(self) -> str:
        """Where it is declared, as exactly as that is known."""
        return self.place() or places.shorten(self.location) or "the settings"

    def place(self) -> str | None:
        """``file:line`` of the declaration; None where the file does not show it."""
        if not self.location.endswith(".py"):
            return self.location or None
        key = re.compile(rf"['\"]{re.escape(self.name)}['\"]\s*\]?\s*[:=]")
        try:
            lines = Path(self.location).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            return None
        found = (number for number, line in enumerate(lines, 1) if key.search(line))
        number = next(found, None)
        return f"{places.shorten(self.location)}:{number}" if number else None


def read_all(raw: object, location: str) -> dict[str, Spec]:
    """Every component of a ``COMPONENTS``. Raises UsageError if that is no dictionary."""
    if not isinstance(raw, Mapping):
        raise UsageError("must be a dictionary of components by name")
    return {str(name): read(name, each, location) for name, each in raw.items()}


def read(name: object, raw: object, location: str) -> Spec:
    """One component. Whatever is wrong with it is its ``problem``, and nothing is raised."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        problem = "has a name that is not made of letters, digits, dots, hyphens and underscores"
        return Spec(str(name), location=location, problem=problem, repair="Rename it.")
    if not isinstance(raw, Mapping):
        problem = "must be a dictionary"
        return Spec(name, location=location, problem=problem, repair=_EXAMPLE)
    values: dict[str, Any] = {}
    problems: list[tuple[str, str]] = []
    unknown = [key for key in raw if key not in KEYS]
    if unknown:
        told = " and ".join(repr(key) for key in unknown)
        meant = dict.fromkeys(did_you_mean(str(key).upper(), KEYS) for key in unknown)
        what = "an unknown key" if len(unknown) == 1 else "unknown keys"
        problems.append((f"has {what} {told}", f"Use {', '.join(KEYS)}.{''.join(meant)}"))
    for key, value in raw.items():
        if key in unknown:
            continue
        try:
            values[key.lower()] = _READERS[key](value)
        except UsageError as error:
            problems.append((f"has a {key} that {error}", _REPAIRS[key]))
    if "BACKEND" not in raw and not problems:  # else it is the key that was misspelt
        problems.append(("has no BACKEND", _EXAMPLE))
    problem = ", and ".join(problem for problem, _ in problems)
    repair = " ".join(dict.fromkeys(repair for _, repair in problems))
    return Spec(name, location=location, problem=problem, repair=repair, **values)


def refs(options: object) -> Iterator[env.Ref]:
    """Every ``env.ref`` in an option, at any depth."""
    if isinstance(options, env.Ref):
        yield options
    elif isinstance(options, Mapping):
        for item in options.values():
            yield from refs(item)
    elif isinstance(options, list | tuple | set | frozenset):
        for item in options:
            yield from refs(item)


def _path(value: object) -> str:
    if not isinstance(value, str) or not _PATH.fullmatch(value):
        raise UsageError("is no dotted path")
    return value


def _closer(value: object) -> str:
    if isinstance(value, str) and _ATTRIBUTE.fullmatch(value):
        return value
    return _path(value)


def _options(value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise UsageError("is no dictionary of keyword arguments")
    try:
        list(refs(value))
    except RecursionError:
        raise UsageError("contains itself") from None
    return dict(value)


def _texts(value: object) -> tuple[str, ...]:
    # A single text is a sequence of texts too, one for each letter.
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise UsageError("is no list")
    if not all(isinstance(item, str) for item in value):
        raise UsageError("is no list of texts")
    return tuple(dict.fromkeys(value))


def _packages(value: object) -> tuple[str, ...]:
    texts = _texts(value)
    for text in texts:
        if not _PACKAGE.fullmatch(text.strip()):
            raise UsageError("names something that is no package with a version")
    return texts


_READERS: Mapping[str, Callable[[object], Any]] = {
    "BACKEND": _path,
    "OPTIONS": _options,
    "PACKAGES": _packages,
    "REQUIRES": _texts,
    "PROBE": _path,
    "CLOSE": _closer,
}
_REPAIRS = {
    "BACKEND": 'Write "package.module.Class".',
    "OPTIONS": 'Write {"argument": value}.',
    "PACKAGES": 'Write ["distribution>=1.2"].',
    "REQUIRES": 'Write ["name.of.a.component"].',
    "PROBE": 'Write "package.module.function".',
    "CLOSE": 'Write "close", a method of the object, or "package.module.function".',
}
