"""The how-to pages that tests follow, each in a new project."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.docs.blocks import Block, parse
from tests.docs.following import Reader, consoles
from tests.processes import ROOT


class Guide(Reader):
    """Somebody who follows one page of how-to; every console block of it, by the end."""

    def __init__(
        self, name: str, folder: Path, here: Mapping[str, str], variables: Mapping[str, str]
    ) -> None:
        super().__init__(folder, here=here, variables=variables)
        self.text = (ROOT / name).read_text(encoding="utf-8")
        self.blocks = list(parse(self.text, name))

    def of(self, language: str) -> list[Block]:
        """The blocks of one language, in order."""
        return [block for block in self.blocks if block.language == language]

    def append(self, name: str, text: str) -> None:
        """What the reader had in a file before, or has beside what the page says."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text((path.read_text() if path.exists() else "") + text)

    def rows(self, first: str) -> list[list[str]]:
        """The cells below the heading of the table whose first column is called so."""
        lines = iter(self.text.splitlines())
        for line in lines:
            if line.startswith(f"| {first} |" if first else "| |"):
                break
        next(lines)
        found = []
        for line in lines:
            if not line.startswith("|"):
                break
            found.append([cell.strip() for cell in line.strip("|").split(" | ")])
        return found


@contextmanager
def following(
    name: str,
    project: Path,
    folder: Path,
    *,
    here: Mapping[str, str] | None = None,
    variables: Mapping[str, str] | None = None,
) -> Iterator[Guide]:
    """A copy of a project and the page; AssertionError for what differs or was left out."""
    shutil.copytree(project, folder)
    with Guide(name, folder, here or {}, variables or {}) as guide:
        yield guide
    assert guide.wrong == [], "\n".join(guide.wrong)
    assert [block for block in guide.followed if block.language == "console"] == consoles(
        guide.blocks
    ), "a block was left out"
