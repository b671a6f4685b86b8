"""The example project under gunicorn with several workers, and visitors who choose theirs."""

from __future__ import annotations

import http.client
import json
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.gunicorns import django_gunicorn
from tests.processes import SECRET_KEY, example_project, run

WORKERS = 2
PASSWORD = "correct-horse-battery-staple"
START_WITHIN = 20.0  # seconds
ANSWER_WITHIN = 10.0  # seconds; what a test expects is far less

# The example's own, with passwords that cost no time to check; and the engine, if it is another.
SETTINGS = """
from opsproject.settings import *
SESSION_ENGINE = "django.contrib.sessions.backends.{engine}" if "{engine}" else SESSION_ENGINE
ROOT_URLCONF = "site_urls"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
"""
URLS = """
import os
from django.http import JsonResponse
from django.urls import path
from opsproject.urls import urlpatterns
from resilience.cache import status

def worker(request):
    return JsonResponse({"process": os.getpid(), "cache": status()})

urlpatterns = [*urlpatterns, path("worker/", worker)]
"""
GUNICORN = f"""
workers, threads, worker_class, keepalive = {WORKERS}, 2, "gthread", 60
graceful_timeout = 1
control_socket_disable = True

def post_worker_init(worker):
    from resilience.cache.journal import Journal
    Journal.enabled = {{journal}}
"""


@dataclass(frozen=True)
class Answer:
    """One response; ``seconds`` from the request to its last byte."""

    status: int
    text: str
    seconds: float

    @property
    def who(self) -> str | None:
        """The name that the account page shows, None for nobody; AssertionError elsewhere."""
        assert self.status == http.client.OK, self
        found = re.search(r"Signed in as (\w+)\.|Not signed in\.", self.text)
        assert found, self
        return found[1]

    @property
    def note(self) -> str:
        found = re.search(r'name="note" value="([^"]*)"', self.text)
        assert found, self
        return found[1]


class Worker:
    """One process of the server, by a connection that stays with it."""

    def __init__(self, connection: http.client.HTTPConnection) -> None:
        self._connection = connection
        self.process: int = self.report()["process"]

    def ask(
        self, path: str, cookies: dict[str, str], form: dict[str, str] | None = None
    ) -> tuple[Answer, list[str]]:
        """The answer, and its Set-Cookie headers."""
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}
        began = time.monotonic()
        if form is None:
            self._connection.request("GET", path, headers=headers)
        else:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            self._connection.request("POST", path, urlencode(form), headers)
        response = self._connection.getresponse()
        text = response.read().decode()
        answer = Answer(response.status, text, time.monotonic() - began)
        return answer, response.headers.get_all("Set-Cookie") or []

    def report(self) -> dict[str, Any]:
        """Which process it is, and how its cache does."""
        answer, _ = self.ask("/worker/", {})
        found: dict[str, Any] = json.loads(answer.text)
        return found

    def close(self) -> None:
        self._connection.close()


@dataclass
class Visitor:
    """A browser: cookies, and nothing else."""

    cookies: dict[str, str] = field(default_factory=dict)

    def copy(self) -> Visitor:
        """Somebody who has got hold of the same cookies."""
        return Visitor(dict(self.cookies))

    @property
    def session(self) -> str | None:
        return self.cookies.get("sessionid")

    def account(self, worker: Worker) -> Answer:
        return self._ask(worker, "/account/")

    def write(self, worker: Worker, note: str) -> Answer:
        return self._post(worker, "/account/", note=note)

    def log_in(self, worker: Worker, name: str) -> Answer:
        return self._post(worker, "/account/login/", username=name, password=PASSWORD)

    def log_out(self, worker: Worker) -> Answer:
        return self._post(worker, "/account/logout/")

    def _post(self, worker: Worker, path: str, **form: str) -> Answer:
        if "csrftoken" not in self.cookies:
            self._ask(worker, "/account/login/")
        form["csrfmiddlewaretoken"] = self.cookies["csrftoken"]
        return self._ask(worker, path, form)

    def _ask(self, worker: Worker, path: str, form: dict[str, str] | None = None) -> Answer:
        answer, headers = worker.ask(path, self.cookies, form)
        for header in headers:
            for name, morsel in SimpleCookie(header).items():
                if morsel["max-age"] == "0":
                    self.cookies.pop(name, None)
                else:
                    self.cookies[name] = morsel.value
        return answer


def database_with(folder: Path, *names: str) -> Path:
    """A migrated database of the example project, with these users."""
    path = folder / "site.sqlite3"
    code = (
        "import django; django.setup()\n"
        "from django.core.management import call_command\n"
        "from django.contrib.auth.models import User\n"
        "call_command('migrate', verbosity=0)\n"
        f"for name in {names!r}: User.objects.create_user(name, password={PASSWORD!r})\n"
    )
    write_settings(folder)
    ended = run(sys.executable, "-c", code, variables=_variables(folder, path, ""), cwd=folder)
    assert ended.code == 0, ended.err
    return path


def write_settings(folder: Path, engine: str = "", *, journal: bool = True) -> None:
    (folder / "site_settings.py").write_text(SETTINGS.format(engine=engine))
    (folder / "site_urls.py").write_text(URLS)
    (folder / "gunicorn.conf.py").write_text(GUNICORN.format(journal=journal))


@contextmanager
def serving(
    folder: Path, database: Path, redis_url: str, engine: str = "", *, journal: bool = True
) -> Iterator[list[Worker]]:
    """Run it, with another engine of sessions if one is named; a Worker for each process."""
    write_settings(folder, engine, journal=journal)
    workers: dict[int, Worker] = {}
    with django_gunicorn(folder, _variables(folder, database, redis_url)) as (port, _):
        try:
            _meet(workers, port)
            if len(workers) < WORKERS:
                log = (folder / "gunicorn.log").read_text()
                raise RuntimeError(f"gunicorn did not start:\n{log[-2000:]}")
            yield list(workers.values())
        finally:
            for worker in workers.values():
                worker.close()


def _meet(workers: dict[int, Worker], port: int) -> None:
    """Connect until every process has answered; several at once, so that none takes them all."""
    ends = time.monotonic() + START_WITHIN
    while len(workers) < WORKERS and time.monotonic() < ends:
        connections = [
            http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_WITHIN)
            for _ in range(2 * WORKERS)
        ]
        for connection in connections:
            connection.connect()
        for connection in connections:
            worker = Worker(connection)
            if worker.process in workers:
                worker.close()
            else:
                workers[worker.process] = worker


def _variables(folder: Path, database: Path, redis_url: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return {
        **kept,
        "DJANGO_SETTINGS_MODULE": "site_settings",
        "PYTHONPATH": os.pathsep.join([str(folder), str(example_project())]),
        "SECRET_KEY": SECRET_KEY,
        "HTTPS": "false",
        "DATABASE_URL": f"sqlite:///{database}",
        "REDIS_URL": redis_url,
    }
