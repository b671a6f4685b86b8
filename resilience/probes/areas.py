"""The areas of ``checkdeploy``, in the order in which they are printed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import ClassVar

from resilience import places, redact
from resilience.errors import UsageError, did_you_mean
from resilience.findings import Finding, Level
from resilience.probes.base import Deadline, Probe

AREAS = tuple("env hosting cache redis tls langsmith components audit database deploy".split())
STAGES = ("build", "predeploy", "run")
# Known before settings are: the doctor reads its arguments first.
_OF_APPS = {"instances": "resilience.history"}
_joined: dict[str, str] = {}  # areas of apps of ours that need not be installed, and their modules
# About source, which an image has from its build on: a running app need not read it again.
_WHILE_BUILDING = ("audit",)


def names() -> tuple[str, ...]:
    """The words that are areas in this project."""
    return (*AREAS, *_joined)


def join(area: str, module: str) -> None:
    """Let an app add its area, from its ``ready()``; ``module`` has ``probes()``."""
    _joined[area] = module


def probes_of(areas: Sequence[str] = (), stage: str = "run") -> list[Probe]:
    """The probes of these areas that may run at this stage; ``audit`` by default in ``build`` only.

    An area's module makes its own from settings; ``build`` keeps those that need nothing but
    settings and the environment. Raises UsageError for an unknown area.
    """
    wanted = {named(word) for word in areas}
    for area in wanted - set(names()):
        raise UsageError(f'for {area} add "{_OF_APPS[area]}" to INSTALLED_APPS.')
    if not wanted:
        wanted = set(names()) - _left_out(stage)
    if "cache" in wanted:  # what explains a broken cache
        wanted.add("redis")
    return _on_tls(
        [
            replace(probe, asked_for=bool(areas))
            for area in names()
            if area in wanted
            for probe in _probes_of(area)
            if stage != "build" or not probe.live
        ]
    )


def _left_out(stage: str) -> set[str]:
    """What is not asked unless it is named; other processes only tell where this is one of them."""
    if stage == "build":
        return set(_joined)
    return {*_WHILE_BUILDING, *(_joined if stage == "predeploy" else ())}


def _on_tls(probes: list[Probe]) -> list[Probe]:
    """What is reached through TLS stands on it, so a bad certificate is one root cause."""
    servers = {
        origin: probe.subject
        for probe in probes
        for origin in getattr(getattr(probe, "endpoint", None), "origins", ())
    }

    def standing(probe: Probe) -> Probe:
        origin = getattr(getattr(probe, "target", None), "origin", probe.subject)
        server = servers.get(origin, probe.subject)
        if server == probe.subject or not probe.live:  # what is only read stands on nothing
            return probe
        return replace(probe, needs=(*probe.needs, server))

    return [standing(probe) for probe in probes]


def _probes_of(area: str) -> list[Probe]:
    module = _joined.get(area, f"resilience.probes.{area}")
    try:
        found: list[Probe] = import_module(module).probes()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - settings may have any shape
        # Both look through CACHES.
        return [Unreadable(area, ("cache",) if area == "redis" else (), error=error)]
    return found


@dataclass(frozen=True)
class Unreadable(Probe):
    """An area whose settings cannot even be looked through."""

    area: ClassVar[str] = "conf"
    live: ClassVar[bool] = False
    error: BaseException = field(kw_only=True)

    def run(self, deadline: Deadline) -> Iterator[Finding]:  # noqa: ARG002 - it asks nobody
        yield Finding(
            "django.settings-invalid",
            Level.ERROR,
            self.subject,
            f"The settings of this area cannot be read: {redact.exception(self.error)}",
            "Correct CACHES or DATABASES: Django's settings reference shows their form.",
            {"traceback": places.trace(self.error)},
            location=places.of_error(self.error),
        )


def named(word: str) -> str:
    """``word``, if it is an area. Raises UsageError, which repeats only what looks like a word."""
    if word in (*names(), *_OF_APPS):
        return word
    shown = f" {word!r}" if re.fullmatch(r"[\w-]{1,20}", word) else " of that name"
    known = (*AREAS, *_OF_APPS)
    raise UsageError(f"there is no area{shown}: use {', '.join(known)}.{did_you_mean(word, known)}")
