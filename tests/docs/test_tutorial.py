"""The tutorial, followed to the letter: its files are written, its commands run and compared."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import django
import pytest

from resilience.simulation.program import free_port
from tests.docs.blocks import Block, parse, sample
from tests.docs.following import Reader
from tests.processes import ROOT

PAGES = ("docs/tutorial.md",)
PAGE = ROOT / "docs" / "tutorial.md"
MAILER = "✗ error   deploy mail.E001\n…\nFAIL: 1 error, 0 warnings, 8 ok in 0.1 s (exit 1)\n"
SECOND_TERMINAL = "<!-- second terminal -->"


def followed(text: str, folder: Path) -> list[str]:
    """What differs from the page: the command, and what it printed instead."""
    here = {"6379": str(free_port()), "8000": str(free_port())}
    try:
        with Reader(folder, here=here) as reader:
            for block in parse(text, "docs/tutorial.md"):
                _do(reader, block)
                if reader.wrong:  # what comes after it would be wrong as well
                    break
            return reader.wrong
    finally:  # as the page says; but a page may be wrong
        stop = ["redis-cli", "-p", here["6379"], "shutdown", "nosave"]
        subprocess.run(stop, capture_output=True, check=False)


def _do(reader: Reader, block: Block) -> None:
    if block.before == SECOND_TERMINAL:
        ((command, _),) = sample(block)
        reader.stay(f"{command} 8000")
    else:
        reader.follow(block)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    empty = tmp_path / "project"
    empty.mkdir()
    return empty


def test_the_tutorial_does_what_it_says(folder):
    text = PAGE.read_text(encoding="utf-8")
    if django.VERSION >= (6, 1):  # as the page says
        text = re.sub(r"(?<=manage\.py checkdeploy\n)i.*?(?=```)", MAILER, text, flags=re.DOTALL)
    assert followed(text, folder) == []
    assert (folder / "shop" / "settings.py").read_text().count("resilience.") == 2


@pytest.mark.parametrize(
    ("shown", "instead"),
    [
        ("$ python manage.py migrate --verbosity 0", "$ python manage.py migrates"),
        ("PASS: 0 errors", "PASS: 0 problems"),
        ('"resilience"]', '"resiliense"]'),
    ],
)
def test_a_page_that_is_wrong_is_found__twin(shown, instead, folder):
    first, lesson, *_ = PAGE.read_text(encoding="utf-8").split("\n## ")
    broken = f"{first}\n## {lesson}".replace(shown, instead, 1)
    assert broken != f"{first}\n## {lesson}"
    assert followed(broken, folder) != []
