"""From an existing project to a passing ``checkdeploy``, by the words of the page alone."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import django
import pytest
from packaging.requirements import Requirement

from resilience.simulation.redis_server import RedisServer
from tests.packaging import built
from tests.packaging.adopting import PAGE, Reader, Step, agrees, steps
from tests.processes import run

STEPS = steps(PAGE.read_text(encoding="utf-8"))
INSTALLING, COMMAND, *LATER, EVERYTHING = STEPS
# Django 6.1's startproject sets up a console mailer, which its own check refuses for a deployment.
MAILER = '\nMAILERS = {"default": {"BACKEND": "django.core.mail.backends.smtp.EmailBackend"}}\n'


@pytest.fixture(scope="module")
def location(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield f"redis://localhost:{server.port}/0"


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``startproject`` makes, to be copied."""
    folder = tmp_path_factory.mktemp("fresh")
    command = (built.python(), "-m", "django", "startproject", "shop", str(folder))
    assert run(*command, cwd=folder, variables={}).code == 0
    if django.VERSION >= (6, 1):
        settings = folder / "shop" / "settings.py"
        settings.write_text(settings.read_text() + MAILER)
    return folder


@pytest.fixture
def reader(tmp_path: Path, fresh: Path, location: str) -> Iterator[Reader]:
    project = tmp_path / "project"
    shutil.copytree(fresh, project)
    variables = {"REDIS_URL": location, "PATH": os.environ["PATH"]}
    with Reader(project, built.python(), variables) as somebody:
        yield somebody


def test_the_page_has_the_five_steps():
    assert [step.title[:3] for step in STEPS[1:6]] == ["1. ", "2. ", "3. ", "4. ", "5. "]
    assert all(step.edits and step.commands for step in STEPS[1:6])
    [install] = INSTALLING.commands
    wanted = Requirement(install.words.removeprefix("python -m pip install "))
    assert built.wheel().name.startswith(wanted.name.replace("-", "_"))


def test_all_of_them_end_with_a_passing_checkdeploy(reader):
    problems = [told for step in (COMMAND, *LATER, EVERYTHING) for told in reader.follow(step)]
    assert problems == [], "\n".join(problems)
    last = EVERYTHING.commands[-1]
    assert last.words == "python manage.py checkdeploy"
    assert last.prints.rstrip().endswith("(exit 0)")
    assert "0 errors, 0 warnings" in last.prints


@pytest.mark.parametrize("step", LATER, ids=lambda step: step.title)
def test_a_step_needs_none_but_the_first(step: Step, reader):
    for edit in COMMAND.edits:
        edit.apply(reader.project)
    reader.do("python manage.py migrate")
    assert reader.follow(step) == []


@pytest.mark.parametrize("step", [COMMAND, *LATER], ids=lambda step: step.title)
def test_a_step_quite_alone_breaks_nothing(step: Step, reader):
    """Without even the first, whatever the order in which somebody tries them."""
    for edit in step.edits:
        edit.apply(reader.project)
    assert "no issues" in reader.do("python manage.py check")
    reader.do("python -m resilience checkdeploy env cache")


# ── twins ───────────────────────────────────────────────────────────────────────────────────────


def test_a_page_that_is_out_of_date_is_told(reader):
    text = PAGE.read_text(encoding="utf-8")
    changes = {
        "✓ components  None is declared.": "✓ components  Nothing is declared.",
        "0 errors, 0 warnings, 2 ok in 0.1 s (exit 0)": "0 errors, 2 ok in 0.1 s (exit 0)",
    }
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new, 1)
    [told] = reader.follow(steps(text)[1])
    assert "--- page\n✓ components  Nothing is declared." in told
    assert "✓ components  None is declared." in told.partition("--- printed")[2]


def test_a_page_without_the_first_block_leads_nowhere(reader):
    with pytest.raises(AssertionError, match="Unknown command: 'checkdeploy'"):
        reader.do(COMMAND.commands[-1].words)


def test_a_block_for_no_file_is_told():
    with pytest.raises(AssertionError, match="no file is named"):
        steps("## 1. The command\n\nPut this somewhere:\n\n```python\nA = 1\n```\n")


@pytest.mark.parametrize(
    ("said", "printed", "same"),
    [
        ("a 1.5 s\nb\n", "a 20 s b", True),
        ("a\nb\n", "a c", False),
        ("…\nb 1\n", "x\ny\nb 2", True),
        ("…\nb\n", "b", True),
        ("a\n…\n", "a x", True),
        ("…\nb\n", "x c", False),
        ("…\n", "", True),
        ("1 error, 2 warnings", "3 errors, 1 warning", True),
        ("", "something", False),
    ],
)
def test_what_agrees(said, printed, same):
    assert agrees(said, printed) is same
