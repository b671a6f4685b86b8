"""What the tests declare as components: BACKENDs, CLOSEs and PROBEs that do as they are told."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

PART = "tests.components.parts.Part"
MAKE = "tests.components.parts.make"

made: list[Part] = []
closed: list[str] = []
probed: list[object] = []
hooks: dict[str, Callable[..., Any]] = {}


class Part:
    """An object that knows its options and its process, and says when it is closed."""

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.pid = os.getpid()
        made.append(self)

    def close(self) -> None:
        closed.append(str(self.options.get("name")))

    async def aclose(self) -> None:
        closed.append(f"async {self.options.get('name')}")


def make(name: str = "", **options: Any) -> Any:
    """Whatever the test has put under this name builds it."""
    return hooks[name](**options)


def close(part: Part) -> None:
    closed.append(f"by path {part.options.get('name')}")


def probe(made: object) -> object:
    probed.append(made)
    return hooks["probe"](made) if "probe" in hooks else None


async def aprobe(made: object) -> object:
    return probe(made)


def forget() -> None:
    for each in (made, closed, probed, hooks):
        each.clear()
