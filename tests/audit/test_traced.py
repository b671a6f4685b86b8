"""The child process: nothing leaves it, it ends in time, and it starts as the project does."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from resilience import audit, env
from resilience.audit import traced
from resilience.findings import Finding, Level

PATH = {"PATH": os.environ["PATH"]}


@contextmanager
def listening() -> Iterator[tuple[int, list[bytes]]]:
    """A port of this machine for TCP and UDP, and what arrived there."""
    arrived: list[bytes] = []
    with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        tcp.bind(("127.0.0.1", 0))
        port = tcp.getsockname()[1]
        udp.bind(("127.0.0.1", port))
        tcp.listen()

        def accept() -> None:
            while True:
                connection, _ = tcp.accept()
                with connection:
                    arrived.append(b"tcp")
                    if connection.recv(8) == b"stop":
                        return

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield port, arrived
        with socket.create_connection(("127.0.0.1", port)) as stop:
            stop.send(b"stop")
        thread.join(5)
        arrived.pop()  # our own
        udp.setblocking(False)
        while True:
            try:
                arrived.append(udp.recv(8))
            except BlockingIOError:
                break


TALKING = """
import contextlib, ctypes, socket, subprocess, sys
PORT = {port}
with contextlib.suppress(OSError):
    socket.create_connection(("127.0.0.1", PORT), timeout=1)
with contextlib.suppress(OSError):
    socket.socket(type=socket.SOCK_DGRAM).sendto(b"udp", ("127.0.0.1", PORT))
with contextlib.suppress(OSError):
    socket.getaddrinfo("shop.invalid", 80)
with contextlib.suppress(OSError):
    socket.create_server(("0.0.0.0", 0))
with contextlib.suppress(OSError):
    subprocess.run([sys.executable, "-c",
        f"import socket; socket.create_connection(('127.0.0.1', {{PORT}}), 1)"], check=False)
