"""``--format github`` adds to the summary of a step, whatever that file is."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.processes import ROOT, Ended, doctor, run, write_project
from tests.render.test_summary import cells

ROOM = 1 << 20
SETTINGS = """
SECRET_KEY = "canary-7f3a9c51d2-0123456789-abcdefghijklmnopqrstuvwxyz-0123456789"
INSTALLED_APPS = ["resilience"]
CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    return write_project(tmp_path_factory.mktemp("site"), SETTINGS)


def summarised(site: Path, place: Path | str, *words: str) -> Ended:
    command = words or ("checkdeploy", "cache", "--format", "github")
    return doctor(site, *command, GITHUB_STEP_SUMMARY=str(place))


@pytest.mark.parametrize(
    "command",
    [
        "checkdeploy cache",
        "checkredis redis://127.0.0.1:1",
        "checktls",
        "auditimports site_settings",
    ],
)
def test_it_is_added_to_what_is_there(site, tmp_path, command):
    place = tmp_path / "summary.md"
    place.write_text("Before\n======", encoding="utf-8")
    ended = summarised(site, place, *command.split(), "--format", "github")
    assert ended.err == ""
    before, _, mine = place.read_text(encoding="utf-8").partition("\n\n")
    assert before == "Before\n======"
    assert mine.startswith(f"### {command.split()[0]}: {ended.out.splitlines()[-1][:4]}")
    assert all(len(row) == 5 for row in cells(mine))
    assert "canary-7f3a9c51d2" not in mine


@pytest.mark.parametrize("given", ["json", "text", "junit"])
def test_other_formats_write_none__twin(site, tmp_path, given):
    place = tmp_path / "summary.md"
    summarised(site, place, "checkdeploy", "cache", "--format", given)
    assert not place.exists()


def test_settings_that_do_not_import_are_in_it(tmp_path):
    place = tmp_path / "summary.md"
    site = write_project(tmp_path, "raise RuntimeError('no | way')\n")
    assert summarised(site, place).code == 1
    rows = cells(place.read_text(encoding="utf-8"))
    assert rows[1][:2] == ["error", "django.setup-failed"]
    assert rows[1][3].endswith("At site_settings.py:1.")


def test_there_is_room_for_one_mebibyte(site, tmp_path):
    place = tmp_path / "summary.md"
    place.write_bytes(b"x" * (ROOM - 230))
    ended = summarised(site, place)
    assert ended.err == ""
    assert ROOM - 230 < place.stat().st_size <= ROOM
    assert "more lines, which do not fit here" in place.read_text(encoding="utf-8")


def _full(place: Path) -> None:
    place.write_bytes(b"x" * ROOM)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (Path.mkdir, "Is a directory"),
        (os.mkfifo, "No such device or address"),
        (lambda place: place.symlink_to(place), "Too many levels of symbolic links"),
        (lambda place: place.symlink_to("/dev/null"), "it is no regular file"),
        (lambda place: place.parent.joinpath("s").symlink_to("/nowhere"), None),
        (_full, "it has no room left"),
    ],
)
def test_what_cannot_be_written_is_one_warning(site, tmp_path, make, said):
    place = tmp_path / "summary.md"
    make(place)
    before = place.stat().st_size if place.is_file() else 0
    ended = summarised(site, place if said else tmp_path / "s" / "summary.md")
    assert ended.code == summarised(site, "").code
    assert ended.out.splitlines()[-2:-1] == ["::endgroup::"]
    said = said or "No such file or directory"
    assert ended.err == f"The file of GITHUB_STEP_SUMMARY could not be written: {said}.\n"
    assert not place.is_file() or place.stat().st_size == before


def test_manage_py_does_the_same(site, tmp_path):
    place = tmp_path / "summary.md"
    variables = {"GITHUB_STEP_SUMMARY": str(place), "PYTHONPATH": str(ROOT)}
    command = (sys.executable, "manage.py", "checkdeploy", "cache", "--format", "github")
    run(*command, cwd=site, variables=variables)
    assert place.read_text(encoding="utf-8").startswith("### checkdeploy: PASS")
