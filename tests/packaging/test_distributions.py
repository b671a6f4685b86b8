"""What is published: the right files, valid metadata, a wheel that works where nothing else is."""

from __future__ import annotations

import re
import shutil
import tarfile
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.metadata import InvalidMetadata, Metadata
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.packaging import built
from tests.processes import ROOT, Ended, run

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
INFO = f"django_resilience_ops-{PROJECT['version']}"
EXTRAS = ("langchain", "langsmith", "postgres", "rehearse")


def names(archive: Path) -> set[str]:
    """The files of a distribution, below its outermost folder if it is a source distribution."""
    if archive.suffix == ".whl":
        return set(zipfile.ZipFile(archive).namelist())
    with tarfile.open(archive) as file:
        return {name.partition("/")[2] for name in file.getnames()}


def of_the_package() -> set[str]:
    """What belongs into a wheel: every file of the package that is source."""
    found = (path for path in (ROOT / "resilience").rglob("*") if path.is_file())
    return {str(path.relative_to(ROOT)) for path in found if path.suffix != ".pyc"}


def astray(inside: set[str]) -> set[str]:
    """What nobody wants to download: tests, caches, secrets, databases, the example."""
    odd = re.compile(
        r"(^|/)(tests?|opsproject|docs|benchmarks|scripts|\.env[^/]*|__pycache__|\.[a-z]+_cache|"
        r"\.git|\.hypothesis|\.venv[^/]*)(/|$)|\.(py[co]|sqlite3|key|pem|log|orig|rej|patch)$"
    )
    return {name for name in inside if odd.search(name)}


# ── files ───────────────────────────────────────────────────────────────────────────────────────


def test_the_wheel_has_the_package_and_nothing_else():
    inside = names(built.wheel())
    told = {f"{INFO}.dist-info/{name}" for name in ("METADATA", "WHEEL", "RECORD")}
    assert inside == of_the_package() | told | {f"{INFO}.dist-info/licenses/LICENSE"}
    assert astray(inside) == set()
    for name in (
        "py.typed",
        "findings.md",
        "templates/resilience/status.html",
        "templates/resilience/page.css",
        "history/migrations/0001_initial.py",
        "management/commands/checkdeploy.py",
    ):
        assert f"resilience/{name}" in inside, name


def test_the_source_distribution_has_what_builds_the_same_wheel():
    inside = names(built.sdist())
    assert inside - {""} - of_the_package() == {
        ".gitignore",  # hatchling's own: it says what a later build of this tree leaves out
        "LICENSE",
        "PKG-INFO",
        "README.md",
        "pyproject.toml",
    }
    assert astray(inside) == set()
    first, second = (zipfile.ZipFile(each) for each in (built.wheel(), built.wheel_of_sdist()))
    assert {i.filename: i.CRC for i in first.infolist()} == {
        i.filename: i.CRC for i in second.infolist()
    }


def test_what_lies_about_in_a_working_copy_is_not_published(tmp_path):
    """The twin of ``astray``: a copy of the tree with all of it, built."""
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "resilience", source / "resilience")
    litter = (
        ".env",
        "resilience/.env",
        "resilience/.env.local",
        "resilience/__pycache__/boot.cpython-311.pyc",
        "resilience/.mypy_cache/CACHEDIR.TAG",
        "tests/test_nothing.py",
        "db.sqlite3",
    )
    for name in litter:
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_text("SECRET_KEY=hunter2hunter2\n")
    assert astray(set(litter)) == set(litter)
    for kind in ("wheel", "sdist"):
        made = built.build(tmp_path / kind, f"--{kind}", source)
        assert names(made) == names(getattr(built, kind)())


# ── metadata ────────────────────────────────────────────────────────────────────────────────────


