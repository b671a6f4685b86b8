"""Are the declared variables there, well-formed, and from where they should be?"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from resilience import conf, env, hosting, places
from resilience.errors import EnvError
from resilience.findings import Fact, Finding, Level
from resilience.probes.base import Deadline, Probe


class Environment(Probe):
    """Every declaration of this process and every file that was read for it."""

    area = "env"
    live = False

    def run(self, deadline: Deadline) -> Iterator[Finding]:  # noqa: ARG002 - it reads memory only
        loaded, declared = env.snapshot(), env.declared()
        problems = errors()
        yield from problems
        late = _late(loaded, declared, Level.WARNING)
        if late is not None and not any(found.id == late.id for found in problems):
            yield late
        if loaded.root is not None:
            yield from _in_image(loaded.root, loaded.files)
        yield sources(wrong=bool(problems))


def probes() -> list[Probe]:
    return [Environment("env")]


def errors() -> list[Finding]:
    """What keeps the app from starting: broken files, then variables that are missing or wrong.

    A variable that is missing is explained by a file that is broken, or by one that has it and
    was read too late.
    """
    loaded = env.snapshot()
    found = [_of(problem) for problem in loaded.problems]
    broken = found[0] if found else None
    wrong = [(item.name, item.problem) for item in env.declared() if item.problem is not None]
    too_early = {item.name for item in env.declared()} if loaded.late else set(loaded.early)
    late = None
    if any(name in loaded.exported and name in too_early for name, _ in wrong):
        late = _late(loaded, env.declared(), Level.ERROR)
        found += [late] if late is not None else []
    for name, problem in wrong:
        cause = broken or (late if name in loaded.exported else None)
        found.append(_of(problem, cause if problem.id == "env.missing" else None))
    return found


def sources(*, wrong: bool) -> Finding:
    """Where every declared variable comes from, as the facts of the area's last finding."""
    loaded, declared = env.snapshot(), env.declared()
    said = "No variable is declared with resilience.env"
    if declared:
        without = sum(item.origin is None for item in declared)
        named = "variable" if len(declared) == 1 else "variables"
        said = f"{len(declared)} declared {named}, {without or 'none'} without a value"
    read = f"; read {', '.join(loaded.files)}" if loaded.files else ""
    others = _not_declared(loaded, declared)
    if declared and others:  # a misspelt one, or one for an SDK: -v 2 names them
        read += f" with {len(others)} name{'s' if len(others) > 1 else ''} that nothing declares"
    facts = _facts(loaded, declared)
    if wrong:
        return Finding("env.sources", Level.INFO, "env", f"{said}{read}.", facts=facts, area="env")
    return Finding("env.ok", Level.OK, "env", f"{said}{read}.", facts=facts, area="env")


def _of(error: EnvError, cause: Finding | None = None) -> Finding:
    location = places.shorten(error.location) if error.location else None
    return Finding(
        error.id,
        Level.ERROR,
        error.subject,
        f"{error.problem}.",
        error.hint,
        location=location,
        cause=cause,
        area=Environment.area,
    )


def skipped_for(subject: str, settings_value: object) -> Finding | None:
    """The finding of a probe whose settings hold the placeholder of a missing variable."""
    name = env.placeholder_in(settings_value)
    if name is None:
        return None
    return Finding(
        "env.missing",
        Level.INFO,
        subject,
        f"Not examined: its settings need {name}.",
        skipped=True,
        cause=next((finding for finding in errors() if finding.subject == name), None),
    )


def _facts(loaded: env.Snapshot, declared: Sequence[env.Declared]) -> dict[str, Fact]:
    """Where each declared variable comes from, which other ones the files hold, and which files."""
    facts: dict[str, Fact] = {item.name: item.origin or _absence(item) for item in declared}
    others = _not_declared(loaded, declared)
    if others:
        facts["not_declared"] = ", ".join(others)
    if loaded.root is not None:
        # What RESILIENCE_ENV holds is shown where a file has that name, for it may hold anything.
        sure = {".env", ".env.local", *loaded.files}
        tried = [name if name in sure else ".env.<RESILIENCE_ENV>" for name in loaded.tried]
        facts["looked_for"] = f"{', '.join(tried) or 'no file'} in {loaded.root}"
    elif loaded.loaded:
        facts["looked_for"] = "no file: what called env.load() is in no folder; give it one"
    return facts


def _not_declared(loaded: env.Snapshot, declared: Sequence[env.Declared]) -> list[str]:
    known = {item.name for item in declared}
    return [name for name in loaded.exported if name not in known and _is_name(name)]


def _absence(item: env.Declared) -> str:
    if item.problem is None or item.problem.id == "env.missing":
        return f"missing, declared at {item.location}"
    return f"no source, see {item.problem.id}"


def _is_name(name: str) -> bool:
    """Whether it is certainly one: a line of a key in a broken file may have "=" at its end."""
    assigned = os.environ.get(name, "").strip("=")
    return bool(assigned and re.fullmatch(r"[A-Z_][A-Z0-9_]{0,59}", name))


def _late(loaded: env.Snapshot, declared: Sequence[env.Declared], level: Level) -> Finding | None:
    """What did not see the files, if anything: the settings, some declarations, some frameworks."""
    if not loaded.files:
        return None
    files = ", ".join(loaded.files)
    places_ = [at for _, at in loaded.imported if at]
    if loaded.late:
        said, at = f"{files} was read after the settings: they did not see its values.", None
    elif loaded.early:
        names = ", ".join(loaded.early)
        said = f"env.load() came after {names} had been asked for: {files} was not read by then."
        at = next((item.location for item in declared if item.name in loaded.early), None)
    elif loaded.imported and loaded.exported:
        names = ", ".join(early.framework for early in loaded.imported)
        said = f"{names} had been imported when {files} was read, and may have missed its values."
        at = places_[0] if places_ else None
        level = level if at else Level.INFO  # whatever started this process brought it
    else:
        return None
    before = {early.framework: early.location or "elsewhere" for early in loaded.imported}
    return Finding(
        "env.loaded-late",
        level,
        "env",
        said,
        "Put these on line 1 of <project>/__init__.py: from resilience import env; env.load()",
        {f"imported_{name}": place for name, place in before.items()},
        at,
        area=Environment.area,
    )


def _in_image(root: Path, files: Sequence[str]) -> Iterator[Finding]:
    # A container with a checkout in it is somebody's workplace, not what is deployed.
    folders = (root, *root.parents)
    checked_out = any(os.path.exists(folder / ".git") for folder in folders)  # noqa: PTH110 - never raises
    if not conf.detect_hosting().in_container or checked_out:
        return
    for path in (root / name for name in files):
        if not _is_mounted(path):
            yield Finding(
                "env.dotenv-in-image",
                Level.WARNING,
                path.name,
                f"{path.name} is no mounted file, so it may be in the image: whoever can pull that "
                "has its secrets.",
                f"If it came with the image, add {path.name} to .dockerignore, rebuild, and set "
                "its variables on the platform.",
                location=str(path),
            )


def _is_mounted(path: Path) -> bool:
    points = {point for point, _ in hosting.mounts()} - {"/"}
    return any(str(place) in points for place in (path, *path.parents))
