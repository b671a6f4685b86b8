"""The project of the production report fails as it did there; with the changes named, it passes."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.processes import Ended, run
from tests.rehearse import naive

SCENARIOS = ("redis-refused", "redis-black-hole", "missing-secret")


def rehearse(folder, *arguments: str, limit: float = 100.0, **variables: str | None) -> Ended:
    """``python -m resilience rehearse`` in a project's folder, as short as it can be."""
    return run(
        *(sys.executable, "-m", "resilience", "rehearse", "--format", "json"),
        *("--duration", "0.6", *arguments),
        cwd=folder,
        variables={**naive.VARIABLES, **variables},
        limit=limit,
    )


def about(ended: Ended, scenario: str) -> dict[str, Any]:
    """The findings about one scenario by id; AssertionError with everything if there is none."""
    found = {
        finding["id"]: finding
        for finding in ended.report["findings"]
        if finding["subject"] == f"rehearse.{scenario}"
    }
    assert found, ended.out + ended.err
    return found


# As much as settings may do to their process.
ODD = """
import atexit, os, signal, sys, time
print("hello", '{"findings": []}', flush=True)
os.close(1)
atexit.register(time.sleep, 600)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
"""


@pytest.fixture(scope="module")
def ended(tmp_path_factory) -> dict[str, Ended]:
    """Three projects, two at a time: mostly they wait."""
    scenarios = [word for name in SCENARIOS for word in ("--scenario", name)]
    odd = {**naive.MENDED, "shop/settings.py": naive.MENDED["shop/settings.py"] + ODD}
    asked = {
        "naive": (naive.NAIVE, scenarios),
        "mended": (naive.MENDED, scenarios),
        "odd": (odd, ["--scenario", "redis-refused"]),
    }
    shops = tmp_path_factory.mktemp("shops")
    with ThreadPoolExecutor(2) as pool:
        plays = {
            name: pool.submit(rehearse, naive.write(shops / name, files), *words)
            for name, (files, words) in asked.items()
        }
        return {name: play.result() for name, play in plays.items()}


@pytest.fixture
def as_reported(ended):
    return ended["naive"]


@pytest.fixture
def mended(ended):
    return ended["mended"]


def test_the_reported_project_fails(as_reported):
    assert as_reported.code == 1
    assert as_reported.report["verdict"] == "fail"
    assert "rehearse.ok" in about(as_reported, "healthy"), "what fails, the faults have done"


@pytest.mark.parametrize(
    ("scenario", "id", "facts"),
    [
        ("redis-refused", "rehearse.server-errors", {"named": "tcp.refused"}),
        ("redis-black-hole", "rehearse.slow-requests", {"named": "tcp.timeout"}),
        ("missing-secret", "rehearse.not-named", {"missing": "OPENAI_API_KEY"}),
    ],
)
def test_it_fails_as_in_production(as_reported, scenario, id, facts):
    finding = about(as_reported, scenario)[id]
    assert facts.items() <= finding["facts"].items()


@pytest.mark.parametrize(
    ("scenario", "change"),
    [
        ("redis-refused", 'CACHES["default"]["BACKEND"] = "resilience.cache.ResilientCache"'),
        ("redis-refused", "shop/clients.py:4 (audit.import-client)"),
        ("redis-black-hole", 'CACHES["default"]["BACKEND"] = "resilience.cache.ResilientCache"'),
        ("missing-secret", 'env.ref("OPENAI_API_KEY")'),
        ("missing-secret", "audit.swallowed-import"),
    ],
)
def test_the_change_that_mends_it_is_named(as_reported, scenario, change):
    hints = [str(finding["hint"]) for finding in about(as_reported, scenario).values()]
    assert any(change in hint for hint in hints), hints


def test_with_these_changes_it_passes__twin(mended):
    assert mended.code == 0, mended.out
    named = {name: about(mended, name)["rehearse.ok"]["facts"]["named"] for name in SCENARIOS}
    assert named == {
        "redis-refused": "tcp.refused",
        "redis-black-hole": "tcp.timeout",
        "missing-secret": "components.blocked",
    }


def test_requests_were_made_and_used_redis(mended):
    facts = about(mended, "redis-refused")["rehearse.ok"]["facts"]
    assert facts["requests"] > 10
    assert facts["boot_ms"] > 0
    assert "rehearse.idle" not in mended.ids


def test_progress_is_told_while_it_runs(mended):
    assert "rehearse: 2/4 redis-refused: Redis refuses connections" in mended.err


