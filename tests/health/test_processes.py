"""Forked, ended, loaded: what only a real process of one's own can show."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from tests.processes import ROOT, SECRET_KEY, Ended, run

BEGIN = """
import os, sys, threading, time
os.environ["DJANGO_SETTINGS_MODULE"] = "site_settings"
import django
django.setup()
from dataclasses import dataclass
from resilience.findings import Finding, Level
from resilience.health import monitor
from resilience.health.schedule import Pace
from resilience.probes.base import Probe

def threads():
    return [t.name for t in threading.enumerate() if t.name.startswith("resilience")]

def until(condition):
    ends = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < ends, "too late"
        time.sleep(0.005)

class Hangs(Probe):
    area = "database"
    def run(self, deadline):
        time.sleep(60)
        yield Finding("database.ok", Level.OK, self.subject, "At last.")

@dataclass(frozen=True)
class Well(Probe):
    area = "database"
    def run(self, deadline):
        yield Finding("database.ok", Level.OK, self.subject, "Well.")

def use(*probes, **pace):
    monitor._monitor = monitor.Monitor(probes=lambda: list(probes), pace=Pace(**pace))
"""
SETTINGS = f"""
SECRET_KEY = {SECRET_KEY!r}
INSTALLED_APPS = ["resilience"]
DATABASES = {{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}}}
USE_TZ = True
"""


def python(folder: Path, script: str, settings: str = "", **variables: str) -> Ended:
    """Run a script that begins with BEGIN, in a project with these settings."""
    (folder / "site_settings.py").write_text(SETTINGS + settings)
    (folder / "script.py").write_text(BEGIN + script)
    known = {"PYTHONPATH": str(ROOT), **variables}
    return run(sys.executable, "script.py", cwd=folder, variables=known, limit=30.0)


def test_nothing_runs_before_a_fork_and_each_child_runs_its_own(tmp_path):
    """As gunicorn with preload: the app is loaded, then the workers are forked."""
    ended = python(
        tmp_path,
        """
assert monitor.snapshot().readiness == "starting"
assert not threads(), threads()
for number in range(2):
    child = os.fork()
    if child == 0:
        health = monitor.ask(5.0)
        assert health.readiness in ("ready", "degraded"), health.readiness
        assert health.background and "resilience-health" in threads()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
assert not threads(), threads()
print("done")
""",
    )
    assert (ended.out, ended.code) == ("done\n", 0), ended.err


def test_a_child_forgets_the_runs_of_its_parent(tmp_path):
    ended = python(
        tmp_path,
        """
use(Hangs("databases.default"), Well("databases.other"), period=0.3, deadline=0.1)
health = monitor.ask(5.0)
assert health.readiness == "not-ready"
assert len(threads()) == 2, threads()  # the rounds, and the run that hangs
child = os.fork()
if child == 0:
    health = monitor.snapshot()
    assert (health.readiness, health.subjects) == ("starting", ())
    assert health.booted_at > time.time() - 5
    use(Well("databases.default"))
    health = monitor.ask(5.0)
    assert health.readiness == "ready" and health.background
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert monitor.snapshot().readiness == "not-ready"
print("done")
""",
    )
    assert (ended.out, ended.code) == ("done\n", 0), ended.err


def test_a_fork_in_the_middle_of_everything_locks_nothing_up(tmp_path):
    ended = python(
        tmp_path,
        """
use(Well("databases.default"), period=0.01, deadline=1.0, check=0.0)
busy = True
def ask():
    while busy:
        monitor.check_now(0.1)
crowd = [threading.Thread(target=ask) for _ in range(4)]
for thread in crowd:
    thread.start()
until(lambda: monitor.snapshot().readiness == "ready")
for number in range(20):
    child = os.fork()
    if child == 0:
        use(Well("databases.default"))
        assert monitor.ask(5.0).readiness == "ready"
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
busy = False
print("done")
""",
    )
    assert (ended.out, ended.code) == ("done\n", 0), ended.err


@pytest.mark.parametrize("background", [True, False])
def test_a_probe_that_hangs_does_not_delay_the_exit(tmp_path, background):
    ended = python(
        tmp_path,
        """