"""


def can_isolate() -> bool:
    code = "from resilience.audit.watch import isolate; raise SystemExit(not isolate())"
    return subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


ways = pytest.mark.parametrize(
    "isolate",
    [
        pytest.param(
            True,
            marks=pytest.mark.skipif(not can_isolate(), reason="no network namespace allowed"),
            id="namespace",
        ),
        pytest.param(False, id="hook"),
    ],
)


@ways
def test_no_packet_leaves(tmp_path, monkeypatch, isolate):
    """TCP, UDP, names, servers, and a program of its own: nothing arrives, each line is named."""
    monkeypatch.syspath_prepend(tmp_path)
    with listening() as (port, arrived):
        (tmp_path / "talking.py").write_text(TALKING.format(port=port))
        seen = traced.run(["talking"], settings="", environ=PATH, isolate=isolate)
    assert arrived == []
    assert seen.isolated is isolate
    assert [failure.summary for failure, _ in seen.failures] == []
    network = {one.name: one.cause.line for one in seen.sightings}
    assert network == {
        f"connect 127.0.0.1:{port}": 5,
        f"sendto 127.0.0.1:{port}": 7,
        "getaddrinfo shop.invalid:80": 9,
        "bind 0.0.0.0:0": 11,
    }


def test_no_packet_leaves__twin__a_plain_import_sends_them(tmp_path):
    with listening() as (port, arrived):
        (tmp_path / "talking.py").write_text(TALKING.format(port=port))
        subprocess.run([sys.executable, "-c", "import talking"], cwd=tmp_path, check=True)
    assert sorted(arrived) == [b"tcp", b"tcp", b"udp"]


@pytest.mark.skipif(not can_isolate(), reason="no network namespace allowed")
def test_a_client_in_c_reaches_nobody(tmp_path, monkeypatch):
    """Libpq asks no Python hook; the namespace holds it."""
    monkeypatch.syspath_prepend(tmp_path)
    with listening() as (port, arrived):
        (tmp_path / "sql.py").write_text(
            "import psycopg\n"
            f"link = psycopg.connect('host=127.0.0.1 port={port} connect_timeout=2')\n"
        )
        every = audit.trace("sql", settings="", environ=PATH)
    assert arrived == []
    found = [one for one in every if one.level >= Level.WARNING]
    assert [(one.id, one.location) for one in found] == [
        ("audit.import-client", f"{tmp_path}/sql.py:2"),
        ("audit.import-failed", f"{tmp_path}/sql.py:2"),
    ]
    assert found[1].cause == found[0]


def test_this_process_imports_and_changes_nothing(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "marking.py").write_text("import os\nos.environ['SHOP_MARK'] = '1'\n")
    audit.trace("marking", settings="", environ=PATH)
    assert "marking" not in sys.modules
    assert "SHOP_MARK" not in os.environ


# ── time, and imports that fail ─────────────────────────────────────────────────────────────────


def failed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, text: str, seconds: float = 30.0
) -> Finding:
    monkeypatch.syspath_prepend(folder)
    (folder / "failing.py").write_text(text)
    (found,) = audit.trace("failing", settings="", environ=PATH, seconds=seconds)
    assert (found.id, str(found.level)) == ("audit.import-failed", "error")
    return found


def test_an_import_that_hangs_is_named_by_its_line(tmp_path, monkeypatch):
    began = time.monotonic()
    text = "import threading\n\nthreading.Event().wait(60)\n"
    found = failed(tmp_path, monkeypatch, text, seconds=2.0)
    assert "did not end in time" in found.summary
    assert found.location == f"{tmp_path}/failing.py:3"
    assert time.monotonic() - began < 3


def test_an_import_that_cannot_be_interrupted_is_ended(tmp_path, monkeypatch):
    text = "import signal, threading\nsignal.signal(signal.SIGALRM, signal.SIG_IGN)\n"
    began = time.monotonic()
    found = failed(tmp_path, monkeypatch, f"{text}threading.Event().wait(60)\n", seconds=2.0)
    assert "no time left" in found.summary
    assert time.monotonic() - began < 4


def test_an_import_that_leaves_the_process(tmp_path, monkeypatch):
    assert "ended its process" in failed(tmp_path, monkeypatch, "import os\nos._exit(0)\n").summary


def test_an_import_that_fails_is_named_without_its_message(tmp_path, monkeypatch):
    text = "\nraise ValueError('canary-77aa')\n"
    found = failed(tmp_path, monkeypatch, text)
    assert found.summary == "The import fails: ValueError."
    assert found.location == f"{tmp_path}/failing.py:2"
    assert "canary" not in repr(found)


def test_a_missing_module_is_named(tmp_path, monkeypatch):
    found = failed(tmp_path, monkeypatch, "import shop_absent\n")
    assert found.summary == "The import fails: ModuleNotFoundError: No module named 'shop_absent'."


def test_exit_at_import_is_a_failure(tmp_path, monkeypatch):
    assert "SystemExit" in failed(tmp_path, monkeypatch, "raise SystemExit(0)\n").summary


def test_what_a_module_prints_is_not_the_answer(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "printing.py").write_text("import sys\nprint('{}')\nsys.stdout.flush()\n")
    assert audit.trace("printing", settings="", environ=PATH) == []


def test_programs_left_running_end_with_the_child(tmp_path, monkeypatch):
    if not can_isolate():
        pytest.skip("without a namespace no program starts")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "leaving.py").write_text(
        "import subprocess\n"
        "program = subprocess.Popen(['sleep', '60'])\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(program.pid))\n"
    )
    audit.trace("leaving", settings="", environ=PATH)
    pid = int((tmp_path / "pid").read_text())
    for _ in range(50):
        if not is_running(pid):
            return
        time.sleep(0.02)
    raise AssertionError(f"{pid} is still there")


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


# ── threads, fresh children, the start of the project ───────────────────────────────────────────


def test_what_a_thread_reads_belongs_to_the_line_that_started_it(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "threaded.py").write_text(
        "import os, threading\n"
        "def read(): os.environ.get('SHOP_ABSENT')\n"
        "thread = threading.Thread(target=read)\n"
        "thread.start(); thread.join()\n"
    )
    seen = traced.run(["threaded"], settings="", environ=PATH)
    read = next(one for one in seen.sightings if one.name == "SHOP_ABSENT")
    assert (read.cause.line, read.place.line, read.is_set) == (4, 2, False)


def test_each_module_is_imported_as_if_it_were_the_first(tmp_path, monkeypatch):
    """In one process the second module would find the helper's cache filled."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "helper.py").write_text(
        "import os, functools\n@functools.cache\ndef key():\n    return os.getenv('SHOP_KEY')\n"
    )
    for name in ("one", "two"):
        (tmp_path / f"{name}.py").write_text("import helper\nKEY = helper.key()\n")
    found = audit.trace("one", "two", settings="", environ={**PATH, "SHOP_KEY": "1"})
    assert {one.subject for one in found} == {"one", "two", "helper"}
    assert {one.id for one in found} == {"audit.frozen-read"}


