"""What README shows is what is printed."""

from __future__ import annotations

import re
import shlex

import pytest

from resilience.simulation.network import Refused
from tests.docs.blocks import agrees, parse, sample
from tests.processes import ROOT, manage

PAGES = ("README.md",)
README = (ROOT / "README.md").read_text(encoding="utf-8")
VARIABLE = "REDIS_URL=redis://localhost:6390/0"


def shown(readme: str) -> tuple[str, str]:
    """The command behind the prompt, and what README says that it prints."""
    (block,) = (each for each in parse(readme) if each.language == "console")
    ((command, printed),) = sample(block)
    return command, printed


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """As scripts/run does it: the database is there, and DEBUG is on."""
    database = f"sqlite:///{tmp_path_factory.mktemp('database')}/db.sqlite3"
    variable, program, *arguments = shlex.split(shown(README)[0])
    assert (variable, program) == (VARIABLE, "scripts/run")
    assert manage("migrate", DATABASE_URL=database).code == 0
    with Refused() as port:
        url = VARIABLE.partition("=")[2].replace("6390", str(port.port))
        ended = manage(*arguments, REDIS_URL=url, DATABASE_URL=database, DEBUG="true")
    assert ended.err == ""
    return ended.out


def test_the_sample_is_what_is_printed(printed):
    assert agrees(shown(README)[1], printed)


@pytest.mark.parametrize("old", ["cache.fallback", "1 root cause", "✓ databases.default"])
def test_the_sample__twin__what_was_printed_once_is_told_apart(printed, old):
    outdated = README.replace(old, "something", 1)
    assert outdated != README
    assert not agrees(shown(outdated)[1], printed)


NAMES = "from django.test import Client; print(Client().get('/').content.decode())"


def test_the_pages_of_the_example_are_named_on_its_first_page_and_in_the_readme():
    ended = manage("shell", "-c", NAMES, ALLOWED_HOSTS="testserver", DEBUG="true")
    paths = re.findall(r"http://testserver(/\S+)", ended.out)
    assert set(paths) == {"/framework/", "/account/", "/admin/"}
    assert all(f"- `{path}`" in README for path in paths if path != "/admin/")
