"""Rate limits on a cache that falls back: found, and the pattern that is told is the right one.

The last part runs the real packages: the keys that they write, and what they do in an outage.
"""

from __future__ import annotations

import fnmatch
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from django.core import checks
from django.core.cache import cache as default_cache, caches

from resilience.findings import Finding, Level
from resilience.probes import deploy, limits
from resilience.probes.base import Deadline
from tests.processes import ROOT, doctor, run, write_project
from tests.servers import RedisServer, redis_server

OURS = "resilience.cache.ResilientCache"
AXES = "axes.handlers.cache.AxesCacheHandler"
RATELIMIT = "django_ratelimit.middleware.RatelimitMiddleware"
REDIS: dict[str, Any] = {"BACKEND": OURS, "LOCATION": "redis://localhost/0"}


class Throttle:
    """What REST framework's SimpleRateThrottle shows of itself."""

    cache: ClassVar[Any] = default_cache
    cache_format = "throttle_%(scope)s_%(ident)s"
    scope: ClassVar[str | None] = "anon"
    THROTTLE_RATES: ClassVar[dict[str, str | None]] = {
        "anon": "9/day",
        "user": None,
        "burst": "1/s",
    }


def strict(*patterns: str) -> dict[str, Any]:
    return {**REDIS, "OPTIONS": {"RESILIENCE": {"STRICT": list(patterns)}}}


def found() -> list[Finding]:
    return list(limits.found())


def patterns() -> list[str]:
    """Those that the hints say should be added."""
    return [each for finding in found() for each in re.findall(r'"(\S+)"[ ,](?!\[)', finding.hint)]


@pytest.fixture(autouse=True)
def on_redis(settings) -> None:
    settings.CACHES = {"default": REDIS, "limits": {**REDIS, "KEY_PREFIX": "limits"}}


# ── who counts ──────────────────────────────────────────────────────────────────────────────────


def test_nobody_counts():
    assert found() == []


@pytest.mark.parametrize(
    ("given", "pattern"),
    [
        ({"MIDDLEWARE": [RATELIMIT]}, "rl:*"),
        ({"MIDDLEWARE": [RATELIMIT], "RATELIMIT_CACHE_PREFIX": "a[b]*"}, "a[[]b][*]*"),
        ({"AXES_HANDLER": AXES}, "axes-*"),
        ({"REST_FRAMEWORK": {"DEFAULT_THROTTLE_CLASSES": [Throttle]}}, "throttle_*"),
    ],
)
def test_each_is_found_and_silent_once_its_pattern_is_strict(settings, given, pattern):
    for name, value in given.items():
        setattr(settings, name, value)
    [finding] = found()
    assert (finding.id, finding.level) == ("deploy.rate-limit-local", Level.WARNING)
    assert finding.subject == "caches.default"
    assert patterns() == [pattern]
    settings.CACHES = {"default": strict("other:*", pattern)}
    assert found() == []
    settings.CACHES = {"default": strict("other:*", pattern[:-1] + "0*")}
    assert len(found()) == 1, "the twin: a part of the keys is not all of them"


@pytest.mark.parametrize(
    "given",
    [
        {"MIDDLEWARE": [RATELIMIT], "RATELIMIT_ENABLE": False},
        {"AXES_HANDLER": AXES, "AXES_ENABLED": False},
        {"AXES_HANDLER": "axes.handlers.database.AxesDatabaseHandler"},
        {"REST_FRAMEWORK": {"DEFAULT_THROTTLE_CLASSES": []}},
        {"REST_FRAMEWORK": {}},
        {"REST_FRAMEWORK": {"DEFAULT_THROTTLE_CLASSES": ["no_such_module.Throttle"]}},
        {"REST_FRAMEWORK": {"DEFAULT_THROTTLE_CLASSES": [object]}},
    ],
)
def test_who_does_not_count_here_is_none(settings, given):
    for name, value in given.items():
        setattr(settings, name, value)
    assert found() == []