def test_what_settings_do_to_their_process_is_no_matter(ended):
    assert ended["odd"].code == 0, ended["odd"].out + ended["odd"].err
    assert about(ended["odd"], "redis-refused")["rehearse.ok"]["facts"]["named"] == "tcp.refused"
    assert ended["odd"].seconds < 60


def test_a_project_that_ends_itself__twin(tmp_path):
    """What ends while settings are imported is named, and so is the place."""
    settings = f"{naive.MENDED['shop/settings.py']}\nimport os\nos._exit(0)\n"
    folder = naive.write(tmp_path / "gone", {**naive.MENDED, "shop/settings.py": settings})
    ended = rehearse(folder, "--scenario", "redis-refused")
    place = f"shop/settings.py:{len(settings.splitlines())}"
    assert ended.code == 1
    found = about(ended, "healthy")
    assert f"Find what ends the process at {place}" in found["rehearse.no-boot"]["hint"]
    said = f"checkdeploy ended by itself with status 0 at {place}, while its settings were imported"
    assert said in found["rehearse.not-named"]["summary"]
    assert "rehearse.skipped" in about(ended, "redis-refused")


def test_a_project_that_does_not_boot(tmp_path):
    """Twin of all that boot: the reason is in the report, and nothing hangs."""
    broken = {**naive.MENDED, "shop/views.py": "import nothing_of_that_name\n"}
    settings = naive.MENDED["shop/settings.py"] + "\nraise RuntimeError(SECRET_KEY)\n"
    folder = naive.write(tmp_path / "broken", {**broken, "shop/settings.py": settings})
    ended = rehearse(folder, "--scenario", "redis-silent")
    assert ended.code == 1
    finding = about(ended, "healthy")["rehearse.no-boot"]
    assert finding["facts"]["log"].startswith("RuntimeError")
    assert naive.ENV.strip().partition("=")[2] not in ended.out + ended.err
    assert "rehearse.skipped" in about(ended, "redis-silent")


OTHER = {
    **naive.MENDED,
    "shop/settings.py": naive.MENDED["shop/settings.py"]
    + """
del WSGI_APPLICATION
MIDDLEWARE = ["resilience.middleware.HealthMiddleware"]
ASGI_APPLICATION = "shop.asgi.application"
DATABASES = {"default": env.db("DATABASE_URL")}
CACHES["default"]["OPTIONS"] = {
    "PASSWORD": "hunter22",
    "CONNECTION_POOL_KWARGS": {"ssl_ca_certs": "/nowhere/ca.pem", "max_connections": 8},
}
""",
    "shop/asgi.py": """
import os
from django.core.asgi import get_asgi_application
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
application = get_asgi_application()
""",
    "shop/migrations/__init__.py": "",
    "shop/migrations/0001_initial.py": """
from django.db import migrations
class Migration(migrations.Migration):
    operations = [migrations.RunSQL(
        "CREATE TABLE shop_seen (at timestamptz NOT NULL DEFAULT now(), words text[]);"
        "INSERT INTO shop_seen (words) VALUES (ARRAY['a', 'b'])"
    )]
""",
    "shop/views.py": """
import sys
from django.core.cache import cache
from django.db import connection
from django.http import HttpResponse

def home(request):
    assert "uvicorn" in sys.modules
    cache.set("seen", "yes", 60)
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM shop_seen WHERE words[1] = 'a'")
        assert cursor.fetchone() == (1,)
    return HttpResponse(cache.get("seen"))
""",
}


def test_a_project_on_asgi_with_postgresql_and_tls_to_redis(tmp_path):
    """Its own server, the engine that its migrations need, TLS with a throw-away authority."""
    dotenv = (
        f"{naive.ENV}REDIS_URL=rediss://:hunter22@redis.example.org:6380/3\n"
        "DATABASE_URL=postgresql://shop:hunter22@db.example.org/shop\n"
    )
    folder = naive.write(tmp_path / "other", OTHER, dotenv)
    ended = rehearse(folder, "--scenario", "redis-wrong-tls", "--platform", "kubernetes")
    assert ended.code == 0, ended.out + ended.err
    assert "starting a throw-away PostgreSQL" in ended.err
    healthy = about(ended, "healthy")["rehearse.ok"]["facts"]
    assert healthy["requests"] > 5
    assert healthy["status_page"].startswith("livez 200, readyz ")
    assert "rehearse.idle" not in ended.ids
    wrong = about(ended, "redis-wrong-tls")["rehearse.ok"]["facts"]
    assert wrong["named"] == "redis.plain-to-tls"
    assert "hunter22" not in ended.out + ended.err
