"""The area ``instances``: what is a finding, and for how long."""

from __future__ import annotations

import json
import sqlite3
import time
from typing import Any

import pytest
from django.test import override_settings

from resilience.errors import UsageError
from resilience.findings import Finding, Level
from resilience.history import heartbeat, probes
from resilience.history.models import Instance
from resilience.probes import areas
from resilience.probes.base import Deadline
from resilience.simulation.network import Refused
from tests.history.conftest import SQLITE
from tests.history.rows import instance
from tests.processes import manage

MINUTE = 60.0


def found() -> list[Finding]:
    return [one for probe in probes.probes() for one in probe.run(Deadline(5.0))]


def ids() -> list[tuple[str, Level]]:
    return [(one.id, one.level) for one in found()]


def test_all_the_same_is_fine(database):
    now = time.time()
    instance(now, pid=1)
    instance(now, pid=2, replica="replica-2")
    instance(now, pid=3, role="celery-worker", commit="bbbb")
    (one,) = found()
    assert (one.id, one.level) == ("instances.ok", Level.OK)
    assert one.summary == "3 processes on 2 replicas report: celery-worker, web."


@pytest.mark.parametrize(
    ("gone", "expected"),
    [
        ({"ago": 100}, "instances.gone"),
        ({"ago": 50}, "instances.ok"),  # stale: a beat may still come
        ({"ago": 11 * MINUTE}, "instances.ok"),  # no news any more
        ({"ago": 100, "stopped": True}, "instances.ok"),
        ({"ago": 100, "commit": "old"}, "instances.ok"),  # a deploy has replaced it
        ({"ago": 100, "commit": "old", "role": "celery-worker"}, "instances.gone"),
    ],
)
def test_who_vanished_is_missed_for_ten_minutes(gone, expected, database):
    now = time.time()
    instance(now, pid=1)
    instance(now, pid=4242, **gone)
    (one,) = found()
    assert one.id == expected
    if expected == "instances.gone":
        assert one.level is Level.WARNING
        assert "pid 4242 on replica-1" in one.summary
        assert one.facts["last_memory_mib"] == 95


def test_all_of_them_gone_is_more_than_silence(sqlite_file):
    now = time.time()
    instance(now, pid=1, ago=100)
    instance(now, pid=2, ago=100)
    assert ids() == [("instances.gone", Level.WARNING), ("instances.silent", Level.INFO)]


@pytest.mark.parametrize(("age", "level"), [(9 * MINUTE, Level.INFO), (11 * MINUTE, Level.WARNING)])
@pytest.mark.parametrize("name", ["commit", "config"])
def test_two_versions_are_a_deploy_at_first(name, age, level, database):
    now = time.time()
    for pid in (1, 2, 3):
        usual: dict[str, Any] = {name: "one", "pid": pid}
        instance(now, **usual)
    other: dict[str, Any] = {name: "two", "pid": 4}
    instance(now, booted_at=now - age, **other)
    skew = found()[0]
    assert (skew.id, skew.level) == ("instances.skew", level)
    assert "1 of 4 live web processes" in skew.summary
    assert "pid 4 on replica-1" in skew.summary
    assert ("instances.ok" in [one.id for one in found()]) is (level is Level.INFO)


def test_the_digest_of_a_configuration_is_nobodys_fact(sqlite_file):
    now = time.time()
    instance(now, config="0123456789abcdef")
    instance(now, config="fedcba9876543210")
    said = repr(found())
    assert "differ in configuration" in said
    assert "0123456789abcdef" not in said


def test_nobody_reports(database):
    (one,) = found()
    assert (one.id, one.level, one.skipped) == ("instances.silent", Level.INFO, True)
    with override_settings(RESILIENCE={"BACKGROUND": False}):
        assert found()[0].summary == heartbeat.OFF


def test_without_the_tables_or_the_database(use, tmp_path, postgres):
    path = tmp_path / "db.sqlite3"
    use({"ENGINE": SQLITE, "NAME": path})
    assert ids() == [("instances.silent", Level.INFO)]
    assert not path.exists(), "asking makes no database"
    sqlite3.connect(path).close()
    (one,) = found()
    assert one.summary == heartbeat.MISSING
    with Refused() as nobody:
        from tests.history.conftest import config_of

        use({**config_of(postgres), "PORT": str(nobody.port)})
        (one,) = found()
    assert (one.id, one.level) == ("instances.silent", Level.INFO)
    assert "cannot be read" in one.summary


@pytest.fixture(scope="module")
def reports() -> dict[str, Any]:
    """``checkdeploy`` of the example project at each stage, and asked for this area alone."""
    return {
        stage: manage("checkdeploy", "--stage", stage, "--format", "json")
        for stage in ("predeploy", "run")
    } | {"instances": manage("checkdeploy", "instances", "--format", "json")}


def test_checkdeploy_asks_for_it_but_not_before_a_deploy(reports):
    seen = {
        name: any(one["area"] == "instances" for one in json.loads(ended.out)["findings"])
        for name, ended in reports.items()
    }
    assert seen == {"predeploy": False, "run": True, "instances": True}
    assert reports["instances"].code == 0


def test_only_where_the_app_is_installed(monkeypatch):
    assert [probe.area for probe in areas.probes_of(["instances"])] == ["instances"]
    monkeypatch.setattr(areas, "_joined", {})
    assert all(probe.area != "instances" for probe in areas.probes_of())
    with pytest.raises(UsageError, match=r"resilience\.history"):
        areas.probes_of(["instances"])


def test_the_example_has_the_tables_after_migrate(tmp_path):
    database = f"sqlite:///{tmp_path / 'db.sqlite3'}"
    (tmp_path / "db.sqlite3").touch()
    assert manage("migrate", "--no-input", "-v", "0", DATABASE_URL=database).code == 0
    ended = manage("checkdeploy", "instances", "--format", "json", DATABASE_URL=database)
    (one,) = [each for each in ended.report["findings"] if each["area"] == "instances"]
    assert one["id"] == "instances.silent"
    assert one["summary"] == "No process reports now: each does from its first request on."
    assert Instance._meta.db_table == "resilience_history_instance"
