"""However many ask, whatever hangs: one run per subject and period, and every answer in time."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

from resilience.findings import Finding, Level
from resilience.health import monitor as process, schedule
from resilience.health.schedule import Pace
from resilience.health.states import Health, Readiness, SubjectState
from resilience.probes.base import Deadline, Probe
from resilience.simulation.network import BlackHole
from tests.health.conftest import FAST
from tests.health.probes import Once, Scripted, Seldom, Told
from tests.waiting import until

CRITICAL = "databases.default"


def threads(prefix: str = "resilience-health") -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(prefix)]


def state_of(health: Health, subject: str = CRITICAL) -> SubjectState:
    return next(state for state in health.subjects if state.subject == subject)


@dataclass(frozen=True)
class Dial(Probe):
    """Connects without a care for the deadline, as many drivers do."""

    area = "database"
    address: tuple[str, int] = field(kw_only=True)

    def run(self, deadline: Deadline) -> Iterator[Finding]:  # noqa: ARG002 - it keeps none
        with socket.create_connection(self.address, timeout=60):
            yield Finding("database.ok", Level.OK, self.subject, "Connected.")


# ── single flight ───────────────────────────────────────────────────────────────────────────────


def test_a_storm_causes_one_run_per_subject_and_period(watching):
    well, other, hung = Told(), Told(), Told(hang=True)
    monitor = watching(
        Scripted(CRITICAL, told=well),
        Scripted("databases.other", told=other),
        Scripted("databases.hung", told=hung),
        pace=Pace(period=0.02, deadline=0.01, failing=0.02),
    )
    began = time.monotonic()
    before = threading.active_count()
    most = [0]

    def storm(_: int) -> float:
        slowest = 0.0
        for count in range(313):
            asked = time.monotonic()
            assert monitor.ask(1.0).readiness is not Readiness.STARTING
            slowest = max(slowest, time.monotonic() - asked)
            if count % 50 == 0:
                most[0] = max(most[0], threading.active_count())
        return slowest

    with ThreadPoolExecutor(32) as crowd:
        slowest = max(crowd.map(storm, range(32)))  # 10 016 asks
    periods = int((time.monotonic() - began) / 0.02) + 1
    for told in (well, other):
        assert 2 <= told.runs <= periods
        assert told.most_inside == 1
    assert hung.runs == 1  # it hangs all the time, and was never started again
    assert slowest < 1.25
    # The crowd, its rounds, and one thread for each subject at most.
    assert most[0] <= before + 32 + 1 + 3


def test_what_hangs_is_a_timeout_that_shows_since_when_and_is_not_started_again(watching):
    told = Told(hang=True)
    monitor = watching(Scripted(CRITICAL, told=told))
    asked = time.time()
    health = monitor.ask(1.0)
    assert health.readiness is Readiness.NOT_READY
    state = state_of(health)
    (finding,) = state.findings
    assert (finding.id, finding.level) == ("probe.timeout", Level.ERROR)  # critical
    assert state.running_since is not None
    assert asked <= state.running_since <= time.time()
    assert until(lambda: len(state_of(monitor.snapshot()).samples) >= 3)  # a failure per period
    assert told.runs == 1
    assert threads(f"resilience-health-{CRITICAL}") == [f"resilience-health-{CRITICAL}"]
    told.hang = False
    told.released.set()
    assert until(lambda: monitor.snapshot().readiness is Readiness.READY)
    assert state_of(monitor.snapshot()).level is Level.OK
    assert told.runs >= 2  # two good ones were needed
    assert told.most_inside == 1


def test_what_hangs_is_left_alone_by_whoever_checks_now(watching):
    told, other = Told(hang=True), Told()
    probes = [Scripted(CRITICAL, told=told), Scripted("databases.other", told=other)]
    monitor = watching(*probes, pace=Pace(period=60.0, check=0.0))
    for _ in range(3):
        monitor.check_now(0.05)
    assert (told.runs, other.runs) == (1, 3)
    assert 4.0 < monitor.turn() <= 5.0  # until it is judged; no turn in vain meanwhile


def test_there_are_no_turns_in_vain_while_something_hangs(watching):
    now = [0.0]
    monitor = watching(Scripted(CRITICAL, told=Told(hang=True)), pace=Pace(period=60.0))
    monitor._clock = lambda: now[0]
    monitor._list(monitor._probes())
    assert monitor.turn() == 5.0
    now[0] = 70.0
    assert monitor.turn() == 60.0  # judged now, and once more in a minute
    now[0] = 71.0
    assert monitor.turn() == 59.0


def test_the_same_without_a_hang_is_no_timeout(watching):
    monitor = watching(Scripted(CRITICAL, told=Told()))
    state = state_of(monitor.ask(1.0))
    assert [finding.id for finding in state.findings] == ["database.ok"]
    assert until(lambda: state_of(monitor.snapshot()).running_since is None)


def test_asking_ends_within_its_wait_while_nothing_answers(watching):
    monitor = watching(Scripted(CRITICAL, told=Told(hang=True)), pace=Pace())
    began = time.monotonic()
    health = monitor.ask(0.2)
    assert 0.15 < time.monotonic() - began < 0.45
    assert health.readiness is Readiness.STARTING
    assert health.subjects == ()
    began = time.monotonic()
    monitor.check_now(0.2)
    assert time.monotonic() - began < 0.45


def test_a_black_hole_that_is_not_critical_holds_nobody_back(watching):
    with BlackHole() as hole:
        monitor = watching(
            Scripted(CRITICAL, told=Told()), Dial("databases.far", address=hole.address)
        )
        began = time.monotonic()
        assert monitor.ask(1.0).readiness is Readiness.READY
        assert time.monotonic() - began < 0.5
        assert until(lambda: monitor.snapshot().readiness is Readiness.DEGRADED)
        far = state_of(monitor.snapshot(), "databases.far")
        assert [(one.id, one.level) for one in far.findings] == [("probe.timeout", Level.WARNING)]
        assert far.running_since is not None
    # Its listener is closed now: the next SYN is refused, and that is told like any answer.


def test_taking_a_snapshot_never_waits(watching):
    monitor = watching(Scripted(CRITICAL, told=Told(hang=True)), pace=Pace())
    monitor.start()
    assert until(lambda: threads(f"resilience-health-{CRITICAL}"))
    began = time.perf_counter()
    for _ in range(1000):
        monitor.snapshot()
    assert time.perf_counter() - began < 0.5


def test_what_raises_is_a_crash_and_the_rounds_go_on(watching):
    told = Told(error=SystemExit("out"))
    monitor = watching(Scripted(CRITICAL, told=told))
    assert state_of(monitor.ask(1.0)).findings[0].id == "probe.crashed"
    told.error = None
    assert until(lambda: state_of(monitor.snapshot()).level is Level.OK)


def test_rounds_survive_settings_that_cannot_be_listed(watching, caplog):
    broken = [True]

    def probes():
        if broken[0]:
            raise ZeroDivisionError
        return [Scripted(CRITICAL, told=Told())]

    monitor = watching()
    monitor._probes = probes
    assert monitor.ask(0.1).readiness is Readiness.STARTING
    broken[0] = False
    monitor.check_now(1.0)  # wakes it before its pause after an error is over
    assert monitor.snapshot().readiness is Readiness.READY
    assert "ZeroDivisionError" in caplog.text


def test_without_a_thread_to_be_had_it_is_a_crash(watching, monkeypatch):
    monitor = watching(Scripted(CRITICAL, told=Told()))

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    monitor.turn()
    assert state_of(monitor.snapshot()).findings[0].id == "probe.crashed"
    monitor.start()  # the rounds get none either, and try again when somebody asks
    assert not monitor.rounds.running
    monkeypatch.undo()
    assert monitor.ask(1.0).background


# ── what is told ────────────────────────────────────────────────────────────────────────────────


def test_one_failure_degrades_and_the_second_takes_it_out_of_service(watching):
    told = Told()
    monitor = watching(Scripted(CRITICAL, told=told), pace=Pace(period=0.3, check=0.0))
    assert monitor.ask(1.0).readiness is Readiness.READY
    told.level = Level.ERROR
    first = monitor.check_now(1.0)
    assert (first.readiness, state_of(first).level) == (Readiness.DEGRADED, Level.ERROR)
    second = monitor.check_now(1.0)
    assert second.readiness is Readiness.NOT_READY
    assert state_of(second).since == state_of(first).since < state_of(second).checked_at
    told.level = Level.OK
    assert monitor.check_now(1.0).readiness is Readiness.NOT_READY
    last = monitor.check_now(1.0)
    assert last.readiness is Readiness.READY
    state = state_of(last)
    assert state.last_failure is not None
    assert state.last_ok is not None
    assert state.last_failure < state.last_ok == state.checked_at


def test_an_error_of_a_subject_that_is_not_critical_only_degrades(watching):
    told = Told(level=Level.ERROR)
    monitor = watching(
        Scripted(CRITICAL, told=Told()),
        Scripted("databases.other", told=told),
        pace=Pace(check=0.0),
    )
    for _ in range(3):
        assert monitor.check_now(1.0).readiness is Readiness.DEGRADED


@pytest.mark.parametrize("critical", [["tls"], ["tls.db:5432"]])
def test_an_area_that_is_critical_means_all_of_it(watching, settings, critical):
    settings.RESILIENCE = {"CRITICAL": critical}
    monitor = watching(
        Scripted(CRITICAL, told=Told(level=Level.ERROR)),
        Seldom("tls.db:5432", told=Told()),
    )
    health = monitor.check_now(1.0)
    assert health.readiness is Readiness.DEGRADED
    assert "tls.db:5432" in health.report.critical
    broken = watching(Seldom("tls.db:5432", told=Told(level=Level.ERROR)))
    assert broken.check_now(1.0).readiness is Readiness.NOT_READY


def test_a_critical_subject_that_nobody_asks_about_is_told(watching, settings):
    settings.RESILIENCE = {"CRITICAL": [CRITICAL, "redis.nowhere:6379/0"]}
    monitor = watching(Scripted(CRITICAL, told=Told()))
    health = monitor.check_now(1.0)
    (finding,) = [one for one in health.report.findings if one.id == "conf.invalid"]
    assert "'redis.nowhere:6379/0'" in finding.summary
    assert health.readiness is Readiness.DEGRADED
    settings.RESILIENCE = {"CRITICAL": [CRITICAL]}
    assert monitor.snapshot().readiness is Readiness.READY


def test_causes_are_linked_across_answers_of_different_runs(watching):
    server, database = Told(), Told()
    monitor = watching(
        Scripted(CRITICAL, needs=("tls.db:5432",), told=database),
        Seldom("tls.db:5432", told=server),
        pace=Pace(period=0.1, deadline=0.1, failing=0.1),
    )
    assert monitor.ask(1.0).readiness is Readiness.READY
    assert until(lambda: server.runs == 1)
    database.level = server.level = Level.ERROR
    # Not due for five minutes, it is asked again as soon as something fails that stands on it.
    assert until(lambda: monitor.snapshot().readiness is Readiness.NOT_READY)
    assert until(
        lambda: len([f for f in monitor.snapshot().report.findings if f.is_root_cause]) == 1
    )
    health = monitor.snapshot()
    cause = state_of(health).findings[0].cause
    assert cause is not None
    assert cause.subject == "tls.db:5432"
    reported = {finding.subject: finding for finding in health.report.findings}
    assert reported[CRITICAL].cause == cause
    server.level = Level.OK  # the cause is gone, the symptom is its own
    assert until(lambda: state_of(monitor.snapshot()).findings[0].cause is None)


def test_what_is_silenced_is_nowhere_and_decides_nothing(watching, settings):
    settings.SILENCED_SYSTEM_CHECKS = ["resilience.database.unreachable"]
    monitor = watching(Scripted(CRITICAL, told=Told(level=Level.ERROR)))
    health = monitor.check_now(1.0)
    assert health.readiness is Readiness.READY
    assert health.report.findings == state_of(health).findings == ()


# ── how often ───────────────────────────────────────────────────────────────────────────────────


def test_what_is_asked_once_waits_for_what_decides_and_is_not_asked_again(watching):
    decisive, once, seldom = Told(hang=True), Told(), Told()
    monitor = watching(
        Once("env", told=once),
        Scripted(CRITICAL, told=decisive),
        Seldom("tls", told=seldom),
        pace=Pace(period=0.1, deadline=10.0),
    )
    monitor.start()
    assert until(lambda: decisive.runs == 1)
    assert (once.runs, seldom.runs) == (0, 0)
    decisive.hang = False
    decisive.released.set()
    assert until(lambda: decisive.runs >= 4)
    assert (once.runs, seldom.runs) == (1, 1)
    monitor.check_now(1.0)
    assert (once.runs, seldom.runs) == (2, 2)


def test_checking_now_is_limited(watching):
    told = Told()
    monitor = watching(Scripted(CRITICAL, told=told), pace=Pace())
    monitor.ask(1.0)
    for _ in range(20):
        monitor.check_now(1.0)
    assert told.runs == 2


def test_subjects_come_and_go_with_the_settings(watching):
    told = Told()
    probes = [Scripted(CRITICAL, told=told), Scripted("databases.old", told=Told())]
    monitor = watching(pace=Pace(check=0.0))
    monitor._probes = lambda: list(probes)
    names = {state.subject for state in monitor.check_now(1.0).subjects}
    assert names == {CRITICAL, "databases.old"}
    probes[1] = Scripted("databases.new", told=Told())
    names = {state.subject for state in monitor.check_now(1.0).subjects}
    assert names == {CRITICAL, "databases.new"}


def test_a_subject_that_comes_back_is_not_asked_twice_at_once(watching):
    told = Told(hang=True)
    subject = Scripted("databases.old", told=told)
    probes = [Scripted(CRITICAL, told=Told()), subject]
    monitor = watching(*probes, pace=Pace(period=60.0, check=0.0))
    monitor._probes = lambda: list(probes)
    monitor.check_now(0.05)
    probes.remove(subject)
    assert [state.subject for state in monitor.check_now(1.0).subjects] == [CRITICAL]
    probes.append(subject)
    monitor.check_now(0.05)
    assert (told.runs, told.most_inside) == (1, 1)
    probes.remove(subject)
    monitor.check_now(1.0)
    told.hang = False
    told.released.set()
    assert until(lambda: not monitor._gone)
    probes.append(subject)
    assert len(monitor.check_now(1.0).subjects) == 2
    assert told.runs == 2


def test_after_a_long_pause_of_the_process_who_asks_waits_for_the_present(watching):
    told, paused = Told(), [0.0]
    monitor = watching(Scripted(CRITICAL, told=told), pace=Pace())
    monitor._clock = lambda: time.monotonic() + paused[0]
    assert monitor.ask(1.0).readiness is Readiness.READY
    paused[0] = 25.0
    monitor.ask(1.0)
    assert told.runs == 1  # due, and its round on the way: the answer at hand will do
    paused[0] = 3600.0
    asked = time.time()
    assert state_of(monitor.ask(1.0)).checked_at >= asked
    assert told.runs == 2


class Paid(Scripted):
    """The same, of somebody else's service."""

    outside = True


