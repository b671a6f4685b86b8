"""What ``ready()`` refuses: a cache that could not keep its promise."""

from __future__ import annotations

import sys

import pytest
from django.apps import apps
from django.core.cache.backends.base import InvalidCacheBackendError

from resilience import env
from resilience.cache.backend import ResilientCache
from tests.processes import ROOT, run

BAD = {"RESILIENCE": {"OPERATION_TIMOUT": 1}}
GOOD = {"RESILIENCE": {"OPERATION_TIMEOUT": 1}}


class Extended(ResilientCache):
    """As a project may have it."""


def start() -> None:
    apps.get_app_config("resilience").ready()


@pytest.fixture(params=["resilience.cache.ResilientCache", f"{__name__}.Extended"])
def backend(request) -> str:
    return str(request.param)


def test_options_that_cannot_work_stop_the_start(settings, backend):
    settings.CACHES = {"default": {"BACKEND": backend, "OPTIONS": BAD}}
    with pytest.raises(InvalidCacheBackendError, match="'OPERATION_TIMEOUT'"):
        start()


def test_options_that_cannot_work__twin(settings, backend):
    settings.CACHES = {"default": {"BACKEND": backend, "OPTIONS": GOOD}}
    start()
    with env.collecting():
        settings.CACHES = {"default": {"BACKEND": backend, "OPTIONS": BAD}}
        start()


@pytest.mark.parametrize("backend", ["django_redis.cache.RedisCache", "no.such.Backend", ""])
def test_other_backends_are_left_alone(settings, backend):
    settings.CACHES = {"default": {"BACKEND": backend, "OPTIONS": BAD}}
    start()


@pytest.mark.parametrize(
    ("backend", "paid"), [("resilience.cache.ResilientCache", True), ("", False)]
)
def test_only_who_uses_it_imports_redis(tmp_path, backend, paid):
    (tmp_path / "project_settings.py").write_text(
        'SECRET_KEY = "x" * 60\nINSTALLED_APPS = ["resilience"]\n'
        f'CACHES = {{"default": {{"BACKEND": "{backend or "django_redis.cache.RedisCache"}"}}}}\n'
    )
    code = (
        f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]\n"
        "import django; django.setup()\n"
        "print('redis' in sys.modules)"
    )
    ended = run(
        sys.executable,
        "-c",
        code,
        cwd=tmp_path,
        variables={"DJANGO_SETTINGS_MODULE": "project_settings"},
    )
    assert ended.out.strip() == str(paid), ended.err
