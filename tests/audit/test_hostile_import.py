"""Modules that a traced import must survive, leave alone, or clean up after."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from resilience import audit
from resilience.audit import descendants, hosts, owners, traced
from resilience.findings import Finding, Level
from resilience.probes import audit as probe
from resilience.probes.base import Deadline

PATH = {"PATH": os.environ["PATH"]}
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def traces(folder: Path, text: str, seconds: float = 20.0, **environ: str) -> list[Finding]:
    (folder / "module.py").write_text(text)
    return audit.trace("module", settings="", environ={**PATH, **environ}, seconds=seconds)


# ── packages that need a variable ───────────────────────────────────────────────────────────────


@pytest.mark.parametrize("level", ["error", "info"])
def test_a_package_that_needs_a_variable_at_its_import(folder, level):
    """What was information about a package has a hint once it explains a failure."""
    site = folder / "site-packages"
    site.mkdir()
    read = "os.environ['SHOP_ABSENT']" if level == "error" else "os.environ.get('SHOP_ABSENT')"
    (site / "needy.py").write_text(f"import os\nKEY = {read}\n")
    (folder / "module.py").write_text("import needy\n")
    sys.path.insert(0, str(site))
    try:
        found = audit.trace("module", settings="", environ=PATH)
    finally:
        sys.path.remove(str(site))
    read_one = next(one for one in found if one.id == "audit.import-read-unset")
    assert str(read_one.level) == level
    assert bool(read_one.hint) is (level == "error")
    failures = [one for one in found if one.id == "audit.import-failed"]
    assert [one.cause for one in failures] == ([read_one] if level == "error" else [])


# A library that looks for a variable of its own when it is used first, and a reader of any.
LIBRARY = """
import os
def zones():
    return os.environ.get("ZONES_FOLDER", "here")
def config(name):
    return os.environ.get(name)
def strict():
    return os.environ["ZONES_FOLDER"]
"""


@pytest.fixture
def library(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    site = folder / "site-packages"
    site.mkdir()
    (site / "library.py").write_text(LIBRARY)
    monkeypatch.syspath_prepend(site)
    return folder


def test_what_a_library_looks_for_by_itself_is_not_the_projects(library):
    """There is nothing to mend: nobody has heard of that variable, and the default holds."""
    [found] = traces(library, "import library\n\nZONES = library.zones()\n")
    assert (found.id, found.level, found.subject) == (
        "audit.import-read-unset",
        Level.INFO,
        "library",
    )


@pytest.mark.parametrize(
    ("text", "environ"),
    [
        ('FOLDER = library.config("ZONES_FOLDER")', {}),
        ('PREFIX = "ZONES_"\nFOLDER = library.config(PREFIX + "FOLDER")', {}),
        ("ZONES = library.zones()", {"ZONES_FOLDER": "there"}),
    ],
    ids=["named", "behind a prefix", "set"],
)
def test_what_a_library_looks_for__twin__the_project_knows_the_variable(library, text, environ):
    [found] = traces(library, f"import library\n\n{text}\n", **environ)
    assert (found.subject, found.level) == ("module", Level.WARNING)


def test_what_a_library_looks_for__twin__the_import_fails_without_it(library):
    found = traces(library, "import library\n\nZONES = library.strict()\n")
    assert {(one.id, one.level) for one in found} == {
        ("audit.import-read-unset", Level.ERROR),
        ("audit.import-failed", Level.ERROR),
    }
    failed = next(one for one in found if one.id == "audit.import-failed")
    assert failed.cause is not None
    assert failed.cause.location == f"{library}/module.py:3"


# ── more modules than there is time for ─────────────────────────────────────────────────────────


def test_modules_that_were_not_reached_are_counted_and_not_blamed(folder):
    (folder / "first.py").write_text("import threading\nthreading.Event().wait(60)\n")
    (folder / "second.py").touch()
    many = probe.Imports("audit", modules=("first", "second"))
    found = list(many.run(Deadline(5.0)))
    assert [(one.id, one.location) for one in found] == [
        ("audit.import-failed", f"{folder}/first.py:2"),
        ("audit.unfinished", None),
    ]
    assert "1 of 2 modules were imported, and not second," in found[1].summary


def test_modules_that_were_not_reached__twin__there_is_time(folder):
    for name in ("first", "second"):
        (folder / f"{name}.py").write_text("import os\n")
    few = probe.Imports("audit", modules=("first", "second"))
    assert [one.id for one in few.run(Deadline(20.0))] == ["audit.ok"]


# ── objects that are built when somebody asks ───────────────────────────────────────────────────

PROXY = """
import os, sys
class Lazy:
    @property
    def __class__(self):
        open({mark!r}, "w").close()
        raise RuntimeError("built")
    def __getattr__(self, name):
        open({mark!r}, "w").close()
        raise RuntimeError("built")
