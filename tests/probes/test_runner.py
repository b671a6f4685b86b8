"""Whatever a probe does, the run ends on time, keeps what it found, and names one root cause."""

from __future__ import annotations

import ctypes
import functools
import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from resilience.findings import Finding, Level
from resilience.probes import runner
from resilience.probes.base import STAGE_SECONDS, Deadline, Probe
from resilience.simulation.network import BlackHole
from tests.clock import Clock

SHORT = 0.3  # seconds until a deadline that is meant to pass
LATE = 0.5  # seconds a run may be late on a busy machine


@dataclass(frozen=True)
class Doing(Probe):
    """Yields what it is given, then does something."""

    area = "test"
    found: tuple[Finding, ...] = field(default=(), kw_only=True)
    then: Callable[[], object] = field(default=int, kw_only=True)

    def run(self, deadline: Deadline) -> Iterator[Finding]:  # noqa: ARG002 - the caller's question
        yield from self.found
        self.then()


def finding(subject: str, id: str = "test.broken", level: Level = Level.ERROR) -> Finding:
    return Finding(id, level, subject, f"{subject} is like that.", "Mend it.")


def good(subject: str) -> Finding:
    return finding(subject, "test.ok", Level.OK)


def run(*probes: Probe, seconds: float = 5.0, critical: tuple[str, ...] = ()) -> list[Finding]:
    return list(runner.run(probes, Deadline(seconds), critical=critical))


def ids(findings: list[Finding]) -> list[str]:
    return [each.id for each in findings]


def raising(error: BaseException) -> Callable[[], object]:
    def act() -> None:
        raise error

    return act


# ── the clock ───────────────────────────────────────────────────────────────────────────────────


def test_deadline__counts_down_and_never_below_zero():
    clock = Clock()
    deadline = Deadline(10.0, clock)
    assert deadline.left() == 10.0
    clock.now += 4.0
    assert deadline.left() == 6.0
    clock.now += 60.0
    assert deadline.left() == 0.0


def test_deadline__a_stage_has_two_seconds_or_most_of_what_is_left():
    """Not all of it: a stage that waited for nothing must still be able to say so."""
    clock = Clock()
    deadline = Deadline(3.0, clock)
    assert deadline.stage() == STAGE_SECONDS == 2.0
    clock.now += 1.5
    assert deadline.stage() == pytest.approx(1.35)
    assert deadline.stage() < deadline.left()
    clock.now += 60.0
    assert 0 < deadline.stage() < 0.01  # 0 would mean "do not block" to a socket


# ── on time ─────────────────────────────────────────────────────────────────────────────────────


def test_twenty_slow_probes_take_as_long_as_one():
    probes = [
        Doing(f"slow.{number}", found=(good(f"slow.{number}"),), then=lambda: time.sleep(1.0))
        for number in range(20)
    ]
    began = time.monotonic()
    found = run(*probes)
    assert 1.0 <= time.monotonic() - began <= 1.3
    assert [each.subject for each in found] == [probe.subject for probe in probes]
    assert set(ids(found)) == {"test.ok"}


def hang_in_python() -> None:
    threading.Event().wait(60)


def hang_in_sleep() -> None:
    time.sleep(60)


def hang_in_c() -> None:
    ctypes.CDLL(None).sleep(60)


def hang_holding_a_lock() -> None:
    lock = threading.Lock()
    with lock:
        lock.acquire(timeout=60)


@pytest.mark.parametrize("hang", [hang_in_python, hang_in_sleep, hang_in_c, hang_holding_a_lock])
def test_a_hanging_probe_is_left_behind_with_what_it_found(hang):
    name = hang.__name__
    hanging = Doing(name, found=(good(name),), then=hang)
    began = time.monotonic()
    found = run(hanging, Doing("other", found=(good("other"),)), seconds=SHORT)
    took = time.monotonic() - began
    assert SHORT <= took <= SHORT + LATE
    assert [(each.subject, each.id) for each in found] == [
        (name, "test.ok"),
        (name, "probe.timeout"),
        ("other", "test.ok"),
    ]
    assert SHORT * 800 <= int(found[1].facts["waited_ms"]) <= took * 1000 + 1
    [left] = [one for one in threading.enumerate() if one.name == f"resilience-probe-{name}"]
    assert left.daemon


