"""``auditimports`` and ``checkdeploy audit`` on real projects, as their users run them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.processes import ROOT, Ended, doctor, manage, run, write_project

KEY = "sk-canary-0123456789abcdef"
MANAGE = (
    "import os, sys\n"
    'os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")\n'
    "from django.core.management import execute_from_command_line\n"
    "execute_from_command_line(sys.argv)\n"
)
SETTINGS = (
    "from dotenv import load_dotenv\n"
    "load_dotenv()\n"
    'SECRET_KEY = "x" * 60\n'
    'INSTALLED_APPS = ["resilience", "shop"]\n'
)
# The package imports its phases, as a Celery app imports its tasks: before the settings.
INIT = "from shop import phases\n"
LLM = "from langchain_openai import ChatOpenAI\n\nllm = ChatOpenAI(model='gpt-5')\n"
PHASES = (
    "try:\n"
    "    from shop.llm import llm\n"
    "except {error}:\n"
    "    class MockChat:\n"
    "        def invoke(self, text):\n"
    "            return 'a plausible answer'\n"
    "    llm = MockChat()\n"
)


def shop(folder: Path, **changed: str) -> Path:
    """A project whose client is built before ``.env`` is read, and replaced by a mock."""
    sources = {
        "manage": MANAGE,
        "shop/__init__": INIT,
        "shop/settings": SETTINGS,
        "shop/llm": LLM,
        "shop/phases": PHASES.format(error="Exception"),
    }
    (folder / "shop").mkdir()
    (folder / ".env").write_text(f"OPENAI_API_KEY={KEY}\n")
    for name, text in {**sources, **changed}.items():
        (folder / f"{name}.py").write_text(text)
    return folder


def audited(folder: Path, *arguments: str, **variables: str | None) -> Ended:
    command = ("manage.py", "auditimports", *arguments, "--format", "json")
    environment = {"PYTHONPATH": str(ROOT), **variables}
    return run(sys.executable, *command, cwd=folder, variables=environment)


def problems(ended: Ended) -> list[tuple[Any, ...]]:
    return [
        (one["id"], one["level"], one["location"])
        for one in ended.report["findings"]
        if one["level"] in ("warning", "error")
    ]


@pytest.fixture(scope="module")
def silent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project of the bug: it starts, passes Django's checks, and answers with a mock."""
    return shop(tmp_path_factory.mktemp("silent"))


def test_the_client_before_dotenv_and_its_mock_are_diagnosed(silent):
    ended = audited(silent)
    assert ended.code == 1
    assert problems(ended) == [
        ("audit.import-client", "error", "shop/llm.py:3"),
        ("audit.swallowed-import", "error", "shop/phases.py:3"),
    ]
    client = ended.find("audit.import-client")
    assert client["summary"].startswith(
        "langchain_openai.ChatOpenAI is built at import, when OPENAI_API_KEY was not set; "
        "shop/settings.py:2 sets it only afterwards"
    )
    assert client["facts"]["seen_in"] == "source and trace"
    assert ended.find("audit.swallowed-import")["summary"].startswith(
        "This block failed in this run: MockChat took its place, a mock"
    )
    assert KEY not in ended.out + ended.err


def test_the_source_alone_shows_both(silent):
    ended = doctor(silent, "checkdeploy", "audit", "--format", "json")
    assert ended.code == 1
    assert sorted(problems(ended)) == [
        ("audit.import-client", "warning", "shop/llm.py:3"),
        ("audit.swallowed-import", "error", "shop/phases.py:3"),
    ]


def test_the_client__twin__built_on_first_use(tmp_path):
    """And ``.env`` on line 1: nothing is left to find, and the project starts without the key."""
    folder = shop(
        tmp_path,
        **{
            "shop/__init__": "from resilience import env\nenv.load()\nfrom shop import phases\n",
            "shop/settings": SETTINGS.partition("load_dotenv()\n")[2]
            + "from resilience import env\n"
            "RESILIENCE = {'COMPONENTS': {'llm': {\n"
            "    'BACKEND': 'langchain_openai.ChatOpenAI',\n"
            "    'OPTIONS': {'model': 'gpt-5', 'api_key': env.ref('OPENAI_API_KEY')}}}}\n",
            "shop/llm": "",
            "shop/phases": "from resilience.components import components\n"
            "def ask(text):\n    return components['llm'].invoke(text)\n",
        },
    )
    (folder / ".env").unlink()
    ended = audited(folder)
    assert (ended.code, ended.ids) == (0, {"audit.ok"})
    assert ended.find("audit.ok")["facts"]["modules"] == 4
    blocked = doctor(folder, "checkdeploy", "components", "--format", "json")
    assert "OPENAI_API_KEY is not set" in blocked.find("components.blocked")["summary"]


def test_settings_that_do_not_start_are_explained(tmp_path):
    """``except ImportError`` lets the SDK's own error through: nothing starts, this does."""
    folder = shop(tmp_path, **{"shop/phases": PHASES.format(error="ImportError")})
    ended = doctor(folder, "auditimports", "--format", "json")
    assert ended.code == 1
    assert set(ended.roots) == {
        ("audit.import-client", "shop.llm"),
        ("audit.swallowed-import", "shop.phases"),
    }
    assert ended.find("django.setup-failed")["cause"]["id"] == "audit.import-client"
    client = ended.find("audit.import-client")
    assert client["location"] == "shop/llm.py:3"
    assert "OPENAI_API_KEY" in client["facts"]["not_set"]


