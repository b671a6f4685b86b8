"""The fenced blocks of README and docs/, and what each has to be.

A block of a language below is run by a test, or read by what reads it in earnest, or is preceded by
``<!-- not run: REASON -->``. Every other language (``text``) promises nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.processes import ROOT

LANGUAGES = frozenset("python console sh yaml toml json dockerfile ini".split())
DIRECTIVE = re.compile(r"\{[\w-]+\}")  # {toctree}: Sphinx reads it
_FENCE = re.compile(r"^( *)(```+) *(\S*) *$")
_EXCUSE = re.compile(r"<!-- not run: (.*?) -->")
_SHORTEST_EXCUSE = 3  # words


@dataclass(frozen=True)
class Block:
    """One block; ``line`` is that of its fence, ``excuse`` why it is neither run nor read.

    ``before`` is the last line of text in front of it.
    """

    page: str
    line: int
    language: str
    text: str
    excuse: str = ""
    before: str = ""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    """README and every page of docs/ but the decisions, which show no examples to follow."""
    found = [*(ROOT / "docs").glob("*.md"), *(ROOT / "docs").glob("*/*.md")]
    return [ROOT / "README.md", *sorted(each for each in found if each.parent.name != "decisions")]


def every_block() -> list[Block]:
    return [block for page in pages() for block in read(page)]


def read(page: Path) -> Iterator[Block]:
    """The blocks of one page. Raises ValueError for a fence that nothing closes."""
    name = str(page.relative_to(ROOT)) if page.is_relative_to(ROOT) else page.name
    yield from parse(page.read_text(encoding="utf-8"), name)


def parse(text: str, name: str = "page.md") -> Iterator[Block]:
    """As ``read``, of a text."""
    lines = text.splitlines()
    excuse, before, opened, begin, indent, language = "", "", "", 0, 0, ""
    for number, line in enumerate(lines, 1):
        fence = _FENCE.match(line)
        if opened:
            if fence and fence[2] == opened and not fence[3]:
                body = "\n".join(each[indent:] for each in lines[begin : number - 1])
                yield Block(name, begin, language, body + "\n", excuse, before)
                excuse, before, opened = "", "", ""
        elif fence:
            opened, begin, indent, language = fence[2], number, len(fence[1]), fence[3]
        elif said := _EXCUSE.fullmatch(line.strip()):
            excuse = said[1]
        elif line.strip():
            excuse, before = "", line.strip()  # an excuse speaks for the next block only
    if opened:
        raise ValueError(f"{name}:{begin}: nothing closes this block")


def is_excused(block: Block) -> bool:
    """Whether there is a reason, in words."""
    return len(block.excuse.split()) >= _SHORTEST_EXCUSE


def sample(block: Block) -> list[tuple[str, str]]:
    """Each command behind a ``$`` of a console block, and what is printed below it."""
    found = re.split(r"^\$ ", block.text, flags=re.MULTILINE)
    if found[0].strip():
        raise ValueError(f"{block}: the first line of a console block begins with '$ '")
    parts = (each.partition("\n") for each in found[1:])
    return [(command, printed.strip()) for command, _, printed in parts]


def normalised(text: str) -> str:
    """Without numbers, which are this machine's, and without the line ends that they shift."""
    text = re.sub(r"\d+(\.\d+)*", "N", text)
    return " ".join(re.sub(r"\bN (error|warning|cause)s?\b", r"N \1", text).split())


def agrees(shown: str, printed: str) -> bool:
    """Whether this was printed; a line ``…`` of what is shown stands for any lines."""
    parts = re.split(r"^…$", shown, flags=re.MULTILINE)
    pattern = ".*".join(re.escape(normalised(part)) for part in parts)
    return re.fullmatch(pattern.replace(r"\ ", r"\s*"), normalised(printed), re.DOTALL) is not None


def is_said(sentence: str, printed: str) -> bool:
    """Whether the sentence is in the text, anything in the place of each ``…``."""
    pattern = ".+?".join(re.escape(part) for part in sentence.split("…"))
    return re.search(pattern, printed) is not None
