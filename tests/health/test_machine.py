"""Whatever probes do and whenever the clock moves: one run each, and readiness as the runs agree.

The rounds are turned by hand on a clock of the test; the threads of the runs are real.
"""

from __future__ import annotations

from functools import partial

from hypothesis import settings as profile, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from resilience.findings import Level
from resilience.health.monitor import Monitor
from resilience.health.schedule import DEADLINE, PERIOD
from resilience.health.states import Readiness
from resilience.health.subject import SAMPLES
from tests.health.probes import Scripted, Told
from tests.health.test_thresholds import counts
from tests.waiting import until

CRITICAL, OTHER = "databases.default", "databases.other"
LEVELS = st.sampled_from([Level.OK, Level.INFO, Level.WARNING, Level.ERROR])


class Machine(RuleBasedStateMachine):
    """Two subjects; of each the model knows every answer that has to have been counted."""

    @initialize()
    def begin(self):
        self.now = 1000.0
        self.told = {CRITICAL: Told(), OTHER: Told()}
        self.answers: dict[str, list[Level]] = {CRITICAL: [], OTHER: []}
        self.given: dict[str, Level] = {}  # what the run under way will answer
        self.hung_at: dict[str, float | None] = {CRITICAL: None, OTHER: None}
        self.judged_at: dict[str, float | None] = {CRITICAL: None, OTHER: None}
        self.due = dict.fromkeys(self.told, self.now)
        self.round = self.now
        self.monitor = Monitor(
            probes=lambda: [Scripted(name, told=told) for name, told in self.told.items()],
            clock=lambda: self.now,
            wall=lambda: self.now + 1e9,
        )

    @rule(name=st.sampled_from([CRITICAL, OTHER]), level=LEVELS, hang=st.booleans())
    def tell(self, name, level, hang):
        self.told[name].level, self.told[name].hang = level, hang

    @rule(name=st.sampled_from([CRITICAL, OTHER]))
    def release(self, name):
        """What hangs comes to its end: too late to be an answer if it was judged."""
        if self.hung_at[name] is None:
            return
        told = self.told[name]
        told.released.set()
        assert until(lambda: told.is_left() and self.is_landed(name))
        with told.lock:
            told.released.clear()
        if self.judged_at[name] is None:
            self.answers[name].append(self.given[name])
        else:
            self.due[name] = self.round + PERIOD
        self.hung_at[name] = self.judged_at[name] = None

    @rule(seconds=st.floats(0.0, 25.0))
    def turn(self, seconds):
        self.now += seconds
        started = [
            name for name in self.told if self.hung_at[name] is None and self.now >= self.due[name]
        ]
        runs = {name: told.runs for name, told in self.told.items()}
        self.monitor.turn()
        if started:
            self.round = self.now
        for name in started:
            told = self.told[name]
            assert until(partial(self.has_run, name, runs[name] + 1))
            self.given[name] = told.level
            self.due[name] = self.now + PERIOD
            if told.hang:
                self.hung_at[name] = self.now
            else:
                assert until(partial(self.is_landed, name))
                self.answers[name].append(told.level)
        for name, hung in self.hung_at.items():
            if hung is None or name in started:
                continue
            judged = self.judged_at[name]
            if self.now >= (hung + DEADLINE if judged is None else judged + PERIOD):
                self.judged_at[name] = self.now
                self.answers[name].append(Level.ERROR if name == CRITICAL else Level.WARNING)

    def has_run(self, name: str, times: int) -> bool:
        return self.told[name].runs == times

    def is_landed(self, name: str) -> bool:
        subject = self.monitor._subjects.get(name)
        return subject is not None and subject.run is None

    @invariant()
    def one_run_at_a_time(self):
        for told in self.told.values():
            assert told.most_inside <= 1

    @invariant()
    def as_the_model_says(self):
        health = self.monitor.snapshot()
        found = {state.subject: state for state in health.subjects}
        for name, answers in self.answers.items():
            if not answers:
                assert name not in found
                continue
            state = found[name]
            assert state.level is answers[-1]
            assert [sample.level for sample in state.samples] == answers[-SAMPLES:]
            assert (state.running_since is None) is (self.hung_at[name] is None)
            assert state.since <= state.checked_at
            assert state.findings
        decisive = self.answers[CRITICAL]
        if not decisive:
            assert health.readiness is Readiness.STARTING
        elif counts([level is Level.ERROR for level in decisive])[-1]:
            assert health.readiness is Readiness.NOT_READY
        elif any(answers[-1] >= Level.WARNING for answers in self.answers.values() if answers):
            assert health.readiness is Readiness.DEGRADED
        else:
            assert health.readiness is Readiness.READY

    def teardown(self):
        for told in getattr(self, "told", {}).values():
            told.hang = False
            told.released.set()
            until(told.is_left)


Machine.TestCase.settings = profile(max_examples=40, stateful_step_count=25, deadline=None)
TestMachine = Machine.TestCase
