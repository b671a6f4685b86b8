"""The sections of ``docs/how-to/adopt.md`` as steps; ``tests/docs/following.py`` does them."""

from __future__ import annotations

from dataclasses import dataclass

from tests.docs.blocks import Block, parse
from tests.processes import ROOT

NAME = "docs/how-to/adopt.md"
PAGE = ROOT / NAME


@dataclass(frozen=True)
class Step:
    """One section of the page."""

    title: str
    blocks: tuple[Block, ...]

    @property
    def edits(self) -> tuple[Block, ...]:
        """What belongs into files."""
        return tuple(block for block in self.blocks if block.language != "console")

    @property
    def commands(self) -> tuple[Block, ...]:
        """What is typed."""
        return tuple(block for block in self.blocks if block.language == "console")


def steps(page: str) -> list[Step]:
    """The sections of a page that have blocks, in order; the first is what comes before them."""
    titles = {0: ""}
    for number, line in enumerate(page.splitlines(), 1):
        if line.startswith("## "):
            titles[number] = line.removeprefix("## ")
    found: dict[int, list[Block]] = {}
    for block in parse(page, NAME):
        found.setdefault(max(each for each in titles if each < block.line), []).append(block)
    return [Step(titles[at], tuple(blocks)) for at, blocks in found.items()]
