"""A small site under gunicorn or uvicorn, whose caches and databases do what a test wants."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.processes import ROOT, serve

TOKEN = "correct-horse-battery-staple"
START_WITHIN = 20.0  # seconds
ANSWER_WITHIN = 10.0

SETTINGS = """
import json, os
SECRET_KEY = "only-for-the-tests-of-this-project-0123456789-abcdefghij"
ALLOWED_HOSTS = ["shop.example"]
SECURE_SSL_REDIRECT = APPEND_SLASH = True
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
ROOT_URLCONF = "site_urls"
USE_TZ = True
INSTALLED_APPS = ["resilience", "django.contrib.contenttypes", "django.contrib.sessions"]
MIDDLEWARE = [
    "resilience.middleware.HealthMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
]
globals().update(json.loads(os.environ["SITE"]))
"""
URLS = """
import threading
from django.http import JsonResponse
from django.urls import path
import site_parts

async def inside(request):
    return JsonResponse({
        "threads": [thread.name for thread in threading.enumerate()],
        "runs": site_parts.RUNS,
    })

urlpatterns = [path("inside/", inside)]
"""
PARTS = """
import time
from django.core.cache.backends.locmem import LocMemCache

RUNS = {"hanging": 0, "counting": 0}

class Hanging(LocMemCache):
    def set(self, *args, **more):
        RUNS["hanging"] += 1
        time.sleep(60)

class Counting(LocMemCache):
    def set(self, *args, **more):
        RUNS["counting"] += 1
        super().set(*args, **more)
"""
GUNICORN = """
def post_worker_init(worker):
    from resilience.endpoints import draining
    draining.when(lambda: not worker.alive)
"""
WSGI = "django.core.wsgi:get_wsgi_application()"
ASGI = "django.core.asgi:get_asgi_application"
SERVERS: Mapping[str, list[str]] = {
    "sync": ["gunicorn", "--worker-class", "sync", WSGI],
    "gthread": ["gunicorn", "--threads", "4", "--keep-alive", "30", WSGI],
    "uvicorn": ["uvicorn", "--factory", "--lifespan", "off", ASGI],
}


@dataclass(frozen=True)
class Answer:
    """One response; ``seconds`` up to its last byte, the names of its headers in lower case."""

    status: int
    body: str
    headers: Mapping[str, str]
    seconds: float


@dataclass
class Site:
    """A running server."""

    port: int
    process: subprocess.Popen[bytes] = field(repr=False)

    def ask(
        self, path: str = "/readyz", method: str = "GET", body: str | None = None, **headers: str
    ) -> Answer:
        """One request on a connection of its own; ``accept_language`` is Accept-Language."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_WITHIN)
        try:
            return ask(connection, path, method, body, **headers)
        finally:
            connection.close()

    def raw(self, request: bytes) -> bytes:
        """What comes back for these very bytes, up to the end of the connection."""
        with socket.create_connection(("127.0.0.1", self.port), ANSWER_WITHIN) as line:
            line.sendall(request)
            received = b""
            while part := line.recv(65536):
                received += part
        return received

    def inside(self) -> dict[str, Any]:
        """The threads of the process, and how often its caches were written to."""
        answer = self.ask("/inside/", host="shop.example", x_forwarded_proto="https")
        assert answer.status == http.client.OK, answer
        found: dict[str, Any] = json.loads(answer.body)
        return found


def ask(
    connection: http.client.HTTPConnection,
    path: str = "/readyz",
    method: str = "GET",
    body: str | None = None,
    **headers: str,
) -> Answer:
    """One request on a connection that stays open."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    began = time.monotonic()
    connection.request(method, path, body, named)
    response = connection.getresponse()
    text = response.read().decode()
    seconds = time.monotonic() - began
    named = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, text, named, seconds)


@contextmanager
def serving(folder: Path, server: str, *options: str, **settings: Any) -> Iterator[Site]:
    """Run the site with these options of the server and these settings until the block ends."""
    folder = folder / server
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (("settings", SETTINGS), ("urls", URLS), ("parts", PARTS)):
        (folder / f"site_{name}.py").write_text(text)
    (folder / "gunicorn.conf.py").write_text(GUNICORN)
    log = folder / "server.log"
    with socket.create_server(("127.0.0.1", 0)) as door:
        module, *arguments = SERVERS[server]
        listening = ["--bind", f"fd://{door.fileno()}", "--no-control-socket"]
        if module == "uvicorn":  # it takes any --fd for a unix socket, and each answer 40 ms then
            listening = ["--port", "0", "--no-access-log"]
        with serve(
            [sys.executable, "-m", module, *listening, *options, *arguments],
            log=log,
            patience=3.0,  # its workers may wait for whatever
            cwd=folder,
            env=_variables(folder, settings),
            pass_fds=[door.fileno()],
        ) as process:
            site = Site(door.getsockname()[1] if module == "gunicorn" else 0, process)
            _wait_for(site, log)
            yield site


def _wait_for(site: Site, log: Path) -> None:
    ends = time.monotonic() + START_WITHIN
    while time.monotonic() < ends and site.process.poll() is None:
        if not site.port:
            announced = re.search(r"http://127\.0\.0\.1:(\d+)", log.read_text())
            site.port = int(announced[1]) if announced else 0
            time.sleep(0.02)
            continue
        with suppress(OSError, http.client.HTTPException):
            if site.ask("/livez").status == http.client.OK:
                return
    raise RuntimeError(f"the server did not start:\n{log.read_text()[-3000:]}")


def _variables(folder: Path, settings: Mapping[str, Any]) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return {
        **kept,
        "DJANGO_SETTINGS_MODULE": "site_settings",
        "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]),
        "SITE": json.dumps(settings),
    }