def test_a_hanging_probe__twin__that_ends_in_time():
    found = run(Doing("thing", found=(good("thing"),), then=lambda: time.sleep(0.05)), seconds=5.0)
    assert ids(found) == ["test.ok"]
    assert 50 <= found[0].duration_ms < 1000


def test_a_connect_without_a_timeout_into_a_black_hole():
    with BlackHole() as hole:

        def connect() -> None:
            with closing(socket.socket()) as line:
                line.connect(hole.address)

        assert ids(run(Doing("thing", then=connect), seconds=SHORT)) == ["probe.timeout"]


def test_no_time_at_all():
    assert ids(run(Doing("thing", then=hang_in_python), seconds=0.0)) == ["probe.timeout"]


def test_no_probe_at_all():
    assert run() == []


# ── severity of a timeout ───────────────────────────────────────────────────────────────────────


def test_a_timeout_is_an_error_only_for_a_critical_subject():
    probes = (Doing("databases.default", then=hang_in_python), Doing("x", then=hang_in_python))
    found = run(*probes, seconds=0.05, critical=("databases.default",))
    assert [each.level for each in found] == [Level.ERROR, Level.WARNING]
    assert all(each.hint for each in found)


# ── crashes ─────────────────────────────────────────────────────────────────────────────────────


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("even this fails")


def recurse() -> None:
    recurse()


CRASHES: tuple[tuple[str, Callable[[], object]], ...] = (
    ("ValueError", raising(ValueError("no"))),
    ("SystemExit", raising(SystemExit(3))),
    ("KeyboardInterrupt", raising(KeyboardInterrupt())),
    ("GeneratorExit", raising(GeneratorExit())),
    ("Unprintable", raising(Unprintable())),
    ("RecursionError", recurse),
)


@pytest.mark.parametrize(("name", "crash"), CRASHES, ids=[name for name, _ in CRASHES])
def test_a_crash_is_a_finding_and_stops_nobody(name, crash):
    probes = (Doing("thing", found=(good("thing"),), then=crash), Doing("x", found=(good("x"),)))
    found = run(*probes)
    assert ids(found) == ["test.ok", "probe.crashed", "test.ok"]
    crashed = found[1]
    assert (crashed.level, crashed.subject, crashed.area) == (Level.ERROR, "thing", "test")
    assert name in crashed.summary
    assert crashed.location is not None
    assert crashed.location.startswith("tests/probes/test_runner.py:")
    traceback = str(crashed.facts["traceback"])
    assert "test_runner.py" in traceback
    assert len(traceback) < 10_000  # a RecursionError passes a thousand places


def test_a_crash_never_shows_a_secret(monkeypatch):
    monkeypatch.setenv("SERVICE_TOKEN", "hunter2hunter2")
    found = run(Doing("thing", then=raising(ValueError("bad 'hunter2hunter2'"))))
    assert "hunter2" not in repr(found)


def test_a_crash_never_shows_a_secret__twin__a_harmless_word_stays():
    assert "bad weather" in run(Doing("thing", then=raising(ValueError("bad weather"))))[0].summary


def test_no_thread_can_be_started(monkeypatch):
    """As under a limit on processes: every probe says so, and the run ends at once."""
    monkeypatch.setattr(threading.Thread, "start", raising_for_any("can't start new thread"))
    found = run(Doing("a"), Doing("b"))
    assert ids(found) == ["probe.crashed", "probe.crashed"]
    assert all("can't start new thread" in each.summary for each in found)


def raising_for_any(text: str) -> Callable[..., object]:
    def start(*_: object) -> None:
        raise RuntimeError(text)

    return start


# ── order, areas, progress ──────────────────────────────────────────────────────────────────────


