"""What ``env.load()`` costs beside python-dotenv and django-environ, on the same ``.env``.

    python -m benchmarks.env [ROUNDS]

A file of 100 variables as projects have them: plain, quoted, with comments; every line is one that
all of them understand. In one process, bytecode compiled and modules imported, with the contestants
taking turns. Then whole processes, because the first read also pays for imports.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import dotenv
import environ

from resilience import env
from tests.processes import ROOT, run

NAMES = [f"BENCH_{number}" for number in range(100)]
SHAPES = (
    "{}=plain-value",
    "{}='quoted with spaces'",
    '{}="with \\"escapes\\" in it"',
    "export {}=https://user:password@example.com:8443/path?x=1",
    "# a comment line\n{}=value # and one behind it",
)
CHILD = {
    "nothing": "",
    "resilience": "from resilience import env; env.load({folder!r})",
    "python-dotenv": "import dotenv; dotenv.load_dotenv({folder!r} + '/.env')",
    "django-environ": "import environ; environ.Env.read_env({folder!r} + '/.env')",
}


def write(folder: Path) -> Path:
    """The file that every contestant reads."""
    lines = [SHAPES[number % len(SHAPES)].format(name) for number, name in enumerate(NAMES)]
    path = folder / ".env"
    path.write_text("\n".join([*lines, ""]))
    return path


def forget() -> None:
    env.reset()
    for name in NAMES:
        os.environ.pop(name, None)


def measured(read: Callable[[], object]) -> float:
    """Seconds of one read into an environment without these variables."""
    forget()
    began = time.perf_counter()
    read()
    spent = time.perf_counter() - began
    assert all(name in os.environ for name in NAMES)
    return spent


def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder))

        def declare() -> None:
            env.load(folder)
            for name in NAMES:
                env.str(name)

        contestants: dict[str, Callable[[], object]] = {
            "env.load()": lambda: env.load(folder),
            "and 100 × env.str()": declare,
            "dotenv.load_dotenv()": lambda: dotenv.load_dotenv(path),
            "Env.read_env()": lambda: environ.Env.read_env(str(path)),
        }
        spent: dict[str, list[float]] = {name: [] for name in contestants}
        for _ in range(rounds + 1):  # the first round imports and is not counted
            for name, read in contestants.items():
                spent[name].append(measured(read))
        forget()
        medians = {name: statistics.median(times[1:]) for name, times in spent.items()}
        ours = medians["env.load()"]
        print(f"100 variables, {path.stat().st_size} bytes, median of {rounds}")
        for name, median in medians.items():
            print(f"{name:22} {median * 1000:6.2f} ms   {median / ours:5.2f}")
        print(f"aim: env.load() under 5 ms: {'met' if ours < 0.005 else 'missed'}")  # noqa: PLR2004
        whole = processes(folder, max(3, rounds // 10))
    bare = whole.pop("nothing")
    print("\nwhole processes, more than an empty one")
    for name, seconds in whole.items():
        ratio = (seconds - bare) / (whole["resilience"] - bare)
        print(f"{name:22} {(seconds - bare) * 1000:6.1f} ms   {ratio:5.2f}")


def processes(folder: str, rounds: int) -> dict[str, float]:
    """Seconds of a process that does nothing but read the file, and of one that does nothing."""
    spent: dict[str, list[float]] = {name: [] for name in CHILD}
    for _ in range(rounds + 1):
        for name, code in CHILD.items():
            command = (sys.executable, "-c", code.format(folder=folder))
            ended = run(*command, cwd=ROOT, variables={})
            assert ended.code == 0, ended.err
            spent[name].append(ended.seconds)
    return {name: statistics.median(times[1:]) for name, times in spent.items()}


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 101)