def test_what_goes_outside_is_asked_less_often(watching):
    told, beside = Told(), Told()
    probes = [Scripted("components.llm", told=beside), Paid("components.llm", told=told)]
    monitor = watching(Scripted(CRITICAL, told=Told()), *probes)
    monitor._list([*probes])
    subject = monitor._subjects["components.llm"]
    assert Pace().period_of(subject) == 60.0
    subject.probes = subject.probes[:1]
    assert Pace().period_of(subject) == 10.0


def test_samples_are_bounded(watching):
    monitor = watching(Scripted(CRITICAL, told=Told()), pace=Pace(check=0.0))
    monitor.check_now(1.0)
    subject = monitor._subjects[CRITICAL]
    for at in range(1000):
        subject.note((), at=1e10 + at, duration_ms=1.0)
    samples = subject.state(()).samples
    assert len(samples) == 360
    assert [sample.at for sample in samples] == sorted(sample.at for sample in samples)


# ── without a background ────────────────────────────────────────────────────────────────────────


def test_without_background_nothing_goes_on_by_itself(watching, settings):
    settings.RESILIENCE = {"BACKGROUND": False}
    told, once = Told(), Told()
    monitor = watching(
        Scripted(CRITICAL, told=told), Once("env", told=once), pace=Pace(period=0.3, deadline=0.2)
    )
    monitor.start()
    assert not monitor.rounds.running
    assert told.runs == 0
    health = monitor.ask(1.0)
    assert (health.readiness, health.background) == (Readiness.READY, False)
    assert {state.subject for state in health.subjects} == {CRITICAL, "env"}
    assert until(lambda: not monitor.rounds.running)
    for _ in range(100):
        monitor.ask(1.0)
    assert told.runs == 1
    time.sleep(0.35)
    assert told.runs == 1
    with ThreadPoolExecutor(16) as crowd:
        list(crowd.map(lambda _: monitor.ask(1.0), range(64)))
    assert (told.runs, once.runs) == (2, 1)
    assert until(lambda: not monitor.rounds.running)


