"""The documentation builds without a warning: every link, anchor and entry of the menu holds."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.processes import ROOT, Ended, run

DOCS = ROOT / "docs"


def build(source: Path, target: Path) -> Ended:
    """As scripts/docs does it."""
    options = ("--quiet", "--fail-on-warning", "--keep-going", "--builder", "html")
    command = (sys.executable, "-m", "sphinx", *options, "--conf-dir", str(DOCS))
    return run(*command, str(source), str(target), variables={})


def test_the_documentation_builds_strictly(tmp_path):
    ended = build(DOCS, tmp_path)
    assert (ended.code, ended.err) == (0, "")
    index = (tmp_path / "index.html").read_text(encoding="utf-8")
    pages = {str(path.relative_to(DOCS).with_suffix(".html")) for path in DOCS.rglob("*.md")}
    assert {page for page in pages if f'href="{page}"' not in index} == {"index.html"}
    outage = (tmp_path / "explanation" / "outage.html").read_text(encoding="utf-8")
    assert 'href="../findings.html' in outage, "a link to the linked page stays inside"
    assert "https://cdn" not in index
    assert "fonts.googleapis" not in index


def test_what_leads_nowhere_fails__twin(tmp_path):
    """A page, a heading there, a picture, a heading here, and a page that nothing lists."""
    source = tmp_path / "docs"
    source.mkdir()
    broken = "[a](no-page.md) [b](other.md#no-there) ![c](no-picture.png) [d](#no-here)"
    (source / "index.md").write_text(f"# A\n\n```{{toctree}}\nother\n```\n\n{broken}\n")
    (source / "other.md").write_text("# B\n")
    (source / "unlisted.md").write_text("# C\n")
    ended = build(source, tmp_path / "html")
    assert ended.code == 1
    for said in ("no-page.md", "no-there", "no-picture.png", "no-here", "unlisted.md"):
        assert said in ended.err


# The pages beside docs/, which are read as files only

BESIDE = ("README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md")


def dead_links(text: str) -> list[str]:
    """Targets of a page at the root that are no file, or no heading of it or of a Markdown file."""
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    return [link for link in links if "://" not in link and not _leads_somewhere(link, text)]


def _leads_somewhere(link: str, text: str) -> bool:
    path, _, anchor = link.partition("#")
    if path and not (ROOT / path).exists():
        return False
    there = (ROOT / path).read_text(encoding="utf-8") if path.endswith(".md") else text
    return not anchor or anchor in map(_anchor, re.findall(r"^#+ (.+)$", there, re.MULTILINE))


def _anchor(heading: str) -> str:
    """As GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("name", BESIDE)
def test_links_of_the_other_pages_lead_somewhere(name):
    assert dead_links((ROOT / name).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "link", ["docs/nothing.md", "#nowhere", "docs/reference/cache.md#nowhere", "docs/nothing"]
)
def test_a_link_that_leads_nowhere_is_found__twin(link):
    assert dead_links(f"# Here\n\n[a]({link}) [b](#here) [c](docs/findings.md#redis)") == [link]
