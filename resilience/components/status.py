"""How a component does, and why: computed from what is there now, at every question."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from resilience.components import needs
from resilience.components.cell import Cell, Closed, Failure, Flight, Idle, Ready
from resilience.components.needs import Need
from resilience.components.spec import Spec
from resilience.errors import ComponentUnavailable, did_you_mean

State = Literal["blocked", "not-loaded", "loading", "ready", "failed", "closed"]

_DOWN = ("blocked", "failed", "closed")


@dataclass(frozen=True)
class Status:
    """One component as it is now. Holds no value of a variable.

    ``why`` says what its state comes from, as a sentence without its stop, and ``fix`` what to do.
    ``needs`` are all its requirements. ``location`` is where it is declared. ``cause`` names the
    component that explains this one, the first of a chain of REQUIRES that is down; ``cycle`` the
    circle that this one is a part of. After a failure there are ``attempts``, ``retry_at`` (a time
    of ``time.monotonic()``), ``failed_at`` (file and line) and the first ``traceback``. ``may_try``
    says that using it now builds it, or tries to.
    """

    name: str
    state: State
    why: str = ""
    fix: str = ""
    needs: tuple[Need, ...] = ()
    location: str | None = None
    cause: str = ""
    cycle: tuple[str, ...] = ()
    attempts: int = 0
    retry_at: float | None = None
    failed_at: str | None = None
    traceback: str = ""
    may_try: bool = True

    @property
    def missing(self) -> tuple[Need, ...]:
        """Every requirement that is not met."""
        return tuple(need for need in self.needs if need.problem)

    def __str__(self) -> str:
        return f"{self.state}: {self.why}" if self.why else self.state

    def error(self) -> ComponentUnavailable:
        """What using it raises while it is not ready."""
        fix = self.fix or "Use it again later."
        return ComponentUnavailable(self.name, self.state, self.why or "nothing builds it", fix)


def of(name: str, cells: Mapping[str, Cell], now: float) -> Status:
    """The status of one of ``cells`` at ``now``, a time of the registry's clock."""
    return _Survey(cells, now).of(name)


def failed(name: str, failure: Failure, now: float, wanted: tuple[Need, ...] = ()) -> Status:
    """The status after a failure, until building is tried again."""
    left = failure.retry_at - now
    then = f"the next try in {left:.0f} s" if left > 0 else "its next use tries again"
    return Status(
        name,
        "failed",
        f"{failure.said} (attempt {failure.attempts}; {then})",
        "Correct what the message names; checkdeploy components -v 2 shows the way there.",
        wanted,
        attempts=failure.attempts,
        retry_at=failure.retry_at,
        failed_at=failure.location,
        traceback=failure.traceback,
        may_try=left <= 0,
    )


def unknown(
    name: object, cells: Mapping[str, Cell], unread: Collection[str] = ()
) -> ComponentUnavailable:
    """The error for a name that nothing declares. ``unread`` are sources that might have."""
    if not isinstance(name, str):
        why = f"a name is a text, and this is of the type {type(name).__name__}"
        return ComponentUnavailable(str(name), "unknown", why, 'Write components["its.name"].')
    hint = did_you_mean(name, cells).strip() or (
        'Declare it in RESILIENCE["COMPONENTS"], or in the components.py of an installed app.'
    )
    if not cells:
        hint += ' That takes effect once "resilience" is in INSTALLED_APPS and django.setup() ran.'
    why = "; ".join(["nothing declares it", *unread])
    return ComponentUnavailable(name, "unknown", why, hint)


def bottom_up(name: str, cells: Mapping[str, Cell]) -> list[str]:
    """``name`` and what has to be built for it, each after what it requires.

    Iterates, however long a chain of REQUIRES is. Names that nothing declares are among them; the
    members of a circle come in any order.
    """
    found: list[str] = []
    reached = {name}
    way = [(name, iter(_required(name, cells)))]
    while way:
        here, rest = way[-1]
        there = next((each for each in rest if each not in reached), None)
        if there is None:
            found.append(here)
            way.pop()
        else:
            reached.add(there)
            way.append((there, iter(_required(there, cells))))
    return found


def _required(name: str, cells: Mapping[str, Cell]) -> tuple[str, ...]:
    """What it has to wait for: nothing once it is built, or in its place stands another object."""
    cell = cells.get(name)
    return () if cell is None or isinstance(cell.phase, Ready) else cell.spec.requires


