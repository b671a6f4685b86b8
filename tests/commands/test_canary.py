"""A secret planted wherever one can be is in no byte that a command prints or logs."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from resilience.simulation.network import Refused
from tests.processes import ROOT, Ended, doctor, manage, run, write_project
from tests.servers import RedisServer, redis_with_password

# One as a password manager makes them, one as people make them.
CANARIES = ("cnry9f8e7d6c5b4a39281706fe", "Tr0ub4dor&Horse")
FORMATS = (["-v", "2"], ["--format", "json"], ["--force-color", "-v", "2"])


@pytest.fixture(scope="module", params=CANARIES)
def canary(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, canary: str) -> Iterator[RedisServer]:
    with redis_with_password(tmp_path_factory.mktemp("redis"), canary) as server:
        yield server


def assert_silent(ended: Ended, canary: str) -> None:
    everything = ended.out + ended.err
    assert everything, "a command that says nothing proves nothing"
    for form in (canary, canary.replace("&", "%26"), canary[:12], canary.lower()):
        assert form not in everything
    assert "Traceback" not in everything


def test_the_search_itself_finds_a_leak(canary):
    with pytest.raises(AssertionError):
        assert_silent(Ended(0, f"x {canary} y", "", 0.0), canary)


def test_well_formed_variables_that_lead_nowhere(canary):
    quoted = canary.replace("&", "%26")
    with Refused() as port:
        variables = {
            "SECRET_KEY": canary,
            "REDIS_URL": f"redis://{quoted}:{quoted}@127.0.0.1:{port.port}/0?client_name={quoted}",
            "DATABASE_URL": f"postgres://user:{quoted}@127.0.0.1:{port.port}/shop",
            "HTTPS": "true",
        }
        for form in FORMATS:
            assert_silent(manage("checkdeploy", *form, **variables), canary)
            assert_silent(manage("checkredis", "default", *form, **variables), canary)
            assert_silent(manage("checkredis", variables["REDIS_URL"], *form), canary)
        assert_silent(manage("check", "--deploy", **variables), canary)


NAMES = (
    "SECRET_KEY", "SECRET_KEY_FILE", "DEBUG", "ALLOWED_HOSTS", "CSRF_TRUSTED_ORIGINS",
    "DATABASE_URL", "REDIS_URL", "HTTPS", "HSTS_SECONDS", "WEB_CONCURRENCY", "GUNICORN_CMD_ARGS",
    "RESILIENCE_ENV", "LANGSMITH_API_KEY", "RAILWAY_ENVIRONMENT_ID", "RAILWAY_SERVICE_ID",
    "CREDENTIALS_DIRECTORY",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_variable_that_holds_the_secret_itself(name):
    alone: dict[str, str | None] = {"LANGSMITH_ENDPOINT": "https://127.0.0.1:1"}  # nobody's
    if name == "SECRET_KEY_FILE":
        alone["SECRET_KEY"] = None
    for form in FORMATS[:2]:
        ended = manage("checkdeploy", *form, **(alone | {name: CANARIES[1]}))
        assert_silent(ended, CANARIES[1])


@pytest.mark.parametrize(
    "url",
    [
        "redis://:{}@127.0.0.1:port",
        "redis://:{}/x@127.0.0.1",
        "redis://{}:x#y@127.0.0.1",
        "rediss://:{}@[::1",
        "{}://127.0.0.1",
        "postgress://u:{}@h/d",
        "redis://h?password={}",
        "redis://h?db={}",
        "redis://h?ssl_min_version={}",
        "${{{{Redis.{}}}}}",
    ],
)
def test_a_malformed_url(url):
    canary = CANARIES[1]
    filled = url.format(canary)
    for name in ("REDIS_URL", "DATABASE_URL"):
        assert_silent(manage("checkdeploy", "-v", "2", **{name: filled}), canary)
    assert_silent(manage("checkredis", filled), canary)
    assert_silent(manage("checkdeploy", f"--nonsense={filled}"), canary)


def test_a_password_that_works_and_one_that_does_not(guarded, canary):
    fine = manage("checkredis", guarded.url(password=canary), "-v", "2")
    assert fine.code == 0
    assert_silent(fine, canary)
    wrong = manage("checkdeploy", "redis", "cache", REDIS_URL=guarded.url(password=canary + "x"))
    assert wrong.code == 1
    assert_silent(wrong, canary)


HEAD = """
import os
SECRET_KEY = "x" * 60
INSTALLED_APPS = ["resilience"]
planted = os.environ["INNOCENT"]
"""
RAISING = {
    "ValueError": "int(planted)",
    "KeyError": "{}[planted]",
    "RuntimeError": 'raise RuntimeError(f"could not use {planted}")',
    "ImproperlyConfigured": (
        "from django.core.exceptions import ImproperlyConfigured\n"
        'raise ImproperlyConfigured(f"bad value {planted}")'
    ),
    "ImportError": "__import__(planted)",
    "OSError": "open(planted)",
    "chain": "try:\n    int(planted)\nexcept ValueError as e:\n    raise OSError(planted) from e",
    "SystemExit": "raise SystemExit(planted)",
    "AttributeError": "getattr(os, planted)",
}


@pytest.mark.parametrize("code", RAISING.values(), ids=RAISING)
def test_an_exception_of_settings_that_quotes_it(code, canary, tmp_path):
    project = write_project(tmp_path, HEAD + code)
    for form in FORMATS[:2]:
        ended = doctor(project, "checkdeploy", *form, INNOCENT=canary)
        assert "django.setup-failed" in ended.out
        assert_silent(ended, canary)


BACKEND = """
import logging, os
from django.core.cache.backends.base import BaseCache
class Cache(BaseCache):
    def __init__(self, location, params):
        super().__init__(params)
        self.password = params["OPTIONS"]["PASSWORD"]
    def set(self, *args, **kwargs):
        raise RuntimeError(f"cannot reach redis://web:{self.password}@h with {self.password}")
