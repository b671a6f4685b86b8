"""Are the declared variables there, well-formed, and from where they should be?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from resilience import conf, env, redact
from resilience.errors import EnvError
from resilience.findings import Finding, Level
from resilience.probes.base import Deadline, Probe


class Environment(Probe):
    """Every declaration of this process and every file that was read for it."""

    area = "env"
    live = False

    def run(self, deadline: Deadline) -> Iterator[Finding]:  # noqa: ARG002 - it reads memory only
        loaded, declared = env.snapshot(), env.declared()
        problems = [*map(of_error, loaded.problems), *_of_declarations(declared)]
        if loaded.late and loaded.files:
            problems.append(_late(loaded.files))
        if loaded.root is not None and (loaded.root / ".env").is_file():
            problems.extend(_in_image(loaded.root / ".env"))
        yield from problems
        if any(finding.level >= Level.ERROR for finding in problems):
            return
        facts = {item.name: item.origin or "not set" for item in declared}
        yield Finding(
            "env.ok", Level.OK, self.subject, _summary(len(declared), loaded), facts=facts
        )


def probes() -> list[Probe]:
    return [Environment("env")]


def of_error(error: EnvError) -> Finding:
    """An error of the env package as the finding under which it is known."""
    location = redact.shorten(error.location) if error.location else None
    return Finding(
        error.id, Level.ERROR, error.subject, f"{error.problem}.", error.hint, location=location
    )


def skipped_for(subject: str, settings_value: object) -> Finding | None:
    """The finding of a probe whose settings hold the placeholder of a missing variable."""
    name = env.placeholder_in(settings_value)
    if name is None:
        return None
    cause = next((item.problem for item in env.declared() if item.name == name), None)
    return Finding(
        "env.missing",
        Level.INFO,
        subject,
        f"Not examined: its settings need {name}.",
        skipped=True,
        cause=of_error(cause) if cause else None,
    )


def _of_declarations(declared: list[env.Declared]) -> Iterator[Finding]:
    for item in declared:
        if item.problem is not None:
            yield of_error(item.problem)
        elif item.unresolved:
            yield Finding(
                "env.unresolved-reference",
                Level.ERROR,
                item.name,
                f"{item.name} holds a ${{{{…}}}} reference that the platform did not resolve.",
                "Correct the service or variable name in the reference; both are case-sensitive.",
                location=item.location,
            )


def _summary(count: int, loaded: env.Snapshot) -> str:
    read = f"; read {', '.join(loaded.files)}" if loaded.files else ""
    if not count:
        return f"No variable is declared with resilience.env{read}."
    return f"{count} declared variables, none missing{read}."


def _late(files: tuple[str, ...]) -> Finding:
    return Finding(
        "env.loaded-late",
        Level.WARNING,
        "env",
        f"{', '.join(files)} was read after the settings: they did not see its values.",
        "Put these on line 1 of <project>/__init__.py: from resilience import env; env.load()",
    )


def _in_image(path: Path) -> Iterator[Finding]:
    if conf.detect_hosting().in_container and not _is_mounted(path):
        yield Finding(
            "env.dotenv-in-image",
            Level.WARNING,
            ".env",
            "The container image holds a .env file: whoever can pull the image has its secrets.",
            "Add .env to .dockerignore, rebuild, and set the variables on the platform.",
            location=str(path),
        )


def _is_mounted(path: Path) -> bool:
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    points = {line.split(" ")[4] for line in mounts} - {"/"}
    return any(str(place) in points for place in (path, *path.parents))
