"""One object and one construction in a process, whoever asks at once: threads, coroutines, forks.

What forks does so in a process of its own, so that no thread of pytest is forked with it.
"""

from __future__ import annotations

import asyncio
import json
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from resilience.components.registry import Registry
from resilience.errors import ComponentUnavailable
from tests.components.parts import MAKE, PART, Part, hooks, made
from tests.processes import ROOT, run

THREADS = 64
COROUTINES = 1000
BUILDING = 0.05  # seconds


def slow(**options: Any) -> Part:
    time.sleep(BUILDING)
    return Part(**options)


@pytest.fixture
def registry() -> Registry:
    found = Registry()
    hooks["slow"] = slow
    found.register("a", {"BACKEND": MAKE, "OPTIONS": {"name": "slow"}})
    return found


def from_threads(registry: Registry, count: int) -> list[Any]:
    together = threading.Barrier(count)

    def ask(_: int) -> Any:
        together.wait(10)
        return registry["a"]

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(ask, range(count)))


def test_threads(registry):
    found = from_threads(registry, THREADS)
    assert len(made) == 1
    assert {id(each) for each in found} == {id(made[0])}


def test_threads__twin__without_the_registry_each_has_its_own():
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: slow(), range(8)))
    assert len(made) == 8


class Heart:
    """Beats in an event loop; what is built waits for the fifth beat, and says whether it came."""

    def __init__(self, registry: Registry) -> None:
        self._fifth = threading.Event()
        hooks["waiting"] = lambda: Part(loop_went_on=self._fifth.wait(1.0))
        registry.register("a", {"BACKEND": MAKE, "OPTIONS": {"name": "waiting"}})

    async def beat(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0.001)
        self._fifth.set()


def test_coroutines_and_the_loop_goes_on(registry):
    async def ask() -> list[Any]:
        asked = (registry.aget("a") for _ in range(COROUTINES))
        _, *found = await asyncio.gather(heart.beat(), *asked)
        return found

    heart = Heart(registry)
    found = asyncio.run(ask())
    assert [part.options for part in made] == [{"loop_went_on": True}]
    assert {id(each) for each in found} == {id(made[0])}
    assert len(found) == COROUTINES


def test_the_loop_goes_on__twin__not_with_the_blocking_call(registry):
    async def ask() -> None:
        beating = asyncio.create_task(heart.beat())
        await asyncio.sleep(0)
        registry["a"]
        await beating

    heart = Heart(registry)
    asyncio.run(ask())
    assert [part.options for part in made] == [{"loop_went_on": False}]


def test_threads_and_coroutines_mixed(registry):
    async def ask() -> list[Any]:
        threads = asyncio.get_running_loop().run_in_executor(None, from_threads, registry, 32)
        coroutines = asyncio.gather(*(registry.aget("a") for _ in range(200)))
        return [*await threads, *await coroutines]

    found = asyncio.run(ask())
    assert len(made) == 1
    assert {id(each) for each in found} == {id(made[0])}
    assert len(found) == 232


def test_a_warm_aget_starts_no_thread(registry):
    registry["a"]
    before = threading.active_count()
    assert asyncio.run(registry.aget("a")) is made[0]
    assert threading.active_count() == before


def test_coroutines_get_the_same_errors(registry):
    async def ask() -> list[Any]:
        asked = (registry.aget("b") for _ in range(50))
        return await asyncio.gather(*asked, return_exceptions=True)

    def fail() -> None:
        time.sleep(BUILDING)  # until all of them wait
        raise ValueError

    hooks["bad"] = fail
    registry.register("b", {"BACKEND": MAKE, "OPTIONS": {"name": "bad"}})
    found = asyncio.run(ask())
    assert {type(each) for each in found} == {ComponentUnavailable}
    assert len({id(each) for each in found}) == 50, "each its own, with its own traceback"
    assert registry.status("b").attempts == 1
    with pytest.raises(ComponentUnavailable, match="unknown"):
        asyncio.run(registry.aget("nobody"))


