"""A change is told once, with its cause, and whoever is told holds nobody back."""

from __future__ import annotations

import threading
from contextlib import contextmanager

from resilience.findings import Level
from resilience.health.schedule import Pace
from resilience.health.signals import subject_changed
from resilience.health.states import Readiness
from tests.health.probes import Scripted, Told
from tests.waiting import until

CRITICAL = "databases.default"


@contextmanager
def receiving(receiver):
    subject_changed.connect(receiver, weak=False)
    try:
        yield
    finally:
        subject_changed.disconnect(receiver)


def test_every_change_is_told_once(watching):
    heard = []

    def receive(sender, subject, old, new, finding, at, **_):
        heard.append((sender, subject, old, new, finding.id, threading.current_thread().name))
        assert at > 0

    told = Told()
    monitor = watching(Scripted(CRITICAL, told=told), pace=Pace(check=0.0))
    with receiving(receive):
        for level in (Level.OK, Level.OK, Level.ERROR, Level.ERROR, Level.OK):
            told.level = level
            monitor.check_now(1.0)
        assert until(lambda: len(heard) == 3)
    name = "resilience-health-signals"
    assert heard == [
        (CRITICAL, CRITICAL, None, Level.OK, "database.ok", name),
        (CRITICAL, CRITICAL, Level.OK, Level.ERROR, "database.unreachable", name),
        (CRITICAL, CRITICAL, Level.ERROR, Level.OK, "database.ok", name),
    ]


def test_the_finding_names_its_cause(watching):
    heard = {}

    def receive(subject, finding, **_):
        heard[subject] = finding

    root = Told(level=Level.ERROR)
    monitor = watching(
        Scripted("databases.server", told=root),
        Scripted(CRITICAL, needs=("databases.server",), told=Told()),
        pace=Pace(check=0.0),
    )
    with receiving(receive):
        monitor.check_now(1.0)
        monitor._subjects[CRITICAL].probes[0].told.level = Level.ERROR
        monitor.check_now(1.0)
        assert until(lambda: heard.get(CRITICAL) and heard[CRITICAL].cause)
    assert heard[CRITICAL].cause.subject == "databases.server"


def test_a_receiver_that_hangs_or_raises_holds_nothing_back(watching, caplog):
    release, heard = threading.Event(), []

    def hang(**_):
        release.wait(60)

    def fail(**_):
        raise ZeroDivisionError

    def receive(new, **_):
        heard.append(new)

    told = Told()
    monitor = watching(Scripted(CRITICAL, told=told), pace=Pace(check=0.0))
    with receiving(hang), receiving(fail), receiving(receive):
        for level in (Level.OK, Level.ERROR, Level.ERROR):
            told.level = level
            health = monitor.check_now(1.0)
        assert health.readiness is Readiness.NOT_READY
        assert not heard
        release.set()
        assert until(lambda: heard == [Level.OK, Level.ERROR])
    assert "ZeroDivisionError" in caplog.text


def test_nobody_who_listens_costs_no_thread(watching):
    monitor = watching(Scripted(CRITICAL, told=Told()))
    monitor.check_now(1.0)
    assert not monitor._announcer.running
