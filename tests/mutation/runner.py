"""Runs the tests of a file once for each of its mutants.

A mutant never reaches the disk: each run is a fork that imports the changed source in the file's
place. What is slow to import and none of ours is there before the fork.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import NamedTuple, NoReturn

import pytest
from hypothesis import Phase, settings

_SLOW_TO_IMPORT = (
    "cryptography.x509 django.db.models django.test django_redis hypothesis.stateful "
    "pytest_django redis requests trustme"
).split()
PASSED = 0  # pytest's
# That plugins were imported before pytest could rewrite their asserts is no fault of a test.
_OPTIONS = "-x -q -p no:cacheprovider -W ignore::pytest.PytestAssertRewriteWarning".split()
_BROKEN = 70  # what a run ends with that did not come as far as its tests


class Outcome(NamedTuple):
    """``code`` is pytest's, None for a run that took too long; ``seconds`` that it took."""

    code: int | None
    seconds: float
    said: str


class Mutated(MetaPathFinder, Loader):
    """Imports one file from a changed source."""

    def __init__(self, path: Path, source: str) -> None:
        self._path = path
        self._source = source
        self._name = ".".join(path.with_suffix("").parts)

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        return spec_from_loader(name, self) if name == self._name else None

    def exec_module(self, module: ModuleType) -> None:
        module.__file__ = str(self._path.resolve())
        exec(compile(self._source, module.__file__, "exec"), module.__dict__)  # noqa: S102


def prepare() -> None:
    """Once, before the first run."""
    for name in _SLOW_TO_IMPORT:
        import_module(name)
    # Every run tries the same examples, and none looks for the smallest that fails.
    os.environ.pop("CI", None)
    settings.register_profile(
        "mutation", derandomize=True, database=None, phases=[Phase.explicit, Phase.generate]
    )
    settings.load_profile("mutation")


class Run:
    """The tests in a process of their own, which leads a group that ends with it."""

    def __init__(self, mutated: Mutated, tests: Sequence[str], seconds: float) -> None:
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed by end()
        self._began = time.monotonic()
        self.ends = self._began + seconds
        self._pid = os.fork()
        if self._pid == 0:
            signal.alarm(int(seconds) + 60)  # should nobody be left to end it
            self._be(mutated, tests)
        self.over = os.pidfd_open(self._pid)  # readable when it is

    def _be(self, mutated: Mutated, tests: Sequence[str]) -> NoReturn:
        code = _BROKEN
        try:
            os.setsid()
            for descriptor in (1, 2):
                os.dup2(self._output.fileno(), descriptor)
            sys.meta_path.insert(0, mutated)
            code = pytest.main([*_OPTIONS, *tests])
        except BaseException:  # noqa: BLE001 - this process ends here whatever happens
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def end(self) -> Outcome:
        """What came of it; ends it if it is not over."""
        in_time = _within(self.over, 0)
        if not in_time:
            os.kill(self._pid, signal.SIGINT)  # pytest then ends the servers of its tests
            _within(self.over, 5)
        with suppress(ProcessLookupError):
            os.killpg(self._pid, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        os.close(self.over)
        with self._output as output:
            output.seek(0)
            said = output.read().decode(errors="replace")
        return Outcome(code if in_time else None, time.monotonic() - self._began, said)


def run_all(runs: Iterable[Callable[[], Run]], at_once: int) -> Iterator[tuple[int, Outcome]]:
    """Start every run and yield what came of it, with its number, in the order of their ends."""
    waiting = enumerate(runs)
    under_way: dict[int, Run] = {}
    try:
        while True:
            for number, start in islice(waiting, at_once - len(under_way)):
                under_way[number] = start()
            if not under_way:
                return
            first = min(run.ends for run in under_way.values()) - time.monotonic()
            select.select([run.over for run in under_way.values()], [], [], max(0.0, first))
            for number, run in list(under_way.items()):
                if run.ends <= time.monotonic() or _within(run.over, 0):
                    del under_way[number]
                    yield number, run.end()
    finally:  # interrupted
        for run in under_way.values():
            run.end()


def _within(over: int, seconds: float) -> bool:
    return bool(select.select([over], [], [], seconds)[0])