class Meta(type):
    def __getattribute__(self, name):
        raise RuntimeError("asked")
class Odd(metaclass=Meta):
    pass
lazy, odd = Lazy(), Odd
sys.modules["module_lazy"] = Lazy()
{asked}
"""


def test_no_lazy_object_is_built(folder):
    mark = folder / "built"
    assert traces(folder, PROXY.format(mark=str(mark), asked="")) == []
    assert not mark.exists()


def test_no_lazy_object_is_built__twin__unless_the_module_does(folder):
    mark = folder / "built"
    asked = "try:\n    isinstance(lazy, int)\nexcept RuntimeError:\n    pass"
    traces(folder, PROXY.format(mark=str(mark), asked=asked))
    assert mark.exists()


def test_a_lazy_object_of_django_that_reads_is_not_built(folder):
    text = (
        "import os\nfrom django.utils.functional import SimpleLazyObject\n"
        "key = SimpleLazyObject(lambda: os.environ['SHOP_ABSENT'])\n"
    )
    assert [one for one in traces(folder, text) if one.level >= Level.WARNING] == []


# ── a project that is installed ─────────────────────────────────────────────────────────────────

CLIENT = "import redis\nSTORE = redis.Redis()\n"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    site = tmp_path / "site-packages"
    for package in ("shop_here", "other_here"):
        (site / package).mkdir(parents=True)
        (site / package / "__init__.py").touch()
        (site / package / "store.py").write_text(CLIENT)
    (site / "shop_here" / "settings.py").write_text("SECRET_KEY = 'x'\n")
    monkeypatch.syspath_prepend(site)
    yield site
    owners._adopted.clear()
    owners.owner.cache_clear()


def test_the_package_of_the_settings_is_own_wherever_it_lies(installed):
    names = ("shop_here.store", "other_here.store")
    found = audit.trace(*names, settings="shop_here.settings", environ=PATH)
    built = [one.location for one in found if one.id == "audit.import-client"]
    assert built == [f"{installed}/shop_here/store.py:2"]


def test_the_package_of_the_settings__twin__without_settings_it_is_a_package(installed):
    assert owners.owner(f"{installed}/shop_here/store.py") == "shop_here"
    owners.adopt("shop_here.settings")
    assert owners.owner(f"{installed}/shop_here/store.py") == owners.OWN
    assert owners.owner(f"{installed}/other_here/store.py") == "other_here"
    owners.adopt("django.conf.global_settings")
    assert owners.adopted() == [f"{installed}/shop_here{os.sep}"]


def test_nothing_read_is_not_fine():
    (found,) = probe.Source("audit", paths=()).run(Deadline(5.0))
    assert (found.id, str(found.level)) == ("audit.nothing", "warning")
    assert "DJANGO_SETTINGS_MODULE" in found.hint


def test_a_module_that_is_imported_already_is_done(monkeypatch):
    """The child has ``json`` itself."""
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)
    (found,) = probe.Imports("audit", modules=("json",)).run(Deadline(20.0))
    assert (found.id, str(found.level), found.facts["modules"]) == ("audit.nothing", "info", 1)


def test_a_module_that_is_imported_already__twin__one_that_is_nowhere(monkeypatch):
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)
    (found,) = probe.Imports("audit", modules=("shop_absent",)).run(Deadline(20.0))
    assert found.id == "audit.import-failed"


# ── descriptors ─────────────────────────────────────────────────────────────────────────────────

CLOSING = """
import os
os.closerange(3, {upto})
kept = [os.open({notes!r}, os.O_RDWR) for _ in range({times})]
"""


def test_a_module_that_closes_all_descriptors_gets_no_answer_of_ours(folder):
    notes = folder / "notes"
    notes.write_text("mine\n")
    text = "import resource\nsoft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]\n"
    text += "import os\nos.closerange(3, min(soft, 70000))\nfor _ in range(min(soft, 70000) - 4):\n"
    text += f"    os.open({str(notes)!r}, os.O_RDWR)\n"
    (found,) = traces(folder, text)
    assert "ended its process" in found.summary
    assert notes.read_text() == "mine\n"


def test_a_module_that_closes_all_descriptors__twin__the_usual_ones_are_not_ours(folder):
    notes = folder / "notes"
    notes.write_text("mine\n")
    text = CLOSING.format(upto=256, notes=str(notes), times=20)
    assert traces(folder, text) == []
    assert notes.read_text() == "mine\n"


# ── what is left behind ─────────────────────────────────────────────────────────────────────────

LEAVING = """
import os, subprocess, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        with open({pids!r}, "a") as file:
            file.write(f"{{os.getpid()}}\\n")
        while True:
            time.sleep(60)
    os._exit(0)
