"""One run per subject and period, however many ask.

    start, ask, check_now ──► Rounds, a thread: which subjects are due, which runs hang
                                  │ one Run, a thread, for each subject that has none under way
                                  ▼
    snapshot ◄── composed ◄── Subject.note ──► Announcer, a thread: subject_changed

Nobody waits for a run but a caller, and only as long as it says. No lock is held over I/O.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from resilience import conf
from resilience.cache.worker import Worker
from resilience.findings import Finding, Level
from resilience.health import composing, schedule
from resilience.health.runs import Run
from resilience.health.schedule import PACE, Pace
from resilience.health.signals import Announcer, Change
from resilience.health.states import Health
from resilience.health.subject import Subject
from resilience.probes.base import Deadline, Probe

STAYED_AWAY = 3
"""Periods without a round after which answers are no longer taken for the present."""

logger = logging.getLogger("resilience.health")


class Rounds(Worker):
    """The thread that starts runs; it goes on only where background runs are wanted."""

    logger = logger

    def __init__(self, monitor: Monitor) -> None:
        super().__init__("resilience-health")
        self._monitor = monitor

    def turn(self) -> float:
        return self._monitor.turn()

    def is_idle(self) -> bool:
        return self._monitor.is_idle()


class Monitor:
    """All that is known, and its thread. ``clock`` is monotonic, ``wall`` is unix seconds."""

    def __init__(
        self,
        *,
        probes: Callable[[], list[Probe]] = schedule.probes,
        pace: Pace = PACE,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._probes, self._pace, self._clock, self._wall = probes, pace, clock, wall
        self._booted_at = wall()
        self._changed = threading.Condition()
        self._subjects: dict[str, Subject] = {}
        self._gone: dict[str, Subject] = {}  # from the settings, but their runs go on
        self._listed = False
        self._round = 0  # how many have begun
        self._round_began = float("-inf")
        self._wanted = False  # a round that somebody asked for
        self._all = False  # and everything in it
        self._checked = float("-inf")
        self._version = 0
        self._composed: tuple[int, conf.Conf, Health] | None = None
        self._announcer = Announcer()
        self.rounds = Rounds(self)

    # ── for callers ─────────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        """See ``monitor.start``."""
        if not self.rounds.running and conf.get().BACKGROUND:
            self.rounds.start()

    def snapshot(self) -> Health:
        """See ``monitor.snapshot``."""
        settings = conf.get()
        composed = self._composed
        if composed is None or composed[0] != self._version or composed[1] is not settings:
            composed = self._compose(settings)
        return replace(composed[2], taken_at=self._wall(), background=self._in_background)

    def ask(self, wait: float) -> Health:
        """See ``monitor.ask``."""
        background = conf.get().BACKGROUND
        if background:
            self.start()
        # Rounds that stay away mean a process that was not let run: what it knows is of the past.
        oldest = self._pace.period * (STAYED_AWAY if background else 1)
        with self._changed:
            old = self._clock() - self._round_began >= oldest
            first = old and not self._wanted
            self._wanted = self._wanted or first
            wanted = self._wanted
            target = self._round + wanted
        if first or (wanted and not self.rounds.running):  # there may have been no thread for it
            self.rounds.start(wake=True)
        if background and not old:
            self._wait(self._has_answers, wait)
        else:  # without a background one waits for everything, and the others for what decides
            critical = background or not first
            self._wait(lambda: self._is_over(target, critical=critical), wait)
        return self.snapshot()

    def check_now(self, wait: float) -> Health:
        """See ``monitor.check_now``."""
        with self._changed:
            now = self._clock()
            if now - self._checked >= self._pace.check:
                self._checked = now
                self._wanted = self._all = True
            target = self._round + self._wanted
        self.rounds.start(wake=True)
        self._wait(lambda: self._is_over(target), wait)
        return self.snapshot()

    def end(self, seconds: float) -> None:
        """The process ends: begin nothing more, and wait so long for what is under way.

        A daemon thread that the interpreter stops inside Rust or C++ (cryptography does TLS) takes
        the process down with "FATAL: exception not rethrown", until Python 3.14.
        """
        ends = self._clock() + seconds
        self.rounds.stop(seconds)
        self._wait(lambda: not self._is_anything_awaited(), ends - self._clock())

    # ── the thread of the rounds ────────────────────────────────────────────────────────────────

    def turn(self) -> float:
        """Start what is due, report what hangs; how many seconds until there is more to do."""
        now = self._clock()
        if conf.get().BACKGROUND or self._wanted or self._has_unasked:
            probes = self._probes()
            with self._changed:
                self._list(probes)
                runs = [self._begin(subject, now) for subject in self._due(now)]
                if self._wanted or runs:
                    self._round += 1
                    self._round_began = now
                self._wanted = self._all = False
                self._publish()
            for run in runs:
                run.start()
        for subject in list(self._subjects.values()):
            self._judge(subject, now)
        return self._pause()

    def is_idle(self) -> bool:
        """Whether nothing is to be done until somebody asks."""
        with self._changed:
            awaited = self._is_anything_awaited()
            return not (self._wanted or awaited or self._has_unasked or conf.get().BACKGROUND)

    def _is_anything_awaited(self) -> bool:
        return any(subject.is_awaited for subject in self._subjects.values())

    def _list(self, probes: list[Probe]) -> None:
        """Subjects come and go with the settings and the components that are declared."""
        groups: dict[str, list[Probe]] = {}
        for probe in probes:
            groups.setdefault(probe.subject, []).append(probe)
        known = {**self._gone, **self._subjects}
        listed = {
            name: known.pop(name) if name in known else Subject(group)
            for name, group in groups.items()
        }
        for name, group in groups.items():
            listed[name].probes = tuple(group)
        self._gone = {name: gone for name, gone in known.items() if gone.run is not None}
        self._subjects, self._listed = listed, True

    def _due(self, now: float) -> list[Subject]:
        explaining = self._explaining()
        # What is asked seldom takes much of a starting process's time: what decides goes first.
        first_of_all = not (self._all or self._has_answers())
        found = []
        for subject in self._subjects.values():
            if subject.run is None and not (first_of_all and self._may_wait(subject)):
                due = self._pace.due_at(subject, explains=subject.name in explaining)
                if self._all or (due is not None and due <= now):
                    found.append(subject)
        return found

    def _may_wait(self, subject: Subject) -> bool:
        often = self._pace.period_of(subject) == self._pace.period
        return not often and subject not in self._critical()

    def _explaining(self) -> set[str]:
        return {
            needed
            for subject in self._subjects.values()
            if subject.is_failing
            for probe in subject.probes
            for needed in probe.needs
        }

    def _begin(self, subject: Subject, now: float) -> Run:
        subject.started = now
        subject.run = Run(
            subject.probes,
            Deadline(self._pace.deadline, self._clock),
            self._land,
            began=now,
            began_at=self._wall(),
        )
        return subject.run

    def _judge(self, subject: Subject, now: float) -> None:
        """A run that hangs is a failure, and one more in every period in which it still does."""
        run, at = subject.run, self._pace.judged_at(subject)
        if run is None or at is None or now < at:
            return
        findings = run.findings(self._critical_names())
        with self._changed:
            if subject.run is not run:
                return  # it landed a moment ago
            run.judged = now
            change = self._note(subject, findings, now - run.began)
        self._announce(change)

    def _pause(self) -> float:
        with self._changed:
            explaining, now = self._explaining(), self._clock()
            times = [now + self._pace.period]
            for subject in self._subjects.values():
                if subject.started is None:
                    continue  # a landing calls for it
                due = self._pace.due_at(subject, explains=subject.name in explaining)
                times += [at for at in (due, self._pace.judged_at(subject)) if at is not None]
        return max(0.01, min(times) - now)

    # ── the thread of a run ─────────────────────────────────────────────────────────────────────

    def _land(self, run: Run) -> None:
        """A run ended, whenever that is. After it was judged it only makes room for the next."""
        findings, now = run.findings(self._critical_names()), self._clock()
        change = None
        with self._changed:
            subject = self._subjects.get(run.subject) or self._gone[run.subject]
            subject.run = None
            if self._gone.pop(run.subject, None) is None and run.judged is None:
                change = self._note(subject, findings, now - run.began)
            else:
                subject.started = self._round_began  # in step with the others again
                self._publish()
            goes_on = self._has_unasked and self._has_answers()
        if goes_on:
            self.rounds.start(wake=True)
        self._announce(change)

    def _note(
        self, subject: Subject, findings: tuple[Finding, ...], seconds: float
    ) -> Change | None:
        at = self._wall()
        subject.findings = findings
        linked = composing.linked(self._subjects.values())[subject.name]
        old = subject.note(linked, at=at, duration_ms=round(seconds * 1000, 1))
        self._publish()
        if subject.level is None or old is subject.level:
            return None
        return Change(subject.name, old, subject.level, _worst(subject, linked), at)

    def _announce(self, change: Change | None) -> None:
        if change is not None:
            self._announcer.announce(change)

    # ── what is known; the lock is held but where it is said ────────────────────────────────────

    def _publish(self) -> None:
        self._version += 1
        self._changed.notify_all()

    def _compose(self, settings: conf.Conf) -> tuple[int, conf.Conf, Health]:
        """Without the lock."""
        with self._changed:
            health = composing.compose(
                self._subjects.values(),
                settings,
                listed=self._listed,
                times=(self._wall(), self._booted_at),
                background=self._in_background,
            )
            self._composed = (self._version, settings, health)
            return self._composed

    def _wait(self, over: Callable[[], bool], seconds: float) -> None:
        """Without the lock."""
        with self._changed:
            self._changed.wait_for(over, max(0.0, seconds))

    def _has_answers(self) -> bool:
        return self._listed and all(subject.level is not None for subject in self._critical())

    @property
    def _has_unasked(self) -> bool:
        return any(subject.started is None for subject in self._subjects.values())

    def _is_over(self, target: int, *, critical: bool = False) -> bool:
        """Whether this round has begun, and nothing is under way any more that may still answer."""
        if self._round < target:
            return False
        subjects = self._critical() if critical else self._subjects.values()
        return not any(subject.started is None or subject.is_awaited for subject in subjects)

    def _critical(self) -> list[Subject]:
        return composing.critical_of(self._subjects.values(), conf.get().CRITICAL)

    def _critical_names(self) -> frozenset[str]:
        return frozenset(subject.name for subject in self._critical())

    @property
    def _in_background(self) -> bool:
        return self.rounds.running and conf.get().BACKGROUND


def _worst(subject: Subject, linked: tuple[Finding, ...]) -> Finding:
    if linked:
        return max(linked, key=lambda finding: finding.level)
    summary = "Nothing was found."
    return Finding(f"{subject.area}.ok", Level.OK, subject.name, summary, area=subject.area)
