"""The example project with its admin under gunicorn, in the states that people are called for."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.gunicorns import django_gunicorn
from tests.processes import SECRET_KEY, example_project, run

TOKEN = "token-of-the-status-page-0123456789"
START_WITHIN = 20.0  # seconds
WAIT = 15.0  # seconds for a state to show: a probe's deadline, and its period

SETTINGS = """
from opsproject.settings import *
import os
INSTALLED_APPS = [*dict.fromkeys([*INSTALLED_APPS, *os.environ["SITE_APPS"].split()])]
ROOT_URLCONF = "site_urls"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
WHITENOISE_USE_FINDERS = True  # the admin's style, without collectstatic
SILENCED_SYSTEM_CHECKS = [f"security.W{number:03}" for number in (4, 8, 12, 16)]  # no HTTPS here
HEALTH = "resilience.middleware.HealthMiddleware"
MIDDLEWARE = [HEALTH, *(each for each in MIDDLEWARE if each != HEALTH)]
RESILIENCE = {**RESILIENCE, "STATUS_TOKEN": "%s"}
if os.environ.get("SITE_TLS_REDIS"):
    CACHES["far"] = {
        "BACKEND": "resilience.cache.ResilientCache",
        "LOCATION": os.environ["SITE_TLS_REDIS"],
        "KEY_PREFIX": "far",
    }
"""
URLS = """
from django.contrib import admin
from django.urls import path
from opsproject.urls import urlpatterns
from resilience.admin import register

class OpsSite(admin.AdminSite):
    site_header = "Operations"

ops = OpsSite(name="ops")
register(ops)
urlpatterns = [*urlpatterns, path("ops/", ops.urls)]
"""
PREPARE = """
import json
import django; django.setup()
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import Permission, User
from django.contrib.sessions.backends.db import SessionStore
from django.core.management import call_command

call_command("migrate", verbosity=0)

def session(user):
    store = SessionStore()
    store[SESSION_KEY] = str(user.pk)
    store[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
    store[HASH_SESSION_KEY] = user.get_session_auth_hash()
    store.save()
    return store.session_key

viewer = User.objects.create_user("viewer", is_staff=True)
viewer.user_permissions.add(Permission.objects.get(codename="view_componentstatus"))
stranger = User.objects.create_user("stranger", is_staff=True)
operator = User.objects.create_superuser("operator")
print(json.dumps({user.username: session(user) for user in (viewer, stranger, operator)}))
"""
GUNICORN = """
workers, threads, worker_class, keepalive = 1, 4, "gthread", 5
graceful_timeout = 1
control_socket_disable = True
"""


@dataclass(frozen=True)
class Site:
    """A running server, and who is signed in by which session."""

    port: int
    pid: int
    folder: Path
    sessions: Mapping[str, str]

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def page(self) -> str:
        return f"{self.origin}/admin/resilience/componentstatus/"

    @property
    def log(self) -> str:
        return (self.folder / "gunicorn.log").read_text(errors="replace")

    def get(self, path: str, who: str = "", **headers: str) -> tuple[int, str, float]:
        """Status, body and seconds of one request, as somebody or as nobody."""
        if who:
            headers["Cookie"] = f"sessionid={self.sessions[who]}"
        request = urllib.request.Request(f"{self.origin}{path}", headers=headers)  # noqa: S310 - ours
        began = time.monotonic()
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 - ours
                status, body = answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                status, body = error.code, error.read().decode()
        return status, body, time.monotonic() - began

    def status(self, who: str = "operator") -> tuple[int, str, float]:
        return self.get("/admin/resilience/componentstatus/", who)

    def token_page(self) -> tuple[int, str, float]:
        return self.get("/readyz", Accept="text/html", Authorization=f"Bearer {TOKEN}")

    @contextmanager
    def without_database(self) -> Iterator[None]:
        """Take the folder of the SQLite file away: nothing can be opened or made there."""
        here, gone = self.folder / "data", self.folder / "data-away"
        here.rename(gone)
        try:
            yield
        finally:
            gone.rename(here)


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A server that accepts connections and never answers."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def serving(folder: Path, *, apps: str = "", **variables: str) -> Iterator[Site]:
    """Run it with these variables besides its own; three users, each signed in."""
    (folder / "site_settings.py").write_text(SETTINGS % TOKEN)
    (folder / "site_urls.py").write_text(URLS)
    (folder / "gunicorn.conf.py").write_text(GUNICORN)
    (folder / "data").mkdir()
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    environment = {
        **kept,
        "DJANGO_SETTINGS_MODULE": "site_settings",
        "PYTHONPATH": os.pathsep.join([str(folder), str(example_project())]),
        "SECRET_KEY": SECRET_KEY,
        "HTTPS": "false",
        "DATABASE_URL": f"sqlite:///{folder / 'data' / 'site.sqlite3'}",
        "SITE_APPS": apps,
        **variables,
    }
    prepared = run(sys.executable, "-c", PREPARE, variables=environment, cwd=folder)
    assert prepared.code == 0, prepared.err
    sessions = json.loads(prepared.out)
    with django_gunicorn(folder, environment) as (port, pid):
        site = Site(port, pid, folder, sessions)
        _until_ready(site)
        yield site


def _until_ready(site: Site) -> None:
    ends = time.monotonic() + START_WITHIN
    while time.monotonic() < ends:
        with suppress(OSError):
            status, body, _ = site.status()
            if status == 200 and "No subject has answered yet" not in body:
                return
        time.sleep(0.1)
    raise RuntimeError(f"no page:\n{site.log[-3000:]}")
