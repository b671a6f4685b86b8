"""Imports modules in a child process, and joins what they did with what their source says."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from resilience import env
from resilience.audit import answers, files
from resilience.audit.answers import Trace
from resilience.audit.joined import findings, with_failures
from resilience.audit.statements import module_of
from resilience.findings import Finding

_PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv[1]); from resilience.audit.child import main; main()"
)
_MARGIN = 1.0  # s that the child ends before it is ended
_AFTER_KILL = 5.0  # s


def trace(
    *modules: str,
    settings: str | None = None,
    after_setup: bool = False,
    sources: Sequence[str | os.PathLike[str]] = (),
    environ: Mapping[str, str] | None = None,
    seconds: float = 30.0,
) -> list[Finding]:
    """What importing these modules does, joined with what their source says.

    A child process imports the package of ``settings`` (by default ``DJANGO_SETTINGS_MODULE``) and
    then that module, as every start of the project does; with ``after_setup`` it runs
    ``django.setup()``; then each of ``modules`` in a fork of its own. It has no network, and
    ``environ``: by default what this process was started with, so that a variable which only a
    ``.env`` file holds is missing until something loads the file. ``sources`` are files and folders
    whose source is read besides that of the modules. It ends within ``seconds``.

    What the project's start does without these modules is left out.
    """
    seen = run(
        modules, settings=settings, after_setup=after_setup, environ=environ, seconds=seconds
    )
    return join(seen, files.files_of(sources), settings)


def join(seen: Trace, sources: Sequence[str], settings: str | None = None) -> list[Finding]:
    """Findings from a trace, the source of the modules in it, and that of ``sources``."""
    every = [*files.sightings(files.files_of([*sources, *seen.files])), *seen.sightings]
    name = _settings_name(settings)
    allowed = {one.cause.file for one in every if name and module_of(one.cause.file) == name}
    return with_failures(findings(every, allowed), seen.failures)


def run(  # noqa: PLR0913 - each by keyword
    modules: Sequence[str],
    *,
    settings: str | None = None,
    after_setup: bool = False,
    environ: Mapping[str, str] | None = None,
    seconds: float = 30.0,
    isolate: bool = True,
) -> Trace:
    """As :func:`trace`, before it is joined. Without ``isolate`` only Python's is closed."""
    name = _settings_name(settings)
    request = {
        "path": [entry or str(Path.cwd()) for entry in sys.path],
        "modules": list(modules),
        "start": list(dict.fromkeys([name.partition(".")[0], name])) if name else [],
        "setup": after_setup,
        "seconds": max(seconds - _MARGIN, seconds / 2),
        "isolate": isolate,
        "packages": answers.PACKAGES,
    }
    variables = dict(started_with() if environ is None else environ)
    if name:
        variables["DJANGO_SETTINGS_MODULE"] = name
    return answers.read(_ask(request, variables, seconds), modules, name or "the start")


def started_with() -> dict[str, str]:
    """The environment that this process was started with: without what a ``.env`` file added.

    Linux keeps it; elsewhere it is today's without what ``env.load()`` put there.
    """
    try:
        raw = Path("/proc/self/environ").read_bytes()
    except OSError:
        ours = set(env.snapshot().exported)
        return {name: value for name, value in os.environ.items() if name not in ours}
    pairs = (os.fsdecode(entry).partition("=") for entry in raw.split(b"\0") if b"=" in entry)
    return {name: value for name, _, value in pairs if name}


def _settings_name(settings: str | None) -> str:
    return os.environ.get("DJANGO_SETTINGS_MODULE", "") if settings is None else settings


def _ask(
    request: dict[str, Any], variables: dict[str, str], seconds: float
) -> list[dict[str, Any]]:
    """What the child answered, as far as it came."""
    process = subprocess.Popen(  # noqa: S603 - this interpreter and our own code
        [sys.executable, "-P", "-c", _PROGRAM, str(Path(__file__).parents[2])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=variables,
        start_new_session=True,  # so that its forks end with it
    )
    try:
        out, _ = process.communicate(json.dumps(request).encode(), timeout=seconds)
    except subprocess.TimeoutExpired:
        _kill(process)
        out, _ = process.communicate(timeout=_AFTER_KILL)
    except BaseException:
        _kill(process)
        process.wait(_AFTER_KILL)
        raise
    found = []
    for line in out.splitlines():
        with contextlib.suppress(ValueError):  # the last one may be cut short
            found.append(json.loads(line))
    return found


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
