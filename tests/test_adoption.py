"""Each step of adoption with the built wheel on a fresh ``startproject``, and what breaks it.

tests/packaging/test_adopt_page.py follows the page; here is what a page does not show.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import django
import pytest

from tests.packaging import built
from tests.processes import ROOT, Ended, run
from tests.servers import redis_with_password

# Django's own check of the console mailer that its own startproject sets up.
ROOTS = [("mail.E001", "deploy")] if django.VERSION >= (6, 1) else []
VERDICT = f"{'FAIL: 1 error,' if ROOTS else 'PASS: 0 errors,'}"


@pytest.fixture(scope="module")
def python() -> str:
    """An environment that has the wheel itself; its dependencies are those of the tests."""
    return built.python()


@pytest.fixture
def shop(tmp_path: Path, python: str) -> Path:
    command = [python, "-m", "django", "startproject", "shop", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, env={})
    return tmp_path


def adopt(shop: Path) -> None:
    settings = shop / "shop" / "settings.py"
    settings.write_text(settings.read_text() + 'INSTALLED_APPS += ["resilience"]\n')


def manage(python: str, shop: Path, *arguments: str) -> Ended:
    return run(python, "manage.py", *arguments, cwd=shop, variables={})


def test_the_package_comes_from_the_wheel(python, tmp_path):
    code = "import resilience, sys; sys.stdout.write(resilience.__file__)"
    ended = run(python, "-c", code, cwd=tmp_path, variables={})
    assert "site-packages" in ended.out
    assert str(ROOT) not in ended.out


def test_one_line_and_checkdeploy_answers(python, shop):
    before = manage(python, shop, "checkdeploy")
    assert before.code == 1
    assert "Unknown command" in before.err
    adopt(shop)
    ended = manage(python, shop, "checkdeploy")
    assert (ended.code, ended.err) == (len(ROOTS), "")
    assert ended.out.rstrip().splitlines()[-1].startswith(VERDICT)
    assert "database.migrations" in ended.out
    assert manage(python, shop, "checkdeploy", "--format", "json").roots == ROOTS
    assert not (shop / "db.sqlite3").exists(), "asking makes no database"
    assert manage(python, shop, "migrate").code == 0
    assert "database.migrations" not in manage(python, shop, "checkdeploy").out
    assert manage(python, shop, "makemigrations", "--check").code == 0, "the app has no table"


def test_the_catalogue_and_the_other_entry_points_are_in_the_wheel(python, shop):
    adopt(shop)
    explained = manage(python, shop, "checkdeploy", "--explain", "cache.local-only")
    assert explained.out.startswith("cache.local-only\n")
    module = run(python, "-m", "resilience", "checkdeploy", "hosting", cwd=shop, variables={})
    assert module.code == 0, module.err
    redis = manage(python, shop, "checkredis")
    assert (redis.code, "No alias of CACHES uses Redis" in redis.err) == (2, True)
    plain = manage(python, shop, "check")
    assert (plain.code, "resilience" in plain.err) == (0, False)


def test_settings_that_do_not_import_are_reported_through_the_module(python, shop):
    adopt(shop)
    settings = shop / "shop" / "settings.py"
    settings.write_text("import nothing_of_this_name\n" + settings.read_text())
    ended = run(python, "-m", "resilience", "checkdeploy", cwd=shop, variables={})
    assert ended.code == 1
    assert "shop/settings.py:1" in ended.out
    assert "Traceback" not in ended.out + ended.err


def test_startup_costs_next_to_nothing(python, shop):
    """No probe, no client and no page is imported by an app that only has us installed."""
    adopt(shop)
    code = (
        "import os, sys\n"
        "os.environ['DJANGO_SETTINGS_MODULE'] = 'shop.settings'\n"
        "import django; django.setup()\n"
        "print(sorted(name for name in sys.modules if name.startswith(\n"
        "    ('redis', 'django_redis', 'environ', 'dotenv', 'langsmith', 'requests'))))\n"
    )
    assert run(python, "-c", code, cwd=shop, variables={}).out.strip() == "[]"


# ── step 2: CACHES, change BACKEND and nothing else ─────────────────────────────────────────────

DJANGO_REDIS = "django_redis.cache.RedisCache"
OURS = "resilience.cache.ResilientCache"
SHELL = (
    "import os\n"
    "os.environ['DJANGO_SETTINGS_MODULE'] = 'shop.settings'\n"
    "import django; django.setup()\n"
)
CACHES = """
CACHES = {{"default": {{
    "BACKEND": {backend!r},
    "LOCATION": {location!r},
    "KEY_PREFIX": "shop",
    "TIMEOUT": 600,
    "OPTIONS": {{
        "CLIENT_CLASS": "django_redis.client.DefaultClient",
        "PASSWORD": "sesame-and-more",
        "SOCKET_TIMEOUT": 5,
        "SOCKET_CONNECT_TIMEOUT": 5,
        "IGNORE_EXCEPTIONS": True,
        "COMPRESSOR": "django_redis.compressors.zlib.ZlibCompressor",
        "SERIALIZER": "django_redis.serializers.json.JSONSerializer",
        "CONNECTION_POOL_KWARGS": {{"max_connections": 20, "retry_on_timeout": True}},
    }},
}}}}
"""
WRITE = (
    "from django.core.cache import cache\n"
    "cache.set('basket', {'items': ['pen'] * 50, 'sum': 7}); cache.set('visits', 41)\n"
    "cache.set('old', 1, version=2)\n"
)
READ = (
    "from django.core.cache import cache\n"
    "print(cache.get('basket')['sum'], cache.incr('visits'), cache.get('old', version=2),\n"
    "      cache.get_many(['visits', 'basket'])['visits'])\n"
)


@pytest.mark.parametrize(("before", "after"), [(DJANGO_REDIS, OURS), (OURS, DJANGO_REDIS)])
def test_existing_options_and_data_stay_valid_both_ways(before, after, python, shop, tmp_path):
    adopt(shop)
    settings = shop / "shop" / "settings.py"
    stock = settings.read_text()
    with redis_with_password(tmp_path, "sesame-and-more") as server:
        for backend, code, said in ((before, WRITE, ""), (after, READ, "7 42 1 42")):
            settings.write_text(stock + CACHES.format(backend=backend, location=server.url("/2")))
            ended = run(python, "-c", SHELL + code, cwd=shop, variables={})
            assert (ended.code, ended.out.strip()) == (0, said), ended.err
        checked = manage(python, shop, "checkdeploy", "cache", "--format", "json")
    found = {finding["id"] for finding in checked.report["findings"]}
    assert {"redis.ok", "cache.ok"} <= found
    assert ("cache.options-superseded" in found) is (after == OURS)


def test_without_a_change_of_backend_nothing_of_ours_is_in_the_way(python, shop, tmp_path):
    """The twin: bad options fail at start with ours, and only with ours."""
    adopt(shop)
    settings = shop / "shop" / "settings.py"
    stock = settings.read_text()
    bad = CACHES.replace('"SOCKET_TIMEOUT": 5,', '"RESILIENCE": {{"OPERATION_TIMOUT": 1}},')
    for backend, code in ((DJANGO_REDIS, 0), (OURS, 1)):
        settings.write_text(stock + bad.format(backend=backend, location="redis://localhost"))
        ended = manage(python, shop, "check")
        assert ended.code == code
        assert ("OPERATION_TIMEOUT" in ended.err) is (backend == OURS)


# ── step 3: one line in MIDDLEWARE ──────────────────────────────────────────────────────────────

ASK = (
    SHELL
    + """
