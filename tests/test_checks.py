"""Static findings among Django's system checks, and what ``ready()`` does and leaves alone."""

from __future__ import annotations

import sys

import pytest
from django.core import checks
from django.test import override_settings

from resilience import conf
from tests.processes import ROOT, doctor, manage, run, write_project

MINIMAL = 'SECRET_KEY = "x" * 60\nINSTALLED_APPS = ["resilience"]\n'


def ids(*, deploy: bool) -> set[str]:
    messages = checks.run_checks(include_deployment_checks=deploy)
    return {str(message.id) for message in messages if "resilience" in str(message.id)}


def test_a_sound_configuration_is_silent(settings):
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    assert ids(deploy=False) == set()
    assert ids(deploy=True) == set()


def test_an_unknown_key_is_in_every_check(settings):
    settings.RESILIENCE = {"CRITICL": []}
    assert ids(deploy=False) == {"resilience.conf.invalid"}


def test_what_depends_on_the_platform_is_in_the_deployment_checks_only(settings):
    settings.RESILIENCE = {"PLATFORM": "railway"}
    settings.CACHES = {
        "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
        "wrong": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": "redis://:a/b@h"},
    }
    assert ids(deploy=False) == set()
    assert ids(deploy=True) == {"resilience.cache.local-only", "resilience.redis.url-invalid"}


def test_django_can_silence_them(settings):
    settings.RESILIENCE = {"CRITICL": []}
    settings.SILENCED_SYSTEM_CHECKS = ["resilience.conf.invalid"]
    (message,) = [m for m in checks.run_checks() if m.id == "resilience.conf.invalid"]
    assert message.is_silenced()


def test_changed_settings_are_read_again():
    with override_settings(RESILIENCE={"CRITICAL": ["caches.default"]}):
        assert conf.get().CRITICAL == ("caches.default",)
    assert conf.get().CRITICAL == ("databases.default",)


@pytest.mark.parametrize(("files", "level"), [({}, None), ({"__env": "NAME=x\n"}, "warning")])
def test_an_env_file_that_nobody_loaded_in_time_is_reported(files, level, tmp_path):
    project = write_project(tmp_path, MINIMAL, **files)
    ended = doctor(project, "checkdeploy", "env", "--format", "json")
    assert ended.code == 0
    found = {f["id"]: f["level"] for f in ended.report["findings"]}
    assert found.get("env.loaded-late") == level


def test_a_broken_env_file_does_not_stop_an_app_that_never_loads_one(tmp_path):
    project = write_project(tmp_path, MINIMAL, __env="no assignment\n")
    check = run(
        sys.executable, "manage.py", "check", cwd=project, variables={"PYTHONPATH": str(ROOT)}
    )
    assert check.code == 0, check.err
    assert "env.dotenv-syntax" in doctor(project, "checkdeploy", "env", "--format", "json").ids


def test_the_example_project_passes_djangos_own_deployment_check():
    ended = manage("check", "--deploy", HTTPS="true")
    assert ended.code == 0
