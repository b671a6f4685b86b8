"""How Sphinx builds these pages: ``scripts/docs``. Nothing of the project is imported."""  # noqa: INP001 - Sphinx runs it, in no package

from __future__ import annotations

from pathlib import Path

from docutils.nodes import document
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx

project = "django-resilience-ops"
author = "the project's contributors"
extensions = ["myst_parser"]
html_theme = "furo"
html_title = project
html_show_copyright = False
html_show_sourcelink = False
html_copy_source = False
myst_heading_anchors = 4  # links to headings, as they work where the pages are read as files

# findings.md belongs to the package, and is a link here; Sphinx looks where it leads.
LINKED = (Path(__file__).parent / "findings.md").resolve().with_suffix("")


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("doctree-read", _back_to_the_link)


def _back_to_the_link(_app: Sphinx, tree: document) -> None:
    for reference in tree.findall(pending_xref):
        if reference["reftarget"] == str(LINKED):
            reference["reftarget"] = "findings"