from django.test import Client
for path in ("/livez", "/readyz", "/admin/login/"):
    client = Client(HTTP_HOST="10.42.0.17:8000")
    while (answer := client.get(path)).content == b"starting\\n":
        pass
    print(path, answer.status_code, answer.content[:20].split(b"\\n")[0].decode())
"""
)
FIRST = 'MIDDLEWARE.insert(0, "resilience.middleware.HealthMiddleware")\n'
LAST = 'MIDDLEWARE.append("resilience.middleware.HealthMiddleware")\n'
REDIRECTING = "SECURE_SSL_REDIRECT, DEBUG, ALLOWED_HOSTS = True, False, ['shop.example']\n"


def test_one_line_of_middleware_and_both_paths_answer(python, shop):
    adopt(shop)
    settings = shop / "shop" / "settings.py"
    stock = settings.read_text() + REDIRECTING
    settings.write_text(stock + FIRST)
    ended = run(python, "-c", ASK, cwd=shop, variables={})
    assert ended.out.splitlines() == [
        "/livez 200 ok",
        "/readyz 503 not-ready",  # nobody has migrated
        "/admin/login/ 400 ",
    ], ended.err
    assert manage(python, shop, "migrate").code == 0
    assert "/readyz 200 ready" in run(python, "-c", ASK, cwd=shop, variables={}).out
    checked = manage(python, shop, "checkdeploy", "deploy", "--format", "json")
    assert "deploy.middleware-order" not in {f["id"] for f in checked.report["findings"]}


@pytest.mark.parametrize(("line", "status"), [("", 404), (LAST, 301)])
def test_without_the_line_or_behind_others_they_do_not_answer__twin(line, status, python, shop):
    adopt(shop)
    settings = shop / "shop" / "settings.py"
    hosts = REDIRECTING.replace("'shop.example'", "'*'")
    redirect = hosts if line else "DEBUG, ALLOWED_HOSTS = False, ['*']\n"
    settings.write_text(settings.read_text() + redirect + line)
    ended = run(python, "-c", ASK, cwd=shop, variables={})
    assert ended.out.startswith(f"/livez {status}"), ended.err
    checked = manage(python, shop, "checkdeploy", "deploy", "--format", "json")
    found = {finding["id"] for finding in checked.report["findings"]}
    assert ("deploy.middleware-order" in found) is bool(line)


# ── step 5: the history, without any of the steps between ───────────────────────────────────────

HISTORY = 'INSTALLED_APPS += ["resilience.history"]\n'
REQUEST = (
    "from io import BytesIO\n"
    "from django.core.wsgi import get_wsgi_application\n"
    "from django.db import connection\n"
    "environ = {'REQUEST_METHOD': 'GET', 'PATH_INFO': '/', 'SERVER_NAME': 'localhost',\n"
    "           'SERVER_PORT': '80', 'wsgi.input': BytesIO(), 'wsgi.url_scheme': 'http'}\n"
    "answer = get_wsgi_application()(environ, lambda *_: None); list(answer); answer.close()\n"
)
LOOK = (
    "from resilience.history.reading import read\n"
    "found = read()\n"
    "print([(row.role, row.state) for row in found.instances], found.problem)\n"
)


def test_the_history_survives_the_process(python, shop):
    adopt(shop)
    settings = shop / "shop" / "settings.py"
    settings.write_text(settings.read_text() + HISTORY)
    (shop / "db.sqlite3").touch()
    ended = run(python, "-c", SHELL + REQUEST, cwd=shop, variables={})
    assert (ended.code, ended.err) == (0, ""), "an app that is not migrated yet works"
    looked = run(python, "-c", SHELL + LOOK, cwd=shop, variables={})
    assert looked.out.strip().endswith("run python manage.py migrate resilience_history.")
    assert manage(python, shop, "migrate").code == 0
    assert manage(python, shop, "makemigrations", "--check").code == 0, "nothing is missing in it"
    assert run(python, "-c", SHELL + REQUEST, cwd=shop, variables={}).code == 0
    looked = run(python, "-c", SHELL + LOOK, cwd=shop, variables={})
    assert looked.out.strip() == "[('web', 'stopped')]"
    report = manage(python, shop, "checkdeploy", "instances", "--format", "json")
    assert report.ids == {"instances.silent"}


def test_the_history_twin__without_the_app_there_is_none(python, shop):
    adopt(shop)
    assert manage(python, shop, "migrate").code == 0
    looked = run(python, "-c", SHELL + REQUEST + LOOK, cwd=shop, variables={})
    assert looked.out.strip().startswith("[] The tables of resilience.history are missing")
    assert manage(python, shop, "makemigrations", "--check").code == 0
    asked = manage(python, shop, "checkdeploy", "instances")
    assert (asked.code, "resilience.history" in asked.err) == (2, True)
