"""What tracing costs a request while LangSmith is away, and how long the process takes to end.

    python -m benchmarks.langsmith [ROUNDS]

A request is a function with two more inside, all three ``@traceable``, with 2 KB in and out; the
client is ``resilience.components.langsmith.Client`` as it is without options. Each situation is a
process of its own that is told when to go, so in every round all of them take their turn on the
same machine: ``off`` does not trace, the others do. A figure is the median of the rounds; "more"
is the median of each round's difference to ``off``, "p99" that of all requests.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from resilience.simulation.authority import Authority
from resilience.simulation.fake_langsmith import FakeLangSmith
from resilience.simulation.network import BlackHole, Refused
from tests.processes import ROOT

KEY = "lsv2_pt_benchmark"
REQUESTS = 50  # of one round
MORE_MS, EXIT_SECONDS = 1.0, 2.0  # aims
SITUATIONS = ("off", "healthy", "refused", "black hole", "untrusted")


def main(rounds: int) -> None:
    with ExitStack() as stack:
        workers = {name: stack.enter_context(_worker(url)) for name, url in _servers(stack)}
        taken: dict[str, list[list[float]]] = {name: [] for name in workers}
        for number in range(rounds + 1):  # the first round imports what is left, and is not counted
            for name, worker in workers.items():
                times = _round(worker)
                if number:
                    taken[name].append(times)
        ends = {name: _end(worker) for name, worker in workers.items()}
    print(f"{rounds} rounds of {REQUESTS} requests each\n")
    print(f"{'':<12}{'median':>10}{'p99':>9}{'max':>9}{'more':>9} ms{'ratio':>7}{'exit':>8} s")
    off = [statistics.median(times) for times in taken["off"]]
    for name, of_rounds in taken.items():
        medians = [statistics.median(times) for times in of_rounds]
        every = sorted(each for times in of_rounds for each in times)
        more = statistics.median(on - base for on, base in zip(medians, off, strict=True))
        ratio = statistics.median(on / base for on, base in zip(medians, off, strict=True))
        p99 = every[int(len(every) * 0.99)]
        print(
            f"{name:<12}{statistics.median(medians):>10.3f}{p99:>9.3f}{every[-1]:>9.3f}"
            f"{more:>9.3f}{ratio:>10.1f}{ends[name]:>8.2f}"
        )
    print(f"\naims: more than off {MORE_MS:g} ms at most, exit within {EXIT_SECONDS:g} s")


def _servers(stack: ExitStack) -> Iterator[tuple[str, str]]:
    """Name and address of each situation; an empty one is that of nobody who traces."""
    healthy = stack.enter_context(FakeLangSmith(KEY))
    refused, hole = stack.enter_context(Refused()), stack.enter_context(BlackHole())
    untrusted = FakeLangSmith(KEY, tls=Authority().server_context("localhost"))
    stack.enter_context(untrusted)
    addresses = (
        "",
        healthy.url,
        f"http://127.0.0.1:{refused.port}",
        f"http://127.0.0.1:{hole.port}",
        untrusted.url,
    )
    yield from zip(SITUATIONS, addresses, strict=True)


@contextmanager
def _worker(url: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(  # noqa: S603 - this project's own command
        [sys.executable, "-m", "benchmarks.langsmith", "work", url],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # the SDK says there that it is away
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _round(worker: subprocess.Popen[str]) -> list[float]:
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write("go\n")
    worker.stdin.flush()
    times: list[float] = json.loads(worker.stdout.readline())
    assert len(times) == REQUESTS
    return times


def _end(worker: subprocess.Popen[str]) -> float:
    """Seconds from the end of its work, with traces in the queue, to that of the process."""
    assert worker.stdin is not None
    _round(worker)
    began = time.perf_counter()
    worker.stdin.close()
    worker.wait(60)
    return time.perf_counter() - began


def work(url: str) -> None:
    """One situation: a round for each line of standard input."""
    from langsmith import traceable  # noqa: PLC0415 - only here, as in a process that traces

    from resilience.components.langsmith import Client  # noqa: PLC0415

    client = Client(api_url=url, api_key=KEY, enabled=True) if url else None
    text = "x" * 2048

    @traceable
    def inner(word: str) -> str:
        return word + text

    @traceable
    def outer(word: str) -> tuple[str, str]:
        return inner(word), inner(text)

    for _ in sys.stdin:
        print(json.dumps([_timed(lambda: outer("question")) for _ in range(REQUESTS)]), flush=True)
    del client


def _timed(request: Callable[[], object]) -> float:
    """Milliseconds."""
    began = time.perf_counter()
    request()
    taken = (time.perf_counter() - began) * 1000
    time.sleep(0.002)  # the rest of a request
    return taken


if __name__ == "__main__":
    if sys.argv[1:2] == ["work"]:
        work(sys.argv[2])
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)
