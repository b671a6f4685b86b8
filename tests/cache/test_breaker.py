"""Each reason to open has its twin one short of it; what the breaker says is what a model says."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from resilience.cache.breaker import WINDOW, Breaker, State
from resilience.cache.faults import Kind
from tests.clock import Clock

LETTERS = {"o": Kind.OUTAGE, "h": Kind.HARD_OUTAGE, "w": Kind.WRITE_OUTAGE, "r": Kind.READONLY}
LETTERS["c"] = Kind.CONFIGURATION
COUNTED = set(LETTERS.values())
LETTERS |= {"s": Kind.SATURATION, "p": Kind.PERMISSION, "b": Kind.BUG}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(clock)


def play(breaker: Breaker, clock: Clock, calls: str) -> Breaker:
    """``.`` succeeds, a letter fails, ``>`` is a second."""
    for call in calls:
        if call == ">":
            clock.now += 1
        elif call == ".":
            breaker.record_success(0.001)
        else:
            breaker.record_failure(LETTERS[call], 0.25)
    return breaker


@pytest.mark.parametrize(
    ("calls", "twin"),
    [
        ("ooooo", "oooo"),
        ("ooooo", "oooo.o"),
        ("wwwww", "wwww"),
        ("rrrrr", "rrrr"),
        ("owrow", "owro"),
        ("o>>>>o>>>>o>>>>o>>>>o", "o>>>>o>>>>o>>>>o"),  # in a row, however slowly
        ("hh", "h"),
        ("hh", "hoh"),
        ("hh", "h.h"),
        ("ohh", "oho"),
        ("ooooh", "oooh"),
        ("hsh", "hs"),  # what says nothing interrupts nothing
        ("oosspbooo", "oosspboo"),
        ("c", "sssssssss"),
        ("c", "ppppppppp"),
        ("c", "bbbbbbbbb"),
        (".o" * 10, ".o" * 9 + ".s"),  # 10 of 20; 9 of 19 are too few calls
        (".o" * 10, ".o" * 9 + "..o"),  # 10 of 21 are less than half
        ("." * 8 + "oooo.oooo.oo", "." * 9 + "oooo.oooo.oo"),
        (".o" * 4 + ">" * (WINDOW - 1) + ".o" * 6, ".o" * 4 + ">" * WINDOW + ".o" * 6),
        (".o" * 10, ".o" * 4 + ">" * (2 * WINDOW - 1) + ".o" * 6),  # silence for longer than it
        (".o" * 10, ".o" * 4 + ">" * (WINDOW - 1) + "o>" + ".o" * 6),  # a call in each second
        (".o" * 10, ".o" * 9 + "." + ">" * WINDOW + "o"),  # a failure is the first call after it
    ],
)
def test_what_opens_it_and_its_twin(calls, twin):
    told: list[tuple[State, State, str]] = []
    clock = Clock()
    breaker = Breaker(clock, on_change=lambda *change: told.append(change))
    play(breaker, clock, calls[:-1])
    assert (breaker.closed, breaker.state, breaker.since, told) == (True, "closed", 1000.0, [])
    play(breaker, clock, calls[-1])
    assert (breaker.closed, breaker.state, breaker.since) == (False, "open", clock.now)
    assert [change[:2] for change in told] == [("closed", "open")]

    clock = Clock()
    assert play(Breaker(clock), clock, twin).state == "closed"


@pytest.mark.parametrize(
    ("calls", "why"),
    [
        ("ooooo", "5 failures in a row, the last: outage after 0.25 s"),
        ("hh", "2 failures in a row, the last: hard-outage after 0.25 s"),
        ("c", "configuration error after 0.25 s"),
        (".o" * 10, "10 of 20 calls failed within 10 s, the last: outage after 0.25 s"),
    ],
)
def test_it_says_why(breaker, clock, calls, why):
    said = []
    breaker.on_change = lambda *change: said.append(change[2])
    play(breaker, clock, calls)
    assert said == [why]


def test_a_probe_goes_round_and_only_close_forgets(breaker, clock):
    told = []
    breaker.on_change = lambda *change: told.append(change)
    assert not breaker.half_open()
    assert not breaker.reopen()
    assert not breaker.close()
    assert told == []
    play(breaker, clock, "hh>>")
    opened = breaker.since
    assert breaker.half_open()
    assert not breaker.half_open()
    assert (breaker.state, breaker.closed, breaker.since) == ("half-open", False, opened)
    play(breaker, clock, "..>")  # calls that began before: late, and no probes
    assert breaker.reopen()
    assert not breaker.reopen()
    assert breaker.since == opened
    assert breaker.half_open()
    assert breaker.close()
    assert (breaker.state, breaker.closed, breaker.since) == ("closed", True, clock.now)
    assert told[1:] == [
        ("open", "half-open", "a probe is under way"),
        ("half-open", "open", "the probe failed"),
        ("open", "half-open", "a probe is under way"),
        ("half-open", "closed", "the probe succeeded"),
    ]
    assert play(breaker, clock, "h").closed
    assert not play(breaker, clock, "h").closed


def test_forced_open_until_released(breaker, clock):
    breaker.force("open")
    assert not breaker.half_open()
    assert not breaker.close()
    assert play(breaker, clock, "....").state == "open"
    breaker.force(None)
    assert breaker.state == "open"
    assert breaker.half_open()
    assert breaker.close()


def test_forced_closed_whatever_happens(breaker, clock):
    play(breaker, clock, "hh")
    breaker.force("closed")
    assert play(breaker, clock, "ccccchhhhh").closed
    breaker.force(None)
    assert play(breaker, clock, "h").closed  # the ten before do not count
    assert not play(breaker, clock, "h").closed


def test_what_counted_before_it_was_forced_closed_is_forgotten(breaker, clock):
    play(breaker, clock, "oooo")
    breaker.force("closed")
    breaker.force(None)
    assert play(breaker, clock, "oooo").closed
    assert not play(breaker, clock, "o").closed  # its twin: five in a row, released


def test_forcing_is_told_as_such(breaker, clock):
    said = []
    breaker.on_change = lambda *change: said.append(change)
    breaker.force("open")
    breaker.force(None)
    breaker.force("closed")
    assert said == [("closed", "open", "forced open"), ("open", "closed", "forced closed")]


def test_force_knows_three_words(breaker):
    with pytest.raises(ValueError, match=r"\"open\", \"closed\" or None, not 'half-open'\.$"):
        breaker.force("half-open")


def test_whoever_is_told_may_ask_back(breaker, clock):
    """The callback runs outside the lock: another thread gets in, too."""
    seen = []

    def look(_: State, new: State, __: str) -> None:
        if new != "open":
            return
        other = threading.Thread(target=lambda: seen.append(breaker.half_open()))
        other.start()
        other.join(5)

    breaker.on_change = look
    play(breaker, clock, "c")
    assert seen == [True]


def test_it_knows_the_latest_call_and_when_one_was_answered(breaker, clock):
    assert (breaker.latest, breaker.answered) == (0, 0)
    breaker.record_success(0.002)
    assert (breaker.latest, breaker.answered) == (0.002, clock.now)
    clock.now += 3
    breaker.record_failure(Kind.OUTAGE, 0.25)
    assert (breaker.latest, breaker.answered) == (0.25, clock.now - 3)


class Machine(RuleBasedStateMachine):
    """The model keeps every call; the breaker keeps twenty numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.told: list[tuple[State, State]] = []
        self.expected: list[tuple[State, State]] = []
        self.breaker = Breaker(self.clock, lambda old, new, _: self.told.append((old, new)))
        self.state: State = "closed"
        self.since = self.clock.now
        self.forced: str | None = None
        self.calls: list[tuple[int, Kind | None]] = []

    def enter(self, new: State) -> None:
        if new == self.state:
            return
        self.expected.append((self.state, new))
        if "closed" in (self.state, new):
            self.since = self.clock.now
            self.calls = []
        self.state = new

    @rule(seconds=st.floats(0, 12) | st.just(1.0))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule(count=st.integers(1, 12))
    def succeed(self, count: int) -> None:
        for _ in range(count):
            self.breaker.record_success(0.001)
            self.calls.append((int(self.clock.now), None))

    @rule(kind=st.sampled_from(list(Kind)))
    def fail(self, kind: Kind) -> None:
        self.breaker.record_failure(kind, 0.25)
        if self.state != "closed" or self.forced or kind not in COUNTED:
            return
        self.calls.append((int(self.clock.now), kind))
        window = [failed for second, failed in self.calls if second > int(self.clock.now) - WINDOW]
        failures = sum(failed is not None for failed in window)
        kinds = [failed for _, failed in self.calls]
        if (
            kind is Kind.CONFIGURATION
            or kinds[-2:] == [Kind.HARD_OUTAGE] * 2
            or (len(kinds) >= 5 and None not in kinds[-5:])
            or (len(window) >= 20 and failures * 2 >= len(window))
        ):
            self.enter("open")

    @rule(failures=st.integers(0, 4))
    def mix(self, failures: int) -> None:
        """What the rate is about: many calls, never five failures in a row."""
        for _ in range(failures):
            self.fail(Kind.OUTAGE)
        self.succeed(max(1, 3 - failures))

    @rule()
    def half_open(self) -> None:
        possible = self.state == "open" and not self.forced
        assert self.breaker.half_open() is possible
        if possible:
            self.enter("half-open")

    @rule()
    def reopen(self) -> None:
        possible = self.state == "half-open" and not self.forced
        assert self.breaker.reopen() is possible
        if possible:
            self.enter("open")

    @rule()
    def close(self) -> None:
        possible = self.state != "closed" and not self.forced
        assert self.breaker.close() is possible
        if possible:
            self.enter("closed")

    @rule(state=st.sampled_from(["open", "closed"]))
    def force(self, state: State) -> None:
        self.breaker.force(state)  # type: ignore[arg-type]
        self.enter(state)
        self.calls = []
        self.forced = state

    @precondition(lambda self: self.forced)
    @rule()
    def release(self) -> None:
        self.breaker.force(None)
        self.calls = []
        self.forced = None

    @invariant()
    def agrees(self) -> None:
        breaker = self.breaker
        assert breaker.closed is (breaker.state == "closed")
        assert (breaker.state, breaker.since) == (self.state, self.since)
        assert breaker.forced == self.forced
        assert self.told == self.expected


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def test_threads_at_once():
    """Calls end in eight threads while a ninth probes: nothing raises, every change is told."""
    told: list[tuple[State, State]] = []
    breaker = Breaker(on_change=lambda old, new, _: told.append((old, new)))
    stop = threading.Event()

    def call(number: int) -> None:
        for turn in range(3000):
            if turn % (number + 2):
                breaker.record_success(0.001)
            else:
                breaker.record_failure(Kind.HARD_OUTAGE if turn % 3 else Kind.OUTAGE, 0.1)

    def probe() -> None:
        while not stop.is_set():
            if breaker.half_open():
                breaker.close()

    with ThreadPoolExecutor(9) as pool:
        prober = pool.submit(probe)
        callers = [pool.submit(call, number) for number in range(8)]
        ended = [caller.exception() for caller in callers]
        stop.set()
        assert [*ended, prober.exception()] == [None] * 9
    assert breaker.closed is (breaker.state == "closed")
    probes = told.count(("open", "half-open"))
    assert told.count(("closed", "open")) == probes + (not breaker.closed)
    assert told.count(("half-open", "closed")) == probes
    assert sum(breaker._failures) <= sum(breaker._calls)


def test_threads_that_fail_together_open_it_once():
    told: list[tuple[State, State]] = []
    breaker = Breaker(on_change=lambda old, new, _: told.append((old, new)))
    together = threading.Barrier(8)

    def fail(_: int) -> None:
        together.wait(5)
        for _ in range(100):
            breaker.record_failure(Kind.OUTAGE, 0.1)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(fail, range(8)))
    assert told == [("closed", "open")]
