"""Line 1 of ``<project>/__init__.py`` serves every way to start a Django project, for real.

The project is laid out as Celery's documentation says: its ``__init__`` imports ``celery.py``, and
that reads the environment long before settings do. Every process says what it saw.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.processes import ROOT, run, serve

LOAD = "from resilience import env\nenv.load()\n"
FILES = {
    "shop/__init__.py": f"{LOAD}from .celery import app\n",
    "shop/celery.py": """
import json, os, pathlib
from celery import Celery
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
AT_IMPORT = os.environ.get("SHOP_GREETING")
queue = str(pathlib.Path(__file__).parent.parent / "queue")
app = Celery("shop", broker="filesystem://")
app.conf.broker_transport_options = {"data_folder_in": queue, "data_folder_out": queue}
app.conf.worker_hijack_root_logger = False

@app.task(name="write")
def write(path):
    from shop.seen import seen
    pathlib.Path(path + ".new").write_text(json.dumps(seen()))
    os.rename(path + ".new", path)
""",
    "shop/settings.py": """
from resilience import env
SECRET_KEY = env.secret("SHOP_KEY")
DEBUG = env.bool("SHOP_DEBUG", default=False)
GREETING = env.str("SHOP_GREETING", default="default")
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "shop.urls"
INSTALLED_APPS = ["resilience", "shop"]
DATABASES = {}
USE_TZ = True
""",
    "shop/seen.py": """
import os, sys
def seen():
    from django.conf import settings
    from resilience import env
    import shop.celery
    (greeting,) = [item for item in env.declared() if item.name == "SHOP_GREETING"]
    return {
        "at_import": shop.celery.AT_IMPORT,
        "settings": settings.GREETING,
        "environ": os.environ.get("SHOP_GREETING"),
        "origin": greeting.origin,
        "late": env.snapshot().late or list(env.snapshot().early),
    }
""",
    "shop/urls.py": """
from django.http import JsonResponse
from django.urls import path
from shop.seen import seen
def boom(request):
    raise ValueError("on purpose")
urlpatterns = [path("", lambda request: JsonResponse(seen())), path("boom", boom)]
""",
    "shop/wsgi.py": """
import os
from django.core.wsgi import get_wsgi_application
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
application = get_wsgi_application()
""",
    "shop/asgi.py": """
import os
from django.core.asgi import get_asgi_application
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
application = get_asgi_application()
""",
    "shop/management/commands/seen.py": """
import json
from django.core.management.base import BaseCommand
from shop.seen import seen
class Command(BaseCommand):
    def handle(self, *args, **options):
        self.stdout.write(json.dumps(seen()))
""",
    "manage.py": """
import os, sys
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
""",
    "pytest.ini": "[pytest]\nDJANGO_SETTINGS_MODULE = shop.settings\npythonpath = .\n",
    "conftest.py": "import django.conf\nassert django.conf.settings.configured\n",
    "test_seen.py": """
import json
def test_seen():
    from shop.seen import seen
    print("\\n" + json.dumps(seen()))
""",
    "gunicorn.conf.py": "control_socket_disable = True\nloglevel = 'info'\n",
    ".env": "SHOP_GREETING=one\nSHOP_KEY=hunter22-hunter22\n",
}
SEEN = {"at_import": "one", "settings": "one", "environ": "one", "origin": ".env:1", "late": []}
TWO = {**SEEN, "at_import": "two", "settings": "two", "environ": "two"}
REAL = {**dict.fromkeys(SEEN, "real"), "origin": "environment", "late": []}
BIN = Path(sys.executable).parent


def write(folder: Path, files: Mapping[str, str]) -> Path:
    for name, source in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    (folder / "queue").mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project, for whom does not change it."""
    return write(tmp_path_factory.mktemp("project"), FILES)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The project, to be edited."""
    return write(tmp_path, FILES)


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same project with ``env.load()`` where most documentation puts it: in settings."""
    files = {
        **FILES,
        "shop/__init__.py": "from .celery import app\n",
        "shop/settings.py": f"{LOAD}{FILES['shop/settings.py']}",
    }
    return write(tmp_path_factory.mktemp("usual"), files)


def variables(folder: Path, **more: str | None) -> dict[str, str | None]:
    return {
        "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        **more,
    }


# ── what runs and ends ──────────────────────────────────────────────────────────────────────────

