"""A process as a server starts it: set up, forked if asked, and then its first request.

    python -m tests.history.worker DATABASE INTERVAL [COMMIT …]

Without a commit it serves itself; else it forks one child for each, as a server with preload does.
Each child answers one request through the real handler, writes its pid, and waits to be told
``stop``, its standard input's end, or to be killed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from io import BytesIO

import django
from django.conf import settings

HERE = "tests.history.worker"


def configure(database: str) -> None:
    settings.configure(
        SECRET_KEY="only-for-the-tests-of-this-project-0123456789-abcdefghij",
        INSTALLED_APPS=["resilience", "resilience.history"],
        DATABASES={"default": json.loads(database)},
        ROOT_URLCONF="tests.history.site",
        ALLOWED_HOSTS=["*"],
        RESILIENCE={"BACKGROUND": os.environ.get("QUIET") is None},
    )
    django.setup()


def serve() -> None:
    from django.core.handlers.wsgi import WSGIHandler

    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "wsgi.input": BytesIO(),
        "wsgi.url_scheme": "http",
    }
    statuses: list[str] = []

    def begin(status: str, _: object, __: object = None) -> Callable[[bytes], object]:
        statuses.append(status)
        return len

    answer = WSGIHandler()(environ, begin)
    list(answer)
    answer.close()
    assert statuses == ["200 OK"], statuses


def child(commit: str) -> None:
    assert all(thread.name != "resilience-history" for thread in threading.enumerate())
    os.environ["GIT_COMMIT"] = commit
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    serve()
    sys.stdout.write(f"{os.getpid()} {commit}\n")
    sys.stdout.flush()
    signal.pause()


def main(database: str, interval: float, commits: list[str]) -> None:
    configure(database)
    from resilience.history import pace

    pace.INTERVAL = interval
    if not commits:
        serve()
        sys.stdout.write(f"{os.getpid()}\n")
        sys.stdout.flush()
        sys.stdin.read()
        return
    for commit in commits:
        if os.fork() == 0:
            child(commit)
    sys.stdin.read()
    sys.exit(0)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), sys.argv[3:])