def test_the_environment_is_the_one_of_the_start(tmp_path, monkeypatch):
    """Not what a ``.env`` file or a test has added to this process since."""
    monkeypatch.setenv("SHOP_ADDED", "1")
    assert "SHOP_ADDED" not in traced.started_with()
    assert traced.started_with()["PATH"]


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
def test_the_environment__twin__without_proc(tmp_path, monkeypatch):
    (tmp_path / ".env").write_text("SHOP_FROM_FILE=1\n")
    monkeypatch.setenv("SHOP_ADDED", "1")
    env.load(tmp_path)
    monkeypatch.setattr(Path, "read_bytes", lambda _: (_ for _ in ()).throw(OSError()))
    assert traced.started_with()["SHOP_ADDED"] == "1"
    assert "SHOP_FROM_FILE" not in traced.started_with()


PROJECT = {
    "shop/__init__.py": "from . import tasks\n",
    "shop/tasks.py": "import os\nURL = os.environ.get('SHOP_BROKER')\n",
    "shop/settings.py": "import io\nfrom dotenv import load_dotenv\n"
    "load_dotenv(stream=io.StringIO('SHOP_BROKER=redis://'))\nSECRET_KEY = 'x'\n",
    "shop/views.py": "import os\nURL = os.environ.get('SHOP_BROKER')\n",
}


def project(folder: Path, **changed: str) -> Path:
    for name, text in {**PROJECT, **changed}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_variables_loaded_by_settings_come_too_late_for_the_package(tmp_path, monkeypatch):
    """The package is imported before its settings; a view is not, and finds the variable set."""
    monkeypatch.syspath_prepend(project(tmp_path))
    modules = ("shop.tasks", "shop.views")
    found = audit.trace(*modules, settings="shop.settings", environ=PATH)
    assert [(one.id, str(one.level), one.subject) for one in found] == [
        ("audit.import-read-unset", "error", "shop.tasks"),
        ("audit.import-read", "warning", "shop.views"),
    ]
    assert found[0].facts["set_later"] == f"SHOP_BROKER at {tmp_path}/shop/settings.py:3"


def test_variables_loaded_first__twin(tmp_path, monkeypatch):
    loading = PROJECT["shop/settings.py"].removesuffix("SECRET_KEY = 'x'\n")
    changed = {"shop/__init__.py": loading + PROJECT["shop/__init__.py"]}
    monkeypatch.syspath_prepend(project(tmp_path, **changed))
    found = audit.trace("shop.tasks", settings="shop.settings", environ=PATH)
    assert [(one.id, str(one.level)) for one in found] == [("audit.import-read", "warning")]