SAY = "import json; from shop.seen import seen; print(json.dumps(seen()))"
WSGI = """
from wsgiref.util import setup_testing_defaults
from shop.wsgi import application
environ = {"HTTP_HOST": "127.0.0.1"}
setup_testing_defaults(environ)
print(b"".join(application(environ, lambda *_: None)).decode())
"""
ASGI = """
import asyncio
from asgiref.testing import ApplicationCommunicator
from shop.asgi import application
async def main():
    scope = {"type": "http", "http_version": "1.1", "method": "GET", "path": "/",
             "headers": [(b"host", b"127.0.0.1")], "query_string": b""}
    asked = ApplicationCommunicator(application, scope)
    await asked.send_input({"type": "http.request", "body": b""})
    await asked.receive_output(5)
    print((await asked.receive_output(5))["body"].decode())
asyncio.run(main())
"""
ENDING: dict[str, list[str]] = {
    "manage.py": [sys.executable, "manage.py", "seen"],
    "django-admin": [str(BIN / "django-admin"), "seen", "--settings", "shop.settings"],
    "python -m django": [sys.executable, "-m", "django", "seen", "--settings", "shop.settings"],
    "shell": [sys.executable, "manage.py", "shell", "-c", SAY],
    "wsgi": [sys.executable, "-c", WSGI],
    "asgi": [sys.executable, "-c", ASGI],
    "pytest": [
        *(sys.executable, "-m", "pytest", "-q", "-s"),
        *("-p", "no:cacheprovider", "-p", "pytest_django.plugin"),
    ],
}
some_that_end = pytest.mark.parametrize("entry", ["manage.py", "wsgi", "pytest"])


def outcome(folder: Path, command: list[str], **more: str | None) -> dict[str, Any]:
    """The JSON line that the process printed."""
    ended = run(*command, cwd=folder, variables=variables(folder, **more))
    lines = [line for line in ended.out.splitlines() if line.startswith("{")]
    assert len(lines) == 1, ended.out + ended.err
    assert "hunter22" not in ended.out + ended.err
    found: dict[str, Any] = json.loads(lines[0])
    return found


@pytest.mark.parametrize("entry", ENDING)
def test_it_is_loaded_before_everything(shared, entry):
    assert outcome(shared, ENDING[entry]) == SEEN


@some_that_end
def test_the_process_environment_wins(shared, entry):
    assert outcome(shared, ENDING[entry], SHOP_GREETING="real") == REAL


@some_that_end
def test_it_is_loaded__twin__in_settings_it_is_too_late(usual, entry):
    """The bug that line 1 is for: the settings are right, and what came before them is not."""
    assert outcome(usual, ENDING[entry]) == {**SEEN, "at_import": None}


# ── what goes on ────────────────────────────────────────────────────────────────────────────────


class Running:
    """A server in a process of its own, and what it has printed so far."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def until(self, done: Callable[[], Any], limit: float = 20.0) -> Any:
        """What ``done`` returns as soon as that is true. AssertionError with the log otherwise."""
        ends = time.monotonic() + limit
        while time.monotonic() < ends and self.process.poll() is None:
            found = done()
            if found:
                return found
            time.sleep(0.05)
        raise AssertionError(self.log)

    def page(self, path: str = "") -> str:
        """The body at the last address that it announced; empty while nobody answers."""
        ports = re.findall(r"http://127\.0\.0\.1:(\d+)", self.log)
        if not ports:
            return ""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{ports[-1]}/{path}", timeout=5) as found:
                return str(found.read().decode())
        except urllib.error.HTTPError as error:
            with error:
                return error.read().decode()
        except OSError:
            return ""

    def seen(self, settings: str) -> dict[str, Any]:
        """What a worker says, once its settings have this greeting."""

        def asked() -> dict[str, Any] | None:
            page = self.page()
            found: dict[str, Any] = json.loads(page) if page.startswith("{") else {}
            return found if found.get("settings") == settings else None

        answer: dict[str, Any] = self.until(asked)
        return answer


@contextmanager
def running(folder: Path, *command: str, **more: str | None) -> Iterator[Running]:
    """The server until the end of the block; then it, and whatever it started, is gone."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    given = variables(folder, PYTHONUNBUFFERED="1", **more)
    log = folder / "log"
    environment = {**kept, **{name: text for name, text in given.items() if text is not None}}
    with serve(command, log=log, patience=10.0, cwd=folder, env=environment) as process:
        yield Running(process, log)
        assert "hunter22" not in log.read_text(encoding="utf-8", errors="replace")


