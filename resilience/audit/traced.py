"""Imports modules in a child process, and joins what they did with what their source says."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from resilience import env
from resilience.audit import answers, descendants, files, known
from resilience.audit.answers import Trace
from resilience.audit.joined import findings, with_failures
from resilience.audit.mentions import Mentions
from resilience.audit.owners import adopt, adopted
from resilience.audit.sightings import Sighting
from resilience.audit.statements import module_of, statement
from resilience.findings import Finding

_PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv[1]); from resilience.audit.child import main; main()"
)
_MARGIN = 1.0  # s that the child ends before it is ended
_AFTER_KILL = 2.0  # s
_STEP = 1.0  # s between two looks at what the child is busy with
_SLOW = 2.0  # s after which a module is named as one that takes long, then after 4, 8 …

Progress = Callable[[str, float], object]
"""Called with the module that has been importing for so many seconds."""


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


def join(
    seen: Trace,
    sources: Sequence[str],
    settings: str | None = None,
    said: Sequence[Sighting] | None = None,
) -> list[Finding]:
    """Findings from a trace, the source of the modules in it, and that of the files ``sources``.

    ``said`` is what the source of these files says, if they have been read already.
    """
    every = files.files_of([*sources, *seen.files])
    said = files.sightings(sources) if said is None else said
    read = [*said, *files.sightings(every[len(sources) :])]
    found = [*(_as_it_went(one, seen) for one in read), *seen.sightings]
    name = _settings_name(settings)
    allowed = {one.cause.file for one in found if name and module_of(one.cause.file) == name}
    failing = {statement(place) for _, came in seen.failures for place in came}
    return with_failures(findings(found, allowed, Mentions(every), failing), seen.failures)


def _as_it_went(one: Sighting, seen: Trace) -> Sighting:
    """A stand-in that the import has left in its place is one that took over."""
    if one.id != "audit.swallowed-import" or not one.bound:
        return one
    file, last = one.cause.file, one.name.rpartition(".")[2].replace("a lambda", "<lambda>")
    here = f"{module_of(file)}.{last}"
    took_over = any(
        kind == here or (known.says_mock(kind) and kind.endswith(f".{last}"))
        for where, name, kind in seen.held
        if (where, name) == (file, one.bound)
    )
    return replace(one, took_over=took_over)


def run(  # noqa: PLR0913 - each by keyword
    modules: Sequence[str],
    *,
    settings: str | None = None,
    after_setup: bool = False,
    environ: Mapping[str, str] | None = None,
    seconds: float = 30.0,
    isolate: bool = True,
    progress: Progress | None = None,
) -> Trace:
    """As :func:`trace`, before it is joined. Without ``isolate`` only Python's is closed.

    ``progress`` is told of modules that take long, while they do.
    """
    name = _settings_name(settings)
    adopt(name)
    request = {
        "path": [entry or str(Path.cwd()) for entry in sys.path],
        "modules": list(modules),
        "start": list(dict.fromkeys([name.partition(".")[0], name])) if name else [],
        "setup": after_setup,
        "seconds": max(seconds - _MARGIN, seconds / 2),
        "isolate": isolate,
        "packages": answers.PACKAGES,
        "adopted": adopted(),
    }
    variables = dict(started_with() if environ is None else environ)
    if name:
        variables["DJANGO_SETTINGS_MODULE"] = name
    found = _ask(request, variables, seconds, progress or (lambda *_: None))
    return answers.read(found, modules, name or "the start")


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
    request: dict[str, Any], variables: dict[str, str], seconds: float, progress: Progress
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
        out = _listen(process, json.dumps(request).encode(), seconds, progress)
    except subprocess.TimeoutExpired:
        out = _end(process)
    except BaseException:
        _end(process)
        raise
    return [line for line in _lines(out) if "begins" not in line]


def _listen(
    process: subprocess.Popen[bytes], request: bytes, seconds: float, progress: Progress
) -> bytes:
    """All that it writes. Raises TimeoutExpired after ``seconds``."""
    ends = time.monotonic() + seconds
    given: bytes | None = request
    busy, since, due = "", 0.0, 0.0
    while True:
        left = ends - time.monotonic()
        try:
            return process.communicate(given, timeout=max(0.0, min(_STEP, left)))[0]
        except subprocess.TimeoutExpired as waiting:
            if left <= _STEP:
                raise
            given = None
            now = next(_lines(b"".join((waiting.output or b"").splitlines()[-1:])), {})
            if now.get("begins", "") != busy:
                busy, since, due = now.get("begins", ""), time.monotonic(), _SLOW
            elif busy and time.monotonic() - since >= due:
                progress(busy, time.monotonic() - since)
                due *= 2


def _lines(out: bytes) -> Iterator[dict[str, Any]]:
    for line in out.splitlines():
        with contextlib.suppress(ValueError):  # the last one may be cut short
            answer = json.loads(line)
            if isinstance(answer, dict):
                yield answer


def _end(process: subprocess.Popen[bytes]) -> bytes:
    """Kill it and all that it has started. What it had written."""
    descendants.end(process.pid)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    try:
        return process.communicate(timeout=_AFTER_KILL)[0]
    except subprocess.TimeoutExpired as waiting:  # somebody out of reach holds the pipe
        return waiting.output or b""
    finally:
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
