"""What the source scan reads, what it passes over, and what it does with odd files."""

from __future__ import annotations

import ast
import sys
import time
from pathlib import Path

import django
import pytest
from hypothesis import given, strategies as st

from resilience import audit
from resilience.audit import files, known, reading
from resilience.audit.answers import client_of
from resilience.audit.names import Names
from resilience.audit.owners import OURS, OWN, STANDARD, owner
from resilience.audit.swallowed import swallowed

READS = 'import os\nKEY = os.environ["SHOP_KEY"]\n'


def ids(folder: Path, **sources: str) -> list[str]:
    for name, text in sources.items():
        (folder / f"{name}.py").write_text(text)
    return [one.id for one in audit.scan([folder])]


def test_tests_environments_and_hidden_folders_are_passed_over(tmp_path):
    for name in ("tests", ".tox", "venv", "node_modules"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "module.py").write_text(READS)
    (tmp_path / "venv" / "pyvenv.cfg").touch()
    assert ids(tmp_path, conftest=READS, test_shop=READS, shop_test=READS) == []


def test_tests__twin__a_file_that_is_named_is_read(tmp_path):
    (tmp_path / "conftest.py").write_text(READS)
    assert [one.id for one in audit.scan([tmp_path / "conftest.py"])] == ["audit.import-read"]
    assert ids(tmp_path, attest=READS, contest=READS) == ["audit.import-read"] * 2


@pytest.mark.parametrize("name", ["settings", "site_settings", "settings_local"])
def test_settings_may_read_variables(tmp_path, name):
    assert ids(tmp_path, **{name: READS}) == []


def test_settings__twin__not_before_the_line_that_loads_them(tmp_path):
    text = f"{READS}from dotenv import load_dotenv\nload_dotenv()\nNAME = os.environ['SHOP_NAME']\n"
    (tmp_path / "settings.py").write_text(text)
    (found,) = audit.scan([tmp_path])
    assert found.summary.startswith("SHOP_KEY is read at import, before ")
    assert found.summary.endswith("settings.py:4 loads the variables.")


def test_settings__twin__no_client_either(tmp_path):
    assert ids(tmp_path, settings="import redis\nSTORE = redis.Redis()\n") == [
        "audit.import-client"
    ]


@pytest.mark.parametrize("name", ["DJANGO_SETTINGS_MODULE", "PYTHONPATH", "HOME", "LC_ALL"])
def test_variables_of_the_machine_are_no_finding(tmp_path, name):
    assert ids(tmp_path, module=READS.replace("SHOP_KEY", name)) == []


@pytest.mark.parametrize(
    ("name", "is_mock"),
    [
        ("MockChat", True),
        ("chat_mock", True),
        ("shop.mocks.Chat", True),
        ("unittest.mock.MagicMock", True),
        ("FakeRedis", True),
        ("stub", True),
        ("DummyClient", True),
        ("hammock", False),
        ("Fakenham", False),
        ("stubborn", False),
        ("Chat", False),
    ],
)
def test_what_calls_itself_a_mock(name, is_mock):
    assert known.says_mock(name) is is_mock


IDIOMS = {
    "another import": "import tomllib|ImportError|import tomli as tomllib",
    "another import's name": "import orjson|ImportError|import json; dumps = json.dumps",
    "None": "import numpy|ImportError|numpy = None",
    "a flag": "import numpy; HAS = True|ImportError|HAS = False",
    "a flag that speaks of mocks": "import numpy|ImportError|USE_MOCK = True",
    "a constant": "from ._version import version|ImportError|version = 'unknown'",
    "what a function finds": "from ._version import version|ImportError|version = read()",
    "nothing": "import uvloop|ImportError|pass",
    "an exit": "import numpy|ImportError|raise SystemExit('install numpy')",
    "an exception": "from redis import Oops|ImportError|class Oops(Exception): pass",
    "a clear word": "from shop import chat|ImportError|def chat(): raise RuntimeError('install')",
    "no import in it": "value = compute()|Exception|value = MockValue()",
    "another exception": "import numpy|ValueError|numpy = MockNumpy()",
    "a module by its name": "import numpy|ImportError|import dummy_numpy as numpy",
    "Python's own": "from _thread import get_ident|ImportError|from dummy_thread import get_ident",
}


