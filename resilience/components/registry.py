"""Who uses a component, who builds it, and who waits meanwhile.

Who asks first builds, in its own thread and without a lock; all others wait for it, threads and
coroutines alike.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from resilience.components import building, closing, interrupts, status as statuses
from resilience.components.cell import Cell, Closed, Failure, Flight, Idle, Outcome, Ready, Seat
from resilience.components.lifecycle import Lifecycle
from resilience.components.status import Status
from resilience.components.waits import above, circular
from resilience.errors import ComponentUnavailable, EnvError, UsageError

PATIENCE = 20.0  # seconds that one waits for what another one builds

Caught = type[BaseException] | tuple[type[BaseException], ...]
# An SDK may end the process or a task of its own; what interrupts the caller is let through: a
# KeyboardInterrupt, and whatever else a signal handler ends the process with.
_CAUGHT: Caught = (Exception, SystemExit, asyncio.CancelledError)

logger = logging.getLogger("resilience.components")


class Registry(Lifecycle):
    """``components[name]`` is the object, built on first use, once in a process.

    ``patience`` is how long one waits for what another one builds (seconds).
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        patience: float = PATIENCE,
        at_the_end: Callable[[Callable[[], None]], None] | None = None,
    ) -> None:
        super().__init__(clock, at_the_end)
        self._patience = patience

    def __getitem__(self, name: str) -> Any:
        """The object. Raises ComponentUnavailable, whose text is the status and the fix.

        Blocks while the object is built, and 20 s at most while somebody else builds it. A
        coroutine uses :meth:`aget`.
        """
        try:
            return self._ready[name]
        except KeyError:
            pass
        while True:
            seat = Seat()
            try:  # from here on: a signal handler may raise anywhere
                flight = self._board(name, seat)
                if seat.mine:
                    self._fly(flight)
                outcome = self._wait(flight)
            finally:
                self._leave(seat)
            if not outcome.again:
                return outcome.unpack()

    def built(self, name: str) -> Any | None:
        """The object if somebody has built it. Builds nothing, waits for nobody, raises nothing."""
        return self._ready.get(name)

    async def aget(self, name: str) -> Any:
        """As ``components[name]``, without blocking the event loop: a thread builds."""
        while True:
            try:
                return self._ready[name]
            except KeyError:
                pass
            seat, landed = Seat(), None
            try:
                flight = self._board(name, seat)
                landed = asyncio.wrap_future(flight.landed, loop=asyncio.get_running_loop())
                if seat.mine:
                    self._fly_in_thread(flight)
                await asyncio.wait([landed], timeout=self._patience)
                outcome = landed.result() if landed.done() else self._impatient(flight)
            finally:
                if landed is not None:
                    landed.cancel()
                self._leave(seat)
            if not outcome.again:
                return outcome.unpack()

    def _board(self, name: str, seat: Seat) -> Flight:
        """The flight that everybody who asks now waits for. Tells ``seat`` who flies it."""
        with self._lock:
            cell = self._cells.get(name)
            found = None if cell is None else self._join(cell, seat)
        if found is None:
            raise self.status(name).error()  # of an unknown name, status() raises its own
        flight, circle = found
        if circle:
            raise circular(name, circle)
        return flight

    def _join(self, cell: Cell, seat: Seat) -> tuple[Flight, tuple[str, ...]] | None:
        """As above, with the circle that waiting would close; None for one that is closed."""
        if isinstance(cell.phase, Ready):  # since the caller looked
            return Flight.landed_with(cell, cell.phase.object), ()
        if isinstance(cell.phase, Closed):
            return None
        if isinstance(cell.phase, Idle):
            # The seat first: who is interrupted in between has to know what to land.
            seat.flight, seat.mine = Flight(cell, cell.phase, self._clock()), True
            cell.phase = seat.flight
        seat.flight = cell.phase
        return cell.phase, self._waits.add(cell.phase)

    def _wait(self, flight: Flight) -> Outcome:
        try:
            return flight.landed.result(self._patience)
        except TimeoutError:
            return self._impatient(flight)

    def _leave(self, seat: Seat) -> None:
        """However that was. Who was to fly and could not leaves it to the next one who asks."""
        flight = seat.flight
        if flight is None:
            return
        with self._lock:
            self._waits.remove(flight)
            if seat.mine and not flight.apart:
                self._land(flight, flight.before, Outcome(again=True))

    def _impatient(self, flight: Flight) -> Outcome:
        name = flight.cell.spec.name
        why = f"the thread {flight.thread} has been at it for {self._clock() - flight.began:.0f} s"
        fix = "Look what it waits for while it is built: give its client a timeout."
        return Outcome(error=ComponentUnavailable(name, "loading", why, fix))

    # ── building ────────────────────────────────────────────────────────────────────────────────

    def _fly_in_thread(self, flight: Flight) -> None:
        name = flight.thread = f"resilience-build-{flight.cell.spec.name}"
        work = contextvars.copy_context().run  # with the flight above, if any
        args = (self._fly_apart, flight)
        thread = threading.Thread(target=work, args=args, name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system has no thread left
            why, fix = "no thread could be started to build it", "Raise the limit of threads."
            self._give_up(flight, Status(flight.cell.spec.name, "not-loaded", why, fix))

    def _fly_apart(self, flight: Flight) -> None:
        with self._lock:
            if flight.landed.done():  # who asked was interrupted, and does not know of this thread
                return
            flight.apart = True
        self._fly(flight, BaseException)  # every error: in this thread nobody else hears of it

    def _fly(self, flight: Flight, caught: Caught = _CAUGHT) -> None:
        failure = None
        handlers = interrupts.handlers()
        flight.ident = threading.get_ident()
        token = above.set(flight)
        try:
            self._build(flight)
        except caught as error:
            if interrupts.ends_the_process(error, handlers):
                raise
            failure = Failure.of(error, flight.before.failure, self._clock())
        finally:
            above.reset(token)
            if failure is None:  # after an interrupt whoever still waits tries again
                self._land(flight, flight.before, Outcome(again=True))
        if failure is not None:  # out of the handler: no context, which holds values, hangs on
            self._fail(flight, failure)

    def _build(self, flight: Flight) -> None:
        """Raises whatever building raises."""
        spec = flight.cell.spec
        status = self._judge(flight)
        if not status.may_try:
            self._give_up(flight, status)
            return
        flight.building = True
        # All below it in turn: one inside the other, a long chain would exhaust the stack.
        below = statuses.bottom_up(spec.name, self._cells | {spec.name: flight.cell})
        for name in below[:-1]:
            try:
                self[name]
            except ComponentUnavailable as error:
                self._give_up(flight, self._without(flight, name, error))
                return
        began = self._clock()
        try:
            made = building.build(spec)
            if made is None:
                raise UsageError(f"{spec.backend} returned None, which is no object to use")
        except EnvError:
            flight.building = False
            status = self._judge(flight)
            if status.state != "blocked":  # else a variable has gone since it was asked for
                raise
            self._give_up(flight, status)
        else:
            self._deliver(flight, made, self._clock() - began)

    def _without(self, flight: Flight, name: str, error: ComponentUnavailable) -> Status:
        """The status after a requirement could not be had."""
        flight.building = False
        status = self._judge(flight)
        if status.state == "blocked":
            return status
        why = f"{name} is {error.state}: {error.problem}"  # it is not down, it only takes long
        return Status(flight.cell.spec.name, "blocked", why, error.hint)

    def _judge(self, flight: Flight) -> Status:
        """The status that decides: of the cell that flies, whatever is declared by now."""
        spec = flight.cell.spec
        return statuses.of(spec.name, self._cells | {spec.name: flight.cell}, self._clock())

    def _deliver(self, flight: Flight, made: Any, seconds: float) -> None:
        spec = flight.cell.spec
        if self._keep(flight, made, seconds):
            logger.info("component %s was built in %.2f s", spec.name, seconds)
            flight.landed.set_result(Outcome(made))
        else:
            closing.close(spec, made, closing.CLOSE_ONE)
            self._land(flight, flight.before, Outcome(again=True))

    def _fail(self, flight: Flight, failure: Failure) -> None:
        name, where = flight.cell.spec.name, f" ({failure.location})" if failure.location else ""
        logger.error(
            "component %s failed, attempt %d: %s%s", name, failure.attempts, failure.said, where
        )
        error = statuses.failed(name, failure, self._clock()).error()
        self._land(flight, Idle(failure), Outcome(error=error))

    def _give_up(self, flight: Flight, status: Status) -> None:
        """It cannot be built now. The log hears of it once, until there is another reason."""
        if status.state == "blocked" and flight.cell.said != status.why:
            flight.cell.said = status.why
            logger.warning("component %s is %s", status.name, status)
        self._land(flight, flight.before, Outcome(error=status.error()))

    def _land(self, flight: Flight, phase: Idle, outcome: Outcome) -> None:
        with self._lock:
            if flight.cell.phase is flight:
                flight.cell.phase = phase
            if not flight.landed.done():
                flight.landed.set_result(outcome)


components: Registry = Registry(at_the_end=closing.at_the_end)
"""The components of this process."""

os.register_at_fork(after_in_child=components.after_fork)