class _Survey:
    """The components that one question leads to, each looked at once."""

    def __init__(self, cells: Mapping[str, Cell], now: float) -> None:
        self._cells = cells
        self._now = now
        self._known: dict[str, Status] = {}
        self._straight: set[str] = set()  # no way leads from them into a circle

    def of(self, name: str) -> Status:
        if name not in self._known:
            for each in bottom_up(name, self._cells):
                if each not in self._known and each in self._cells:
                    status = self._examine(each, self._cells[each])
                    self._known[each] = replace(status, location=self._cells[each].spec.place())
        return self._known[name]

    def _examine(self, name: str, cell: Cell) -> Status:
        phase, spec = cell.phase, cell.spec
        if isinstance(phase, Closed):
            why, fix = "it was closed, as its process ends", "Use it before the process ends."
            return Status(name, "closed", why, fix, may_try=False)
        if isinstance(phase, Ready) and phase.overridden:
            return Status(name, "ready", "a test has put an object in its place")
        return self._unusable(name, spec) or self._usable(name, cell)

    def _unusable(self, name: str, spec: Spec) -> Status | None:
        """What no environment can mend."""
        if spec.problem:
            why = f"its declaration {spec.problem}"
            return Status(name, "blocked", why, spec.repair, may_try=False)
        cycle = self._cycle(name)
        if cycle:
            why = f"it requires itself: {' → '.join(cycle)}"
            fix = "Take one of these out of the REQUIRES of the one before."
            return Status(name, "blocked", why, fix, cycle=cycle, may_try=False)
        return None

    def _usable(self, name: str, cell: Cell) -> Status:
        phase = cell.phase
        wanted = (*needs.of(cell.spec), *self._components(cell.spec))
        if isinstance(phase, Ready):
            return Status(name, "ready", f"built in {phase.seconds:.2f} s", needs=wanted)
        if isinstance(phase, Flight) and phase.building:
            spent = self._now - phase.began
            why = f"the thread {phase.thread} has been building it for {spent:.1f} s"
            return Status(name, "loading", why, needs=wanted)
        idle = phase.before if isinstance(phase, Flight) else phase
        missing = [need for need in wanted if need.problem]
        if missing:
            return self._blocked(name, missing, wanted)
        if isinstance(idle, Idle) and idle.failure is not None:
            return failed(name, idle.failure, self._now, wanted)
        return Status(name, "not-loaded", getattr(idle, "note", ""), needs=wanted)

    def _blocked(self, name: str, missing: list[Need], wanted: tuple[Need, ...]) -> Status:
        """Its own gaps, then each component that explains others, once."""
        own = [need for need in missing if need.kind != "component" or need.name not in self._cells]
        down: dict[str, Need] = {}  # by the component that explains it
        for need in missing:
            if need not in own:
                below = self.of(need.name)
                down.setdefault(below.cause or below.name, need)
        cause = next(iter(down), "")
        if cause:
            explained = {(need.kind, need.name) for need in self.of(cause).missing}
            if any((need.kind, need.name) not in explained for need in own):
                cause = ""  # mending that one would not be enough
        told = [*([] if cause else own), *down.values()]
        return Status(
            name,
            "blocked",
            "; ".join(need.problem for need in told),
            " ".join(dict.fromkeys(need.fix for need in told)),
            wanted,
            cause=cause,
            may_try=not own and all(self.of(need.name).may_try for need in missing),
        )

    def _components(self, spec: Spec) -> Iterator[Need]:
        for name in spec.requires:
            if name not in self._cells:
                fix = did_you_mean(name, self._cells).strip() or "Declare it."
                problem = f"it requires {name}, which nothing declares"
                yield Need("component", name, "", problem, fix)
                continue
            below = self._cells[name]
            if isinstance(below.phase, Ready):  # whatever it stands on by now
                yield Need("component", name, "ready", location=below.spec.place())
                continue
            status = self.of(name)
            if status.state not in _DOWN:
                yield Need("component", name, status.state, location=status.location)
                continue
            root = self.of(status.cause) if status.cause else status
            which = f"{root.name} is {root.state}: {root.why}"
            if root is not status:
                which = f"{name} waits for {root.name}, which is {root.state}: {root.why}"
            yield Need("component", name, "", which, root.fix, status.location)

    def _cycle(self, name: str) -> tuple[str, ...]:
        """The way along REQUIRES from a component back to itself, or nothing."""
        below = [each for each in _required(name, self._cells) if each in self._cells]
        if self._straight.issuperset(below):
            self._straight.add(name)
            return ()
        came: dict[str, str] = {}
        waiting = [name]
        while waiting:
            here = waiting.pop(0)
            for there in _required(here, self._cells):
                if there == name:
                    way = [name]
                    while here != name:
                        way.append(here)
                        here = came[here]
                    return (name, *reversed(way))
                if there not in came:
                    came[there] = here
                    waiting.append(there)
        return ()