def test_findings_come_in_the_order_of_the_probes_not_of_the_answers():
    first = threading.Event()
    slow = Doing("slow", found=(good("slow"),), then=lambda: first.wait(5))
    quick = Doing("quick", found=(good("quick"), finding("quick")), then=first.set)
    found = run(slow, quick)
    assert [(each.subject, each.id) for each in found] == [
        ("slow", "test.ok"),
        ("quick", "test.ok"),
        ("quick", "test.broken"),
    ]
    assert {each.area for each in found} == {"test"}


def test_progress_names_who_is_still_awaited():
    said: list[list[str]] = []
    go = threading.Event()

    def progress(waiting: list[str]) -> None:
        said.append(waiting)
        go.set()

    probes = (Doing("quick"), Doing("slow", then=lambda: go.wait(5)))
    runner.run(probes, Deadline(5.0), progress=progress)
    assert said[0] == ["slow"]
    assert said[-1] == []


# ── giving up ───────────────────────────────────────────────────────────────────────────────────


def test_who_hangs_on_a_broken_subject_is_given_up_early(monkeypatch):
    monkeypatch.setattr(runner, "GRACE_SECONDS", 0.1)
    redis = Doing("redis", found=(finding("redis", "tcp.refused"),))
    cache = Doing("cache", ("redis",), then=hang_in_python)
    began = time.monotonic()
    found = run(cache, redis, seconds=5.0)
    assert time.monotonic() - began < 1.0
    assert ids(found) == ["probe.timeout", "tcp.refused"]
    assert found[0].cause is found[1]
    assert int(found[0].facts["waited_ms"]) < 1000


def test_who_hangs_on_a_broken_subject__twin__the_subject_is_fine(monkeypatch):
    monkeypatch.setattr(runner, "GRACE_SECONDS", 0.05)
    redis = Doing("redis", found=(good("redis"),))
    cache = Doing("cache", ("redis",), then=hang_in_python)
    began = time.monotonic()
    found = run(cache, redis, seconds=SHORT)
    assert time.monotonic() - began >= SHORT
    assert [each.id for each in found] == ["probe.timeout", "test.ok"]
    assert found[0].cause is None


def test_the_grace_is_enough_for_an_answer():
    """The symptom is as wanted as the cause: a slow one is still waited for."""
    redis = Doing("redis", found=(finding("redis"),))
    cache = Doing("cache", ("redis",), then=lambda: time.sleep(0.3))
    assert ids(run(cache, redis)) == ["test.broken"]


# ── causes ──────────────────────────────────────────────────────────────────────────────────────


def test_link__one_root_cause_for_everything_that_stands_on_it():
    broken = [finding("redis"), finding("cache"), finding("sessions")]
    root, *others = runner.link(broken, {"cache": ("redis",), "sessions": ("redis",)})
    assert root.is_root_cause
    assert [each.cause for each in others] == [root, root]


def test_link__twin__strangers_stay_apart():
    broken = [finding("redis"), finding("cache")]
    assert list(runner.link(broken, {})) == broken


def test_link__a_chain_leads_to_its_root():
    broken = [finding("sessions"), finding("cache"), finding("redis")]
    needs = {"sessions": ("cache",), "cache": ("redis",)}
    sessions, cache, redis = runner.link(broken, needs)
    assert (sessions.cause, cache.cause, redis.cause) == (cache, redis, None)


def test_link__a_chain_is_broken_by_what_works():
    broken = [finding("sessions"), good("cache"), finding("redis")]
    needs = {"sessions": ("cache",), "cache": ("redis",)}
    assert list(runner.link(broken, needs)) == broken


def test_link__the_first_need_that_fails_is_the_cause():
    broken = [finding("cache"), good("a"), finding("b"), finding("c")]
    assert runner.link(broken, {"cache": ("a", "b", "c")})[0].cause == broken[2]


def test_link__what_the_probe_said_itself_stays():
    said = finding("env", "env.missing")
    broken = [finding("redis"), Finding("a.b", Level.ERROR, "cache", "x", "y", cause=said)]
    assert runner.link(broken, {"cache": ("redis",)})[1].cause is said


