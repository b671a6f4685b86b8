"""Options, refusals and formats of the command; the formats without playing anything."""

from __future__ import annotations

import sys

import pytest

from tests.processes import ROOT, run
from tests.rehearse import naive


def command(folder, *arguments: str, **variables: str):
    return run(
        *(sys.executable, "-m", "resilience", "rehearse", *arguments),
        cwd=folder,
        variables={**naive.VARIABLES, "PYTHONPATH": str(ROOT), **variables},
    )


@pytest.mark.parametrize(
    "variables",
    [
        {"RAILWAY_ENVIRONMENT_NAME": "production"},
        {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"},
    ],
)
def test_it_refuses_to_run_on_a_platform(tmp_path, variables):
    ended = command(tmp_path, **variables)
    assert ended.code == 2
    assert "rehearse runs on laptops and in CI" in ended.err
    assert not ended.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--scenario", "redis-refusd"], "Did you mean 'redis-refused'?"),
        (["--platform", "heroku"], "invalid choice: 'heroku'"),
        (["--path", "shop"], "a path begins with /"),
        (["--path", "/a b"], "a path begins with / and has no spaces"),
        *((["--duration", word], "must be a number of seconds") for word in ("0", "nan", "x")),
        (["--duration=-1"], "must be a number of seconds, above 0 and up to 600"),
        (["--deadline", "3"], "there is no option"),
    ],
)
def test_a_wrong_option(tmp_path, arguments, said):
    ended = command(tmp_path, *arguments)
    assert ended.code == 2
    assert said in ended.err
    assert ended.err.count("error:") == 1
    assert "Traceback" not in ended.err


def test_help_imports_no_project(tmp_path):
    ended = command(tmp_path, "--help")
    assert ended.code == 0
    assert "redis-black-hole" in ended.out


def test_without_a_settings_module(tmp_path):
    ended = command(tmp_path, DJANGO_SETTINGS_MODULE="")
    assert ended.code == 2
    assert "There is no settings module" in ended.err
