"""What is declared, what was built of it, and what becomes of that: replaced, closed, forked.

The lock is held for moments only, never while a package's code runs or anything is looked up.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from resilience import redact
from resilience.components import closing, status as statuses
from resilience.components.cell import Cell, Closed, Flight, Idle, Ready
from resilience.components.declarations import CODE, Declarations, dependents, same
from resilience.components.spec import Spec, read
from resilience.components.status import Status
from resilience.components.waits import Waits


class Lifecycle:
    """The cells of a process.

    ``clock`` gives seconds. ``at_the_end`` is called with :meth:`close` when the first object is
    there.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        at_the_end: Callable[[Callable[[], None]], None] | None = None,
    ) -> None:
        self._clock = clock
        self._at_the_end = at_the_end
        self._generation = 0  # forks that led here
        self._inherited: list[object] = []
        self._begin()

    def _begin(self) -> None:
        # Reentrant: a finalizer or a signal handler may ask while its thread holds this.
        self._lock = threading.RLock()
        self._declarations = Declarations()
        self._cells: dict[str, Cell] = {}  # replaced as a whole
        self._ready: dict[str, Any] = {}
        self._built: list[Cell] = []  # in the order in which they were completed
        self._waits = Waits()
        self._closed = False

    # ── what is declared ────────────────────────────────────────────────────────────────────────

    def register(self, name: str, spec: Mapping[str, Any], location: str = "") -> None:
        """Declare one component; one of the settings with the same name wins.

        ``location`` is the file, or ``file:line``, for reports. Raises nothing: what is wrong with
        the declaration is its status.
        """
        declared = read(name, spec, location)
        redact.register_settings(declared.options)
        with self._lock:
            self._declarations.add(CODE, declared)
            dropped = self._settle()
        self._close_each(dropped)

    def declare(self, source: str, specs: Mapping[str, Spec], broken: str = "") -> None:
        """Replace all that a source declares: the settings, or an app by its name.

        What changed, and what requires it, is closed and built anew on its next use. ``broken``
        says why a source could not be read.
        """
        for spec in specs.values():
            redact.register_settings(spec.options)
        with self._lock:
            self._declarations.replace(source, specs, broken)
            dropped = self._settle()
        self._close_each(dropped)

    def specs(self) -> dict[str, Spec]:
        """Every declaration that is in force, by name."""
        return {name: cell.spec for name, cell in self._cells.items()}

    def broken(self) -> dict[str, str]:
        """The sources that could not be read, and why."""
        with self._lock:
            return self._declarations.broken()

    def __iter__(self) -> Iterator[str]:
        return iter(self._cells)

    def __contains__(self, name: object) -> bool:
        return name in self._cells

    def __len__(self) -> int:
        return len(self._cells)

    def status(self, name: str) -> Status:
        """How a component does now. Builds and imports nothing.

        Raises ComponentUnavailable for a name that nothing declares.
        """
        cells = self._cells
        if name not in cells:
            raise statuses.unknown(name, cells, self.broken().values())
        return statuses.of(name, cells, self._clock())

    # ── what was built ──────────────────────────────────────────────────────────────────────────

    def _keep(self, flight: Flight, made: Any, seconds: float) -> bool:
        """Take over what was built; False if it was replaced, closed or forked meanwhile."""
        cell, name = flight.cell, flight.cell.spec.name
        with self._lock:
            hook, self._at_the_end = self._at_the_end, None
            kept = cell.phase is flight and self._cells.get(name) is cell
            if kept:
                cell.phase = Ready(made, seconds)
                self._ready[name] = made
                self._built.append(cell)
        if hook is not None:
            hook(self.close)
        return kept

    def _settle(self) -> list[Cell]:
        """Cells for the declarations in force. Returns those that were replaced."""
        specs = self._declarations.in_force()
        before, cells = self._cells, {}
        for name, spec in specs.items():
            old = before.get(name)
            cells[name] = old if old is not None and same(old.spec, spec) else self._new(spec)
        changed = [name for name in before | cells if before.get(name) is not cells.get(name)]
        for name in dependents(changed, specs):
            cells[name] = self._new(specs[name])
        self._replace(cells)
        return [cell for name, cell in before.items() if cells.get(name) is not cell]

    def _new(self, spec: Spec) -> Cell:
        return Cell(spec, Closed() if self._closed else Idle())

    def _replace(self, cells: dict[str, Cell]) -> None:
        self._cells = cells
        ready = {name: cell.phase for name, cell in cells.items()}
        self._ready = {name: each.object for name, each in ready.items() if isinstance(each, Ready)}

    @contextmanager
    def replaced(self, name: str, object: object) -> Iterator[None]:
        """Put an object in the place of a component; see :class:`override_component`."""
        with self._lock:
            specs, before = self.specs(), self._cells
            affected = [name, *dependents([name], specs)] if name in specs else []
            inside = {each: self._new(specs[each]) for each in affected}
            if affected:
                inside[name].phase = Ready(object, overridden=True)
                self._replace(before | inside)
        if not affected:
            raise statuses.unknown(name, before, self.broken().values())
        generation = self._generation
        try:
            yield
        finally:
            with self._lock:
                cells = dict(self._cells)
                for each in affected:
                    if cells.get(each) is inside[each]:  # else it was declared otherwise meanwhile
                        same_process = generation == self._generation
                        cells[each] = before[each] if same_process else self._new(specs[each])
                self._replace(cells)
            self._close_each(inside.values())

    def close(self) -> None:
        """Close all that was built, what requires before what is required, within 5 s.

        For the end of a process: nothing is built from now on. What has been built can be used
        until its own CLOSE begins, so that a CLOSE can use what it requires.
        """
        with self._lock:
            self._closed = True
            for cell in self._cells.values():
                if not isinstance(cell.phase, Ready):
                    cell.phase = Closed()
            built = list(self._built)
        self._close_each(built)

    def reset(self) -> None:
        """Close everything, forget every declaration, and begin anew (tests)."""
        self.close()
        self._begin()

    def _close_each(self, cells: Iterable[Cell]) -> None:
        closing.close_all(self._taken(list(cells)))

    def _taken(self, cells: list[Cell]) -> Iterator[tuple[Spec, object]]:
        """Each of them that was built, out of reach from the moment in which it is asked for."""
        while True:
            with self._lock:
                # What was completed later may stand on what was completed before, never the other
                # way round.
                cell = next((each for each in reversed(self._built) if each in cells), None)
                if cell is None:
                    return
                self._built.remove(cell)
                made = _object_of(cell)
                cell.phase = Closed()
                if self._cells.get(cell.spec.name) is cell:
                    self._ready.pop(cell.spec.name, None)
            yield cell.spec, made

    def after_fork(self) -> None:
        """The child builds its own: connections, threads and locks of the parent are not its own.

        What the parent built is kept out of reach, not dropped: a finalizer would speak on a
        connection that the parent still uses, or wait for a thread that is not here.
        """
        parent = os.getppid()
        self._lock = threading.RLock()
        self._waits = Waits()
        self._generation += 1
        self._inherited += [_object_of(cell) for cell in self._built]
        known = {id(cell): cell for cell in (*self._built, *self._cells.values())}
        for cell in known.values():
            if isinstance(cell.phase, Ready) and not cell.phase.overridden:
                note = f"process {parent} had built it and forked; this one builds its own"
                cell.phase = Idle(note=note)
            elif isinstance(cell.phase, Flight):
                note = f"process {parent} was building it when it forked; this one builds its own"
                cell.phase = Idle(note=note)
        self._built = []
        self._replace(self._cells)


def _object_of(cell: Cell) -> Any:
    return cell.phase.object if isinstance(cell.phase, Ready) else None
