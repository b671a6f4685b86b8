"""The areas of ``checkdeploy``, in the order in which they are printed."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from resilience.errors import UsageError

if TYPE_CHECKING:
    from resilience.probes.base import Probe

AREAS = ("env", "hosting", "cache", "redis", "database", "deploy")
STAGES = ("build", "predeploy", "run")


def probes_of(areas: Sequence[str] = (), stage: str = "run") -> list[Probe]:
    """The probes of these areas (all of them by default) that may run at this stage.

    An area's module makes its own from settings; ``build`` keeps those that need nothing but
    settings and the environment. Raises UsageError for an unknown area.
    """
    wanted = [named(word) for word in areas]
    return [
        probe
        for area in AREAS
        if not wanted or area in wanted
        for probe in import_module(f"resilience.probes.{area}").probes()
        if probe.live is False or stage != "build"
    ]


def named(word: str) -> str:
    """``word``, if it is an area. Raises UsageError, which repeats only what looks like a word."""
    if word in AREAS:
        return word
    nearest = difflib.get_close_matches(word, AREAS, n=1)
    guess = f" Did you mean {nearest[0]}?" if nearest else ""
    shown = f" {word!r}" if re.fullmatch(r"[\w-]{1,20}", word) else " of that name"
    raise UsageError(f"there is no area{shown}: use {', '.join(AREAS)}.{guess}")