def test_what_was_not_asked_about_is_left_out(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(project(tmp_path))
    found = audit.trace("shop.views", settings="shop.settings", environ=PATH)
    assert {one.subject for one in found} == {"shop.views"}


def test_settings_that_fail_are_named_and_the_modules_traced(tmp_path, monkeypatch):
    changed = {"shop/settings.py": "\nimport shop_absent\n"}
    monkeypatch.syspath_prepend(project(tmp_path, **changed))
    found = audit.trace("shop.views", settings="shop.settings", environ=PATH)
    assert [(one.id, one.location) for one in found] == [
        ("audit.import-failed", f"{tmp_path}/shop/settings.py:2"),
        ("audit.import-read-unset", f"{tmp_path}/shop/views.py:2"),
    ]


def test_models_need_setup_and_the_hint_says_so(tmp_path, monkeypatch):
    text = "from django.db import models\nclass Item(models.Model):\n    pass\n"
    settings = "SECRET_KEY = 'x'\nINSTALLED_APPS = ['shop']\n"
    files = {"shop/models.py": text, "shop/settings.py": settings, "shop/__init__.py": ""}
    monkeypatch.syspath_prepend(project(tmp_path, **files))
    (found,) = audit.trace("shop.models", settings="shop.settings", environ=PATH)
    assert "--after-setup" in found.hint
    after = audit.trace("shop.models", settings="shop.settings", environ=PATH, after_setup=True)
    assert after == []


def test_another_package_is_one_finding_at_the_line_that_imports_it(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "eager.py").write_text("\nimport langsmith.client\n")
    found = audit.trace("eager", settings="", environ=PATH)
    of_langsmith = next(one for one in found if one.subject == "langsmith")
    assert str(of_langsmith.level) == "info"
    assert of_langsmith.location == f"{tmp_path}/eager.py:2"
    assert re.search(
        r"LANGSMITH_RUN_COMPRESSION_LEVEL at langsmith/\S+:\d+", str(of_langsmith.facts)
    )
    assert {str(one.level) for one in found} == {"info"}


def test_another_package__twin__a_lazy_one_reads_nothing(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "lazily.py").write_text("\nimport langsmith\n")
    assert audit.trace("lazily", settings="", environ=PATH) == []


# ── what a new user tried ───────────────────────────────────────────────────────────────────────

CHAT = (
    "try:\n    from langchain_openai import ChatOpenAI\n"
    "except ImportError:\n    from unittest.mock import MagicMock as ChatOpenAI\n"
    "chat = ChatOpenAI(model='gpt-5')\n"
)


def test_the_cause_of_a_failing_client_is_the_client(tmp_path, monkeypatch):
    """And not what the caches of its package read meanwhile."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "chatting.py").write_text(CHAT)
    found = audit.trace("chatting", settings="", environ=PATH)
    swallowed, client, failed = (one for one in found if one.level >= Level.WARNING)
    assert swallowed.summary.startswith("If this import fails, unittest.mock.MagicMock takes")
    assert (client.id, client.location) == ("audit.import-client", f"{tmp_path}/chatting.py:5")
    assert failed.cause == client
    assert failed.summary.startswith("The import fails: OpenAIError; OPENAI_")
    assert failed.summary.endswith("were read, and not set.")
    assert "OPENAI_API_KEY" in failed.summary
    assert "*" not in str(client.facts["not_set"])


def test_the_cause__twin__nothing_that_another_packages_cache_read(tmp_path, monkeypatch):
    """The caches read, and what then fails has nothing to do with it."""
    monkeypatch.syspath_prepend(tmp_path)
    reading = "from langsmith.utils import get_env_var\n"
    (tmp_path / "failing.py").write_text(f"{reading}x = get_env_var('SHOP_ABSENT') + 1 / 0\n")
    found = audit.trace("failing", settings="", environ=PATH)
    read, failed = [one for one in found if one.level >= Level.WARNING][::-1]
    assert (read.id, str(read.level)) == ("audit.import-read-unset", "warning")
    assert read.facts["kept_by"] == "langsmith.utils.get_env_var"
    assert (failed.id, failed.cause) == ("audit.import-failed", None)


def test_a_stand_in_that_took_over_is_told_so(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "standing.py").write_text(CHAT.replace("langchain_openai", "shop_absent"))
    (swallowed,) = audit.trace("standing", settings="", environ=PATH)
    assert swallowed.summary == (
        "This import failed in this run: unittest.mock.MagicMock took its place, a mock (line 4), "
        "and nobody was told."
    )


@pytest.mark.parametrize(
    "stand_in",
    [
        "class Thing:\n        pass",
        "def Thing(): pass",
        "Thing = lambda: None",
        "class MockThing:\n        pass\n    Thing = MockThing()",
        "from unittest import mock\n    Thing = mock.MagicMock()",
    ],
)
def test_a_stand_in__each_form_and_its_twin(tmp_path, monkeypatch, stand_in):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "shop_real.py").write_text("class Thing:\n    pass\n")
    text = "try:\n    from {} import Thing\nexcept ImportError:\n    " + stand_in + "\n"
    (tmp_path / "shop_one.py").write_text(text.format("shop_absent"))
    (tmp_path / "shop_two.py").write_text(text.format("shop_real"))
    found = audit.trace("shop_one", "shop_two", settings="", environ=PATH)
    said = {one.subject: one.summary for one in found}
    assert "failed in this run" in said["shop_one"]
    assert "If this import fails" in said["shop_two"]


def test_a_module_whose_failure_was_swallowed_is_read_too(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    client = "from langchain_openai import ChatOpenAI\nchat = ChatOpenAI(model='gpt-5')\n"
    (tmp_path / "shop_chat.py").write_text(client)
    (tmp_path / "shop_use.py").write_text("try:\n    import shop_chat\nexcept Exception: pass\n")
    found = audit.trace("shop_use", settings="", environ=PATH)
    assert [(one.id, one.subject) for one in found if one.level >= Level.WARNING] == [
        ("audit.import-client", "shop_chat")
    ]


READS = "import os\nMODEL = os.environ.get('SHOP_MODEL')\n"


def test_loading_first_is_no_advice_where_that_has_been_done(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "loaded.py").write_text(f"from resilience import env\nenv.load()\n{READS}")
    (found,) = audit.trace("loaded", settings="", environ=PATH)
    assert found.id == "audit.import-read-unset"
    assert "env.load() had run by then" in found.hint


def test_loading_first__twin(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    late = f"from resilience import env\n{READS}env.load()\n"
    (tmp_path / "unloaded.py").write_text(late)
    (found,) = audit.trace("unloaded", settings="", environ=PATH)
    assert found.hint.startswith("Load the variables first")


def test_a_client_that_tries_again_and_again_costs_no_time(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    talking = "import redis\nredis.Redis(host='192.0.2.1').set('a', 'b')\n"
    (tmp_path / "talking.py").write_text(f"import time\nbegan = time.monotonic()\n{talking}")
    began = time.monotonic()
    found = audit.trace("talking", settings="", environ=PATH)
    assert time.monotonic() - began < 3, "the back-off of redis alone is over 4 s"
    assert found[0].id == "audit.import-network"


def test_a_client__twin__who_reaches_nothing_sleeps_as_long_as_it_says(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "calm.py").write_text(
        "import time\nbegan = time.monotonic()\ntime.sleep(0.3)\n"
        "assert time.monotonic() - began >= 0.3\n"
    )
    assert audit.trace("calm", settings="", environ=PATH) == []


def test_a_module_that_takes_long_is_named_while_it_does(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(traced, "_STEP", 0.1)
    monkeypatch.setattr(traced, "_SLOW", 0.3)
    told: list[tuple[str, float]] = []
    for name, seconds in (("slow", 0.9), ("quick", 0.0)):
        (tmp_path / f"{name}.py").write_text(f"import time\ntime.sleep({seconds})\n")

    def hear(module: str, seconds: float) -> None:
        told.append((module, seconds))

    seen = traced.run(["quick", "slow"], settings="", environ=PATH, progress=hear)
    assert seen.modules == 2
    assert {module for module, _ in told} == {"slow"}
    assert [seconds for _, seconds in told] == pytest.approx([0.35, 0.7], abs=0.25)
