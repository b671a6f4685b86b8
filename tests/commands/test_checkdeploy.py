"""``manage.py checkdeploy`` of the example project, as a user runs it."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from resilience.management.output import without_our_logs
from resilience.probes.areas import probes_of
from resilience.simulation.network import BlackHole, Refused, Silence
from tests.processes import ROOT, SECRET_KEY, Ended, doctor, manage, run, write_project
from tests.servers import RedisServer, redis_server

RAILWAY = {
    "RAILWAY_ENVIRONMENT_ID": "e1",
    "RAILWAY_SERVICE_ID": "s1",
    "RAILWAY_REPLICA_ID": "r1",
}


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(directory=tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def database(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/db.sqlite3"


def checked(*arguments: str, **variables: str | None) -> Ended:
    return manage("checkdeploy", *arguments, "--format", "json", **variables)


def test_a_laptop_with_nothing_passes_and_the_last_line_is_the_verdict(database):
    ended = manage("checkdeploy", DATABASE_URL=database, DEBUG="true")
    assert ended.code == 0
    assert ended.err == ""
    assert re.fullmatch(
        r"PASS: 0 errors, \d+ warnings?, \d+ ok in \d+\.\d s \(exit 0\)",
        ended.out.rstrip("\n").splitlines()[-1],
    )
    assert "This cache lives in this process only" in ended.out
    assert "\x1b" not in ended.out


def test_a_laptop_reads_what_matters_and_may_ask_for_the_rest(database):
    shown = manage("checkdeploy", DATABASE_URL=database, DEBUG="true").out

    assert "deploy.debug-settings" in shown
    assert "! warning deploy" not in shown
    asked = manage("checkdeploy", "deploy", DATABASE_URL=database, DEBUG="true").out
    assert "! warning deploy" in asked
    assert "deploy.debug-settings" not in asked


LOGGED = "ERROR resilience.cache: cache default: "


def test_the_report_stands_alone_with_redis_down(database):
    with Refused() as port:
        url = f"redis://127.0.0.1:{port.port}/0"
        ended = manage("checkdeploy", REDIS_URL=url, DATABASE_URL=database)
    assert (ended.code, ended.err) == (1, "")
    assert "cache.fallback" in ended.out


def test_the_report_stands_alone__twin__the_app_itself_logs(database):
    code = "from django.core.cache import cache\nfor _ in range(5): cache.set('a', 1)"
    with Refused() as port:
        url = f"redis://127.0.0.1:{port.port}/0"
        ended = manage("shell", "-c", code, REDIS_URL=url, DATABASE_URL=database)
    assert LOGGED in ended.err


def test_our_logs_are_back_after_the_report(caplog):
    loggers = [logging.getLogger(f"resilience.{name}") for name in ("cache", "components")]
    other = logging.getLogger("shop")
    with without_our_logs():
        for logger in (*loggers, other):
            logger.error("during")
    for logger in loggers:
        logger.error("after")
    assert [(record.name, record.message) for record in caplog.records] == [
        ("shop", "during"),
        ("resilience.cache", "after"),
        ("resilience.components", "after"),
    ]


def test_a_cache_of_one_process_weighs_more_on_a_platform(database):
    def level(**variables: str) -> str:
        ended = checked("cache", DATABASE_URL=database, **variables)
        return str(ended.find("cache.local-only")["level"])

    assert level() == "info"
    assert level(**RAILWAY) == "warning"
    assert level(**RAILWAY, WEB_CONCURRENCY="1") == "warning"
    assert level(**RAILWAY, WEB_CONCURRENCY="3") == "error"


def test_debug_on_a_platform_is_an_error(database):
    on_laptop = checked("deploy", DATABASE_URL=database, DEBUG="true")
    assert (on_laptop.code, on_laptop.find("security.W018")["level"]) == (0, "warning")
    there = checked("deploy", DATABASE_URL=database, DEBUG="true", **RAILWAY)
    assert (there.code, there.find("security.W018")["level"]) == (1, "error")
    without = checked("deploy", DATABASE_URL=database, DEBUG="false", **RAILWAY)
    assert "security.W018" not in without.ids
    assert without.code == 0


def test_a_healthy_redis_is_measured(healthy, database):
    ended = checked("cache", "redis", REDIS_URL=healthy.url(), DATABASE_URL=database)
    assert ended.code == 0
    assert {"redis.ok", "cache.ok"} == ended.ids
    facts = ended.find("redis.ok")["facts"]
    assert {"round_trip_ms", "version", "used_memory_mib", "eviction_policy"} <= set(facts)


def test_exactly_one_root_cause_when_redis_is_down(database):
    with Refused() as port:
        ended = checked(REDIS_URL=f"redis://127.0.0.1:{port.port}/0", DATABASE_URL=database)
        assert ended.code == 1
        assert ended.roots == [("tcp.refused", f"redis.127.0.0.1:{port.port}/0")]
        cause = ended.find("cache.fallback")["cause"]
    assert cause == {"id": "tcp.refused", "subject": f"redis.127.0.0.1:{port.port}/0"}


DEAD = pytest.mark.parametrize(
    ("fault", "identifier"), [(BlackHole, "tcp.timeout"), (Silence, "redis.silent")]
)


@DEAD
def test_a_cache_on_a_dead_redis_answers_in_time(fault, identifier, database):
    with fault() as port:
        url = f"redis://127.0.0.1:{port.port}/0"
        ended = checked("cache", "redis", REDIS_URL=url, DATABASE_URL=database)
    assert [root[0] for root in ended.roots] == [identifier]
    assert ended.find("cache.fallback")["cause"]["id"] == identifier
    assert ended.ids == {"cache.fallback", identifier}
    assert ended.seconds < 6


@DEAD
def test_a_cache_that_hangs_on_a_dead_redis_is_not_waited_for(fault, identifier, tmp_path):
    """django-redis would try for a minute; the answer is there after the first 2 s stage."""
    with fault() as port:
        settings = (
            'SECRET_KEY = "x" * 60\nINSTALLED_APPS = ["resilience"]\n'
            'CACHES = {"default": {"BACKEND": "django_redis.cache.RedisCache",\n'
            f'    "LOCATION": "redis://127.0.0.1:{port.port}/0"}}}}\n'
        )
        project = write_project(tmp_path, settings)
        ended = doctor(project, "checkdeploy", "cache", "redis", "--format", "json")
    assert [root[0] for root in ended.roots] == [identifier]
    assert ended.find("probe.timeout")["cause"]["id"] == identifier
    assert ended.seconds < 6


def test_a_silent_redis_is_named_even_with_little_time(database):
    """The stage ends before the run does, and so has its own word: not a timeout, not a PASS."""
    with Silence() as port:
        url = f"redis://127.0.0.1:{port.port}/0"
        ended = checked("redis", "--deadline", "2", REDIS_URL=url, DATABASE_URL=database)
    assert (ended.code, ended.ids) == (1, {"redis.silent"})
    assert ended.seconds < 2.5


def test_a_silent_redis__twin__one_that_answers(healthy, database):
    ended = checked("redis", "--deadline", "2", REDIS_URL=healthy.url(), DATABASE_URL=database)
    assert (ended.code, ended.ids) == (0, {"redis.ok"})


@pytest.mark.parametrize("area", ["hosting", "deploy", "redis"])
def test_a_missing_variable_is_in_every_report(area, database):
    ended = checked(area, SECRET_KEY=None, DATABASE_URL=database)
    assert (ended.code, ended.find("env.missing")["subject"]) == (1, "SECRET_KEY")


def test_a_missing_variable__twin__none_is_missing(database):
    ended = checked("hosting", DATABASE_URL=database)
    assert ended.code == 0
    assert not {found for found in ended.ids if found.startswith("env.")}


HANGING = """
import threading
SECRET_KEY = "x" * 60
INSTALLED_APPS = ["resilience"]
DATABASES = {"default": {"ENGINE": "hanging", "NAME": ":memory:"}}
CACHES = {"default": {"BACKEND": "hanging.Cache"}}
"""
HANGING_BACKEND = """
import sys, threading, types
from django.core.cache.backends.base import BaseCache
from django.db.backends.sqlite3 import base

