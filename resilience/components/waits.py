"""Who waits for whom while components are built: two that wait for each other wait for ever."""

from __future__ import annotations

import contextvars
import threading

from resilience.components.cell import Flight
from resilience.errors import ComponentUnavailable

above: contextvars.ContextVar[Flight | None] = contextvars.ContextVar(
    "resilience_component", default=None
)
"""The flight whose package's code runs in this context."""


class Waits:
    """A graph of flights. Not thread-safe: the registry's lock is held around it."""

    def __init__(self) -> None:
        self._edges: list[tuple[Flight, Flight]] = []

    def add(self, flight: Flight) -> tuple[str, ...]:
        """The code that runs here begins to wait for ``flight``; the circle if that makes one."""
        here = _here()
        if here is None or here.landed.done():
            return ()
        way = self._way(flight, here)
        if not way:
            self._edges.append((here, flight))
        return way

    def remove(self, flight: Flight) -> None:
        """It waits no longer, if it did."""
        here = _here()
        if here is not None and (here, flight) in self._edges:
            self._edges.remove((here, flight))

    def _way(self, start: Flight, end: Flight) -> tuple[str, ...]:
        """The names from ``end`` over ``start`` back to ``end``; nothing if no way leads there."""
        came: dict[int, Flight | None] = {id(start): None}
        waiting = [start]
        while waiting:
            here = waiting.pop()
            if here is end:
                way: list[str] = []
                back: Flight | None = here
                while back is not None:
                    way.append(back.cell.spec.name)
                    back = came[id(back)]
                return (end.cell.spec.name, *reversed(way))
            for one, other in self._edges:
                if one is here and id(other) not in came:
                    came[id(other)] = here
                    waiting.append(other)
        return ()


def _here() -> Flight | None:
    """The flight that cannot go on while the code that runs here waits.

    A worker that was started with a copy of the context waits for itself alone: whether the
    building code waits for the worker is not known, and mostly it does not.
    """
    flight = above.get()
    return flight if flight is not None and flight.ident == threading.get_ident() else None


def circular(name: str, circle: tuple[str, ...]) -> ComponentUnavailable:
    """The error for whoever would wait for itself."""
    return ComponentUnavailable(
        name,
        "loading",
        f"it waits for itself: {' → '.join(circle)}",
        "Ask for one of these when it is used, not while the other one is built.",
    )
