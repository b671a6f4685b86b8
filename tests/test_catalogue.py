"""The catalogue of findings, the code that produces them, and ``--explain`` say the same."""

from __future__ import annotations

import ast
import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import call_command

from resilience import catalogue
from resilience.errors import UsageError

PACKAGE = Path(catalogue.__file__).parent
PAGE = PACKAGE / "findings.md"
# In the order of the report. An id of another area fails test_every_finding_is_of_a_known_area.
AREAS = tuple(
    (
        "conf django env hosting cache redis dns tcp tls langsmith components audit database "
        "deploy instances rehearse probe"
    ).split()
)
ID = re.compile(rf"(?:{'|'.join(AREAS)})\.[a-z0-9]+(?:-[a-z0-9]+)*")
IMPORTERS = {"import_module", "import_string", "getLogger"}


def ids_in_code(folder: Path) -> set[str]:
    """Every finding id that the modules of a folder can produce.

    An id is a string constant that as a whole reads ``area.slug``, with an area of ``AREAS`` and a
    slug of lower-case words joined by hyphens. Wherever it stands it counts: as an argument, in a
    table, in a comparison. So an id is always written out, never put together from pieces. What
    has the form and is no id:

    - a docstring, or any other string that is a statement of its own;
    - a literal piece of an f-string;
    - a module path, that is an argument of one of ``IMPORTERS``;
    - a prefix, that is an argument of ``startswith`` or assigned to a name that is one.
    """
    return {found for path in folder.rglob("*.py") for found in _ids_of(_parse(path))}


def levels_in_code(folder: Path) -> set[tuple[str, str]]:
    """Every id that stands beside a written-out level in a call of ``Finding``, with that level."""
    return {
        (call.args[0].value, call.args[1].attr.lower())
        for call in _findings(folder)
        if isinstance(call.args[0], ast.Constant)
        and isinstance(call.args[0].value, str)
        and isinstance(call.args[1], ast.Attribute)
    }


def unmatched(code: set[str], page: set[str]) -> dict[str, str]:
    """Each id that only one side has, and what that side is."""
    return dict.fromkeys(code - page, "only in code") | dict.fromkeys(page - code, "only on page")


def levels_of(entry: str) -> set[str]:
    """The levels that the first sentence of an entry names; none if it begins with another word."""
    first = re.match(r"(?:OK|Info|Warning|Error)\b[^.]*\.(?=\s|$)", entry)
    return set(re.findall(r"\b(?:ok|info|warning|error)\b", first[0].lower())) if first else set()