def hang(*args, **kwargs):
    threading.Event().wait(50)

class Cache(BaseCache):
    def __init__(self, location, params):
        super().__init__(params)

    get = set = add = delete = hang

class DatabaseWrapper(base.DatabaseWrapper):
    get_new_connection = hang

sys.modules["hanging.base"] = types.ModuleType("hanging.base")
sys.modules["hanging.base"].DatabaseWrapper = DatabaseWrapper
__path__ = []
"""


def test_with_every_live_probe_hung_the_process_is_gone_in_time(tmp_path):
    project = write_project(tmp_path, HANGING, hanging__py=HANGING_BACKEND)
    ended = doctor(
        project, "checkdeploy", "cache", "database", "--deadline", "2", "--format", "json"
    )
    assert ended.seconds <= 2.5
    assert ended.code == 3
    found = {(f["subject"], f["level"]) for f in ended.report["findings"]}
    assert found == {("caches.default", "warning"), ("databases.default", "error")}
    assert ended.ids == {"probe.timeout"}


@pytest.mark.parametrize(("pause", "told"), [(1.0, True), (0.0, False)])
def test_a_long_start_is_named_where_probes_had_no_time(pause, told, tmp_path):
    """A first start compiles all that it imports; nothing may hang at all."""
    settings = f"import threading\nthreading.Event().wait({pause})\n{HANGING}"
    project = write_project(tmp_path, settings, hanging__py=HANGING_BACKEND)
    ended = doctor(project, "checkdeploy", "database", "--deadline", "3", "--format", "json")
    assert ("Starting Django took" in ended.find("probe.timeout")["hint"]) is told


def test_not_critical_a_hung_database_does_not_decide(tmp_path):
    settings = HANGING + 'RESILIENCE = {"CRITICAL": []}\n'
    project = write_project(tmp_path, settings, hanging__py=HANGING_BACKEND)
    ended = doctor(project, "checkdeploy", "database", "--deadline", "1", "--format", "json")
    assert (ended.code, ended.find("probe.timeout")["level"]) == (0, "warning")


def test_a_warning_fails_only_when_asked_to(database):
    for arguments, code in (((), 0), (("--fail-level", "warning"), 1)):
        ended = checked("deploy", *arguments, DATABASE_URL=database, DEBUG="true")
        assert (ended.code, ended.find("security.W018")["level"]) == (code, "warning")
    assert checked("hosting", "--fail-level", "warning", DATABASE_URL=database).code == 0


def test_the_exit_status_does_not_depend_on_the_format(database):
    for variables, code in (({"DEBUG": "false"}, 0), ({"DEBUG": "true", **RAILWAY}, 1)):
        for form in ("text", "json"):
            ended = manage(
                "checkdeploy", "deploy", "--format", form, DATABASE_URL=database, **variables
            )
            assert ended.code == code


def test_json_is_alone_on_standard_output(healthy, database):
    ended = checked(REDIS_URL=healthy.url(), DATABASE_URL=database)
    document = json.loads(ended.out)
    assert list(document) == [
        "schema",
        "verdict",
        "exit_code",
        "duration_ms",
        "hosting",
        "findings",
        "silenced",
    ]
    assert document["exit_code"] == ended.code
    assert ended.err == ""


def test_the_build_stage_asks_nobody_and_misses_variables_mildly(database):
    with Refused() as port:
        ended = checked(
            "--stage", "build", REDIS_URL=f"redis://127.0.0.1:{port.port}/0", DATABASE_URL=database
        )
    assert not {"tcp.refused", "cache.fallback", "database.ok"} & ended.ids
    missing = checked("env", "--stage", "build", SECRET_KEY=None, DATABASE_URL=database)
    assert (missing.code, missing.find("env.missing")["level"]) == (0, "warning")
    at_run = checked("env", SECRET_KEY=None, DATABASE_URL=database)
    assert (at_run.code, at_run.find("env.missing")["level"]) == (1, "error")


def test_wait_repeats_until_the_service_is_there(database, tmp_path):
    arguments = ("redis", "--wait", "20")
    with Refused() as port, ThreadPoolExecutor(1) as pool:
        url = f"redis://127.0.0.1:{port.port}/0"
        waiting = pool.submit(checked, *arguments, REDIS_URL=url, DATABASE_URL=database)
        with pytest.raises(TimeoutError):
            waiting.result(timeout=1)
        port.__exit__(None, None, None)
        with redis_server(directory=tmp_path, port=port.port):
            ended = waiting.result(timeout=20)
    assert (ended.code, ended.ids) == (0, {"redis.ok"})


def test_wait_ends_with_what_is_still_wrong(database):
    with Refused() as port:
        url = f"redis://127.0.0.1:{port.port}/0"
        ended = checked("redis", "--wait", "1.5", REDIS_URL=url, DATABASE_URL=database)
    assert ended.code == 1
    assert 1.5 <= ended.seconds < 6


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nosuch"], "there is no area 'nosuch'"),
        (["instance"], "Did you mean 'instances'?"),
        (["databse"], "Did you mean 'database'?"),
        (["--deadline", "0"], "must be a number of seconds"),
        (["--deadline", "soon"], "must be a number of seconds"),
        (["--deadline", "nan"], "must be a number of seconds"),
        (["--deadline", "1e9"], "must be a number of seconds"),
        (["--wait", "-1"], "must be a number of seconds"),
        (["--format", "yaml"], "invalid choice: 'yaml'"),
        (["--stage", "later"], "invalid choice: 'later'"),
        (["--fail-level", "info"], "invalid choice: 'info'"),
        (["--qqq"], "there is no option --qqq. --help lists them."),
        (["--fromat", "json"], "there is no option --fromat. Did you mean '--format'?"),
        (["--nonsense=pw-canary"], "there is no option --nonsense."),
        (["--explain", "no.such-id"], "is not the id of a finding"),
    ],
)
def test_bad_usage_is_one_sentence_and_status_2(arguments, words, tmp_path):
    """Also where the settings are broken: what was typed is looked at first."""
    project = write_project(tmp_path, "raise RuntimeError('settings')")
    ended = doctor(project, "checkdeploy", *arguments)
    assert ended.code == 2
    assert words in ended.err.strip().splitlines()[-1]
    assert ended.out == ""
    assert "Traceback" not in ended.err
    assert "pw-canary" not in ended.err


@pytest.mark.parametrize("stage", ["run", "build"])
def test_the_help_says_what_all_is(stage, tmp_path):
    """The twin: audit is not in what it says, and only with --stage build is it asked."""
    helped = " ".join(doctor(write_project(tmp_path, ""), "checkdeploy", "--help").out.split())
    assert "audit, database, deploy (all but audit)" in helped
    assert "with resilience.history also instances" in helped
    areas = {probe.area for probe in probes_of(stage=stage)}
    assert ("audit" in areas) is (stage == "build")


def test_explain_works_offline_and_without_settings(tmp_path):
    project = write_project(tmp_path, "raise RuntimeError('settings')")
    ended = doctor(project, "checkdeploy", "--explain", "redis.auth-missing")
    assert ended.code == 0
    assert ended.out.startswith("redis.auth-missing\n")


def test_neither_langsmith_nor_requests_is_imported(healthy, database):
    """Asserted in the process that ran every probe, after the report."""
    code = (
        "import os, sys\n"
        "from resilience.__main__ import main\n"
        "leave = os._exit\n"
        "def look(code):\n"
        "    found = {'langsmith', 'requests', 'httpx', 'langchain'} & set(sys.modules)\n"
        "    sys.stderr.write(f'imported: {sorted(found)}')\n"
        "    sys.stderr.flush()\n"
        "    leave(code)\n"
        "os._exit = look\n"
        "main(['checkdeploy'])\n"
    )
    ended = run(
        sys.executable,
        "-c",
        code,
        cwd=ROOT,
        variables={
            "SECRET_KEY": SECRET_KEY,
            "DATABASE_URL": database,
            "REDIS_URL": healthy.url(),
            "DJANGO_SETTINGS_MODULE": "opsproject.settings",
        },
    )
    assert ended.err == "imported: []"
    assert f"redis.127.0.0.1:{healthy.port}/0" in ended.out, "every probe ran"


def test_called_from_python_it_raises_instead_of_ending_the_process(capsys, settings):
    from django.core.management import call_command

    call_command("checkdeploy", "hosting")
    assert capsys.readouterr().out.rstrip().endswith("(exit 0)")
    settings.RESILIENCE = {"CRITICL": []}
    with pytest.raises(SystemExit) as ended:
        call_command("checkdeploy", "hosting")
    assert ended.value.code == 1
    assert "'CRITICAL'" in capsys.readouterr().out
