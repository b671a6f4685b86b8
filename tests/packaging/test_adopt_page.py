"""From an existing project to a passing ``checkdeploy``, by the words of the page alone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import django
import pytest
from packaging.requirements import Requirement

from resilience.simulation.program import free_port
from resilience.simulation.redis_server import RedisServer
from tests.docs.blocks import sample
from tests.docs.following import Reader, consoles
from tests.packaging import built
from tests.packaging.adopting import NAME, PAGE, Step, steps
from tests.processes import run

PAGES = (NAME,)
STEPS = steps(PAGE.read_text(encoding="utf-8"))
INSTALLING, COMMAND, *LATER, EVERYTHING = STEPS
# What only Django 6.1's startproject needs: the page says so.
MAILER = next(block for block in EVERYTHING.edits if "MAILERS" in block.text)


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
    return folder


@pytest.fixture(scope="module")
def adopted(tmp_path_factory: pytest.TempPathFactory, fresh: Path) -> Path:
    """The same after the first step, migrated."""
    project = tmp_path_factory.mktemp("adopted") / "project"
    with reading(fresh, project, "") as somebody:
        somebody.follow(*COMMAND.edits)
        somebody.type("python manage.py migrate")
    return project


def reading(project: Path, copy: Path, location: str) -> Reader:
    """Somebody who follows the page in a copy of a project."""
    shutil.copytree(project, copy)
    here, variables = {"8000": str(free_port())}, {"REDIS_URL": location}
    return Reader(copy, here=here, variables=variables, python=built.python())


@pytest.fixture
def reader(tmp_path: Path, fresh: Path, location: str) -> Iterator[Reader]:
    with reading(fresh, tmp_path / "project", location) as somebody:
        yield somebody


def test_the_page_has_the_five_steps():
    assert [step.title[:3] for step in STEPS[1:6]] == ["1. ", "2. ", "3. ", "4. ", "5. "]
    assert all(step.edits and step.commands for step in STEPS[1:6])
    [(install, _)] = sample(INSTALLING.blocks[0])
    wanted = Requirement(install.removeprefix("python -m pip install "))
    assert built.wheel().name.startswith(wanted.name.replace("-", "_"))


def test_all_of_them_end_with_a_passing_checkdeploy(reader):
    blocks = [block for step in (COMMAND, *LATER, EVERYTHING) for block in step.blocks]
    if django.VERSION < (6, 1):
        blocks.remove(MAILER)
    reader.follow(*blocks)
    assert reader.wrong == [], "\n".join(reader.wrong)
    every = [block for step in STEPS for block in step.blocks]
    assert [block for block in reader.followed if block in consoles(every)] == consoles(every)
    [(command, printed)] = sample(EVERYTHING.commands[-1])
    assert command == "python manage.py checkdeploy"
    assert "0 errors, 0 warnings" in printed
    assert printed.endswith("(exit 0)")


@pytest.mark.skipif(django.VERSION < (6, 1), reason="Django 6.1 is the first that refuses it")
def test_without_the_mailer_of_django_6_1_it_does_not_pass__twin(reader):
    reader.follow(*COMMAND.blocks)
    assert "mail.E001" in reader.type("python manage.py checkdeploy")
    reader.follow(MAILER)
    assert "mail.E001" not in reader.type("python manage.py checkdeploy")


@pytest.mark.parametrize("step", LATER, ids=lambda step: step.title)
def test_a_step_needs_none_but_the_first(step: Step, adopted, location, tmp_path):
    with reading(adopted, tmp_path / "project", location) as reader:
        reader.follow(*step.blocks)
        assert reader.wrong == []


@pytest.mark.parametrize("step", [COMMAND, *LATER], ids=lambda step: step.title)
def test_a_step_quite_alone_breaks_nothing(step: Step, reader):
    """Without even the first, whatever the order in which somebody tries them."""
    reader.follow(*step.edits)
    assert "no issues" in reader.type("python manage.py check")
    assert "(exit 0)" in reader.type("python -m resilience checkdeploy env cache")


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
    reader.follow(*steps(text)[1].blocks)
    [told] = reader.wrong
    assert "--- page\n✓ components  Nothing is declared." in told
    assert "✓ components  None is declared." in told.partition("--- printed")[2]


def test_a_page_without_the_first_block_leads_nowhere(reader):
    reader.follow(COMMAND.commands[-1])
    assert "Unknown command: 'checkdeploy'" in reader.wrong[-1]


def test_a_block_for_no_file_is_told(reader):
    [step] = steps("## 1. The command\n\nPut this somewhere:\n\n```python\nA = 1\n```\n")
    with pytest.raises(AssertionError, match="no file is named"):
        reader.follow(*step.blocks)