use(Hangs("databases.default"))
monitor.ask(0.1)
until(lambda: "resilience-health-databases.default" in threads())
print(time.time(), flush=True)
""",
        f"RESILIENCE = {{'BACKGROUND': {background}}}",
    )
    assert ended.code == 0, ended.err
    assert time.time() - float(ended.out) < 1.5
    assert ended.err == ""


@pytest.mark.parametrize("waits", [True, False], ids=["waits", "twin: it does not"])
def test_the_exit_waits_a_moment_for_what_is_under_way(tmp_path, waits):
    """A thread that is stopped inside cryptography's Rust would abort the process."""
    ended = python(
        tmp_path,
        f"""
class Short(Probe):
    area = "database"
    def run(self, deadline):
        time.sleep(0.2)
        print("asked", flush=True)
        yield Finding("database.ok", Level.OK, self.subject, "Well.")
use(Short("databases.default"))
monitor.AT_EXIT = {0.5 if waits else 0.0}
monitor.start()
until(lambda: "resilience-health-databases.default" in threads())
""",
    )
    assert (ended.out, ended.err, ended.code) == ("asked\n" if waits else "", "", 0)


FRAMEWORK = """
RESILIENCE = {"COMPONENTS": {"heavy": {
    "BACKEND": "heavy.models.Thing", "PROBE": "asking.probe", "OPTIONS": {}}}}
"""


def test_no_framework_is_imported_and_what_is_loaded_is_asked(tmp_path):
    (tmp_path / "heavy").mkdir()
    (tmp_path / "heavy" / "__init__.py").write_text("print('imported heavy', flush=True)\n")
    (tmp_path / "heavy" / "models.py").write_text("class Thing: pass\n")
    (tmp_path / "asking.py").write_text(
        "import heavy\nasked = []\ndef probe(thing): asked.append(thing)\n"
    )
    ended = python(
        tmp_path,
        """
from resilience.components import components
monitor._monitor = monitor.Monitor(pace=Pace(check=0.0))
def heavy():
    health = monitor.check_now(5.0)
    states = {state.subject: state for state in health.subjects}
    return states["components.heavy"].findings

for _ in range(3):
    assert [finding.id for finding in heavy()] == ["components.not-loaded"]
assert not {"heavy", "heavy.models", "asking"} & set(sys.modules)
assert components.status("heavy").state == "not-loaded"
print("now")
thing = components["heavy"]
assert [finding.id for finding in heavy()] == ["components.ok"]
assert sys.modules["asking"].asked == [thing]
print("done")
""",
        FRAMEWORK,
    )
    assert (ended.out, ended.code) == ("now\nimported heavy\ndone\n", 0), ended.err


@pytest.mark.parametrize(
    ("lock", "use"),
    [
        ("conf._lock", "conf.get()"),
        ("redact._lock", "redact.text('word')"),
        ("subject_changed.lock", "subject_changed.disconnect(dispatch_uid='nobody')"),
    ],
)
def test_a_fork_while_another_thread_holds_a_lock_hangs_no_child(lock, use, tmp_path):
    """In the child that thread is missing, and nobody else would let go."""
    ended = python(
        tmp_path,
        f"""
from resilience import conf, redact
from resilience.health.signals import subject_changed
conf.get()
with {lock}:
    child = os.fork()
    if child == 0:
        {use}
        os._exit(0)
ends = time.monotonic() + 3
while not (done := os.waitpid(child, os.WNOHANG))[0] and time.monotonic() < ends:
    time.sleep(0.01)
if not done[0]:
    os.kill(child, 9)
    os.waitpid(child, 0)
print("done" if done == (child, 0) else "it hangs")
""",
    )
    assert (ended.code, ended.out) == (0, "done\n"), ended.err
