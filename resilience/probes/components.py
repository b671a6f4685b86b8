"""Could every declared component be built, and does each with a PROBE work?

A component without a PROBE is never built for a report. One with a PROBE is, unless a build image
is examined: whoever declares a question wants it asked.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from resilience import conf, places, redact
from resilience.components import Status, components
from resilience.components.building import find
from resilience.errors import ComponentUnavailable
from resilience.findings import Fact, Finding, Level
from resilience.probes import env, stores
from resilience.probes.base import Deadline, Probe, elapsed_ms

AREA = "components"


def probes() -> list[Probe]:
    """One for all declarations, one for each component, one more for each that has a PROBE."""
    found: list[Probe] = [Declared(AREA)]
    for name, spec in components.specs().items():
        found.append(Standing(_subject(name), name=name))
        if spec.probe and not spec.problem:
            needs = tuple(_subject(required) for required in spec.requires)
            found.append(Working(_subject(name), needs, name=name))
    return found


class Declared(Probe):
    """How many components there are, and which files of apps could not be read.

    What became of each is told by its own finding: others may just be building it.
    """

    area = AREA
    live = False

    def run(self, deadline: Deadline) -> Iterator[Finding]:  # noqa: ARG002 - it reads memory only
        for source, why in components.broken().items():
            yield Finding(
                "conf.invalid",
                Level.ERROR,
                source,
                f"{why}.",
                "Correct that file. It may hold declarations only: what they name is imported "
                "when it is used.",
            )
        count = len(components)
        said = f"{count} declared." if count else "None is declared."
        yield Finding("components.ok", Level.OK, self.subject, said)


@dataclass(frozen=True)
class Standing(Probe):
    """What keeps a component from being built, and in which state it is. Builds nothing."""

    area = AREA
    live = False
    name: str = field(kw_only=True)

    def run(self, deadline: Deadline) -> Iterator[Finding]:  # noqa: ARG002 - it reads memory only
        status = components.status(self.name)
        asked = bool(components.specs()[self.name].probe)
        if status.state == "blocked":
            if not _is_told_by_conf(self.name) and not (asked and _follows_a_failure(status)):
                yield blocked(status)
        elif not asked:
            yield _fine(status) if status.state != "failed" else _failed(status)


@dataclass(frozen=True)
class Working(Probe):
    """Builds the component, unless somebody has, and asks its PROBE.

    With ``builds`` False it asks only what somebody else has built.
    """

    area = AREA
    outside = True
    name: str = field(kw_only=True)
    builds: bool = field(default=True, kw_only=True)

    def unobtrusive(self) -> Probe:
        return replace(self, builds=False)

    def run(self, deadline: Deadline) -> Iterator[Finding]:  # noqa: ARG002 - the runner keeps time
        status = components.status(self.name)
        if not self.builds:
            yield from self._leave(status)
            return
        if status.state == "blocked" and not _follows_a_failure(status):
            return  # which Standing tells: nothing that happens meanwhile changes it
        try:
            made = components[self.name]
        except ComponentUnavailable as error:
            status = components.status(self.name)
            if status.state == "blocked":
                yield blocked(status)
            else:
                yield _failed(replace(status, why=error.problem, fix=error.hint))
            return
        yield self._ask(made)

    def _leave(self, status: Status) -> Iterator[Finding]:
        """Ask it if it is there; else say in which state it is, and leave it so."""
        made = components.built(self.name)
        if made is not None:
            yield self._ask(made)
        elif status.state != "blocked":
            yield _fine(status) if status.state != "failed" else _failed(status)
        elif _follows_a_failure(status):
            yield blocked(status)

    def _ask(self, made: object) -> Finding:
        path = components.specs()[self.name].probe
        began = time.perf_counter()
        try:
            _call(path, made)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - it is the user's code
            return Finding(
                "components.probe-failed",
                Level.ERROR,
                self.subject,
                f"It was built, but its PROBE failed: {redact.exception(error)}",
                f"Look into {path}, and what it asks: address, key, permission, quota.",
                {"traceback": places.trace(error), **_facts(components.status(self.name))},
                location=places.of_error(error),
                cause=stores.explaining(error),
            )
        took = elapsed_ms(began)
        status = components.status(self.name)
        said = f"{_sentence(status.why)[:-1]}; its PROBE answered in {took} ms."
        facts = {"probe_ms": took, **_facts(status)}
        return Finding("components.ok", Level.OK, self.subject, said, facts=facts)


def blocked(status: Status) -> Finding:
    """Why it cannot be built: by itself, or because of the component that ``cause`` names."""
    subject = _subject(status.name)
    spec = components.specs()[status.name]
    if spec.problem:
        return conf.of_spec(spec)
    if status.cycle:
        return _cycle(status)
    skipped = env.skipped_for(subject, spec.options)
    if skipped:
        return skipped
    strangers = [need for need in status.missing if need.name in _strangers(status)]
    identifier, level = "components.blocked", Level.WARNING
    if strangers:
        identifier, level = "components.unknown", Level.ERROR
    elif conf.detect_hosting().on_platform:
        level = Level.ERROR
    cause = _explained(status)
    said = f"Blocked: {status.why}."
    if status.cause:
        said = f"Blocked: it waits for {status.cause}."
    located = [need.location for need in status.missing if need.kind == "variable"]
    location = next(filter(None, located), status.location)
    facts = _facts(status)
    return Finding(
        identifier,
        level,
        subject,
        said,
        status.fix,
        facts,
        location=location,
        cause=cause,
        area=AREA,
    )


def _explained(status: Status) -> Finding | None:
    """The finding of the component, or of the variable, that explains this one."""
    if status.cause:
        root = components.status(status.cause)
        return blocked(root) if root.state == "blocked" else _failed(root)
    names = {need.name for need in status.missing if need.kind == "variable"}
    return next((found for found in env.errors() if found.subject in names), None)


def _strangers(status: Status) -> set[str]:
    needs = (need for need in status.missing if need.kind == "component")
    return {need.name for need in needs if need.name not in components}


def _cycle(status: Status) -> Finding:
    """One finding for a circle, at its member that was declared first; the others follow."""
    first = next(name for name in components if name in status.cycle)
    root = status if first == status.name else components.status(first)
    return Finding(
        "components.cycle",
        Level.ERROR,
        _subject(status.name),
        _sentence(status.why),
        status.fix,
        location=status.location,
        cause=None if root is status else _cycle(root),
        area=AREA,
    )


def _failed(status: Status) -> Finding:
    facts: dict[str, Fact] = _facts(status)
    if status.traceback:
        facts |= {"attempts": status.attempts, **_lines(status.traceback)}
    return Finding(
        "components.failed",
        Level.ERROR,
        _subject(status.name),
        f"It could not be built: {status.why}.",
        status.fix,
        facts,
        location=status.failed_at or status.location,
        area=AREA,
    )


def _fine(status: Status) -> Finding:
    subject, facts = _subject(status.name), _facts(status)
    if status.state == "ready":
        return Finding("components.ok", Level.OK, subject, _sentence(status.why), facts=facts)
    why = f" ({status.state}: {status.why})" if status.why else ""
    said = f"Everything it needs is here; it is built when it is used{why}."
    return Finding("components.not-loaded", Level.OK, subject, said, facts=facts)


def _facts(status: Status) -> dict[str, Fact]:
    """Each requirement and what was found of it."""
    return {need.name: need.found or "missing" for need in status.needs}


def _lines(traceback: str) -> dict[str, Fact]:
    """A fact for each line: one fact is one line of a report."""
    first, *others = traceback.splitlines()
    rest: dict[str, Fact] = {f"traceback_{n}": line for n, line in enumerate(others, 1)}
    return {"traceback": first, **rest}


def _follows_a_failure(status: Status) -> bool:
    """Whether it is blocked by one that could not be built, perhaps only just now."""
    return bool(status.cause) and components.status(status.cause).state == "failed"


def _is_told_by_conf(name: str) -> bool:
    """Every report begins with what is wrong in ``RESILIENCE``."""
    return bool(components.specs()[name].problem) and name in conf.get().COMPONENTS


def _sentence(why: str) -> str:
    return f"{why[:1].upper()}{why[1:]}."


def _subject(name: str) -> str:
    return f"{AREA}.{name}"


def _call(path: str, made: object) -> None:
    """Raises what the PROBE raises, and ValueError if it answers False."""
    answer = find(path)(made)
    if inspect.isawaitable(answer):
        answer = asyncio.run(_awaited(answer))
    if answer is False:
        raise ValueError("it answered False")


async def _awaited(answer: Any) -> Any:
    return await answer
