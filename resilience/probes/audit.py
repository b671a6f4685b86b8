"""What do the project's own modules do while they are imported?"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from django.apps import apps
from django.conf import settings

from resilience.audit import files, traced
from resilience.audit.joined import findings
from resilience.audit.owners import is_own
from resilience.audit.statements import module_of
from resilience.findings import Fact, Finding, Level
from resilience.probes.base import Deadline, Probe

_MARGIN = 0.5  # s of the deadline for the report itself
# Run by Django's own commands only, or not meant to be imported at all.
_NOT_IMPORTED = ("migrations", "__main__")


@dataclass(frozen=True)
class Source(Probe):
    """Reads the source of these files and folders; imports nothing."""

    area = "audit"
    live = False
    paths: tuple[str, ...] = field(kw_only=True)

    def run(self, deadline: Deadline) -> Iterator[Finding]:  # noqa: ARG002 - it asks nobody
        sources = files.files_of(self.paths)
        found = findings(files.sightings(sources))
        yield from found
        if not any(finding.level >= Level.WARNING for finding in found):
            yield _ok(self.subject, {"files": len(sources)})


@dataclass(frozen=True)
class Imports(Probe):
    """Imports modules in a child process, and reads their source and that of ``paths``."""

    area = "audit"
    modules: tuple[str, ...] = field(kw_only=True)
    paths: tuple[str, ...] = field(kw_only=True, default=())
    after_setup: bool = field(kw_only=True, default=False)

    def run(self, deadline: Deadline) -> Iterator[Finding]:
        sources = files.files_of(self.paths)
        seconds = max(1.0, deadline.left() - _MARGIN)
        seen = traced.run(self.modules, after_setup=self.after_setup, seconds=seconds)
        found = traced.join(seen, sources)
        yield from found
        if not any(finding.level >= Level.WARNING for finding in found):
            closed = "its own namespace" if seen.isolated else "closed to Python"
            read = len({*sources, *seen.files})
            facts: dict[str, Fact] = {"files": read, "modules": seen.modules, "network": closed}
            yield _ok(self.subject, facts)


def probes() -> list[Probe]:
    return [Source("audit", paths=own_paths())]


def own_paths() -> tuple[str, ...]:
    """The package of the settings and the installed apps, those that are the project's own."""
    module = settings.SETTINGS_MODULE or os.environ.get("DJANGO_SETTINGS_MODULE", "")
    found = {*_of_module(module.partition(".")[0])}
    found.update(app.path for app in apps.get_app_configs())
    return tuple(sorted(path for path in found if is_own(str(Path(path) / "__init__.py"))))


def paths_beside(root: Path, settings_module: str) -> tuple[str, ...]:
    """The packages in a folder, where settings that do not import cannot tell the apps."""
    top = settings_module.partition(".")[0]
    found = {str(init.parent) for init in root.glob("*/__init__.py") if is_own(str(init))}
    file = root / f"{top}.py"
    return tuple(sorted(found | ({str(file)} if file.is_file() else set())))


def modules_in(paths: Sequence[str]) -> tuple[str, ...]:
    """The modules that these files and folders hold, by the names that they are imported under."""
    names = (module_of(file) for file in files.files_of(paths))
    return tuple(name for name in names if not set(name.split(".")) & set(_NOT_IMPORTED))


def _of_module(name: str) -> list[str]:
    module = sys.modules.get(name)
    if module is None:
        return []
    folders = getattr(module, "__path__", None)
    return [*folders] if folders else [str(module.__file__)]


def _ok(subject: str, facts: dict[str, Fact]) -> Finding:
    count = facts["files"]
    said = f"Nothing in {count} file{'' if count == 1 else 's'} happens at import that should wait."
    return Finding("audit.ok", Level.OK, subject, said, facts=facts)