def test_settings_that_do_not_start__twin__other_commands_only_say_so(tmp_path):
    folder = write_project(tmp_path, "raise RuntimeError\n")
    ended = doctor(folder, "checkdeploy", "audit", "--format", "json")
    assert ended.ids == {"django.setup-failed"}


# ── arguments ───────────────────────────────────────────────────────────────────────────────────

SMALL = 'SECRET_KEY = "x" * 60\nINSTALLED_APPS = ["resilience"]\n'
READS = "import os\nKEY = os.environ['SHOP_KEY']\n"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    return write_project(folder, SMALL, reads__py=READS, calm__py="import os\n")


def test_the_example_project_is_clean():
    ended = manage("auditimports", "--format", "json")
    assert (ended.code, ended.ids) == (0, {"audit.ok"}), ended.out


def test_named_modules_only(small):
    calm = doctor(small, "auditimports", "calm", "--format", "json")
    assert (calm.code, calm.ids) == (0, {"audit.ok"})
    reads = doctor(small, "auditimports", "calm", "reads", "--format", "json", SHOP_KEY="1")
    assert problems(reads) == [("audit.import-read", "warning", "reads.py:2")]
    assert reads.code == 0


def test_warnings_fail_where_asked(small):
    ended = doctor(small, "auditimports", "reads", "--fail-level", "warning", SHOP_KEY="1")
    assert ended.code == 1
    assert ended.out.rstrip().endswith("(exit 1)")


def test_an_import_that_fails_fails(small):
    ended = doctor(small, "auditimports", "reads", "--format", "json")
    assert ended.code == 1
    assert problems(ended) == [
        ("audit.import-read-unset", "error", "reads.py:2"),
        ("audit.import-failed", "error", "reads.py:2"),
    ]
    assert ended.find("audit.import-failed")["cause"]["id"] == "audit.import-read-unset"


@pytest.mark.parametrize("word", ["shop-views", "shop/views.py", "shop.", "1shop", "a=secret"])
def test_what_is_no_module_is_usage(small, word):
    ended = doctor(small, "auditimports", word)
    assert (ended.code, ended.out) == (2, "")
    assert "shop.views for example" in ended.err
    assert "secret" not in ended.err


@pytest.mark.parametrize(
    ("name", "near"),
    [("read", "reads"), ("site_settngs", "site_settings"), ("email.mim.text", "email")],
)
def test_a_module_that_is_not_there_is_usage(small, name, near):
    ended = doctor(small, "auditimports", name)
    assert (ended.code, ended.out) == (2, "")
    assert f"there is no module {name}. Did you mean '{near}" in ended.err


@pytest.mark.parametrize("name", ["reads", "email.mime.text", "os.path", "bare.inner"])
def test_a_module__twin__that_is_there(small, name):
    (small / "bare").mkdir(exist_ok=True)  # a package without __init__.py
    (small / "bare" / "inner.py").touch()
    assert doctor(small, "auditimports", name, SHOP_KEY="1").code == 0


def test_other_packages_are_shown_only_where_details_are(tmp_path):
    eager = {"eager__py": "import langsmith.client\n"}
    folder = write_project(tmp_path, SMALL, **eager)
    assert "langsmith" not in doctor(folder, "auditimports", "eager").out
    assert "Importing langsmith reads" in doctor(folder, "auditimports", "eager", "-v", "2").out
    ended = doctor(folder, "auditimports", "eager", "--format", "json")
    assert "audit.import-read-unset" in ended.ids


def test_after_setup_finds_the_models_in_order(tmp_path):
    settings = 'SECRET_KEY = "x" * 60\nINSTALLED_APPS = ["resilience", "stock"]\n'
    folder = write_project(tmp_path, settings)
    (folder / "stock").mkdir()
    (folder / "stock" / "__init__.py").touch()
    model = "from django.db import models\nclass Item(models.Model):\n    pass\n"
    (folder / "stock" / "models.py").write_text(model)
    before = doctor(folder, "auditimports", "stock.models", "--format", "json")
    assert (before.code, before.ids) == (1, {"audit.import-failed"})
    assert "--after-setup" in before.find("audit.import-failed")["hint"]
    after = doctor(folder, "auditimports", "stock.models", "--after-setup", "--format", "json")
    assert (after.code, after.ids) == (0, {"audit.ok"})


def test_a_hanging_module_ends_at_the_deadline(tmp_path):
    hanging = "import threading\nthreading.Event().wait(60)\n"
    folder = write_project(tmp_path, SMALL, hanging__py=hanging)
    ended = doctor(folder, "auditimports", "hanging", "--deadline", "4", "--format", "json")
    assert problems(ended) == [("audit.import-failed", "error", "hanging.py:2")]
    assert ended.code == 1
    assert ended.seconds < 6


def test_what_is_silenced_is_silent(tmp_path):
    settings = f'{SMALL}SILENCED_SYSTEM_CHECKS = ["resilience.audit.import-read"]\n'
    folder = write_project(tmp_path, settings, reads__py=READS)
    ended = doctor(folder, "auditimports", "reads", "--format", "json", SHOP_KEY="1")
    assert problems(ended) == []
