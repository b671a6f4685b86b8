"""What the status page costs: 50 subjects, 200 processes, 90 days of transitions.

    python -m benchmarks.page [ROUNDS]

The page of the admin through Django's whole stack, signed in, on SQLite, and the page behind the
token. What the monitor knows is made up: finding it out is not the page's work. Server time is that
of this process (CPU seconds), so that others on the machine do not count.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import django
from django.conf import settings

SUBJECTS, PROCESSES, DAYS = 50, 200, 90
QUERIES, MILLISECONDS = 12, 100.0
HEALTHY = 4 * 3600.0  # seconds between two transitions of a subject


def main(rounds: int) -> None:
    settings.configure(
        SECRET_KEY="benchmark",  # noqa: S106 - signs nothing
        ALLOWED_HOSTS=["testserver"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        CACHES={"default": {"BACKEND": "resilience.cache.ResilientCache"}},
        ROOT_URLCONF=__name__,
        STATIC_URL="static/",
        USE_TZ=True,
        INSTALLED_APPS=[
            "resilience",
            "resilience.history",
            "django.contrib.admin",
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.sessions",
            "django.contrib.messages",
        ],
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.messages.middleware.MessageMiddleware",
        ],
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "APP_DIRS": True,
                "OPTIONS": {
                    "context_processors": [
                        "django.template.context_processors.request",
                        "django.contrib.auth.context_processors.auth",
                        "django.contrib.messages.context_processors.messages",
                    ]
                },
            }
        ],
        RESILIENCE={"BACKGROUND": False},
    )
    django.setup()
    _measure(rounds)


def _measure(rounds: int) -> None:
    from django.contrib import admin  # noqa: PLC0415 - after setup(), as everything here
    from django.contrib.auth.models import User  # noqa: PLC0415
    from django.core.management import call_command  # noqa: PLC0415
    from django.db import connection  # noqa: PLC0415
    from django.test import Client, RequestFactory  # noqa: PLC0415
    from django.test.utils import CaptureQueriesContext  # noqa: PLC0415
    from django.urls import path  # noqa: PLC0415

    from resilience.health import monitor  # noqa: PLC0415
    from resilience.page import answers  # noqa: PLC0415
    from tests.page import samples  # noqa: PLC0415

    globals()["urlpatterns"] = [path("admin/", admin.site.urls)]
    call_command("migrate", verbosity=0)
    _fill()
    health = samples.many(SUBJECTS)
    monitor.ask = lambda *_: health
    monitor.start = lambda: None
    client = Client()
    client.force_login(User.objects.create_superuser("operator"))
    url = "/admin/resilience/componentstatus/"

    def in_the_admin() -> bytes:
        response = client.get(url)
        assert response.status_code == 200, response  # noqa: PLR2004
        return bytes(response.content)

    def behind_the_token() -> bytes:
        return answers.token_page(RequestFactory().get("/readyz"), health).content

    in_the_admin()  # templates, and the question whether there are tables, once per process
    with CaptureQueriesContext(
        connection,
    ) as queries:
        body = in_the_admin()
    assert body.count(b'class="ro-row-') == SUBJECTS
    assert body.count(b"ro-subject") > PROCESSES
    assert body.count(b'class="ro-change"') > 50  # noqa: PLR2004
    print(f"queries        {len(queries):3}  (at most {QUERIES})")
    print(f"bytes          {len(body) // 1024:3} KiB")
    assert len(queries) <= QUERIES, [query["sql"][:120] for query in queries]
    for name, page in (("in the admin", in_the_admin), ("token page", behind_the_token)):
        spent = _cpu_ms(page, rounds)
        print(f"{name:12} {spent:5.1f} ms  (at most {MILLISECONDS:g} ms)")
        assert spent <= MILLISECONDS


def _cpu_ms(page: Callable[[], bytes], rounds: int) -> float:
    spent = []
    for _ in range(rounds):
        began = time.process_time()
        page()
        spent.append((time.process_time() - began) * 1000)
    return statistics.median(spent)


def _fill() -> None:
    """Ninety days of every subject, and as many processes as a large deployment has."""
    import uuid  # noqa: PLC0415

    from resilience.findings import Level  # noqa: PLC0415
    from resilience.history.models import Instance, Stretch, Transition  # noqa: PLC0415

    now = time.time()
    Instance.objects.bulk_create(
        Instance(
            key=uuid.uuid4(),
            replica=f"web-{number // 4}",
            host=f"10.0.0.{number // 4}",
            pid=4000 + number,
            role="web",
            booted_at=now - 3600,
            last_beat=now - number % 15 - (600 if number == 7 else 0),  # noqa: PLR2004
            commit="8f3c2d1ab0945e" if number != 9 else "77aa01c9d3e2b4",  # noqa: PLR2004
            config="a41f0c2b",
            versions="resilience 0.1.0, Django 5.2.19, Python 3.11.7",
            memory_bytes=130_000_000,
        )
        for number in range(PROCESSES)
    )
    for subject in (f"subject.{number}" for number in range(SUBJECTS)):
        starts = [
            now - DAYS * 86400 + HEALTHY * each for each in range(int(DAYS * 86400 / HEALTHY))
        ]
        Stretch.objects.bulk_create(
            Stretch(subject=subject, level=level, start=start + begins, end=start + ends)
            for start in starts
            for level, begins, ends in (
                (Level.OK, 0, HEALTHY - 600),
                (Level.ERROR, HEALTHY - 600, HEALTHY),
            )
        )
        Transition.objects.bulk_create(
            Transition(
                at=start,
                subject=subject,
                old=Level.ERROR,
                new=Level.OK,
                finding="sample.ok",
                summary=f"{subject} is fine again.",
                replica="web-1",
                pid=4004,
            )
            for start in starts
        )


urlpatterns: list[object] = []

if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 15)
