"""Nothing comes back: several processes under load while Redis fails in every way we know.

Every fault hits two crews at once, on databases of their own: ours, and its twin without a journal.
For minutes of the same see ``scripts/soak``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
import redis
from hypothesis import HealthCheck, Phase, settings, strategies as st
from hypothesis.errors import Flaky
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from resilience.cache.bulk import CHUNK_KEYS
from resilience.simulation.proxy import BlackHole, Latency, Refuse
from tests.soak.crew import STYLES, Crew
from tests.soak.faults import EVERY_FAULT, FAULTS
from tests.soak.judge import RESURRECTED, Break, say
from tests.soak.scene import Scene
from tests.soak.server import Server
from tests.soak.steps import Record, Step
from tests.waiting import until

HEALTHY, AWAY = 0.2, 0.5  # seconds
AWAY_SLOWLY = 1.0  # seconds: circuits take their time to open when every call waits for its end
SLOW = ("latency", "stopped")
RATE = 250  # operations per second and process
AGAIN_AFTER = 0.4  # seconds instead of 5

Outcome = tuple[list[Break], list[Break]]  # ours, the twin's


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("soak")) as running:
        yield running


@pytest.fixture(scope="module")
def crew(server, tmp_path_factory) -> Iterator[Crew]:
    made = Crew(server, tmp_path_factory.mktemp("crew"), STYLES[:2], again_after=AGAIN_AFTER)
    yield made
    made.end()


@pytest.fixture(scope="module")
def twin(server, tmp_path_factory) -> Iterator[Crew]:
    folder, styles = tmp_path_factory.mktemp("twin"), (STYLES[0], STYLES[2])
    made = Crew(server, folder, styles, database=1, journal=False, again_after=AGAIN_AFTER)
    yield made
    made.end()


@pytest.fixture(scope="module")
def outcome(server, crew, twin) -> Callable[[str], Outcome]:
    """What a fault did to both crews; it happens once for both tests."""
    scene = Scene(server, [crew, twin])
    known: dict[str, Outcome] = {}

    def happen(name: str) -> Outcome:
        if name not in known:
            for each in scene.crews:
                each.reset()
            server.command("FLUSHALL")
            ours, twins = _happens(scene, name)
            known[name] = ours, twins
        return known[name]

    return happen


def _happens(scene: Scene, name: str) -> list[list[Break]]:
    """What each crew read that it should not have."""
    scene.load(seed=1, rate=RATE)
    scene.pause(HEALTHY)
    with FAULTS[name](scene):
        scene.pause(AWAY_SLOWLY if name in SLOW else AWAY)
    scene.flushed()
    broken = scene.rest()
    assert scene.crews[0].judge.operations > RATE * (HEALTHY + AWAY)  # it was under load
    return broken


@pytest.mark.parametrize("name", FAULTS)
def test_nothing_comes_back(outcome, name):
    ours, _ = outcome(name)
    assert not ours, say(ours)


# From an empty Redis nothing can come back.
@pytest.mark.parametrize("name", [name for name in FAULTS if name != "emptied"])
def test_twin__without_the_journal_it_does(outcome, name):
    _, twins = outcome(name)
    assert {each.kind for each in twins} & set(RESURRECTED)


def test_nothing_comes_back_when_there_is_too_much_for_the_journal(server, tmp_path):
    full = Crew(server, tmp_path, STYLES[:1], database=3, again_after=AGAIN_AFTER, limit=10)
    try:
        (ours,) = _happens(Scene(server, [full]), "killed")
        assert not ours, say(ours)
        with server.network(Refuse(), full.proxies):
            full.load(seed=2, rate=RATE)
            assert until(lambda: full.status()[0]["journal"]["patterns"])
            assert full.status()[0]["journal"]["keys"] <= 10
            full.rest()
    finally:
        full.end()


@pytest.mark.parametrize("journaled", [True, False])
def test_of_many_keys_a_part_was_written(server, crew, twin, journaled):
    """Three round trips: the first is answered, Redis dies before it hears of the third."""
    ours = crew if journaled else twin
    keys = [f"many.{number}" for number in range(3 * CHUNK_KEYS)]
    ours.reset()
    ours.judge.know(keys)
    old = ours.do(0, Step("set_many", keys)).tags
    scene = Scene(server, [ours])
    with server.network(Latency(0.15), ours.proxies):
        under_way = ours.begin(0, Step("set_many", keys))
        scene.pause(0.22)
        server.kill()
        written = ours.done(0, under_way)
    server.restart()
    assert written.masked is journaled
    scene.flushed()
    while ours.do(0, Step("get", keys[:1])).local:  # on a connection that ended with the server
        pass
    seen = ours.do(0, Step("get_many", keys)).seen
    assert seen[:CHUNK_KEYS] == written.tags[:CHUNK_KEYS]
    third = slice(2 * CHUNK_KEYS, None)
    assert seen[third] == ([None] * CHUNK_KEYS if journaled else old[third])
    assert bool(ours.judged()) is not journaled


@pytest.mark.parametrize("close_plainly", [False, True])
def test_what_a_black_hole_swallowed_arrives_after_a_plain_close_alone(
    server, tmp_path, close_plainly
):
    late = Crew(server, tmp_path, STYLES[2:3], database=2, close_plainly=close_plainly)
    step = Step("set", ["own.0.0"])
    try:
        with redis.Redis.from_url(server.running.url("/2")) as client:

            def holds(record: Record) -> bool:
                (tag,) = record.tags
                return tag.encode() in (client.get("soak:1:own.0.0") or b"")

            acknowledged = late.do(0, step)
            with server.network(BlackHole(late=True), late.proxies):
                given_up = late.do(0, step)
                assert holds(acknowledged)
            # It takes longer to connect again, so nobody has taken it back yet.
            assert until(lambda: holds(given_up), 0.3) is close_plainly
    finally:
        late.end()


# ── any order of steps and faults ───────────────────────────────────────────────────────────────

EXAMPLES, STEPS = 10, 24
DEATHS = 1  # in one example: another process takes its time to begin
TAKE_TIME = ("old data", "promoted", "misconf", "no unlink", "death", "hiccups", "flapping")
KEYS = ["own.0.0", "own.1.0", "all.0", "pattern.0.a", "version.0", "strict.0"]
ONE_KEY = ("get", "set", "delete", "touch", "add", "get_or_set", "has_key", "touch_gone", "expire")

_steps = [Step(name, [key]) for name in ONE_KEY for key in KEYS]
_steps += [Step(name, KEYS[2:4]) for name in ("get_many", "set_many", "delete_many")] * 3
_steps += [Step("delete_pattern", ["pattern.0.*"]), Step("clear")]
_steps += [Step("incr_version", ["version.0", "version.0@2"]), Step("get", ["version.0@2"])]
steps = st.sampled_from(_steps)
slots = st.sampled_from((0, 1))
# Those that begin and end within a moment.
faults = st.sampled_from([name for name in EVERY_FAULT if name not in TAKE_TIME])


class Machine(RuleBasedStateMachine):
    """Two processes, one step or two at a time, and faults that begin and end between or in them.

    What it is judged by is the same as under load.
    """

    def __init__(self, scene: Scene) -> None:
        super().__init__()
        self.scene = scene
        (self.crew,) = scene.crews
        self.fault = ExitStack()
        self.is_away = False
        self.deaths = 0
        self.crew.reset()
        scene.server.command("FLUSHALL")

    @rule(slot=slots, step=steps)
    def do(self, slot: int, step: Step) -> None:
        self.crew.do(slot, step)

    @rule(first=steps, second=steps)
    def do_both(self, first: Step, second: Step) -> None:
        """At once."""
        both = [(slot, self.crew.begin(slot, step)) for slot, step in ((0, first), (1, second))]
        for slot, number in both:
            self.crew.done(slot, number)

    @precondition(lambda self: not self.is_away)
    @rule(name=faults)
    def fail(self, name: str) -> None:
        self.fault.enter_context(EVERY_FAULT[name](self.scene))
        self.is_away = True

    @precondition(lambda self: not self.is_away)
    @rule(name=faults, slot=slots, step=steps)
    def fail_meanwhile(self, name: str, slot: int, step: Step) -> None:
        number = self.crew.begin(slot, step)
        self.fail(name)
        self.crew.done(slot, number)

    @precondition(lambda self: self.is_away)
    @rule()
    def heal(self) -> None:
        self.fault.close()
        self.is_away = False

    @precondition(lambda self: self.is_away)
    @rule(slot=slots, step=steps)
    def heal_meanwhile(self, slot: int, step: Step) -> None:
        number = self.crew.begin(slot, step)
        self.heal()
        self.crew.done(slot, number)

    @precondition(lambda self: self.deaths < DEATHS)
    @rule(slot=slots, step=steps)
    def die_meanwhile(self, slot: int, step: Step) -> None:
        self.crew.begin(slot, step)
        self.crew.kill(slot)
        self.deaths += 1

    @precondition(lambda self: not self.is_away)
    @rule()
    def recover(self) -> None:
        self.scene.recovered()

    @invariant()
    def nothing_is_broken(self) -> None:
        broken = self.crew.judged()
        assert not broken, say(broken)

    def teardown(self) -> None:
        self.heal()
        self.scene.flushed()
        self.crew.sweep()
        self.nothing_is_broken()


def run_machine(server: Server, crew: Crew, examples: int) -> None:
    run_state_machine_as_test(
        lambda: Machine(Scene(server, [crew])),  # type: ignore[arg-type] # it is only called
        settings=settings(
            max_examples=examples,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            phases=[Phase.generate],  # an example takes a second: what fails is short enough
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_any_order_of_steps_and_faults(server, crew):
    run_machine(server, crew, EXAMPLES)


def test_twin__without_the_journal_some_order_brings_something_back(server, twin):
    with pytest.raises((AssertionError, Flaky)):
        run_machine(server, twin, 20 * EXAMPLES)  # it ends with the first that fails
