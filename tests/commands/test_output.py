"""Where a report goes: a reader that has left, a disk that is full, a stream that is closed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import ROOT, write_project

SOUND = (
    'SECRET_KEY = "x" * 60\n'
    'INSTALLED_APPS = ["resilience"]\n'
    'DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}\n'
)
FAILING = SOUND + 'RESILIENCE = {"NONSENSE": 1}\n'

every_entry = pytest.mark.parametrize(
    "entry", [["manage.py"], ["-m", "resilience"]], ids=["manage.py", "module"]
)
every_settings = pytest.mark.parametrize(("settings", "code"), [(SOUND, 0), (FAILING, 1)])


def ended(
    folder: Path, *arguments: str, out: int | None = None, closed: str = ""
) -> tuple[int, str]:
    """Exit status and standard error of a command that writes to ``out``, some streams closed."""
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, *arguments],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if out is None else out,
        stderr=subprocess.PIPE,
        timeout=30,
        check=False,
    )
    return done.returncode, done.stderr.decode()


@pytest.fixture
def nobody() -> Iterator[int]:
    """A pipe whose reader has gone."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


@pytest.fixture
def full() -> Iterator[int]:
    """A disk without any room."""
    writing = os.open("/dev/full", os.O_WRONLY)
    yield writing
    os.close(writing)


@every_entry
@every_settings
@pytest.mark.parametrize("form", ["text", "json"])
def test_a_reader_that_has_gone_keeps_the_verdict(entry, settings, code, form, nobody, tmp_path):
    project = write_project(tmp_path, settings)
    arguments = [*entry, "checkdeploy", "hosting", "--format", form]
    assert ended(project, *arguments, out=nobody) == (code, "")


@every_entry
@every_settings
def test_a_full_disk_is_one_sentence_and_no_success(entry, settings, code, full, tmp_path):
    project = write_project(tmp_path, settings)
    assert ended(project, *entry, "checkdeploy", "hosting", out=full) == (
        code or 2,
        "The report could not be written: No space left on device.\n",
    )


@every_entry
@every_settings
@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-"])
def test_a_closed_stream_keeps_the_verdict(entry, settings, code, closed, tmp_path):
    project = write_project(tmp_path, settings)
    assert ended(project, *entry, "checkdeploy", "hosting", closed=closed) == (code, "")


@every_entry
def test_an_explanation_goes_the_same_way(entry, nobody, full, tmp_path):
    arguments = [*entry, "checkdeploy", "--explain", "redis.ok"]
    project = write_project(tmp_path, SOUND)
    assert ended(project, *arguments, out=nobody) == (0, "")
    assert ended(project, *arguments, closed=">&-") == (0, "")
    code, said = ended(project, *arguments, out=full)
    assert (code, said.count("\n"), "Traceback" in said) == (2, 1, False)


@every_entry
@every_settings
def test_any_of_these__twin__somebody_reads(entry, settings, code, tmp_path):
    project = write_project(tmp_path, settings)
    assert ended(project, *entry, "checkdeploy", "hosting") == (code, "")