@pytest.mark.parametrize("idiom", IDIOMS.values(), ids=IDIOMS)
def test_an_alternative_a_flag_or_a_clear_word_is_no_stand_in(tmp_path, idiom):
    tried, error, instead = idiom.split("|")
    text = f"def read(): return 1\ntry:\n    {tried}\nexcept {error}:\n    {instead}\n"
    assert ids(tmp_path, module=text) == []


@pytest.mark.parametrize(
    ("stand_in", "level"),
    [
        ("numpy = MockNumpy()", "error"),
        ("from shop.fakes import numpy", "error"),
        ("import unittest.mock as numpy", "error"),
        ("from unittest import mock as numpy", "error"),
        ("class numpy:\n        array = list", "warning"),
        ("def numpy(): return 1", "warning"),
        ("from types import SimpleNamespace\n    numpy = SimpleNamespace(array=list)", "warning"),
        ("numpy = type('numpy', (), {})", "warning"),
        ("if True:\n        numpy = lambda: None", "warning"),
    ],
)
def test_an_alternative__twin__a_stand_in(tmp_path, stand_in, level):
    text = f"try:\n    import numpy\nexcept ImportError:\n    {stand_in}\n"
    (tmp_path / "module.py").write_text(text)
    (found,) = audit.scan([tmp_path])
    assert (found.id, str(found.level)) == ("audit.swallowed-import", level)
    assert found.location == f"{tmp_path}/module.py:3"


@pytest.mark.parametrize(
    ("caught", "what"),
    [
        ("ImportError", "import"),
        ("(ImportError, ModuleNotFoundError)", "import"),
        ("Exception", "block"),
        ("(ImportError, KeyError)", "block"),
    ],
)
def test_a_handler_for_more_than_the_import_says_so(tmp_path, caught, what):
    text = f"try:\n    import numpy\nexcept {caught}:\n    numpy = MockNumpy()\n"
    (tmp_path / "module.py").write_text(text)
    (found,) = audit.scan([tmp_path])
    assert found.summary.startswith(f"If this {what} fails, MockNumpy takes its place")


STAND_IN = "try:\n    from {one} import Redis\nexcept ImportError:\n    from {two} import Redis\n"


def test_a_name_means_what_is_imported_first_not_what_replaces_it(tmp_path):
    text = STAND_IN.format(one="redis", two="shop_fallback") + "store = Redis()\n"
    assert ids(tmp_path, module=text) == ["audit.import-client"]


def test_a_name__twin__only_replaced_by_a_client(tmp_path):
    text = STAND_IN.format(one="shop_fallback", two="redis") + "store = Redis()\n"
    assert ids(tmp_path, module=text) == []
    alone = "try:\n    import shop\nexcept ImportError:\n    from redis import Redis\n"
    assert ids(tmp_path, module=f"{alone}store = Redis()\n") == ["audit.import-client"]


@pytest.mark.parametrize(
    ("kind", "client"),
    [
        ("redis.client.Redis", "redis.Redis"),
        ("redis.asyncio.client.Redis", "redis.asyncio.Redis"),
        ("redis.asyncio.cluster.RedisCluster", "redis.asyncio.RedisCluster"),
        ("langsmith.client.Client", "langsmith.Client"),
        ("openai._client.AsyncOpenAI", "openai.AsyncOpenAI"),
        ("redis.connection.ConnectionPool", ""),
        ("shop.Redis", ""),
    ],
)
def test_a_class_has_the_name_that_it_is_imported_by(kind, client):
    assert client_of(kind) == client


def test_a_handler_within_a_handler_is_one_finding(tmp_path):
    text = (
        "try:\n    import shop_a as shop\nexcept ImportError:\n    try:\n"
        "        import shop_b as shop\n    except ImportError:\n        shop = MockShop()\n"
    )
    (tmp_path / "module.py").write_text(text)
    (found,) = audit.scan([tmp_path])
    assert found.location == f"{tmp_path}/module.py:6"


def test_two_variables_are_two(tmp_path):
    (tmp_path / "module.py").write_text(
        "import os\nA = os.getenv('SHOP_A') or os.getenv('SHOP_B')\n"
    )
    (found,) = audit.scan([tmp_path])
    assert found.summary == "SHOP_A, SHOP_B are read at import: no later change is seen."


