"""What did not see the files: frameworks and declarations that were there before ``load()``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.processes import ROOT, run, write_project

# As large SDKs do it: read while imported, one importing another.
FRAMEWORKS = {
    "openai": "import os\nKEY = os.environ.get('OPENAI_API_KEY')\n",
    "langchain_openai": "import openai, langsmith\n",
    "langsmith": "",
    "unwatched": "import os\nKEY = os.environ.get('OPENAI_API_KEY')\n",
}
LOAD = "from resilience import env\nenv.load()\n"
SETTINGS = (
    "from resilience import env\n"
    'SECRET_KEY = "x" * 60\nINSTALLED_APPS = ["resilience"]\n'
    'GREETING = env.str("GREETING", default="")\n'
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a package ``shop``, a ``.env``, and frameworks that are installed."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "site-packages").mkdir()
    for name, source in FRAMEWORKS.items():
        (tmp_path / "site-packages" / f"{name}.py").write_text(source)
    write_project(tmp_path, "")
    (tmp_path / ".env").write_text("GREETING=hello\nOPENAI_API_KEY=sk-hunter22\n")
    (tmp_path / "shop" / "__init__.py").write_text(LOAD)
    (tmp_path / "shop" / "settings.py").write_text(SETTINGS)
    return tmp_path


def write(project: Path, **files: str) -> None:
    for name, source in files.items():
        (project / "shop" / f"{name}.py").write_text(source)


def late(project: Path, *options: str, dotenv: bool = True) -> list[dict[str, Any]]:
    """The findings ``env.loaded-late`` of a report about this project."""
    if not dotenv:
        (project / ".env").unlink()
    ended = run(
        *(sys.executable, *options, "-m", "resilience", "checkdeploy", "env", "--format", "json"),
        cwd=project,
        variables={
            "PYTHONPATH": f"{project / 'site-packages'}:{ROOT}",
            "DJANGO_SETTINGS_MODULE": "shop.settings",
        },
    )
    assert "hunter22" not in ended.out + ended.err
    found = json.loads(ended.out)["findings"]
    return [finding for finding in found if finding["id"] == "env.loaded-late"]


LAZY = (
    "import sys, types\n"
    "class Lazy(types.ModuleType):\n"
    "    def __getattr__(self, name):\n"
    "        raise KeyError(name)\n"
    "class Odd:\n"
    "    def __getattr__(self, name):\n"
    "        raise RuntimeError(name)\n"
    "sys.modules['a_lazy'], sys.modules['an_odd'] = Lazy('a_lazy'), Odd()\n"
    "del sys.modules['a_lazy'].__dict__['__spec__']\n"
    "sys.modules['a_path'] = types.ModuleType('a_path')\n"
    "sys.modules['a_path'].__file__ = 7\n"
)


def test_a_module_of_somebody_that_answers_nothing_stops_no_start(project):
    """As lazy ones of ``sys.modules`` do, which raise whatever they like."""
    write(project, __init__=f"import openai\n{LAZY}{LOAD}")
    [found] = late(project)
    assert found["location"] == "shop/__init__.py:1"


def test_a_file_of_the_project_that_no_parser_can_read_stops_no_start(project):
    """Thousands of brackets, which Python itself refuses to read, in a file made of data."""
    write(project, deep=f"X = {'(' * 5000}{')' * 5000}\n")
    deep = "import sys, types\nm = types.ModuleType('deep')\n"
    deep += f"m.__file__ = {str(project / 'shop' / 'deep.py')!r}\nsys.modules['deep'] = m\n"
    minus = "-" * 20_000  # a MemoryError or RecursionError, by version
    (project / "shop" / "minus.py").write_text(f"X = {minus}1\n")
    deep += deep.replace("deep", "minus")
    write(project, __init__=f"{deep}import openai\n{LOAD}")
    [found] = late(project)
    assert found["location"] == "shop/__init__.py:9"


CELERY = "import sys\n# the queue\nfrom langchain_openai import ChatOpenAI\n"


def test_a_framework_that_came_first_is_named_with_its_line(project):
    (project / "site-packages" / "langchain_openai.py").write_text(
        "import openai, langsmith\nChatOpenAI = None\n"
    )
    write(project, __init__=f"from .celery import sys\n{LOAD}", celery=CELERY)
    [found] = late(project)
    assert found["level"] == "warning"
    assert found["summary"] == (
        "langchain_openai, langsmith, openai had been imported when .env was read, and may have "
        "missed its values."
    )
    assert found["location"] == "shop/celery.py:3"
    assert found["facts"] == {
        "imported_langchain_openai": "shop/celery.py:3",
        "imported_openai": "elsewhere",
        "imported_langsmith": "elsewhere",
    }


@pytest.mark.parametrize(
    "line",
    ["import openai", "import openai as o", "from openai import KEY", "import sys, openai"],
)
def test_every_way_to_write_the_import(project, line):
    write(project, __init__=f"{line}\n{LOAD}")
    assert [found["location"] for found in late(project)] == ["shop/__init__.py:1"]


@pytest.mark.parametrize(
    "first",
    [LOAD + "import openai\n", f"import unwatched\n{LOAD}", LOAD],
    ids=["after", "another package", "none"],
)
def test_a_framework__twin(project, first):
    write(project, __init__=first)
    assert late(project) == []


def test_without_a_file_nothing_was_missed(project):
    write(project, __init__=f"import openai\n{LOAD}")
    assert late(project, dotenv=False) == []


def test_what_somebody_else_imported_is_no_fault_of_the_project(project):
    """A tracer that wraps the command, a plugin of the test runner."""
    (project / "site-packages" / "sitecustomize.py").write_text("import openai\n")
    [found] = late(project)
    assert (found["level"], found["location"]) == ("info", None)
    assert found["facts"] == {"imported_openai": "elsewhere"}


def test_a_declaration_that_came_first_is_named_with_its_line(project):
    write(project, __init__="", settings=f"{SETTINGS}{LOAD}")
    [found] = late(project)
    assert found["level"] == "warning"
    assert found["summary"] == (
        "env.load() came after GREETING had been asked for: .env was not read by then."
    )
    assert found["location"] == "shop/settings.py:4"


def test_a_declaration__twin__that_came_second(project):
    write(project, __init__="", settings=f"{LOAD}{SETTINGS}")
    assert late(project) == []


def test_a_declaration__twin__that_no_file_concerns(project):
    write(project, __init__="", settings=f"{SETTINGS}{LOAD}")
    (project / ".env").write_text("OTHER=1\n")
    assert late(project) == []


def test_nobody_called_it_at_all(project):
    write(project, __init__="import openai\n")
    [found] = late(project)
    assert found["summary"].startswith(".env was read after the settings")
    assert found["facts"] == {"imported_openai": "shop/__init__.py:1"}
