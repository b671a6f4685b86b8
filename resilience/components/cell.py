"""One component in this process: which phase it is in, and what led there.

A phase is replaced as a whole, so that whoever looks without a lock sees one that was true.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from resilience import places, redact
from resilience.components.building import kept
from resilience.components.spec import Spec
from resilience.errors import ComponentUnavailable

RETRY_FIRST = 1.0  # seconds after the first failure, doubled by each further one
RETRY_MOST = 60.0


@dataclass(frozen=True)
class Failure:
    """How building ended the last time, and the first traceback: later ones often hide the reason.

    Texts only: an exception would keep the variables of its frames alive, secrets among them.
    ``retry_at`` is a time of the registry's clock, in seconds.
    """

    said: str
    location: str | None
    traceback: str
    attempts: int
    retry_at: float

    @staticmethod
    def of(error: BaseException, earlier: Failure | None, now: float) -> Failure:
        """The failure after ``earlier``, with twice its pause."""
        attempts = earlier.attempts + 1 if earlier else 1
        pause = min(RETRY_MOST, RETRY_FIRST * 2.0 ** min(attempts - 1, 30))
        return Failure(
            redact.exception(error),
            places.of_error(error),
            earlier.traceback if earlier else kept(error),
            attempts,
            now + pause,
        )


@dataclass(frozen=True)
class Idle:
    """Not built: never asked for, failed, or dropped by a fork, as ``note`` then says."""

    failure: Failure | None = None
    note: str = ""


@dataclass(frozen=True)
class Outcome:
    """What those who wait for a flight get: the object, an error, or neither: ask again."""

    object: Any = None
    error: ComponentUnavailable | None = None
    again: bool = False

    def unpack(self) -> Any:
        """The object, or a new error for each who waited: they raise at once, in many threads."""
        if self.error is not None:
            raise ComponentUnavailable(*self.error.args)
        return self.object


@dataclass(eq=False)
class Flight:
    """Somebody asked first and is building; all others wait for ``landed``.

    ``building`` is False while it is still being found out whether building can begin. ``ident`` is
    the thread whose code builds, once it does. ``apart`` says that this is a thread of its own,
    which goes on whatever becomes of those who wait.
    """

    cell: Cell
    before: Idle
    began: float
    building: bool = False
    ident: int = 0
    apart: bool = False
    thread: str = field(default_factory=lambda: threading.current_thread().name)
    landed: Future[Outcome] = field(default_factory=Future)

    def __post_init__(self) -> None:
        self.landed.set_running_or_notify_cancel()  # a cancelled coroutine cancels its wait only

    @staticmethod
    def landed_with(cell: Cell, made: Any) -> Flight:
        """One that is over."""
        flight = Flight(cell, Idle(), 0.0)
        flight.landed.set_result(Outcome(made))
        return flight


@dataclass(eq=False)
class Seat:
    """One who asks: its flight and whether it flies it, told as soon as that is so."""

    flight: Flight | None = None
    mine: bool = False


@dataclass(frozen=True, eq=False)
class Ready:
    """Built, in ``seconds``; or put there by a test, which ``overridden`` says."""

    object: Any = field(repr=False)
    seconds: float = 0.0
    overridden: bool = False


@dataclass(frozen=True)
class Closed:
    """Closed with its process, or with the declaration that it was built from."""


Phase = Idle | Flight | Ready | Closed


class Cell:
    """The place of one component. ``said`` is what the log has told already."""

    __slots__ = ("phase", "said", "spec")

    def __init__(self, spec: Spec, phase: Phase) -> None:
        self.spec = spec
        self.phase = phase
        self.said = ""