# ── PEP 810 ─────────────────────────────────────────────────────────────────────────────────────

LAZY = "lazy import redis\nlazy from os import environ\nSTORE = redis.Redis()\n"


def test_a_lazy_import_defers_no_construction(tmp_path):
    """Parsed as such from 3.15 on, and as an import before: the client is built all the same."""
    (tmp_path / "module.py").write_text(LAZY)
    (found,) = audit.scan([tmp_path])
    assert (found.id, found.location) == ("audit.import-client", f"{tmp_path}/module.py:3")


@pytest.mark.skipif(sys.version_info < (3, 15), reason="this Python does not know lazy imports")
def test_a_lazy_import_is_seen_as_lazy(tmp_path):
    (tmp_path / "module.py").write_text(LAZY)
    node = reading.parse(str(tmp_path / "module.py")).body[0]
    assert getattr(node, "is_lazy", False)


def test_a_lazy_import_cannot_fail_where_it_stands():
    """So an ``except ImportError`` around it has nothing to swallow (the flag is 3.15's own)."""
    text = "try:\n    import shop_absent\nexcept ImportError:\n    shop_absent = MockShop()\n"
    tree = ast.parse(text)
    assert swallowed("module.py", tree, Names(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            node.is_lazy = 1  # type: ignore[attr-defined]
    assert not swallowed("module.py", tree, Names(tree))


# ── odd files ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"import os\nos.environ[\n", 2),
        (b"\xff\xfe environ", 1),
        (b"environ = '\x00'", 1),
    ],
)
def test_a_file_that_is_no_python_is_named(tmp_path, content, line):
    (tmp_path / "broken.py").write_bytes(content)
    (found,) = audit.scan([tmp_path])
    assert found.id == "audit.unreadable"
    assert found.location is not None
    assert found.location.startswith(f"{tmp_path}/broken.py:")


def test_a_path_that_is_not_there_is_named(tmp_path):
    (found,) = audit.scan([tmp_path / "absent.py"])
    assert (found.id, "No such file" in found.summary) == ("audit.unreadable", True)


def test_nesting_without_end_is_no_crash(tmp_path):
    deep = "import os\nx = " + "(" * 90 + "os.environ['SHOP_KEY']" + ")" * 90 + "\n"
    calls = "".join(f"def f{n}():\n    return f{n + 1}()\n" for n in range(300))
    assert ids(tmp_path, deep=deep, calls=f"import os\n{calls}f0()\nos.environ\n")


def test_functions_that_call_each_other_end(tmp_path):
    text = "import os\ndef a(): return b()\ndef b(): return a() or os.getenv('SHOP_KEY')\na()\n"
    assert ids(tmp_path, module=text) == ["audit.import-read"]


@given(
    st.text(st.sampled_from("os.environ['A']()=:\n\t @lazy import try except class"), max_size=80)
)
def test_no_text_crashes_the_scan(tmp_path_factory, text):
    file = tmp_path_factory.mktemp("odd") / "odd.py"
    file.write_text(f"{text}\nimport os\nKEY = os.environ['SHOP_KEY']\n")
    found = audit.scan([file])
    assert found, "either it is read, or it is not valid Python"


def test_every_client_can_be_found_by_the_word_that_lets_a_file_be_read():
    """Files are skipped unless they hold a word of the tables."""
    for name in (*known.CLIENT_NAMES, *known.TALKERS, *known.STARTERS, *known.STARTABLE):
        assert any(word in f"import {name}" for word in known.WORDS)


def test_owners():
    assert owner(files.__file__) == OURS
    assert owner(ast.__file__) == STANDARD
    assert owner(django.__file__) == "django"
    assert owner("/srv/app/shop/views.py") == OWN
    assert owner("/usr/lib/python3/dist-packages/six.py") == "six"
    assert owner("<string>") == STANDARD


def test_the_whole_of_django_takes_seconds():
    began = time.monotonic()
    found = audit.scan([Path(django.__file__).parent])
    assert time.monotonic() - began < 20  # on a busy machine; alone about 2
    assert {one.id for one in found} <= {"audit.swallowed-import"}