"""


def test_an_exception_of_a_backend_that_quotes_it(canary, tmp_path):
    settings = (
        'SECRET_KEY = "x" * 60\nINSTALLED_APPS = ["resilience"]\n'
        'CACHES = {"default": {"BACKEND": "leaky.Cache",\n'
        f'           "OPTIONS": {{"PASSWORD": {canary!r}}}}}}}\n'
        "DATABASES = {'default': {'ENGINE': 'django.db.backends.postgresql', 'NAME': 'x',\n"
        f"   'HOST': '127.0.0.1', 'PORT': '1', 'USER': 'u', 'PASSWORD': {canary!r}}}}}\n"
    )
    project = write_project(tmp_path, settings, leaky__py=BACKEND)
    for form in FORMATS:
        ended = doctor(project, "checkdeploy", *form)
        assert "cache.failed" in ended.out
        assert "database.unreachable" in ended.out
        assert_silent(ended, canary)


def test_an_env_file_with_broken_lines(canary, tmp_path):
    package = tmp_path / "shop"
    package.mkdir()
    (package / "__init__.py").write_text("from resilience import env\nenv.load()\n")
    (package / "settings.py").write_text(
        'from resilience import env\nSECRET_KEY = env.secret("KEY")\nPORT = env.int("PORT")\n'
        'INSTALLED_APPS = ["resilience"]\n'
    )
    write_project(tmp_path, "")
    (tmp_path / ".env").write_bytes(
        f"KEY='{canary}\nPORT={canary}\n{canary}\n{canary}=\n=== {canary}\n".encode()
    )
    variables = {"PYTHONPATH": str(ROOT), "DJANGO_SETTINGS_MODULE": "shop.settings"}
    for form in FORMATS:
        command = [sys.executable, "-m", "resilience", "checkdeploy", *form]
        assert_silent(run(*command, cwd=tmp_path, variables=variables), canary)