def test_the_metadata_are_valid():
    with zipfile.ZipFile(built.wheel()) as file:
        text = file.read(f"{INFO}.dist-info/METADATA")
    said = Metadata.from_email(text, validate=True)
    assert (said.name, str(said.version)) == (PROJECT["name"], PROJECT["version"])
    assert said.summary == PROJECT["description"]
    assert (said.license_expression, said.license_files) == ("MIT", ["LICENSE"])
    assert (said.description_content_type, str(said.requires_python)) == ("text/markdown", ">=3.11")
    assert str(said.description) == (ROOT / "README.md").read_text(encoding="utf-8")
    assert tuple(sorted(said.provides_extra or ())) == EXTRAS
    with pytest.raises((InvalidMetadata, ExceptionGroup)):
        Metadata.from_email(text.replace(b"\nVersion: ", b"\nVersion: one."), validate=True)


def test_the_classifiers_name_what_is_tested():
    """No Python and no Django that requirements and matrix do not know."""
    said = PROJECT["classifiers"]
    pythons = [each.rpartition(" ")[2] for each in said if re.search(r"Python :: 3\.\d+$", each)]
    djangos = [each.rpartition(" ")[2] for each in said if re.search(r"Django :: \d", each)]
    matrix = (ROOT / "scripts" / "test-matrix").read_text()
    assert all(each in matrix for each in (*pythons, *djangos))
    assert pythons[0] == PROJECT["requires-python"].removeprefix(">=")
    assert Requirement("django>=" + djangos[0]) in map(Requirement, PROJECT["dependencies"])


# ── an empty environment ────────────────────────────────────────────────────────────────────────


def in_it(*arguments: str, cwd: Path, **variables: str) -> Ended:
    return run(built.bare_python(), *arguments, cwd=cwd, variables=variables)


def installed() -> dict[str, metadata.Distribution]:
    """What the environment has, by its name as an index spells it."""
    site = str(built.installed(built.bare_python).parent)
    return {canonicalize_name(each.name): each for each in metadata.distributions(path=[site])}


def needed(there: dict[str, metadata.Distribution], *extras: str) -> list[Requirement]:
    """All that the wheel requires, step by step, on this Python. KeyError names what lacks."""
    waiting = [("django-resilience-ops", extra) for extra in ("", *extras)]
    seen: set[tuple[str, str]] = set()
    found = []
    while waiting:
        each = waiting.pop()
        if each in seen:
            continue
        seen.add(each)
        for text in there[each[0]].requires or ():
            need = Requirement(text)
            if need.marker is None or need.marker.evaluate({"extra": each[1]}):
                found.append(need)
                waiting += [(canonicalize_name(need.name), wish) for wish in ("", *need.extras)]
    return found


def required(there: dict[str, metadata.Distribution], *extras: str) -> set[str]:
    """The wheel and the names of all that it requires."""
    names = {canonicalize_name(need.name) for need in needed(there, *extras)}
    return names | {"django-resilience-ops"}


def test_the_empty_environment_has_what_is_required_and_nothing_else():
    there = installed()
    assert set(there) == required(there)
    assert not set(there) & {"pip", "pytest", "langsmith", "requests", "psycopg", "trustme"}
    with pytest.raises(KeyError, match="trustme"):
        required(there, "rehearse")


# The parser of each command, as --help shows it.
HELPED = """
import os
import django
from django.core.management import load_command_class
os.environ["DJANGO_SETTINGS_MODULE"] = "shop.settings"
django.setup()
for name in ("checkredis", "checktls", "auditimports", "rehearse"):
    load_command_class("resilience", name).print_help("manage.py", name)
"""