def test_without_background_a_hang_is_judged_all_the_same(watching, settings):
    settings.RESILIENCE = {"BACKGROUND": False}
    told = Told(hang=True)
    monitor = watching(Scripted(CRITICAL, told=told), pace=FAST)
    assert monitor.ask(0.01).readiness is Readiness.STARTING
    assert until(lambda: monitor.snapshot().readiness is Readiness.NOT_READY)
    assert until(lambda: not monitor.rounds.running)
    began = time.monotonic()
    monitor.ask(1.0)  # who asks waits for nothing that hangs
    assert time.monotonic() - began < 0.3
    assert told.runs == 1


def test_without_background_one_waits_for_all_and_the_others_for_what_decides(watching, settings):
    settings.RESILIENCE = {"BACKGROUND": False}
    slow = Told(hang=True)
    probes = [Scripted(CRITICAL, told=Told()), Scripted("databases.slow", told=slow)]
    monitor = watching(*probes, pace=Pace())

    def ask(wait: float) -> float:
        began = time.monotonic()
        assert monitor.ask(wait).readiness is Readiness.READY
        return time.monotonic() - began

    with ThreadPoolExecutor(1) as first:
        waiting = first.submit(ask, 0.6)
        assert until(lambda: slow.inside)
        assert ask(0.6) < 0.3
        assert waiting.result() >= 0.6
    assert slow.runs == 1


