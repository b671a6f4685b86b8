"""Runs this project's commands as their users do: in a process of their own."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SECRET_KEY = "tests-only-" + "0123456789abcdefghijklmnopqrstuvwxyz" * 2
# What a command needs from the machine; every variable of the project is the test's own.
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "COVERAGE_PROCESS_START")


@dataclass(frozen=True)
class Ended:
    """What a finished command left behind."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def report(self) -> dict[str, Any]:
        """The JSON report on standard output."""
        found: dict[str, Any] = json.loads(self.out)
        return found

    @property
    def ids(self) -> set[str]:
        return {finding["id"] for finding in self.report["findings"]}

    @property
    def roots(self) -> list[tuple[str, str]]:
        """Id and subject of every root cause."""
        return [
            (finding["id"], finding["subject"])
            for finding in self.report["findings"]
            if finding["level"] == "error" and finding["cause"] is None
        ]

    def find(self, identifier: str) -> dict[str, Any]:
        """The first finding of this id; AssertionError with the report if there is none."""
        for finding in self.report["findings"]:
            if finding["id"] == identifier:
                return dict(finding)
        raise AssertionError(f"no {identifier} in {self.out}")


def run(
    *command: str,
    variables: Mapping[str, str | None],
    cwd: Path = ROOT,
    limit: float = 60.0,
) -> Ended:
    """Run a command with these variables and no others of ours; end it after ``limit`` seconds."""
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    environment.update({name: value for name, value in variables.items() if value is not None})
    began = time.monotonic()
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment,
        capture_output=True,
        timeout=limit,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    seconds = time.monotonic() - began
    return Ended(done.returncode, done.stdout.decode(), done.stderr.decode(), seconds)


@contextmanager
def serve(
    command: Sequence[str], *, log: Path, patience: float = 5.0, **options: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """A server in a session of its own, its output in ``log``, until the block ends.

    It is told to stop; after ``patience`` seconds whatever it started has ended with it.
    ``options`` are Popen's.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            **options,
        )
    try:
        yield process
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@cache
def example_project() -> Path:
    """The example project where no developer's ``.env`` or database lies beside it."""
    folder = Path(tempfile.mkdtemp(prefix="opsproject-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    shutil.copy(ROOT / "manage.py", folder)  # Python would follow a link to the real folder
    for package in ("opsproject", "resilience"):
        (folder / package).symlink_to(ROOT / package)
    return folder


def manage(*arguments: str, **variables: str | None) -> Ended:
    """``manage.py`` of the example project, with a SECRET_KEY unless the test has its own."""
    variables.setdefault("SECRET_KEY", SECRET_KEY)
    command = (sys.executable, "manage.py", *arguments)
    return run(*command, cwd=example_project(), variables=variables)


def write_project(folder: Path, settings: str, **files: str) -> Path:
    """A small project: ``manage.py`` as startproject writes it, and ``site_settings.py``."""
    (folder / "manage.py").write_text(
        "import os, sys\n"
        'os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site_settings")\n'
        "from django.core.management import execute_from_command_line\n"
        "execute_from_command_line(sys.argv)\n"
    )
    (folder / "site_settings.py").write_text(settings)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


def doctor(folder: Path, *arguments: str, **variables: str | None) -> Ended:
    """``python -m resilience`` in a project's folder."""
    variables.setdefault("PYTHONPATH", str(ROOT))
    return run(sys.executable, "-m", "resilience", *arguments, cwd=folder, variables=variables)
