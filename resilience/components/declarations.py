"""Who declares what: settings win over code, code wins over apps, and two apps are a contradiction.

Not thread-safe: the registry's lock is held around it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from resilience.components.spec import Spec

SETTINGS = "settings"
CODE = "code"


class Declarations:
    """The declarations of every source, by name."""

    def __init__(self) -> None:
        self._sources: dict[str, dict[str, Spec]] = {}
        self._broken: dict[str, str] = {}

    def replace(self, source: str, specs: Mapping[str, Spec], broken: str = "") -> None:
        """Take over all that a source declares now, or why it cannot be read."""
        self._sources[source] = dict(specs)
        self._broken[source] = broken

    def add(self, source: str, spec: Spec) -> None:
        """Declare one more."""
        self._sources.setdefault(source, {})[spec.name] = spec

    def broken(self) -> dict[str, str]:
        """The sources that cannot be read, and why."""
        return {source: why for source, why in self._broken.items() if why}

    def in_force(self) -> dict[str, Spec]:
        """One declaration for each name."""
        found: dict[str, Spec] = {}
        for source, specs in self._sources.items():
            if source not in (SETTINGS, CODE):
                for name, spec in specs.items():
                    found[name] = _twice(found[name], spec) if name in found else spec
        return found | self._sources.get(CODE, {}) | self._sources.get(SETTINGS, {})


def same(one: Spec, other: Spec) -> bool:
    """Whether two declarations build the same; options may be anything, also incomparable."""
    try:
        return bool(one == other)
    except Exception:  # noqa: BLE001 - as above
        return False


def dependents(names: Collection[str], specs: Mapping[str, Spec]) -> list[str]:
    """Every component that requires one of ``names``, however indirectly; none of them itself."""
    found: list[str] = []
    reached = set(names)
    while True:
        further = [
            name
            for name, spec in specs.items()
            if name not in reached and not reached.isdisjoint(spec.requires)
        ]
        if not further:
            return found
        found += further
        reached.update(further)


def _twice(one: Spec, other: Spec) -> Spec:
    problem = f"stands in {one.shown} and in {other.shown}"
    repair = 'Rename one of them, or declare it in RESILIENCE["COMPONENTS"], which wins.'
    return replace(other, problem=problem, repair=repair)