def test_with_background_it_goes_on(watching):
    told = Told()
    monitor = watching(Scripted(CRITICAL, told=told))
    assert not monitor.snapshot().background
    monitor.start()
    assert until(lambda: told.runs >= 3)
    assert monitor.snapshot().background


def test_switching_the_background_off_ends_it(watching, settings):
    monitor = watching(Scripted(CRITICAL, told=Told()))
    monitor.ask(1.0)
    settings.RESILIENCE = {"BACKGROUND": False}
    assert until(lambda: not monitor.rounds.running)


# ── the module ──────────────────────────────────────────────────────────────────────────────────


def test_the_module_speaks_for_the_process(settings):
    settings.RESILIENCE = {"CRITICAL": []}
    assert process.snapshot().readiness is Readiness.STARTING
    assert not threads()
    process.start()
    assert process.ask().readiness in (Readiness.READY, Readiness.DEGRADED)
    assert process.check_now().background
    assert threads()
    process.reset()
    assert until(lambda: not threads())
    assert process.snapshot().readiness is Readiness.STARTING


def test_no_audit_and_nothing_that_builds():
    probes = schedule.probes()
    assert {probe.area for probe in probes} >= {"env", "hosting", "cache", "components", "database"}
    assert "audit" not in {probe.area for probe in probes}
    assert all(not getattr(probe, "builds", False) for probe in probes)
    assert all(not getattr(probe, "migrations", False) for probe in probes)


@pytest.mark.parametrize("background", [True, False])
def test_once_there_is_a_thread_again_somebody_who_asks_starts_the_round(
    background, watching, monkeypatch, settings
):
    settings.RESILIENCE = {"BACKGROUND": background}
    monitor = watching(Scripted(CRITICAL, told=Told()))

    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as exhausted:
        exhausted.setattr(threading.Thread, "start", start)
        assert monitor.ask(0.0).readiness is Readiness.STARTING
    assert monitor.ask(5.0).readiness is Readiness.READY