def test_nothing_that_is_raised_in_the_building_thread_is_asked_for_again_and_again(registry):
    def raising() -> None:
        made.append(Part())
        raise KeyboardInterrupt  # no thread but the main one should ever see it

    hooks["odd"] = raising
    registry.register("b", {"BACKEND": MAKE, "OPTIONS": {"name": "odd"}})
    with pytest.raises(ComponentUnavailable, match="KeyboardInterrupt"):
        asyncio.run(registry.aget("b"))
    assert registry.status("b").attempts == 1


def test_who_is_cancelled_cancels_nobody_else(registry):
    async def ask() -> Any:
        first = asyncio.create_task(registry.aget("a"))
        second = asyncio.create_task(registry.aget("a"))
        await asyncio.sleep(0.005)
        first.cancel()
        return await second

    assert asyncio.run(ask()) is made[0]
    assert len(made) == 1


def test_a_loop_that_ends_while_it_is_built(registry, caplog):
    async def leave() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(registry.aget("a"), 0.005)

    asyncio.run(leave())
    assert registry["a"] is made[0]
    assert not caplog.records


def test_a_component_that_awaits_another_while_it_is_built(registry):
    """BACKEND is no coroutine function, but what it calls may start a loop of its own."""
    hooks["outer"] = lambda: asyncio.run(registry.aget("a"))
    registry.register("b", {"BACKEND": MAKE, "OPTIONS": {"name": "outer"}})
    assert asyncio.run(registry.aget("b")) is made[0]
    hooks["circle"] = lambda: asyncio.run(registry.aget("c"))
    registry.register("c", {"BACKEND": MAKE, "OPTIONS": {"name": "circle"}})
    with pytest.raises(ComponentUnavailable, match="c → c"):
        registry["c"]


def test_nobody_waits_for_ever_in_a_loop():
    registry = Registry(patience=0.02)
    go_on = threading.Event()
    hooks["x"] = lambda: go_on.wait(5)
    registry.register("a", {"BACKEND": MAKE, "OPTIONS": {"name": "x"}})
    with pytest.raises(ComponentUnavailable, match="resilience-build-a has been at it"):
        asyncio.run(registry.aget("a"))
    go_on.set()
    assert registry["a"] is True


# ── forks ───────────────────────────────────────────────────────────────────────────────────────

PROLOGUE = f"""
import json, os, sys, threading, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # forking with threads is what is tested
from resilience.components import components
from tests.components.parts import Part, hooks, made

def in_child(work):
    read, write = os.pipe()
    if os.fork() == 0:
        try:
            os.write(write, json.dumps(work()).encode())
        finally:
            os._exit(0)
    os.close(write)
    with open(read) as pipe:
        text = pipe.read()
    os.wait()
    return json.loads(text)

def say(**found):
    print(json.dumps(found))

components.register("a", {{"BACKEND": {PART!r}}})
components.register("b", {{"BACKEND": {PART!r}, "REQUIRES": ["a"]}})
"""


def forked(body: str) -> dict[str, Any]:
    code = PROLOGUE + textwrap.dedent(body)
    ended = run(sys.executable, "-c", code, cwd=ROOT, variables={}, limit=20)
    assert ended.code == 0, ended.err
    found: dict[str, Any] = json.loads(ended.out)
    return found


def test_a_child_builds_its_own():
    found = forked("""
        ours = components["b"]
        def look():
            before = str(components.status("a"))
            theirs = components["b"]
            return {"before": before, "own": theirs is not ours and theirs.pid == os.getpid(),
                    "builds": len(made) - 2, "kept": ours in components._inherited}
        child = in_child(look)
        say(child=child, same=components["b"] is ours, builds=len(made), pid=os.getpid())
    """)
    child = found["child"]
    assert child["own"]
    assert child["kept"], "no finalizer of the parent's object runs in the child"
    assert child["builds"] == 2
    assert child["before"] == (
        f"not-loaded: process {found['pid']} had built it and forked; this one builds its own"
    )
    assert (found["same"], found["builds"]) == (True, 2)


