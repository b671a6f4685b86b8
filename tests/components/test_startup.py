"""Starting a project declares components and imports none of their packages."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from django.apps import apps

from resilience import conf
from resilience.components import components
from resilience.components.discovery import discover
from resilience.errors import ComponentUnavailable
from resilience.findings import Level
from tests.components.parts import PART
from tests.processes import ROOT, run, write_project

# One package of the project, two that are installed and large, and parts of the standard library.
SETTINGS = """
SECRET_KEY = "x" * 60
INSTALLED_APPS = ["resilience", "blog"]
from resilience import env
RESILIENCE = {"COMPONENTS": {
    "llm": {"BACKEND": "langchain_openai.ChatOpenAI", "OPTIONS": {"api_key": env.ref("LLM_KEY")},
            "PACKAGES": ["langchain-openai>=1"], "REQUIRES": ["tracing"],
            "PROBE": "heavy.probe", "CLOSE": "heavy.close"},
    "tracing": {"BACKEND": "langsmith.Client"},
    "own": {"BACKEND": "heavy.Thing"},
    "colours": {"BACKEND": "colorsys.rgb_to_hls"},
    "wrong": {"BACKED": "wave.open"},
}}
"""
BLOG = 'COMPONENTS = {"blog.search": {"BACKEND": "chunk_heavy.Search"}, "own": {"BACKEND": "x.Y"}}'
PACKAGES = ["langchain_openai", "langsmith", "openai", "heavy", "chunk_heavy", "colorsys", "wave"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write_project(tmp_path, SETTINGS)
    (tmp_path / "heavy.py").write_text("class Thing: pass\n")
    (tmp_path / "chunk_heavy.py").write_text("class Search: pass\n")
    (tmp_path / "blog").mkdir()
    (tmp_path / "blog" / "__init__.py").touch()
    (tmp_path / "blog" / "components.py").write_text(BLOG)
    return tmp_path


def started(project: Path, then: str = "") -> dict[str, Any]:
    """``django.setup()`` in a process of its own, and what is imported afterwards."""
    code = (
        f"import sys; sys.path[:0] = [{str(project)!r}, {str(ROOT)!r}]\n"
        "import django; django.setup()\n"
        "import json\n"
        "from resilience.components import components\n"
        f"{then}\n"
        "states = {name: components.status(name).state for name in components}\n"
        f"found = sorted(set({PACKAGES}) & set(sys.modules))\n"
        "print(json.dumps({'imported': found, 'states': states}))"
    )
    variables = {"DJANGO_SETTINGS_MODULE": "site_settings"}
    ended = run(sys.executable, "-c", code, cwd=project, variables=variables)
    assert ended.code == 0, ended.err
    found: dict[str, Any] = json.loads(ended.out)
    return found


def test_setup_imports_no_package_of_a_component(project):
    found = started(project)
    assert found["imported"] == []
    assert found["states"] == {
        "blog.search": "not-loaded",
        "own": "not-loaded",
        "llm": "blocked",
        "tracing": "not-loaded",
        "colours": "not-loaded",
        "wrong": "blocked",
    }


def test_setup_imports__twin__using_one_imports_its_package_alone(project):
    found = started(project, 'components["own"]; components["blog.search"]')
    assert found["imported"] == ["chunk_heavy", "heavy"]
    assert found["states"]["own"] == "ready", "the settings win over the app"


def test_a_project_without_components_starts_as_before(tmp_path):
    write_project(tmp_path, 'SECRET_KEY = "x" * 60\nINSTALLED_APPS = ["resilience"]\n')
    assert started(tmp_path)["states"] == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import no_such_module_at_all", "No module named 'no_such_module_at_all'"),
        ("COMPONENTS = [1]", "must be a dictionary"),
        ("def f(:", "SyntaxError"),
        ("raise SystemExit", "SystemExit"),
    ],
)
def test_a_file_of_an_app_that_cannot_be_read_stops_nothing_and_is_named(
    project, text, said, monkeypatch, caplog
):
    app = f"shop_{project.name.replace('-', '_')}"  # no two tests import the same
    (project / app).mkdir()
    (project / app / "__init__.py").touch()
    (project / app / "components.py").write_text(text)
    monkeypatch.syspath_prepend(str(project))
    discover([import_module(app)])
    (why,) = components.broken().values()
    assert said in why
    assert app in caplog.text
    with pytest.raises(ComponentUnavailable, match=app):
        components["shop.search"]


def test_an_app_whose_components_module_is_something_else(tmp_path, monkeypatch, caplog):
    (tmp_path / "shop_html" / "components").mkdir(parents=True)
    (tmp_path / "shop_html" / "__init__.py").touch()
    (tmp_path / "shop_html" / "components" / "__init__.py").write_text("class Button: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    discover([import_module("shop_html")])
    assert (list(components), components.broken(), caplog.text) == ([], {}, "")


@pytest.mark.parametrize("named", [True, False])
def test_an_app_whose_components_module_came_from_no_finder(tmp_path, monkeypatch, named):
    (tmp_path / "shop_made").mkdir()
    (tmp_path / "shop_made" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    made = ModuleType("shop_made.components")
    if named:
        made.COMPONENTS = {"shop.search": {"BACKEND": PART}}  # type: ignore[attr-defined]
    del made.__spec__
    monkeypatch.setitem(sys.modules, made.__name__, made)
    discover([import_module("shop_made")])
    assert list(components) == (["shop.search"] if named else [])
    assert components.broken() == {}


def test_a_finder_that_fails_stops_nothing_and_is_named(tmp_path, monkeypatch):
    class Broken:
        @staticmethod
        def find_spec(name: str, *_: object) -> None:
            if name == "shop_found.components":
                raise ValueError("no finder for this")

    (tmp_path / "shop_found").mkdir()
    (tmp_path / "shop_found" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "meta_path", [Broken, *sys.meta_path])
    discover([import_module("shop_found")])
    assert "no finder for this" in components.broken()["shop_found.components"]


def test_an_app_that_is_a_single_file(tmp_path, monkeypatch):
    (tmp_path / "shop_single.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    discover([import_module("shop_single")])
    assert components.broken() == {}


# ── conf ────────────────────────────────────────────────────────────────────────────────────────


def ready() -> None:
    apps.get_app_config("resilience").ready()


def test_settings_reach_the_registry_and_changed_ones_too(settings):
    settings.RESILIENCE = {"COMPONENTS": {"a": {"BACKEND": PART}}}
    assert list(components) == ["a"]
    first = components["a"]
    ready()
    assert components["a"] is first, "a second ready() changes nothing"
    settings.ALLOWED_HOSTS = ["x"]
    assert components["a"] is first, "nor does another setting"
    settings.RESILIENCE = {"COMPONENTS": {"b": {"BACKEND": PART}}}
    assert list(components) == ["b"]
    settings.RESILIENCE = {}
    assert list(components) == []


@pytest.mark.parametrize("wrong", [[], None, "x"])
def test_components_that_are_no_dictionary(settings, wrong):
    settings.RESILIENCE = {"COMPONENTS": wrong}
    (problem,) = conf.problems()
    assert problem.id == "conf.invalid"
    assert problem.summary == "RESILIENCE['COMPONENTS']: must be a dictionary of components by name"
    assert list(components) == []
    assert dict(conf.get().COMPONENTS) == {}


def test_a_wrong_declaration_is_one_finding_with_the_nearest_spelling(settings):
    settings.RESILIENCE = {"COMPONENTS": {"llm": {"BACKED": PART}, "a": {"BACKEND": PART}}}
    (problem,) = conf.problems()
    assert (problem.id, problem.level, problem.subject) == (
        "conf.invalid",
        Level.ERROR,
        "components.llm",
    )
    assert problem.summary == "The declaration of component 'llm' has an unknown key 'BACKED'."
    assert problem.hint.endswith("Did you mean 'BACKEND'?")
    assert components["a"]


def test_a_component_may_be_critical(settings):
    declared = {"llm": {"BACKEND": PART}}
    settings.RESILIENCE = {"COMPONENTS": declared, "CRITICAL": ["components.llm"]}
    assert conf.problems() == ()
    settings.RESILIENCE = {"COMPONENTS": declared, "CRITICAL": ["components.lm"]}
    (problem,) = conf.problems()
    assert "Did you mean 'components.llm'?" in problem.summary