def test_it_works_where_nothing_else_is(tmp_path):
    assert in_it("-m", "django", "startproject", "shop", ".", cwd=tmp_path).code == 0
    settings = tmp_path / "shop" / "settings.py"
    settings.write_text(settings.read_text() + 'INSTALLED_APPS += ["resilience"]\n')
    ended = in_it("-m", "resilience", "checkdeploy", "--format", "json", cwd=tmp_path)
    assert (ended.err, ended.report["verdict"]) == ("", "pass" if not ended.code else "fail")
    assert {root for root, _ in ended.roots} <= {"mail.E001"}, "Django's own, of its startproject"
    assert "cache.local-only" in ended.ids
    helped = in_it("-c", HELPED, cwd=tmp_path)
    assert (helped.code, helped.err, helped.out.count("usage: ")) == (0, "", 4)
    explained = in_it("-m", "resilience", "checkdeploy", "--explain", "tcp.refused", cwd=tmp_path)
    assert explained.out.startswith("tcp.refused\n")
    assert in_it("manage.py", "migrate", "-v", "0", cwd=tmp_path).code == 0


# ── extras ──────────────────────────────────────────────────────────────────────────────────────


def unmet(there: dict[str, metadata.Distribution]) -> list[str]:
    """What the version that is there does not do for, with every extra."""
    return [
        str(need)
        for need in needed(there, *EXTRAS)
        if not need.specifier.contains(there[canonicalize_name(need.name)].version, True)
    ]


def test_the_extras_fit_together(tmp_path):
    """The environment of the tests has one version of each package that all of them take.

    pip would need 7 s of a processor to find one by itself.
    """
    ours = {canonicalize_name(each.name): each for each in metadata.distributions()}
    there = ours | {"django-resilience-ops": installed()["django-resilience-ops"]}
    assert unmet(there) == []
    direct = {
        canonicalize_name(Requirement(each).name)
        for needs in PROJECT["optional-dependencies"].values()
        for each in needs
    }
    assert direct == {"langchain-openai", "langsmith", "psycopg", "trustme"}
    assert required(there, *EXTRAS) > direct | {"psycopg-binary"}
    old = tmp_path / "langsmith-0.1.dist-info"
    old.mkdir()
    (old / "METADATA").write_text("Metadata-Version: 2.1\nName: langsmith\nVersion: 0.1\n")
    assert any(
        each.startswith("langsmith")
        for each in unmet(there | {"langsmith": metadata.Distribution.at(old)})
    )


def test_the_extras__twin__one_that_no_index_has_is_told():
    asked = built.wheel().as_uri()
    with pytest.raises(AssertionError, match=r"(?s)need a package index.*certifi"):
        built.pip("install", "--dry-run", "--ignore-installed", "--no-index", asked)


TRACING = """
RESILIENCE = {"COMPONENTS": {
    "tracing": {"BACKEND": "resilience.components.langsmith.Client"},
    "chat": {"BACKEND": "langchain_openai.ChatOpenAI", "PACKAGES": ["langchain-openai>=1"]},
}}
"""
POSTGRES = 'DATABASES["default"] = {"ENGINE": "django.db.backends.postgresql", "NAME": "shop"}\n'
SECURE_REDIS = """
CACHES = {"default": {
    "BACKEND": "resilience.cache.ResilientCache", "LOCATION": "rediss://cache.example:6379/0"}}
"""


@pytest.mark.parametrize(
    ("settings", "command", "words"),
    [
        (TRACING, ["checkdeploy", "components"], "pip install 'django-resilience-ops[langsmith]'"),
        (POSTGRES, ["checkdeploy"], "pip install 'django-resilience-ops[postgres]'"),
        (
            SECURE_REDIS,
            ["rehearse", "--scenario", "redis-refused"],
            "pip install 'django-resilience-ops[rehearse]'",
        ),
    ],
    ids=["langsmith", "postgres", "rehearse"],
)
def test_without_an_extra_one_sentence_says_what_to_install(settings, command, words, tmp_path):
    assert in_it("-m", "django", "startproject", "shop", ".", cwd=tmp_path).code == 0
    file = tmp_path / "shop" / "settings.py"
    file.write_text(file.read_text() + 'INSTALLED_APPS += ["resilience"]\n' + settings)
    ended = in_it("-m", "resilience", *command, cwd=tmp_path)
    said = " ".join((ended.out + ended.err).split())
    assert said.count(words) == 1, said
    assert "Traceback" not in said
