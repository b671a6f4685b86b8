"""One thing that happens at import, as the source or the traced import shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

Id = Literal[
    "audit.import-read",
    "audit.frozen-read",
    "audit.import-client",
    "audit.import-network",
    "audit.import-thread",
    "audit.swallowed-import",
    "audit.unreadable",
]

EVERYTHING = "*"
"""The name of the whole environment, copied or looped over."""


class Place(NamedTuple):
    """A line of a file, by its absolute path."""

    file: str
    line: int


@dataclass(frozen=True)
class Sighting:
    """What was seen, where it happens, and which line of a module's body makes it happen.

    ``name`` is a variable (``""`` where it is computed), a client, an address, a stand-in.
    ``cause`` is the statement at module level, ``place`` the line that does it, in whatever file.
    ``is_set`` says whether a variable was there, None where only the source was read. ``words``
    is more to say. ``via`` is the project's line that imports another package's ``cause``,
    ``later`` the line that sets the variable only then, ``by_cache`` the cached function that
    keeps what it read. ``is_loaded`` says that ``env.load()`` had run before. Of a stand-in
    ``bound`` is the name that the file gives it, ``is_wide`` says that more than a failed import
    brings it in, and ``took_over`` that the trace saw it there.
    """

    id: Id
    name: str
    cause: Place
    place: Place
    is_set: bool | None = None
    traced: bool = False
    words: str = ""
    via: Place | None = None
    later: Place | None = None
    by_cache: str = ""
    is_loaded: bool = False
    bound: str = ""
    is_wide: bool = False
    took_over: bool = False
