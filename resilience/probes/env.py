"""Are the declared variables there, well-formed, and from where they should be?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from resilience import conf, env, hosting, places
from resilience.errors import EnvError
from resilience.findings import Finding, Level
from resilience.probes.base import Deadline, Probe


class Environment(Probe):
    """Every declaration of this process and every file that was read for it."""

    area = "env"
    live = False

    def run(self, deadline: Deadline) -> Iterator[Finding]:  # noqa: ARG002 - it reads memory only
        loaded, declared = env.snapshot(), env.declared()
        problems = errors()
        yield from problems
        if loaded.late and loaded.files and not problems:
            yield _late(loaded, Level.WARNING)
        if loaded.root is not None:
            yield from _in_image(loaded.root)
        if not problems:
            facts = {item.name: item.origin or "not set" for item in declared}
            summary = _summary(len(declared), loaded)
            yield Finding("env.ok", Level.OK, self.subject, summary, facts=facts)


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
    late = None
    if loaded.late and any(name in loaded.exported for name, _ in wrong):
        late = _late(loaded, Level.ERROR)
        found.append(late)
    for name, problem in wrong:
        cause = broken or (late if name in loaded.exported else None)
        found.append(_of(problem, cause if problem.id == "env.missing" else None))
    return found


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


def _summary(count: int, loaded: env.Snapshot) -> str:
    read = f"; read {', '.join(loaded.files)}" if loaded.files else ""
    if not count:
        return f"No variable is declared with resilience.env{read}."
    return f"{count} declared variables, none missing{read}."


def _late(loaded: env.Snapshot, level: Level) -> Finding:
    return Finding(
        "env.loaded-late",
        level,
        "env",
        f"{', '.join(loaded.files)} was read after the settings: they did not see its values.",
        "Put these on line 1 of <project>/__init__.py: from resilience import env; env.load()",
        area=Environment.area,
    )


def _in_image(root: Path) -> Iterator[Finding]:
    path = root / ".env"
    # A container with a checkout in it is somebody's workplace, not what is deployed.
    deployed = conf.detect_hosting().in_container and not (root / ".git").exists()
    if deployed and path.is_file() and not _is_mounted(path):
        yield Finding(
            "env.dotenv-in-image",
            Level.WARNING,
            ".env",
            "The container image holds a .env file: whoever can pull the image has its secrets.",
            "Add .env to .dockerignore, rebuild, and set the variables on the platform.",
            location=str(path),
        )


def _is_mounted(path: Path) -> bool:
    points = {point for point, _ in hosting.mounts()} - {"/"}
    return any(str(place) in points for place in (path, *path.parents))
