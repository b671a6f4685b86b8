"""Which variables does a project speak of? A library reads many that its users never heard of."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property

from resilience.audit.reading import UNREADABLE, read

_SHORTEST = 3  # characters of a name behind a prefix
_WORD = re.compile(rb"[A-Za-z_]\w*")


class Mentions:
    """``name in Mentions(files)``: whether one of these files writes the name of a variable.

    What stands behind a prefix counts too: ``Env(prefix="SHOP_")`` is asked for ``"DEBUG"``.
    """

    def __init__(self, files: Sequence[str]) -> None:
        self._files = files

    def __contains__(self, name: object) -> bool:
        parts = str(name).split("_")
        tails = ["_".join(parts[start:]) for start in range(1, len(parts))]
        written = [str(name), *(tail for tail in tails if len(tail) >= _SHORTEST)]
        return any(each.encode() in self._words for each in written)

    @cached_property
    def _words(self) -> frozenset[bytes]:
        found: set[bytes] = set()
        for file in self._files:
            with suppress(*UNREADABLE):
                found.update(_WORD.findall(read(file)))
        return frozenset(found)