def test_link__a_timeout_is_a_failure_of_any_level():
    late = finding("redis", "probe.timeout", Level.WARNING)
    assert runner.link([late, finding("cache")], {"cache": ("redis",)})[1].cause is late
    merely = finding("redis", "redis.eviction", Level.WARNING)
    assert runner.link([merely, finding("cache")], {"cache": ("redis",)})[1].cause is None


@pytest.mark.parametrize("needs", [{"a": ("a",)}, {"a": ("b",), "b": ("a",)}])
def test_link__a_circle_of_needs_leaves_a_root(needs):
    found = runner.link([finding("a"), finding("b")], needs)
    assert any(each.is_root_cause for each in found)
    assert all(each.cause is None or each.cause.subject != each.subject for each in found)


SUBJECTS = st.sampled_from("abcdef")
KINDS = st.sampled_from(
    [
        ("test.ok", Level.OK),
        ("test.note", Level.INFO),
        ("test.odd", Level.WARNING),
        ("probe.timeout", Level.WARNING),
        ("test.broken", Level.ERROR),
    ]
)
FINDINGS = st.lists(
    st.builds(lambda subject, kind: finding(subject, *kind), SUBJECTS, KINDS), max_size=8
)
NEEDS = st.dictionaries(SUBJECTS, st.lists(SUBJECTS, max_size=4).map(tuple))


def is_failure(each: Finding) -> bool:
    return each.level is Level.ERROR or each.id == "probe.timeout"


def chain_of(each: Finding) -> Iterator[Finding]:
    cause = each.cause
    while cause is not None:
        yield cause
        cause = cause.cause


@settings(deadline=None)
@given(FINDINGS, NEEDS)
def test_link__on_any_graph(findings, needs):
    linked = runner.link(findings, needs)
    failing = {each.subject for each in findings if is_failure(each)}
    for before, after in zip(findings, linked, strict=True):
        if not is_failure(before) or after.cause is None:
            assert after is before
        else:
            assert is_failure(after.cause)
            assert after.cause.subject in needs[after.subject]
            # Followed to its end, a chain never comes round.
            chain = [each.subject for each in itertools.islice(chain_of(after), 10)]
            assert len({after.subject, *chain}) == len(chain) + 1
    assert not failing or any(is_failure(each) and each.cause is None for each in linked)


@settings(deadline=None)
@given(FINDINGS, NEEDS)
def test_link__nothing_fails_without_a_cause_beside_a_failing_need(findings, needs):
    """Unless that need leads back to it, a failure beside a failing need is explained by it."""
    linked = runner.link(findings, needs)
    failing = {each.subject for each in findings if is_failure(each)}

    @functools.cache
    def reached(subject: str) -> frozenset[str]:
        seen: set[str] = set()
        todo = [subject]
        while todo:
            for needed in needs.get(todo.pop(), ()):
                if needed not in seen:
                    seen.add(needed)
                    todo.append(needed)
        return frozenset(seen)

    for each in linked:
        if is_failure(each) and each.cause is None:
            explaining = failing.intersection(needs.get(each.subject, ()))
            assert all(each.subject in {other, *reached(other)} for other in explaining)


def test_a_long_chain_of_causes_is_linked_in_linear_time(monkeypatch):
    """A running app links again with every answer, and each new finding takes a millisecond."""
    made: list[Finding] = []

    def counting(finding: Finding, **changes: Any) -> Finding:
        made.append(finding)
        return replace(finding, **changes)

    monkeypatch.setattr(runner, "replace", counting)
    names = [f"components.c{number}" for number in range(40)]
    found = [Finding("probe.crashed", Level.ERROR, name, "No.", "Mend it.") for name in names]
    linked = runner.link(found, {name: (before,) for before, name in itertools.pairwise(names)})
    assert len(made) < 2 * len(names)
    last: Finding | None = linked[-1]
    chain = []
    while last is not None:
        chain.append(last.subject)
        last = last.cause
    assert chain == names[::-1]
