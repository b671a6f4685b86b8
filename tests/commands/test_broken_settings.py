"""Broken configuration is a finding with exit status 1, never a traceback."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.processes import ROOT, Ended, doctor, manage, run, write_project

MINIMAL = (
    'SECRET_KEY = "x" * 60\n'
    'INSTALLED_APPS = ["resilience"]\n'
    'DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}\n'
)
THREE = MINIMAL + (
    "from resilience import env\n"
    'KEY = env.secret("PAYMENT_KEY")\n'
    'CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache",\n'
    '                      "LOCATION": env.url("CACHE_URL")}}\n'
    'DATABASES = {"default": env.db("SHOP_DATABASE")}\n'
    'LIMIT = env.int("LIMIT")\n'
)


def diagnosed(folder: Path, *arguments: str, **variables: str | None) -> Ended:
    ended = doctor(folder, "checkdeploy", *arguments, "--format", "json", **variables)
    assert "Traceback" not in ended.err + ended.out
    return ended


@pytest.mark.parametrize(
    ("settings", "words", "line"),
    [
        ("import no_such_module\n", "ModuleNotFoundError", 1),
        ("\n\nraise RuntimeError('boom')\n", "RuntimeError", 3),
        ("x = (\n", "SyntaxError", 1),
        ("import sys\nsys.exit(4)\n", "SystemExit", 2),
        ("def f(): f()\nf()\n", "RecursionError", 1),
    ],
)
def test_settings_that_do_not_import(settings, words, line, tmp_path):
    ended = diagnosed(write_project(tmp_path, settings))
    assert ended.code == 1
    finding = ended.find("django.setup-failed")
    assert words in finding["summary"]
    assert finding["location"] == f"site_settings.py:{line}"
    assert "python -m django check --settings site_settings shows" in finding["hint"]


def test_the_whole_traceback_is_where_the_hint_says(tmp_path):
    project = write_project(tmp_path, "raise RuntimeError('boom')\n")
    hint = diagnosed(project).find("django.setup-failed")["hint"]
    words = hint.partition("python ")[2].partition(" shows")[0].split()
    for command, shown in ((words, True), (words[:-2], False)):
        ended = run(sys.executable, *command, cwd=project, variables={"PYTHONPATH": str(ROOT)})
        assert ('raise RuntimeError("boom")'.replace('"', "'") in ended.err) is shown


def test_every_missing_variable_at_once(tmp_path):
    ended = diagnosed(write_project(tmp_path, THREE))
    assert ended.code == 1
    missing = {
        f["subject"]
        for f in ended.report["findings"]
        if f["id"] == "env.missing" and not f["skipped"]
    }
    assert missing == {"PAYMENT_KEY", "CACHE_URL", "SHOP_DATABASE", "LIMIT"}
    skipped = {
        f["subject"]: f["cause"]["subject"] for f in ended.report["findings"] if f["skipped"]
    }
    assert skipped == {
        "caches.default": "CACHE_URL",
        "redis.default": "CACHE_URL",
        "databases.default": "SHOP_DATABASE",
    }


def test_elsewhere_the_first_missing_variable_raises(tmp_path):
    folder = write_project(tmp_path, THREE)
    ended = run(
        sys.executable, "manage.py", "check", cwd=folder, variables={"PYTHONPATH": str(ROOT)}
    )
    assert ended.code == 1
    assert "PAYMENT_KEY is not set" in ended.err


def test_a_setup_that_fails_because_of_a_missing_variable_names_it_as_the_cause(tmp_path):
    settings = MINIMAL + 'from resilience import env\nint(env.str("WORKERS")[8:])\n'
    ended = diagnosed(write_project(tmp_path, settings))
    assert ended.roots == [("env.missing", "WORKERS")]
    assert ended.find("django.setup-failed")["cause"] == {"id": "env.missing", "subject": "WORKERS"}


def test_an_import_that_hangs_is_named_at_the_deadline(tmp_path):
    settings = "import client\n" + MINIMAL
    files = {"client__py": "import threading\nthreading.Event().wait(50)\n"}
    ended = diagnosed(write_project(tmp_path, settings, **files), "--deadline", "1")
    assert ended.seconds <= 1.5
    assert ended.code == 1
    assert ended.find("django.setup-failed")["location"] == "client.py:2"


@pytest.mark.parametrize(
    ("variables", "identifier", "subject"),
    [
        ({"REDIS_URL": "redis://:pa/ss@localhost"}, "redis.url-invalid", "redis.default"),
        ({"REDIS_URL": "${{Redis.REDIS_URL}}"}, "env.unresolved-reference", "REDIS_URL"),
        ({"DEBUG": "maybe"}, "env.invalid", "DEBUG"),
        ({"DATABASE_URL": "postgress://u:p@h/d"}, "env.invalid", "DATABASE_URL"),
        ({"SECRET_KEY": None}, "env.missing", "SECRET_KEY"),
        ({"SECRET_KEY_FILE": "/nowhere/key", "SECRET_KEY": None}, "env.file-missing", "SECRET_KEY"),
        ({"SECRET_KEY_FILE": "/nowhere/key"}, "env.file-and-value", "SECRET_KEY"),
    ],
)
def test_the_example_project_reports_a_broken_variable(variables, identifier, subject):
    ended = manage("checkdeploy", "env", "redis", "--format", "json", **variables)
    assert ended.code == 1
    assert (identifier, subject) in {(f["id"], f["subject"]) for f in ended.report["findings"]}
    assert "Traceback" not in ended.err


def test_an_unknown_key_of_resilience_names_the_nearest(tmp_path):
    for name in ("PLATFROM", "PLATFORM"):
        (tmp_path / name).mkdir()
        write_project(tmp_path / name, MINIMAL + f'RESILIENCE = {{"{name}": None}}\n')
    ended = diagnosed(tmp_path / "PLATFROM", "env")
    assert ended.code == 1
    assert "'PLATFORM'" in ended.find("conf.invalid")["hint"]
    assert diagnosed(tmp_path / "PLATFORM", "env").code == 0


def project_with_env(folder: Path) -> Path:
    (folder / "shop").mkdir()
    (folder / "shop" / "__init__.py").write_text("from resilience import env\nenv.load()\n")
    write_project(folder, "")
    (folder / "site_settings.py").unlink()
    (folder / "shop" / "settings.py").write_text(
        MINIMAL + 'from resilience import env\nNAME = env.str("NAME")\n'
    )
    text = (folder / "manage.py").read_text().replace("site_settings", "shop.settings")
    (folder / "manage.py").write_text(text)
    return folder


def test_an_env_file_that_is_a_directory(tmp_path):
    folder = project_with_env(tmp_path)
    (folder / ".env").mkdir()
    ended = diagnosed(folder, "env")
    assert ended.code == 1
    assert "is a directory" in ended.find("env.dotenv-unreadable")["summary"]


def test_an_env_file_that_may_not_be_read(tmp_path):
    folder = project_with_env(tmp_path)
    secret = folder / ".env"
    secret.write_text("NAME=x\n")
    secret.chmod(0)
    # Root may read everything, unless it is started without the capabilities that say so.
    less = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if is_root() else []
    if less:
        os.chown(secret, 65534, 65534)
    command = [*less, sys.executable, "-m", "resilience", "checkdeploy", "env", "--format", "json"]
    ended = run(*command, cwd=folder, variables={"PYTHONPATH": str(ROOT)})
    assert ended.code == 1, ended.err
    summary = ended.find("env.dotenv-unreadable")["summary"]
    assert f"may not be read by uid {os.geteuid()}" in summary
    assert "mode 0000" in summary


def is_root() -> bool:
    return os.geteuid() == 0


def test_a_line_of_env_that_is_no_assignment(tmp_path):
    folder = project_with_env(tmp_path)
    (folder / ".env").write_text("NAME=x\nthis line is secret-text\n")
    ended = diagnosed(folder, "env")
    assert ended.code == 1
    assert "Line 2" in ended.find("env.dotenv-syntax")["summary"]
    assert "secret-text" not in ended.out + ended.err


@pytest.mark.parametrize(
    ("dotenv", "root"),
    [
        ("this line is no assignment\n", ("env.dotenv-syntax", ".env")),
        ("OTHER=x\n", ("env.missing", "NAME")),
    ],
)
def test_a_variable_that_is_missing_has_one_root_cause(dotenv, root, tmp_path):
    folder = project_with_env(tmp_path)
    (folder / ".env").write_text(dotenv)
    ended = diagnosed(folder)
    assert (ended.code, ended.roots) == (1, [root])


@pytest.mark.parametrize(
    ("dotenv", "root"),
    [
        ("NAME=x\n", ("env.loaded-late", "env")),
        ("OTHER=x\n", ("env.missing", "NAME")),
    ],
)
def test_a_file_that_nobody_loads_in_time(dotenv, root, tmp_path):
    settings = MINIMAL + 'from resilience import env\nNAME = env.str("NAME")\n'
    ended = diagnosed(write_project(tmp_path, settings, __env=dotenv))
    assert (ended.code, ended.roots) == (1, [root])


@pytest.mark.parametrize(
    "urls", ["import no_such_module\nurlpatterns = []\n", "urlpatterns = []\n"]
)
def test_urls_that_do_not_import_are_no_fault_of_ours(urls, tmp_path):
    settings = MINIMAL + 'ROOT_URLCONF = "shop_urls"\n'
    ended = diagnosed(write_project(tmp_path, settings, shop_urls__py=urls), "deploy")
    if "no_such_module" in urls:
        assert ended.roots == [("deploy.checks-failed", "deploy")]
        assert ended.find("deploy.checks-failed")["location"] == "shop_urls.py:1"
    else:
        assert "deploy.checks-failed" not in ended.ids


@pytest.mark.parametrize("silenced", [True, False])
def test_what_settings_silence_is_not_in_the_report(silenced, tmp_path):
    settings = MINIMAL + (
        'CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}\n'
    )
    if silenced:
        settings += 'SILENCED_SYSTEM_CHECKS = ["resilience.cache.dummy"]\n'
    ended = diagnosed(write_project(tmp_path, settings), "cache")
    assert ended.code == 0
    assert ("cache.dummy" in ended.ids) is not silenced


def test_without_any_settings_module(tmp_path):
    ended = doctor(tmp_path, "checkdeploy")
    assert ended.code == 2
    assert "--settings" in ended.err


def test_an_unknown_command_and_help(tmp_path):
    assert doctor(tmp_path, "migrate").code == 2
    assert doctor(tmp_path).code == 2
    assert doctor(tmp_path, "--help").code == 0


@pytest.mark.parametrize(
    ("named", "missing"), [("site_setings", "site_setings"), ("nowhere.settings", "nowhere")]
)
def test_settings_that_are_not_there_are_named_with_who_names_them(named, missing, tmp_path):
    project = write_project(tmp_path, "SECRET_KEY = 'x'\n")
    ended = doctor(project, "checkdeploy", "--settings", named, "--format", "json")
    hint = ended.find("django.setup-failed")["hint"]
    assert hint.startswith(f"There is no {missing} here: correct --settings")


def test_settings_that_are_not_there__twin__what_they_import_is_not(tmp_path):
    project = write_project(tmp_path, "import nowhere\n")
    ended = doctor(project, "checkdeploy", "--format", "json")
    assert "There is no" not in ended.find("django.setup-failed")["hint"]


@pytest.mark.parametrize(
    ("word", "near"), [("checkdeply", "Did you mean 'checkdeploy'?"), ("x", "")]
)
def test_a_command_that_is_not_there_is_named_with_the_nearest(word, near, tmp_path):
    ended = doctor(tmp_path, word)
    assert ended.code == 2
    assert ended.err.splitlines()[1].strip() == f"There is no such command. {near}".strip()
