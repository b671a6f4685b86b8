"""The same for Django, this package's own errors, and gunicorn."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.processes import ROOT
from tests.servers import free_port

SETTINGS = """
import os
SECRET_KEY = os.environ.get("SECRET_KEY", "x" * 60)
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth",
                  "django.contrib.sessions", "django.contrib.staticfiles", "resilience"]
MIDDLEWARE = ["django.middleware.common.CommonMiddleware",
              "django.middleware.csrf.CsrfViewMiddleware"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3",
                         "NAME": os.environ.get("DATABASE", "db.sqlite3")}}
ALLOWED_HOSTS = ["shop.example"]
ROOT_URLCONF = "site_settings"
STATIC_URL, STATIC_ROOT = "/static/", "collected"
STORAGES = {"staticfiles": {
    "BACKEND": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"}}
from resilience import env
PART = {"BACKEND": "builtins.dict", "OPTIONS": {"key": env.ref("OPENAI_API_KEY")}}
RESILIENCE = {"COMPONENTS": {"llm.chat": PART}}
from django.http import HttpResponse
from django.urls import path
urlpatterns = [path("", lambda request: HttpResponse("fine"))]
"""


def _site(folder: Path, code: str, **variables: str) -> str:
    """What a small Django project prints while it runs this."""
    (folder / "site_settings.py").write_text(SETTINGS)
    start = "import django, logging; logging.basicConfig(); django.setup()\n"
    start += "from django.test import Client\n"
    done = subprocess.run(
        [sys.executable, "-c", start + code],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "DJANGO_SETTINGS_MODULE": "site_settings",
             "PYTHONPATH": f"{folder}:{ROOT}", **variables},
        capture_output=True, check=False, timeout=30,
    )  # fmt: skip
    return (done.stdout + done.stderr).decode()


def django_host(folder: Path) -> str:
    return _site(folder, "Client().get('/', headers={'host': 'healthcheck.railway.app'})")


def django_origin(folder: Path) -> str:
    client = "Client(enforce_csrf_checks=True, headers={'host': 'shop.example'})"
    return _site(folder, f"{client}.post('/', headers={{'origin': 'https://shop.example'}})")


def django_secret_key(folder: Path) -> str:
    return _site(folder, "from django.conf import settings; settings.SECRET_KEY", SECRET_KEY="")


def django_mailer(folder: Path) -> str:
    console = '{"default": {"BACKEND": "django.core.mail.backends.console.EmailBackend"}}'
    code = f"from django.conf import settings; settings.MAILERS = {console}\n"
    return _site(folder, f"{code}from django.core import management as m; m.call_command({DEPLOY})")


def django_table(folder: Path) -> str:
    code = "from django.contrib.sessions.models import Session; Session.objects.count()"
    return _site(folder, code)


def django_no_folder(folder: Path) -> str:
    code = "from django.contrib.sessions.models import Session; Session.objects.count()"
    return _site(folder, code, DATABASE="/nowhere/db.sqlite3")


def django_manifest(folder: Path) -> str:
    return _site(folder, "from django.templatetags.static import static; static('shop.css')")


def django_driver(folder: Path) -> str:
    blocked = "import sys; sys.modules['psycopg'] = sys.modules['psycopg2'] = None\n"
    return _site(folder, f"{blocked}import django.db.backends.postgresql.base")


def missing_variable(folder: Path) -> str:
    return _site(folder, "from resilience import env; env.secret('STRIPE_KEY')")


def blocked_component(folder: Path) -> str:
    return _site(folder, "from resilience.components import components; components['llm.chat'].x")


DEPLOY = '"check", deploy=True'


@contextmanager
def _gunicorn(folder: Path, code: str, *options: str) -> Iterator[tuple[Any, int, Path]]:
    (folder / "app.py").write_text(code)
    port, log = free_port(), folder / "gunicorn.log"
    command = [sys.executable, "-m", "gunicorn", "app:app", "-b", f"127.0.0.1:{port}", *options]
    with log.open("wb") as out:
        child = subprocess.Popen(
            [*command, "--no-control-socket"],
            cwd=folder, env={"PATH": os.environ["PATH"]}, stdout=out, stderr=out,
        )  # fmt: skip
    try:
        yield child, port, log
    finally:
        child.terminate()
        child.wait(10)


def _logged(log: Path, *words: str, seconds: float = 10.0) -> str:
    until = time.monotonic() + seconds
    while not all(word in log.read_text() for word in words) and time.monotonic() < until:
        time.sleep(0.02)
    return log.read_text()


APP = "def app(environ, start):\n    start('200 OK', [])\n    {}\n    return [b'fine']\n"


def gunicorn_boot(folder: Path) -> str:
    with _gunicorn(folder, "import nothing_of_this_name") as (_, _, log):
        return _logged(log, "failed to boot")


def gunicorn_port(folder: Path) -> str:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        with _gunicorn(folder, APP.format(""), "-b", f"127.0.0.1:{port}") as (child, _, log):
            said = _logged(log, "Connection in use")
            child.kill()  # it would try again for 5 s
            return said


def gunicorn_timeout(folder: Path) -> str:
    code = "import time\n" + APP.format("time.sleep(9)")
    with _gunicorn(folder, code, "--timeout", "1") as (_, port, log):
        _logged(log, "Booting worker")
        with socket.create_connection(("127.0.0.1", port), 5) as line:
            line.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return _logged(log, "WORKER TIMEOUT")


def gunicorn_killed(folder: Path) -> str:
    with _gunicorn(folder, APP.format("")) as (_, _, log):
        said = _logged(log, "Booting worker with pid: ")
        os.kill(int(said.rpartition("pid: ")[2].split()[0]), signal.SIGKILL)
        return _logged(log, "SIGKILL")
