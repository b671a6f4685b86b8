"""What a hostile or merely odd environment does to the doctor: it still answers, in time, truly."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from resilience.simulation.network import Refused
from tests.processes import ROOT, Ended, doctor, run, write_project

MINIMAL = (
    'SECRET_KEY = "x" * 60\n'
    'INSTALLED_APPS = ["resilience"]\n'
    'DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}\n'
)
JSON = ("--format", "json")


def checked(folder: Path, settings: str, *arguments: str, **files: str) -> Ended:
    project = write_project(folder, MINIMAL + settings, **files)
    ended = doctor(project, "checkdeploy", *arguments, *JSON)
    assert "Traceback" not in ended.out + ended.err
    return ended


@pytest.mark.parametrize(
    "settings",
    [
        "CACHES = None",
        "CACHES = []",
        'CACHES = {"default": None}',
        'CACHES = {"default": {"BACKEND": None}}',
        'CACHES = {"default": {"BACKEND": 5}}',
        (
            'CACHES = {"default": {"BACKEND": "django_redis.cache.RedisCache",'
            ' "LOCATION": "redis://h", "OPTIONS": "text"}}'
        ),
        'CACHES = {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": 5}}',
        "DATABASES = None",
        'DATABASES = {"default": None}',
        'DATABASES = {"default": {"ENGINE": 5}}',
        'DATABASES = {"default": {"ENGINE": "no.such.engine", "NAME": "x"}}',
        'ROOT_URLCONF = "no.such.urls"',
    ],
)
def test_settings_of_any_shape_are_a_finding(settings, tmp_path):
    ended = checked(tmp_path, settings)
    assert ended.code == 1
    assert len(ended.roots) >= 1
    assert "probe.crashed" not in ended.ids


@pytest.mark.parametrize("settings", ["SILENCED_SYSTEM_CHECKS = 5", "LOOP = {}\nLOOP['x'] = LOOP"])
def test_settings_of_no_consequence(settings, tmp_path):
    assert checked(tmp_path, settings, "env", "hosting", "cache").code == 0


def test_a_variable_that_is_not_utf8(tmp_path):
    project = write_project(tmp_path, MINIMAL)
    environment = {
        **{name.encode(): value.encode() for name, value in os.environ.items()},
        b"PYTHONPATH": str(ROOT).encode(),
        b"DB_PASSWORD": b"caf\xe9-secret",
        b"OTHER_URL": b"redis://:caf\xe9@h",
    }
    command = [sys.executable, "-m", "resilience", "checkdeploy", "hosting"]
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("class Odd(BaseException): pass\nraise Odd('hunter2 battery')", "Odd"),
        ("raise RuntimeError('a.' * 300_000)", "RuntimeError"),
        ("raise RuntimeError('=' * 300_000)", "RuntimeError"),
        ("raise RuntimeError('x://' + 'y' * 300_000)", "RuntimeError"),
    ],
)
def test_an_exception_of_any_kind_and_length(code, words, tmp_path):
    ended = checked(tmp_path, code)
    assert ended.code == 1
    assert words in ended.find("django.setup-failed")["summary"]
    assert ended.seconds < 5


def test_a_backend_that_ends_the_process_at_its_import(tmp_path):
    settings = 'CACHES = {"default": {"BACKEND": "leaver.Cache"}}'
    ended = checked(tmp_path, settings, "cache", leaver__py="import sys\nsys.exit(0)\n")
    assert ended.code == 1
    assert ended.roots


def test_a_backend_that_hangs_at_its_import_is_named_in_time(tmp_path):
    settings = 'CACHES = {"default": {"BACKEND": "slow.Cache"}}'
    files = {"slow__py": "import threading\nthreading.Event().wait(50)\n"}
    ended = checked(tmp_path, settings, "cache", "--deadline", "1", **files)
    assert ended.seconds <= 1.5
    assert ended.find("django.setup-failed")["location"] == "slow.py:2"


def test_an_env_file_that_never_ends(tmp_path):
    os.mkfifo(tmp_path / ".env")
    ended = checked(tmp_path, "", "env", "--deadline", "2")
    assert "no regular file" in ended.find("env.dotenv-unreadable")["summary"]
    assert ended.seconds < 2


def test_a_thread_of_the_settings_does_not_keep_the_process(tmp_path):
    settings = (
        "import atexit, threading\n"
        "threading.Thread(target=threading.Event().wait, args=(50,)).start()\n"
        "atexit.register(threading.Event().wait, 50)\n"
    )
    ended = checked(tmp_path, settings, "hosting")
    assert (ended.code, ended.seconds < 5) == (0, True)


def test_several_databases_of_one_dead_server_are_one_root_cause(tmp_path):
    with Refused() as port:
        settings = (
            f'URL = "redis://127.0.0.1:{port.port}/"\n'
            'B = "django.core.cache.backends.redis.RedisCache"\n'
            'CACHES = {"default": {"BACKEND": B, "LOCATION": URL + "0"},\n'
            '          "other": {"BACKEND": B, "LOCATION": URL + "1"}}\n'
        )
        ended = checked(tmp_path, settings, "cache")
    assert [root[0] for root in ended.roots] == ["tcp.refused"]


def test_what_follows_from_something_silenced_is_silenced_with_it(tmp_path):
    with Refused() as port:
        settings = (
            'CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache",\n'
            f'           "LOCATION": "redis://127.0.0.1:{port.port}"}}}}\n'
            'SILENCED_SYSTEM_CHECKS = ["resilience.tcp.refused"]\n'
        )
        ended = checked(tmp_path, settings, "cache")
        assert (ended.code, ended.report["findings"]) == (0, [])
        twin = checked(tmp_path / "twin", settings.replace("refused", "timeout"), "cache")
    assert twin.code == 1


@pytest.fixture(autouse=True)
def twin_folder(tmp_path: Path) -> None:
    (tmp_path / "twin").mkdir()


FAILING = 'RESILIENCE = {"WRONG": 1}\n'


@pytest.mark.parametrize(("settings", "code"), [("", 2), (FAILING, 1)])
def test_a_full_disk_loses_no_failure_and_keeps_no_success(settings, code, tmp_path):
    project = write_project(tmp_path, MINIMAL + settings)
    command = f"{sys.executable} -m resilience checkdeploy hosting > /dev/full"
    ended = run("sh", "-c", command, cwd=project, variables={"PYTHONPATH": str(ROOT)})
    assert ended.code == code
    assert "could not be written" in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(("settings", "code"), [("", 0), (FAILING, 1)])
@pytest.mark.parametrize("reader", ["| true", ">&-"])
def test_a_reader_that_has_gone_does_not_change_the_verdict(settings, code, reader, tmp_path):
    project = write_project(tmp_path, MINIMAL + settings)
    command = f"set -o pipefail; {sys.executable} -m resilience checkdeploy hosting {reader}"
    ended = run("bash", "-c", command, cwd=project, variables={"PYTHONPATH": str(ROOT)})
    assert ended.code == code, ended.err
    assert "Traceback" not in ended.err


def test_a_secret_that_is_a_word_of_ours_breaks_no_link(tmp_path):
    with Refused() as port:
        settings = (
            'CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache",\n'
            f'           "LOCATION": "redis://127.0.0.1:{port.port}"}}}}\n'
            'API_TOKEN = "caches"\nOTHER_TOKEN = "127.0.0.1"\n'
        )
        ended = checked(tmp_path, settings, "cache")
    assert ended.roots == [("tcp.refused", f"redis.127.0.0.1:{port.port}/0")]
