"""What the endpoints pay for asking how the app does, and what one round costs.

    python -m benchmarks.health_monitor [CALLS]

``start`` and ``snapshot`` are called in every request of a probe: microseconds. A round asks
everything that is asked every ten seconds, against SQLite and LocMem: milliseconds of this process.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
import timeit
from collections.abc import Callable

SUBJECTS = 50
CALLS = 20_000


def main(calls: int = CALLS) -> None:
    """Print one line per measurement."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    import django  # noqa: PLC0415 - after the settings are named

    django.setup()
    from resilience.health import monitor  # noqa: PLC0415 - as above
    from resilience.health.schedule import Pace  # noqa: PLC0415
    from tests.health.probes import Scripted, Told  # noqa: PLC0415

    many = [Scripted(f"databases.{number}", told=Told()) for number in range(SUBJECTS)]
    several = monitor.Monitor(probes=lambda: list(many))
    several.check_now(6.0)
    monitor.ask()
    monitor.check_now()

    _show("start, when running", monitor.start, calls)
    _show("snapshot", monitor.snapshot, calls)
    _show("ask", monitor.ask, calls)
    _show(f"snapshot of {SUBJECTS} subjects", several.snapshot, calls)

    def anew() -> None:
        several._version += 1  # noqa: SLF001 - as every run that ends does
        several.snapshot()

    _show(f"snapshot of {SUBJECTS} subjects after a run", anew, calls // 20)

    process = monitor.Monitor(pace=Pace(period=0.1))
    process.check_now(6.0)
    began, used = time.monotonic(), time.process_time()
    time.sleep(2.0)
    seconds, used = time.monotonic() - began, time.process_time() - used
    print(f"a round                                {used / (seconds / 0.1) * 1000:10.2f} ms of CPU")


def _show(what: str, call: Callable[[], object], calls: int) -> None:
    taken = timeit.repeat(call, number=calls, repeat=5)
    print(f"{what:40}{statistics.median(taken) / calls * 1e6:9.3f} µs")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