def test_a_child_forked_during_a_build_builds_its_own():
    found = forked("""
        began, go_on = threading.Event(), threading.Event()
        def slow(**options):
            if os.getpid() == parent:
                began.set()
                assert go_on.wait(10)
            return Part(**options)
        parent = os.getpid()
        hooks["slow"] = slow
        components.register("slow", {"BACKEND": "tests.components.parts.make",
                                     "OPTIONS": {"name": "slow"}, "REQUIRES": ["a"]})
        thread = threading.Thread(target=lambda: components["slow"])
        thread.start()
        assert began.wait(10)
        def look():
            before = components.status("slow")
            return [before.state, before.why, components["slow"].pid == os.getpid(), len(made)]
        child = in_child(look)
        state = components.status("slow").state
        go_on.set()
        thread.join(10)
        say(child=child, state=state, pid=components["slow"].pid == parent, builds=len(made))
    """)
    state, why, own, builds = found["child"]
    assert state == "not-loaded"
    assert "was building it when it forked" in why
    assert own
    assert builds == 3, "the parent's a, and a and slow of the child"
    assert (found["state"], found["pid"], found["builds"]) == ("loading", True, 2)


def test_a_child_forked_by_the_building_code_itself():
    found = forked("""
        def forking(**options):
            if os.getpid() == parent:
                hooks["child"] = in_child(lambda: components["f"].pid == os.getpid())
            return Part(**options)
        parent = os.getpid()
        hooks["forking"] = forking
        components.register("f", {"BACKEND": "tests.components.parts.make",
                                  "OPTIONS": {"name": "forking"}})
        say(own=components["f"].pid == parent, child=hooks["child"])
    """)
    assert found == {"own": True, "child": True}


def test_a_child_forked_while_the_lock_is_held_does_not_stand_still():
    found = forked("""
        held, go_on = threading.Event(), threading.Event()
        def hold():
            with components._lock:
                held.set()
                go_on.wait(10)
        thread = threading.Thread(target=hold)
        thread.start()
        held.wait(10)
        child = in_child(lambda: components["b"].pid == os.getpid())
        go_on.set()
        thread.join()
        say(child=child)
    """)
    assert found == {"child": True}


def test_threads_of_every_child_share_one_object():
    found = forked("""
        from concurrent.futures import ThreadPoolExecutor
        components["b"]
        def look():
            made.clear()
            with ThreadPoolExecutor(16) as pool:
                objects = {id(each) for each in pool.map(lambda _: components["b"], range(64))}
            return [len(objects), len(made)]
        say(children=[in_child(look) for _ in range(3)])
    """)
    assert found == {"children": [[1, 2]] * 3}


def test_a_child_inside_an_override_has_the_same_object_and_leaves_it():
    found = forked("""
        from resilience.components import override_component
        components["b"]
        def look():
            inside = components["a"]
            manager.__exit__(None, None, None)
            return [inside, components["a"].pid == os.getpid()]
        manager = override_component("a", "fake")
        manager.__enter__()
        child = in_child(look)
        manager.__exit__(None, None, None)
        say(child=child, parent=components["a"] is made[0])
    """)
    assert found == {"child": ["fake", True], "parent": True}


@pytest.mark.parametrize("preload", [True, False])
def test_workers_that_are_forked_from_a_master_that_preloads(preload):
    """As gunicorn does it: each worker has its own, whether the master had built one or not."""
    found = forked(f"""
        if {preload}:
            components["a"]
        workers = [in_child(lambda: [components["a"].pid == os.getpid(), len(made)]) for _ in "123"]
        say(workers=workers)
    """)
    assert found == {"workers": [[True, 2 if preload else 1]] * 3}