process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"],
    start_new_session=True)
with open({pids!r}, "a") as file:
    file.write(f"{{process.pid}}\\n")
while len(open({pids!r}).readlines()) < 2:
    time.sleep(0.01)
{then}
"""


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


@on_linux
@pytest.mark.parametrize(
    "then",
    [
        "",
        "os._exit(0)",
        "import signal; signal.signal(signal.SIGALRM, signal.SIG_IGN); time.sleep(60)",
    ],
    ids=["ends", "leaves", "hangs"],
)
def test_nothing_outlives_the_run(folder, then):
    """Daemons, programs in sessions of their own, and a fork that holds the pipe."""
    pids = folder / "pids"
    began = time.monotonic()
    (folder / "module.py").write_text(LEAVING.format(pids=str(pids), then=then))
    traced.run(["module"], settings="", environ=PATH, seconds=3.0)
    assert time.monotonic() - began < 6
    every = [int(line) for line in pids.read_text().split()]
    assert len(every) == 2 or not traced_may_start_programs()
    assert [pid for pid in every if is_running(pid)] == []


def traced_may_start_programs() -> bool:
    return traced.run([], settings="", environ=PATH).isolated


@on_linux
def test_nothing_outlives_the_run__twin__without_the_keeper_they_do():
    """A process of a session of its own survives its parent; ``end`` finds it below us."""
    code = (
        "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', "
        "'import time; time.sleep(60)'], start_new_session=True, stdout=-3, stderr=-3); "
        "print(p.pid)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    pid = int(out)
    assert is_running(pid)
    os.kill(pid, signal.SIGKILL)


@on_linux
def test_only_what_a_process_has_started_is_ended():
    sleeping = "import time; time.sleep(60)"
    code = (
        "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', "
        f"{sleeping!r}], start_new_session=True); print(p.pid, flush=True); p.wait()"
    )
    with (
        subprocess.Popen([sys.executable, "-c", sleeping]) as beside,
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent,
    ):
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert descendants.end(parent.pid)
        assert not is_running(pid)
        assert is_running(beside.pid)
        for process in (beside, parent):
            with contextlib.suppress(ProcessLookupError):
                process.kill()


# ── values in names ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("host", "port", "shown"),
    [
        ("redis.shop.internal", 6379, "redis.shop.internal:6379"),
        (b"shop.internal", None, "shop.internal"),
        ("10.0.0.1", 0, "10.0.0.1:0"),
        ("fe80::1%eth0", 80, "fe80::1%eth0:80"),
        ("user:word@shop.internal", 80, "***:80"),
        ("user@shop.internal", "", "***"),
        ("shop.internal:word", None, "***"),
        ("canary-77aa", 80, "***:80"),
        ("canary-77aa.shop.internal", 80, "***:80"),
        ("shop.internal", "canary-77aa", "shop.internal:***"),
        ("", 80, ":80"),
    ],
)
def test_an_address_is_shown_if_it_is_plain(monkeypatch, host, port, shown):
    monkeypatch.setenv("SHOP_API_KEY", "canary-77aa")
    assert hosts.shown(host, port) == shown


def test_an_address__twin__a_variable_that_is_no_secret_may_name_a_host(monkeypatch):
    monkeypatch.delenv("SHOP_API_KEY", raising=False)
    monkeypatch.setenv("SHOP_HOST", "canary-77aa")
    assert hosts.shown("canary-77aa", 80) == "canary-77aa:80"


def test_the_value_of_a_variable_is_in_no_finding(folder):
    text = (
        "import contextlib, os, socket\nkey = os.environ['SHOP_KEY']\n"
        "for host in (key, f'user:{key}@shop.invalid', 'shop.invalid'):\n"
        "    with contextlib.suppress(OSError):\n        socket.create_connection((host, 80), 1)\n"
        "with contextlib.suppress(OSError):\n"
        "    socket.socket(socket.AF_UNIX).connect(f'/run/{key}')\n"
        "compile('x = = 1', f'/run/{key}', 'exec')\n"
    )
    found = traces(folder, text, SHOP_KEY="canary-77aa")
    assert "canary" not in repr(found)
    assert "shop.invalid:80" in repr(found)
    failure = next(one for one in found if one.id == "audit.import-failed")
    assert failure.location == f"{folder}/module.py:8"


def test_the_value_of_a_variable__twin__a_file_that_is_no_python_is_the_location(folder):
    (folder / "broken.py").write_text("x = 1\nx = = 2\n")
    found = traces(folder, "import broken\n")
    failure = next(one for one in found if one.id == "audit.import-failed")
    assert failure.location == f"{folder}/broken.py:2"