@pytest.mark.parametrize(
    "config",
    [
        {"BACKEND": OURS, "LOCATION": ""},
        {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
        {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": "redis://localhost/0"},
        strict("*"),
        {**REDIS, "OPTIONS": {"RESILIENCE": {"STRCT": []}}},  # cache.options-invalid
    ],
)
def test_caches_that_do_not_fall_back_are_none(settings, config):
    settings.MIDDLEWARE, settings.CACHES = [RATELIMIT], {"default": config}
    assert found() == []


def test_the_alias_that_is_used_counts(settings):
    settings.MIDDLEWARE, settings.AXES_HANDLER = [RATELIMIT], AXES
    settings.CACHES = {"default": strict("*"), "limits": REDIS}
    assert found() == []
    settings.RATELIMIT_USE_CACHE = settings.AXES_CACHE = "limits"
    assert [each.subject for each in found()] == ["caches.limits"] * 2
    settings.RATELIMIT_USE_CACHE = settings.AXES_CACHE = "gone"
    assert found() == []


def throttles(settings: Any, *classes: type) -> list[str]:
    settings.REST_FRAMEWORK = {"DEFAULT_THROTTLE_CLASSES": list(classes)}
    return patterns()


def test_a_throttle_has_its_own_scope_rate_cache_and_form(settings):
    class Unlimited(Throttle):
        scope = "user"

    class WithRate(Unlimited):
        rate = "1/day"

    class OfTheView(Throttle):
        scope = None
        cache_format = "%(scope)s/%(ident)s"

    class Unknowable(Throttle):
        cache_format = "%(ident)s"

    class Broken(Throttle):
        cache_format = "x%(who)s"

    class Elsewhere(Throttle):
        cache = caches["limits"]

    assert throttles(settings, Throttle, WithRate) == ["throttle_*"]
    assert throttles(settings, OfTheView) == ["anon/*", "burst/*"]
    assert throttles(settings, Unlimited, Unknowable, Broken) == []
    assert throttles(settings, Elsewhere) == ["throttle_*"]
    assert [each.subject for each in found()] == ["caches.limits"]


def test_it_is_part_of_the_area(settings):
    settings.AXES_HANDLER = AXES
    every = [each.id for probe in deploy.probes() for each in probe.run(Deadline(1.0))]
    assert "deploy.rate-limit-local" in every


def test_it_is_one_of_the_deployment_checks(settings):
    def said() -> set[str]:
        return {str(each.id) for each in checks.run_checks(include_deployment_checks=True)}

    assert "resilience.deploy.rate-limit-local" not in said()
    settings.AXES_HANDLER = AXES
    assert "resilience.deploy.rate-limit-local" in said()


# ── the packages themselves ─────────────────────────────────────────────────────────────────────

SETTINGS = """
SECRET_KEY = "x" * 60
ALLOWED_HOSTS = ["testserver"]
INSTALLED_APPS = ["resilience", "django.contrib.auth", "django.contrib.contenttypes",
                  "django.contrib.sessions", "axes", "rest_framework"]
MIDDLEWARE = ["django.contrib.sessions.middleware.SessionMiddleware",
              "django.contrib.auth.middleware.AuthenticationMiddleware",
              "axes.middleware.AxesMiddleware"]
TEMPLATES = [{{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}}]
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend",
                           "django.contrib.auth.backends.ModelBackend"]
AXES_HANDLER = "axes.handlers.cache.AxesCacheHandler"
REST_FRAMEWORK = {{
    "DEFAULT_THROTTLE_CLASSES": ["rest_framework.throttling.AnonRateThrottle"],
    "DEFAULT_THROTTLE_RATES": {{"anon": "2/day"}},
}}
DATABASES = {{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}}}}
CACHES = {{"default": {{
    "BACKEND": "resilience.cache.ResilientCache",
    "LOCATION": "{url}",
    "KEY_PREFIX": "shop",
    "OPTIONS": {{"RESILIENCE": {{"STRICT": {strict!r}}}}},
}}}}
ROOT_URLCONF = "site_urls"
"""

URLS = """
from django.contrib.auth import authenticate
from django.http import HttpResponse
from django.urls import path
from django_ratelimit.decorators import ratelimit
from rest_framework.response import Response
from rest_framework.views import APIView

class Api(APIView):
    authentication_classes = []
    def get(self, request):
        return Response("fine")

def login(request):
    user = authenticate(request, username=request.GET["name"], password="wrong")
    return HttpResponse(status=204 if user is None else 200)

urlpatterns = [
    path("django-ratelimit", ratelimit(key="ip", rate="2/d")(lambda request: HttpResponse("fine"))),
    path("REST framework", Api.as_view()),
    path("django-axes", login),
]
"""

# One process asks each of them four times; another one, once Redis is away.
VISIT = """
import django, json, os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "site_settings"
django.setup()
from django.core.management import call_command
from django.test import Client
from resilience.cache import force

def ask(path):
    try:
        return Client().get("/" + path, {"name": "ada"}).status_code
    except Exception as error:
        return type(error).__name__

if sys.argv[1] == "outage":
    force("default", "open")
else:
    call_command("migrate", verbosity=0)
times = int(sys.argv[2])
packages = ["django-ratelimit", "django-axes", "REST framework"]
print(json.dumps({path: [ask(path) for _ in range(times)] for path in packages}))
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(directory=tmp_path_factory.mktemp("redis")) as running:
        yield running


def answers(folder: Path, redis: str, times: int) -> dict[str, list[object]]:
    command = (sys.executable, "-c", VISIT, redis, str(times))
    ended = run(*command, cwd=folder, variables={"PYTHONPATH": str(ROOT)})
    assert ended.code == 0, ended.err
    found: dict[str, list[object]] = json.loads(ended.out)
    return found


def told(folder: Path) -> list[dict[str, Any]]:
    findings = doctor(folder, "checkdeploy", "deploy", "--format", "json").report["findings"]
    return [each for each in findings if each["id"] == "deploy.rate-limit-local"]


def site(folder: Path, server: RedisServer, *strict: str, more: str = "", **files: str) -> Path:
    server.command("FLUSHALL")
    settings = SETTINGS.format(url=server.url(), strict=list(strict)) + more
    return write_project(folder, settings, site_urls__py=URLS, **files)


HEALTHY = {
    "django-ratelimit": [200, 200, 403, 403],
    "django-axes": [204, 204, 429, 429],
    "REST framework": [200, 200, 429, 429],
}


def test_the_real_packages_are_found_and_their_keys_are_those(tmp_path, server):
    folder = site(tmp_path, server)
    assert answers(folder, "healthy", 4) == HEALTHY
    keys = [key.decode().removeprefix("shop:1:") for key in server.command("KEYS", "shop:1:*")]
    assert answers(folder, "outage", 1) == {name: each[:1] for name, each in HEALTHY.items()}

    found = told(folder)
    assert [each["summary"].partition(" counts ")[0] for each in found] == list(HEALTHY)
    hints = [re.search(r'Add "(\S+)" to', each["hint"]) for each in found]
    patterns = [each[1] for each in hints if each]
    assert patterns == ["rl:*", "axes-*", "throttle_*"]
    counted = [key for key in keys if key != "resilience-probe"]
    assert sorted(key[:3] for key in counted) == ["axe", "rl:", "thr"]
    assert all(fnmatch.filter(counted, pattern) for pattern in patterns)


def test_the_real_packages__twin__with_the_patterns_they_refuse(tmp_path, server):
    folder = site(tmp_path, server, "rl:*", "axes-*", "throttle_*")
    assert told(folder) == []
    assert answers(folder, "healthy", 4) == HEALTHY
    assert answers(folder, "outage", 1) == {name: ["CacheUnavailable"] for name in HEALTHY}