GUNICORN = (str(BIN / "gunicorn"), "shop.wsgi", "--bind", "127.0.0.1:0", "--workers", "2")
UVICORN = (str(BIN / "uvicorn"), "shop.asgi:application", "--port", "0", "--lifespan", "off")
RUNSERVER = (sys.executable, "manage.py", "runserver", "127.0.0.1:0")


def edit(folder: Path) -> None:
    path = folder / ".env"
    path.write_text(path.read_text().replace("=one", "=two"))


def edit_until_reloaded(folder: Path, server: Running, said: str, watched: str = ".env") -> None:
    """A reloader compares with what it saw first, which may be after our first edit."""
    edit(folder)

    def noticed() -> bool:
        (folder / watched).touch()
        return said in server.log

    server.until(noticed)


@pytest.mark.parametrize("given", [{}, {"SHOP_GREETING": "real"}], ids=["file", "real"])
def test_runserver_reloads_what_was_edited(project, given):
    """A real variable still wins, in the child too."""
    before, after = (SEEN, TWO) if not given else (REAL, REAL)
    with running(project, *RUNSERVER, SHOP_DEBUG="true", **given) as server:
        assert server.seen(str(before["settings"])) == before
        edit_until_reloaded(project, server, ".env changed, reloading")
        server.until(lambda: server.log.count("development server at") > 1)
        assert server.seen(str(after["settings"])) == after


def test_the_error_page_of_runserver_shows_nothing_of_the_files(project):
    """It shows ``request.META``, and ``runserver`` copies the environment there."""
    path = project / ".env"
    path.write_text(f"{path.read_text()}SHOP_DEBUG=true\nSHOP_DSN_OF_OURS=redis://:hunter22@h\n")
    with running(project, *RUNSERVER, "--noreload", SHOP_REAL="is-shown") as server:
        server.seen("one")
        page = server.page("boom")
    assert "on purpose" in page
    assert "hunter22" not in page
    assert "RESILIENCE_ENV_SIGNATURES" not in page
    assert "is-shown" in page, "that is Django's own doing, and shows what we compare with"


@pytest.mark.parametrize("preload", [True, False], ids=["preload", "workers load"])
def test_gunicorn(project, preload):
    with running(project, *GUNICORN, *(["--preload"] if preload else [])) as server:
        assert server.seen("one") == SEEN
        edit(project)
        server.process.send_signal(signal.SIGHUP)
        if preload:  # HUP makes new workers of what the master has loaded
            server.until(lambda: server.log.count("Booting worker") >= 4)
            assert server.seen("one") == SEEN
        else:
            assert server.seen("two") == TWO


def test_gunicorn_that_replaces_itself_reads_anew(project):
    """USR2 starts a new master from the environment of the old one."""
    with running(project, *GUNICORN, "--preload", "--pid", "pid") as server:
        assert server.seen("one") == SEEN
        edit(project)
        server.process.send_signal(signal.SIGUSR2)
        server.until(lambda: server.log.count("Booting worker") == 4)
        server.process.send_signal(signal.SIGWINCH)  # the old workers go, the new ones stay
        assert server.seen("two") == TWO


def test_uvicorn(shared):
    with running(shared, *UVICORN) as server:
        assert server.seen("one") == SEEN


def test_uvicorn_reloads_what_was_edited(project):
    """It watches Python files only, unless watchfiles is installed."""
    with running(project, *UVICORN, "--reload") as server:
        assert server.seen("one") == SEEN
        edit_until_reloaded(project, server, "Reloading...", watched="shop/urls.py")
        assert server.seen("two") == TWO


def test_celery(project):
    celery = (str(BIN / "celery"), "-A", "shop")
    worker = (*celery, "worker", "--pool", "prefork", "-c", "1", "--without-mingle")
    target = project / "written"
    with running(project, *worker, "--without-gossip", "--without-heartbeat") as server:
        called = run(
            *(*celery, "call", "write", "--args", json.dumps([str(target)])),
            cwd=project,
            variables=variables(project),
        )
        assert called.code == 0, called.err
        server.until(target.exists)
        server.process.kill()  # it would take 5 s to leave its queue
    assert json.loads(target.read_text()) == SEEN