def _parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _ids_of(tree: ast.Module) -> Iterator[str]:
    prefixes = {
        argument.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and _name(node) == "startswith"
        for argument in node.args
        if isinstance(argument, ast.Name)
    }
    passed_over = {
        id(node)
        for parent in ast.walk(tree)
        for expression in _no_ids(parent, prefixes)
        for node in ast.walk(expression)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and id(node) not in passed_over:
            value = node.value
            yield from [value] if isinstance(value, str) and ID.fullmatch(value) else []


def _no_ids(node: ast.AST, prefixes: set[str]) -> list[ast.expr]:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return [node.value]
    if isinstance(node, ast.JoinedStr):
        return [value for value in node.values if isinstance(value, ast.Constant)]
    if isinstance(node, ast.Call) and _name(node) in {*IMPORTERS, "startswith"}:
        return node.args
    if isinstance(node, ast.Assign) and {ast.unparse(each) for each in node.targets} & prefixes:
        return [node.value]
    return []


def _name(call: ast.Call) -> str:
    return str(getattr(call.func, "id", None) or getattr(call.func, "attr", ""))


def _findings(folder: Path) -> Iterator[ast.Call]:
    for path in folder.rglob("*.py"):
        for node in ast.walk(_parse(path)):
            if isinstance(node, ast.Call) and _name(node) == "Finding":
                yield node


# Code and page


def test_code_and_page_have_the_same_ids():
    assert unmatched(ids_in_code(PACKAGE), set(catalogue.entries())) == {}


def test_an_id_that_only_one_side_has_is_caught(tmp_path):
    (tmp_path / "probe.py").write_text('FOUND = ("redis.made-up", "redis.ok")\n')

    assert unmatched(ids_in_code(tmp_path), {"redis.ok", "tls.invented"}) == {
        "redis.made-up": "only in code",
        "tls.invented": "only on page",
    }


@pytest.mark.parametrize(
    "source",
    [
        '"""redis.ok"""',
        'def f():\n    """redis.ok"""',
        'LIMIT = 1\n"""redis.ok"""',
        'f"redis.ok{1}"',
        'import_module("redis.client")',
        'importlib.import_module("redis.client")',
        'found.id.startswith("tls.bundle")',
        'found.id.startswith(("tls.bundle", "tls.client-cert"))',
        'known = ("redis.exceptions", "redis.client")\nname.startswith(known)',
        'x = "resilience.redis.ok"',
        'x = "redis.ok is an id"',
        'x = "redis.localhost:6379/0"',
        'x = "redis.AuthMissing"',
        'x = "databases.default"',
        'x = "pyproject.toml"',
    ],
)
def test_what_only_looks_like_an_id_is_none(tmp_path, source):
    (tmp_path / "module.py").write_text(source)

    assert ids_in_code(tmp_path) == set()


def test_what_only_looks_like_an_id__twin(tmp_path):
    (tmp_path / "module.py").write_text(
        'known = ("redis.ok",)\nother.startswith(x)\nf(f"{find(\'tls.expired\')}")\n'
        'Finding("tcp.refused").show("dns.failed")\n'
    )

    assert ids_in_code(tmp_path) == {"redis.ok", "tls.expired", "tcp.refused", "dns.failed"}


def test_every_finding_is_of_a_known_area():
    written_out = {
        call.args[0].value for call in _findings(PACKAGE) if isinstance(call.args[0], ast.Constant)
    }

    assert written_out
    assert {found for found in written_out if not ID.fullmatch(str(found))} == set()


def test_the_page_has_the_order_of_the_report():
    sections = re.findall(r"^## (.+)$", PAGE.read_text(), re.MULTILINE)
    areas = [found.partition(".")[0] for found in catalogue.entries()]

    assert sections == list(AREAS)
    assert areas == sorted(areas, key=AREAS.index)


def test_the_ok_of_an_area_is_its_last_entry():
    known = list(catalogue.entries())

    for area in AREAS:
        of_area = [found for found in known if found.startswith(f"{area}.")]
        assert f"{area}.ok" not in of_area[:-1]


def test_an_entry_stands_under_its_area():
    page = PAGE.read_text()
    lines = re.findall(r"^(?:## (\w+)|### `([^`]+)`)$", page, re.MULTILINE)
    area, astray = "", []
    for section, found in lines:
        area = section or area
        if found and not found.startswith(f"{area}."):
            astray.append(found)

    assert astray == []
    assert len(re.findall(r"^### ", page, re.MULTILINE)) == len(catalogue.entries())


def test_the_page_of_the_docs_is_the_same_file():
    assert (PACKAGE.parent / "docs" / "findings.md").resolve() == PAGE


# Every entry

LEVELS_IN_CODE = levels_in_code(PACKAGE)
entry_of_each_id = pytest.mark.parametrize(
    ("identifier", "entry"), catalogue.entries().items(), ids=list(catalogue.entries())
)


@entry_of_each_id
def test_an_entry_begins_with_its_levels(identifier, entry):
    in_code = {level for found, level in LEVELS_IN_CODE if found == identifier}

    assert levels_of(entry)
    assert in_code <= levels_of(entry)
    fine = identifier.endswith(".ok") or identifier == "components.not-loaded"
    assert (levels_of(entry) == {"ok"}) == fine


@entry_of_each_id
def test_an_entry_of_a_problem_names_a_fix(identifier, entry):
    if levels_of(entry) & {"warning", "error"}:
        assert re.search(r"^Fix: \S", entry, re.MULTILINE)


@entry_of_each_id
def test_an_entry_is_short(identifier, entry):
    assert len([line for line in entry.splitlines() if line]) <= 16


@pytest.mark.parametrize(
    ("entry", "levels"),
    [
        ("Error. It is broken.", {"error"}),
        ("OK. No error.", {"ok"}),
        ("Info on a laptop; warning\non a platform. An error.", {"info", "warning"}),
        ("It is an error.", set()),
        ("Errors happen.", set()),
    ],
)
def test_levels_are_those_of_the_first_sentence(entry, levels):
    assert levels_of(entry) == levels


def test_the_page_reads_well_in_a_terminal():
    page = PAGE.read_text(encoding="utf-8")

    assert [line for line in page.splitlines() if len(line) > 80 or line != line.rstrip()] == []
    assert page.isascii()  # a terminal without UTF-8 must be able to print it
    assert re.findall(r"^\||^\s*<\w", page, re.MULTILINE) == []  # no tables, no HTML
    assert page.count("\n```") % 2 == 0


def test_no_entry_offers_to_switch_verification_off():
    # The one entry about this very mistake has to name it.
    told = catalogue.entries()["tls.insecure"]
    page = PAGE.read_text().replace(told, "").lower()

    assert "ssl_cert_reqs=none" in told
    for word in ("cert_none", "cert_reqs", "check_hostname", "seclevel", "verify=false"):
        assert word not in page


# What --explain prints


def test_explain_gives_the_entry_under_its_id():
    assert catalogue.explain("redis.auth-missing") == (
        "redis.auth-missing\n\n" + catalogue.entries()["redis.auth-missing"]
    )


@entry_of_each_id
def test_the_command_explains_every_id(identifier, entry):
    out = io.StringIO()
    call_command("checkdeploy", "--explain", identifier, stdout=out)
    assert out.getvalue() == f"{identifier}\n\n{entry}\n"


def test_explain_knows_an_id_as_django_writes_it():
    assert catalogue.explain("resilience.tcp.timeout") == catalogue.explain("tcp.timeout")


def test_an_entry_ends_before_the_next_area():
    assert "##" not in catalogue.explain("env.ok")


def test_explain_suggests_the_nearest_id():
    with pytest.raises(UsageError) as caught:
        catalogue.explain("redis.auth-mising")

    assert str(caught.value) == (
        "redis.auth-mising is not the id of a finding. Did you mean 'redis.auth-missing'?"
    )


def test_explain_suggests_nothing_for_something_else():
    with pytest.raises(UsageError) as caught:
        catalogue.explain("xyzzy")

    assert str(caught.value) == "xyzzy is not the id of a finding."


@pytest.mark.parametrize(
    "odd",
    [
        "redis://:hunter2@localhost/0",
        "\x1b[31mredis.ok",
        "redis.ok\n",
        "redis auth",
        "<b>",
        "a" * 61,
    ],
)
def test_explain_never_repeats_odd_input(odd):
    with pytest.raises(UsageError) as caught:
        catalogue.explain(odd)

    assert str(caught.value).startswith("That is not the id of a finding.")
    assert odd not in str(caught.value)


def test_explain_needs_more_than_nothing():
    with pytest.raises(UsageError, match=r"^That is not the id of a finding\.$"):
        catalogue.explain("")


@pytest.mark.parametrize("identifier", ["security.W009", "models.E001", "4_0.E001"])
def test_explain_refers_to_djangos_page_for_djangos_ids(identifier):
    with pytest.raises(UsageError, match=r"https://docs\.djangoproject\.com/\S+/ref/checks/") as no:
        catalogue.explain(identifier)

    assert str(no.value).startswith(identifier)
