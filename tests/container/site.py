"""The image as a platform runs it: its variables, its edge's headers, the state behind it."""

from __future__ import annotations

import secrets
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import NamedTuple

from tests.container.engines import Engine, Running
from tests.servers import HOST, PostgresServer, RedisServer, free_port
from tests.services import OpenAI

DOMAIN = "opsproject.example"
READY = "/readyz"
EDGE = {"Host": DOMAIN, "X-Forwarded-Proto": "https"}
"""What a platform's edge sends with every request."""
CHECKER = {"Host": "healthcheck.railway.app"}
"""What its health check sends: straight to the container, over plain HTTP."""
GRACEFUL = 25.0  # seconds, as in gunicorn.conf.py
STOP_WITHIN = 30.0  # seconds from SIGTERM to SIGKILL on most platforms
START_WITHIN = 30.0  # seconds, for a start that is not measured against a goal
_POLL = 0.01  # seconds


class NotReady(Exception):
    """It ended, or its time was over. The message holds the end of its log."""


class Site(NamedTuple):
    """A running container that is ready."""

    port: int
    running: Running
    seconds: float
    """From the start of the engine's command to the first 200 of ``READY``."""
    log: Path

    def get(self, path: str, headers: Mapping[str, str] = EDGE, within: float = 30.0) -> int:
        """The status of the answer, read to its end. Raises OSError or HTTPException if cut."""
        return ask(self.port, path, headers, within)


def variables(
    redis: RedisServer, password: str, postgres: PostgresServer, model: OpenAI
) -> dict[str, str]:
    """What Railway and its user give a service; Redis and PostgreSQL are real, on loopback."""
    return {
        "ALLOWED_HOSTS": DOMAIN,
        "CSRF_TRUSTED_ORIGINS": f"https://{DOMAIN}",
        "DATABASE_URL": postgres.url(),
        "OPENAI_API_KEY": model.key,
        "OPENAI_BASE_URL": model.base_url,
        "PORT": str(free_port()),
        "RAILWAY_DEPLOYMENT_DRAINING_SECONDS": f"{STOP_WITHIN:.0f}",
        "RAILWAY_DEPLOYMENT_ID": "5b1d7f3c-0000-4000-8000-000000000001",
        "RAILWAY_ENVIRONMENT_ID": "5b1d7f3c-0000-4000-8000-000000000002",
        "RAILWAY_ENVIRONMENT_NAME": "production",
        "RAILWAY_GIT_COMMIT_SHA": "0123456789abcdef0123456789abcdef01234567",
        "RAILWAY_PRIVATE_DOMAIN": "web.railway.internal",
        "RAILWAY_PROJECT_ID": "5b1d7f3c-0000-4000-8000-000000000003",
        "RAILWAY_PUBLIC_DOMAIN": DOMAIN,
        "RAILWAY_REPLICA_ID": "5b1d7f3c-0000-4000-8000-000000000004",
        "RAILWAY_SERVICE_ID": "5b1d7f3c-0000-4000-8000-000000000005",
        "REDIS_URL": redis.url(password=password),
        "SECRET_KEY": secrets.token_urlsafe(50),
        "STATUS_TOKEN": secrets.token_urlsafe(32),
        "WEB_CONCURRENCY": "2",
    }


def ask(port: int, path: str, headers: Mapping[str, str], within: float = 5.0) -> int:
    """GET on a connection of its own, without following anything."""
    connection = HTTPConnection(HOST, port, timeout=within)
    try:
        connection.request("GET", path, headers=dict(headers))
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


@contextmanager
def site(
    engine: Engine,
    given: Mapping[str, str],
    *,
    volumes: Mapping[Path, str] | None = None,
    **more: str,
) -> Iterator[Site]:
    """Start it on a port of its own and wait until it is ready. Raises NotReady if it never is."""
    port = free_port()
    log = engine.folder / f"site-{port}.log"
    began = time.monotonic()
    running = engine.run(log=log, variables={**given, "PORT": str(port), **more}, volumes=volumes)
    try:
        status: int | str = "nothing"
        while status != 200:
            if running.process.poll() is not None or time.monotonic() - began > START_WITHIN:
                end = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
                raise NotReady(f"{READY} answered {status}, last of all; its log ends:\n{end}")
            time.sleep(_POLL)
            try:
                status = ask(port, READY, CHECKER)
            except (OSError, HTTPException) as error:
                status = type(error).__name__
        yield Site(port, running, time.monotonic() - began, log)
    finally:
        running.end()


def ended(running: Running, within: float) -> tuple[int | None, float]:
    """Exit status and seconds until it ended; None if it did not."""
    began = time.monotonic()
    try:
        status: int | None = running.wait(within)
    except subprocess.TimeoutExpired:
        status = None
    return status, time.monotonic() - began
