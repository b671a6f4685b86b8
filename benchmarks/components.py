"""What a component costs: a warm ``components[...]``, and declaring fifty of them at start-up.

    python -m benchmarks.components [ROUNDS]

Contestants take turns in every round; a figure is the median of the rounds, a ratio the median of
the ratios of each round. Nothing of a component's package is imported by any of it but the first.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Callable, Mapping

import django
from django.apps import apps
from django.conf import settings
from django.test import override_settings

from resilience import env
from resilience.components import components

CALLS = 200_000
COUNT = 50
WARM_NS = 200
READY_MS = 2.0


def main(rounds: int) -> None:
    settings.configure(
        SECRET_KEY="benchmark",  # noqa: S106 - signs nothing
        INSTALLED_APPS=["resilience"],
        RESILIENCE={"COMPONENTS": _declared(1)},
    )
    django.setup()
    _warm(rounds)
    _statuses(rounds)
    _ready(rounds)


def _declared(count: int, prefix: str = "part") -> dict[str, dict[str, object]]:
    """A chain, each with a variable, a package, a PROBE and a CLOSE."""
    return {
        f"{prefix}{number}": {
            "BACKEND": "collections.OrderedDict",
            "OPTIONS": {"key": env.ref("PATH"), "deep": [{"number": number}]},
            "PACKAGES": ["django>=4.2", "certifi"],
            "REQUIRES": [f"{prefix}{number - 1}"] if number else [],
            "PROBE": "shop.probes.ask",
            "CLOSE": "clear",
        }
        for number in range(count)
    }


def _warm(rounds: int) -> None:
    found, plain = components["part0"], {"part0": components["part0"]}
    assert found is plain["part0"]
    measured = _interleaved(
        rounds,
        {
            "dict[...]": lambda: _calls(lambda: plain["part0"]),
            "components[...]": lambda: _calls(lambda: components["part0"]),
        },
    )
    bare = [taken * 1e9 / CALLS for taken in measured["dict[...]"]]
    ours = [taken * 1e9 / CALLS for taken in measured["components[...]"]]
    ratio = statistics.median(mine / theirs for mine, theirs in zip(ours, bare, strict=True))
    print(f"warm components[...]      {statistics.median(ours):8.0f} ns   (aim: {WARM_NS} ns)")
    print(f"a dict lookup             {statistics.median(bare):8.0f} ns   (both in a lambda)")
    print(f"ratio                     {ratio:8.1f}")

    async def warm() -> float:
        began = time.perf_counter()
        for _ in range(CALLS // 10):
            await components.aget("part0")
        return (time.perf_counter() - began) * 1e9 / (CALLS // 10)

    taken = statistics.median(asyncio.run(warm()) for _ in range(rounds))
    print(f"warm await aget(...)      {taken:8.0f} ns")


def _statuses(rounds: int) -> None:
    def status() -> float:
        began = time.perf_counter()
        assert components.status("part0").state == "ready"
        return time.perf_counter() - began

    taken = statistics.median(status() for _ in range(rounds * 10))
    print(f"status(...)               {taken * 1e6:8.0f} µs   (variables and packages looked up)")


def _ready(rounds: int) -> None:
    """All that ``ready()`` does, with as many components; each time others than before."""
    measured: dict[int, list[float]] = {0: [], COUNT: []}
    for number in range(rounds):
        for count, taken in measured.items():
            declared = _declared(count, f"round{number}-")
            with override_settings():
                settings.RESILIENCE = {"COMPONENTS": declared}
                began = time.perf_counter()
                apps.get_app_config("resilience").ready()
                taken.append((time.perf_counter() - began) * 1000)
            assert len(components) == count
    none, fifty = (statistics.median(taken) for taken in measured.values())
    print(f"ready(), {COUNT} components    {fifty:8.2f} ms   (without any: {none:.2f} ms)")
    print(f"on top                    {fifty - none:8.2f} ms   (aim: {READY_MS} ms)")


def _calls(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    for _ in range(CALLS):
        call()
    return time.perf_counter() - began


def _interleaved(
    rounds: int, contestants: Mapping[str, Callable[[], float]]
) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, measure in contestants.items():
            taken[name].append(measure())
    return taken


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 21)
