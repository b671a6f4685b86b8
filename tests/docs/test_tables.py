"""The tables of docs/reference say what the code says."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

import resilience
from resilience import catalogue
from resilience.conf import Conf
from resilience.rehearse.scenarios import SCENARIOS
from tests.docs import tables, variables
from tests.docs.blocks import parse
from tests.processes import ROOT

PACKAGE = Path(resilience.__file__).parent
HINT = "run scripts/docs tables"


@pytest.mark.parametrize("page", tables.pages(), ids=lambda page: page.stem)
def test_a_table_is_fresh(page):
    text = page.read_text(encoding="utf-8")
    assert tables.renewed(text) == text, HINT


def test_every_table_has_its_place():
    places = [
        name for page in tables.pages() for name in re.findall(r"table: ([\w-]+)", page.read_text())
    ]
    assert sorted(places) == sorted(tables.TABLES)


@pytest.mark.parametrize(
    ("fresh", "stale"), [("`0.25`", "`0.5`"), ("`OPERATION_T", "`OPERATION_D")]
)
def test_a_table_that_is_not_fresh_is_seen__twin(fresh, stale):
    text = (tables.PAGES / "settings.md").read_text(encoding="utf-8")
    assert fresh in text
    assert tables.renewed(text.replace(fresh, stale)) == text


def test_a_key_without_a_meaning_and_a_table_of_no_name_are_refused__twin(monkeypatch):
    monkeypatch.delitem(tables.CACHE, "STRICT")
    with pytest.raises(ValueError, match="STRICT"):
        tables.TABLES["cache"]()
    with pytest.raises(KeyError):
        tables.renewed("<!-- table: nothing -->\n<!-- end of table -->")


def test_every_finding_has_levels_and_a_sentence():
    for identifier, entry in catalogue.entries().items():
        levels, said = tables.first_sentences(entry)
        assert re.match(r"(OK|Info|Warning|Error)\b", levels), identifier
        assert said.endswith((".", ":")), identifier


# Variables

DECLARED = {name for known in variables.KNOWN.values() for name in known}


def undeclared(package: Path) -> set[str]:
    """Variables that are read and on no list, and modules that read computed names unannounced."""
    found = set(variables.reads(package))
    literal = {name for _, name in found if name}
    computed = {module for module, name in found if not name}
    switches = {
        name
        for path in package.rglob("*.py")
        for name in re.findall(r'"(RESILIENCE_[A-Z_]+)"', path.read_text(encoding="utf-8"))
    }
    return (literal | switches) - DECLARED - {"RESILIENCE_REHEARSAL"} | computed - set(
        variables.COMPUTED
    )


def test_every_variable_that_is_read_is_on_the_page():
    assert undeclared(PACKAGE) == set()
    computed = {module for module, name in variables.reads(PACKAGE) if not name}
    assert set(variables.COMPUTED) - computed == set(), "these read no computed name any more"


@pytest.mark.parametrize(
    "read",
    [
        'os.environ.get("NEW")',
        'os.environ["NEW"]',
        'os.getenv("NEW", "")',
        'x = "NEW" in os.environ',
        'X = "NEW"\nos.environ.get(X)',
        'around.environ.pop("NEW", None)',
        'environ.get("NEW")',
    ],
)
def test_a_variable_that_is_on_no_page_is_found__twin(tmp_path, read):
    (tmp_path / "module.py").write_text(read)
    assert undeclared(tmp_path) == {"NEW"}


@pytest.mark.parametrize(
    "read", ["os.environ.get(name)", "next(map(os.environ.get, names))", 'os.environ[f"{a}_B"]']
)
def test_a_computed_name_in_a_new_module_is_found__twin(tmp_path, read):
    (tmp_path / "module.py").write_text(read)
    assert undeclared(tmp_path) == {"module"}


# Pages with tables of their own


def test_the_page_of_rehearsals_has_every_scenario():
    page = (tables.PAGES / "rehearse.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w-]+)` \|.*\|([^|]*)\|$", page, re.MULTILINE)
    shown = {name: set(re.findall(r"`([\w.-]+)`", ids)) for name, ids in rows}
    assert shown == {each.name: set(each.expects) for each in SCENARIOS}


def test_the_readme_has_every_key_of_the_settings():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    block = next(each for each in parse(readme) if '"BACKGROUND"' in each.text)
    shown = re.findall(r'^    "([A-Z_]+)"', block.text, re.MULTILINE)
    assert set(shown) == {each.name for each in fields(Conf)}
