"""What do the project's own modules do while they are imported?"""

from __future__ import annotations

import os
import pkgutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path

from django.apps import apps
from django.conf import settings

from resilience.audit import files, traced
from resilience.audit.joined import findings
from resilience.audit.owners import adopt, is_own
from resilience.audit.sightings import Sighting
from resilience.audit.statements import module_of
from resilience.findings import Fact, Finding, Level
from resilience.probes.base import Deadline, Probe

_MARGIN = 1.0  # s of the deadline for the report itself
# Run by Django's own commands only, or not meant to be imported at all.
_NOT_IMPORTED = ("migrations", "__main__")
_NOTHING = (
    "The package of DJANGO_SETTINGS_MODULE is the project's own, and what lies outside of "
    "site-packages: name its modules, manage.py auditimports shop.views for example."
)


@dataclass(frozen=True)
class Source(Probe):
    """Reads the source of these files and folders; imports nothing."""

    area = "audit"
    live = False
    paths: tuple[str, ...] = field(kw_only=True)

    def run(self, deadline: Deadline) -> Iterator[Finding]:
        sources = files.files_of(self.paths)
        read, said = _read(sources, deadline)
        name = _settings_module()
        found = findings(said, {file for file in sources if name and module_of(file) == name})
        yield from found
        if read < len(sources):
            yield _unfinished(self.subject, f"{read} of {len(sources)} files were read")
        elif not any(finding.level >= Level.WARNING for finding in found):
            yield _fine(self.subject, {"files": len(sources)})


@dataclass(frozen=True)
class Imports(Probe):
    """Imports modules in a child process, and reads their source and that of ``paths``.

    Says on standard error which module takes long. Without ``strangers`` the information about
    other packages is left out.
    """

    area = "audit"
    modules: tuple[str, ...] = field(kw_only=True)
    paths: tuple[str, ...] = field(kw_only=True, default=())
    after_setup: bool = field(kw_only=True, default=False)
    strangers: bool = field(kw_only=True, default=True)

    def run(self, deadline: Deadline) -> Iterator[Finding]:
        sources = files.files_of(self.paths)
        # Before the import: what takes long must not come when the time is over.
        read, said = _read(sources, deadline)
        seconds = max(1.0, deadline.left() - _MARGIN)
        seen = traced.run(
            self.modules, after_setup=self.after_setup, seconds=seconds, progress=_tell
        )
        found = [
            finding
            for finding in traced.join(seen, sources[:read], said=said)
            if self.strangers or finding.level > Level.INFO
        ]
        yield from found
        if read < len(sources):
            yield _unfinished(self.subject, f"{read} of {len(sources)} files were read")
        if seen.unreached:
            most = seen.modules + len(seen.unreached)
            done = f"{seen.modules} of {most} modules were imported, and not {seen.unreached[0]},"
            yield _unfinished(self.subject, done)
        elif not any(finding.level >= Level.WARNING for finding in found):
            closed = "its own namespace" if seen.isolated else "closed to Python"
            count = len({*sources, *seen.files})
            facts: dict[str, Fact] = {"files": count, "modules": seen.modules, "network": closed}
            yield _fine(self.subject, facts)


def _tell(module: str, seconds: float) -> None:
    clear = "\r\x1b[K" if sys.stderr.isatty() else ""  # a line of progress may stand there
    sys.stderr.write(f"{clear}{module} has been importing for {seconds:.0f} s\n")
    sys.stderr.flush()


def probes() -> list[Probe]:
    return [Source("audit", paths=own_paths())]


def own_paths() -> tuple[str, ...]:
    """The package of the settings and the installed apps, those that are the project's own."""
    module = _settings_module()
    adopt(module)
    found = {*_of_module(module.partition(".")[0])}
    found.update(app.path for app in apps.get_app_configs())
    return tuple(sorted(path for path in found if is_own(str(Path(path) / "__init__.py"))))


def _settings_module() -> str:
    return str(settings.SETTINGS_MODULE or os.environ.get("DJANGO_SETTINGS_MODULE", ""))


def paths_beside(root: Path, settings_module: str) -> tuple[str, ...]:
    """The packages in a folder, where settings that do not import cannot tell the apps."""
    top = settings_module.partition(".")[0]
    found = {str(init.parent) for init in root.glob("*/__init__.py") if is_own(str(init))}
    file = root / f"{top}.py"
    return tuple(sorted(found | ({str(file)} if file.is_file() else set())))


def module_is_there(name: str) -> bool:
    """Whether there is a module of this name to import. Imports nothing to find out.

    True where only an import could tell: a finder of its own, a module that is made up.
    """
    return name in sys.modules or _folders_of(name) is not None


def modules_near(name: str) -> list[str]:
    """The project's own modules, and those that are beside where this one would be."""
    package = name.rpartition(".")[0]
    while package and not _folders_of(package):
        package = package.rpartition(".")[0]
    before, folders = (f"{package}.", _folders_of(package)) if package else ("", [str(Path.cwd())])
    beside = (f"{before}{found.name}" for found in pkgutil.iter_modules(folders))
    return [*modules_in(own_paths()), *beside]


def _folders_of(name: str) -> Sequence[str] | None:
    """The folders of a package's modules, none of a plain module; None if there is no such one."""
    top, *parts = name.split(".")
    try:
        spec = find_spec(top)
        for part in parts:
            # By the last part alone: a whole name would have its package imported.
            folders = [*((spec and spec.submodule_search_locations) or ())]
            spec = PathFinder.find_spec(part, folders)
    except (ImportError, ValueError):
        return ()
    return None if spec is None else [*(spec.submodule_search_locations or ())]


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


def _read(sources: Sequence[str], deadline: Deadline) -> tuple[int, list[Sighting]]:
    """What the first so many of these files say: all of them, if there is time."""
    margin = min(_MARGIN, deadline.left() / 4)
    said: list[Sighting] = []
    for position, file in enumerate(sources):
        if deadline.left() <= margin:
            return position, said
        said += files.sightings([file])
    return len(sources), said


def _unfinished(subject: str, done: str) -> Finding:
    return Finding(
        "audit.unfinished",
        Level.WARNING,
        subject,
        f"{done} when the time was over: of the others nothing is known.",
        "Give it more time with --deadline, or name the modules that matter: manage.py "
        "auditimports shop.views for example.",
    )


def _fine(subject: str, facts: dict[str, Fact]) -> Finding:
    """That nothing was found; where nothing was looked at, that."""
    count = facts["files"]
    if not count:
        level = Level.INFO if facts.get("modules") else Level.WARNING
        said = "No file of the project's own was read, so nothing is known about it."
        return Finding("audit.nothing", level, subject, said, _NOTHING, facts)
    said = f"Nothing in {count} file{'' if count == 1 else 's'} happens at import that should wait."
    return Finding("audit.ok", Level.OK, subject, said, facts=facts)
