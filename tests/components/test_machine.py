"""The states of four components against a model that knows nothing of threads, locks or cells."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from resilience import env
from resilience.components.registry import Registry
from resilience.errors import ComponentUnavailable
from tests.components.parts import MAKE, hooks

REQUIRES: dict[str, list[str]] = {"a": [], "b": ["a"], "c": ["a", "b"], "d": ["c"]}
DOWN = ("blocked", "failed", "closed")
names = st.sampled_from(list(REQUIRES))


@dataclass
class Modelled:
    """What the model knows of one component."""

    variable: bool = True
    broken: bool = False
    built: bool = False
    attempts: int = 0
    retry_at: float = 0.0
    version: int = 0
    builds: int = 0
    log: list[str] = field(default_factory=list)


class Refused(Exception):
    """The model would not build it."""


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.registry = Registry(lambda: self.now)
        self.model = {name: Modelled() for name in REQUIRES}
        self.closed = False
        self.order: list[str] = []  # what is built now, in the order of its completion
        self.closings: list[str] = []
        self.expected_closings: list[str] = []
        self.builds = dict.fromkeys(REQUIRES, 0)
        hooks["close"] = self.closings.append
        for name in REQUIRES:
            hooks[name] = lambda name=name, **_: self.build(name)
            os.environ[f"SHOP_{name.upper()}"] = "set"
            self.declare(name)

    def teardown(self) -> None:
        for name in REQUIRES:
            os.environ.pop(f"SHOP_{name.upper()}", None)

    def declare(self, name: str) -> None:
        options = {
            "name": name,
            "key": env.ref(f"SHOP_{name.upper()}"),
            "version": self.model[name].version,
        }
        close = "tests.components.test_machine.close"
        spec = {"BACKEND": MAKE, "OPTIONS": options, "REQUIRES": REQUIRES[name], "CLOSE": close}
        self.registry.register(name, spec)

    def build(self, name: str) -> Any:
        if self.model[name].broken:
            raise ValueError(name)
        self.builds[name] += 1
        return [name, self.builds[name]]

    # ── the model ───────────────────────────────────────────────────────────────────────────────

    def state(self, name: str) -> str:
        item = self.model[name]
        if self.closed:
            return "closed"
        if item.built:
            return "ready"
        if not item.variable or any(self.state(each) in DOWN for each in REQUIRES[name]):
            return "blocked"
        return "failed" if item.attempts else "not-loaded"

    def may_try(self, name: str) -> bool:
        item = self.model[name]
        if self.closed or item.built:
            return item.built and not self.closed
        due = not item.attempts or item.retry_at <= self.now
        below = all(self.may_try(each) for each in REQUIRES[name])
        # A failure is looked at once nothing else is missing.
        hidden = any(self.state(each) in DOWN for each in REQUIRES[name])
        return item.variable and below and (due or hidden)

    def expect(self, name: str) -> None:
        item = self.model[name]
        if item.built and not self.closed:
            return
        if not self.may_try(name):
            raise Refused
        for each in REQUIRES[name]:
            self.expect(each)
        if item.broken:
            item.attempts += 1
            item.retry_at = self.now + min(60.0, 2.0 ** (item.attempts - 1))
            raise Refused
        item.built, item.attempts = True, 0
        item.builds += 1
        self.order.append(name)

    def drop(self, dropped: set[str], *, closing: bool = True) -> None:
        if closing:
            self.expected_closings += [name for name in reversed(self.order) if name in dropped]
        self.order = [name for name in self.order if name not in dropped]
        for name in dropped:
            self.model[name].built = False

    # ── the rules ───────────────────────────────────────────────────────────────────────────────

    @rule(name=names)
    def use(self, name: str) -> None:
        try:
            self.expect(name)
        except Refused:
            with pytest.raises(ComponentUnavailable):
                self.registry[name]
        else:
            assert self.registry[name] == [name, self.builds[name]]

    @rule(name=names)
    def lose_or_find_variable(self, name: str) -> None:
        item = self.model[name]
        item.variable = not item.variable
        if item.variable:
            os.environ[f"SHOP_{name.upper()}"] = "set"
        else:
            del os.environ[f"SHOP_{name.upper()}"]

    @rule(name=names)
    def break_or_mend(self, name: str) -> None:
        self.model[name].broken = not self.model[name].broken

    @rule(seconds=st.sampled_from([0.5, 1.0, 2.0, 5.0, 60.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(name=names)
    def declare_anew(self, name: str) -> None:
        changed = {name}
        for other, requires in REQUIRES.items():
            if changed.intersection(requires):
                changed.add(other)
        self.drop(changed)
        for other in changed:
            self.model[other].attempts = 0
        self.model[name].version += 1
        self.declare(name)

    @rule()
    def fork(self) -> None:
        """What the child of a fork does first, done here."""
        self.registry.after_fork()
        if not self.closed:
            self.drop(set(REQUIRES), closing=False)

    @rule(rare=st.integers(0, 9))
    def close(self, rare: int) -> None:
        if rare:
            return
        self.drop(set(REQUIRES))
        self.closed = True
        self.registry.close()

    @invariant()
    def agrees(self) -> None:
        found = {name: self.registry.status(name) for name in REQUIRES}
        assert {name: each.state for name, each in found.items()} == {
            name: self.state(name) for name in REQUIRES
        }
        for name, status in found.items():
            if status.state == "failed":
                assert status.attempts == self.model[name].attempts
                assert status.retry_at == self.model[name].retry_at
            if status.state == "blocked":
                assert bool(status.missing)
                own = [need.name for need in status.missing if need.kind == "variable"]
                assert bool(own) is not self.model[name].variable
            ready = status.state in ("ready", "not-loaded", "loading")
            assert status.may_try or not ready
        assert self.builds == {name: item.builds for name, item in self.model.items()}
        assert self.closings == self.expected_closings


def close(made: list[Any]) -> None:
    hooks["close"](made[0])


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)


@pytest.fixture(autouse=True)
def quiet() -> Any:
    logging.disable()
    yield
    logging.disable(logging.NOTSET)
