"""Every seeded fault is found at its line, and its mended twin gives no finding."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from resilience import audit
from resilience.findings import Finding
from tests.audit.cases import CASES, HELPERS, Case

ENVIRON = {"PATH": os.environ["PATH"], "SHOP_KEY": "canary-3f9a1c"}
each_case = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
By = dict[str, list[Finding]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``bad_NAME.py`` and ``good_NAME.py`` of every case, and what they import."""
    folder = tmp_path_factory.mktemp("cases")
    for case in CASES:
        (folder / f"bad_{case.name}.py").write_text(case.text)
        (folder / f"good_{case.name}.py").write_text(case.mended)
    for name, text in HELPERS.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def traced(folder: Path) -> By:
    """Findings by module, source and trace joined; all cases in one child, a fork for each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        names = [file.stem for file in sorted(folder.glob("*_*.py")) if "shop" not in file.stem]
        found = audit.trace(*names, settings="", environ=ENVIRON, seconds=60)
    return _by_module(found)


@pytest.fixture(scope="module")
def scanned(folder: Path) -> By:
    return _by_module(audit.scan([folder]))


def _by_module(found: list[Finding]) -> By:
    by: By = {}
    for finding in found:
        by.setdefault(finding.subject, []).append(finding)
    return by


def test_there_are_thirty_and_every_id_is_among_them():
    assert len(CASES) >= 30
    assert len({case.name for case in CASES}) == len(CASES)
    assert {case.id.removeprefix("audit.") for case in CASES} == set(
        "import-read import-read-unset frozen-read import-client import-network import-thread "
        "swallowed-import".split()
    )


@each_case
def test_a_fault_is_found_once_at_its_line(case, traced, folder):
    (found,) = traced[f"bad_{case.name}"]
    assert (found.id, str(found.level)) == (case.id, case.level)
    assert found.location == f"{folder}/bad_{case.name}.py:{case.line}"
    assert found.hint


@each_case
def test_a_fault__twin__mended_it_is_none(case, traced):
    assert traced.get(f"good_{case.name}") is None


@each_case
def test_the_source_alone_shows_it_or_is_known_not_to(case, scanned, folder):
    found = scanned.get(f"bad_{case.name}", [])
    if case.source:
        assert [one.id for one in found] == [case.id]
        assert found[0].location == f"{folder}/bad_{case.name}.py:{case.line}"
    elif found:  # the source cannot tell whether a variable is set
        assert {one.id for one in found} == {"audit.import-read"}
        assert case.id == "audit.import-read-unset"


@each_case
def test_the_source_alone__twin(case, scanned):
    assert scanned.get(f"good_{case.name}") is None


def test_no_value_is_in_any_finding(traced):
    assert "canary-3f9a1c" not in repr(traced)


def test_no_value__twin__the_variable_was_there(traced):
    (found,) = traced["bad_read_subscript"]
    assert "SHOP_KEY" in found.summary
    assert "not_set" not in found.facts


def test_both_places_are_told(traced, folder):
    """The line of the body, and the line that reads: a wrapper hides the cause."""
    (found,) = traced["bad_read_other_module"]
    assert found.facts["reads"] == f"SHOP_KEY at {folder}/shop_lib.py:6"
    (found,) = traced["bad_client_with_its_key"]
    assert str(found.facts["reads"]).startswith("SHOP_KEY at ")
    assert found.facts["seen_in"] == "source and trace"


def test_a_copy_of_the_environment_is_one_name(traced):
    (found,) = traced["bad_read_everything"]
    assert found.summary.startswith("the whole environment is read")
    assert "SHOP_KEY" not in str(found.facts["reads"])


def test_the_line_that_loads_too_late_is_named(traced, folder):
    (found,) = traced["bad_unset_then_loaded"]
    place = f"{folder}/bad_unset_then_loaded.py:4"
    assert f"{place} sets it only afterwards" in found.summary
    assert found.facts["set_later"] == f"SHOP_LATE at {place}"


def test_a_cases_line_is_where_its_mark_is():
    case = Case("x", "audit.import-read", "\n    a = 1\n    b = 2  # <-\n", "")
    assert case.line == 2
