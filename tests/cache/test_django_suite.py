"""Django's own cache tests, unedited, pass: with Redis, without one, and with one out of reach."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import django
import pytest

from resilience.simulation.network import Refused
from tests.cache.aliases import BACKEND, url_of
from tests.processes import ROOT
from tests.servers import redis_server

VERSION = django.__version__
KEPT = Path(sysconfig.get_path("data")) / "share" / "django-sdist" / VERSION
WITHIN = 60.0  # seconds; most of it is what Django's tests sleep
# What Django's Redis backend leaves out, too: it has no entries to cull, Redis has.
CULL = {"test_cull", "test_cull_delete_when_store_empty", "test_zero_cull"}
FEWEST = 48
BROKEN = "tests.cache.test_django_suite.Forgetful"


def django_tests() -> Path:
    """The tests of the installed Django, fetched once per environment.

    Without network the test fails in CI; elsewhere it is skipped. Both say why.
    """
    if not KEPT.exists():
        KEPT.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=KEPT.parent) as made:
            scratch = Path(made)
            if said := _fetch(scratch):
                ends = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
                ends(
                    f"Django's own cache tests did not run: pip could not fetch the sdist of "
                    f"Django {VERSION}. Run this once with network. pip said: {said}"
                )
            (archive,) = scratch.glob("*.tar.gz")
            with tarfile.open(archive) as packed:
                packed.extractall(scratch, filter="data")
            (found,) = scratch.glob("*/tests")
            shutil.move(found, scratch / "kept")
            if not KEPT.exists():  # another run may have been faster
                (scratch / "kept").rename(KEPT)
    return KEPT


def _fetch(directory: Path) -> str:
    """What pip said, if it could not."""
    fetch = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    fetch += ["--no-deps", "--no-binary", "django", "--dest", str(directory), f"django=={VERSION}"]
    done = subprocess.run(fetch, capture_output=True, text=True, check=False, timeout=120)
    return done.stderr.strip()[-500:] if done.returncode else ""


@dataclass(frozen=True)
class Case:
    """One backend and LOCATION, while the suite runs on it."""

    process: subprocess.Popen[str]

    def report(self) -> dict[str, Any]:
        out, err = self.process.communicate(timeout=WITHIN)
        assert self.process.returncode == 0, err
        found: dict[str, Any] = json.loads(out.splitlines()[-1])
        return found


@pytest.fixture(scope="module")
def cases(tmp_path_factory) -> Iterator[dict[str, Case]]:
    """All of them at once: they mostly sleep."""
    tests = django_tests()
    with ExitStack() as stack:
        directory = tmp_path_factory.mktemp("django-suite")
        servers = [stack.enter_context(redis_server(directory=directory)) for _ in range(2)]
        refused = stack.enter_context(Refused())

        def start(backend: str, location: str) -> Case:
            command = [sys.executable, "-m", "tests.cache.django_suite", str(tests)]
            process = subprocess.Popen(
                [*command, backend, location],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={name: value for name, value in os.environ.items() if "DJANGO" not in name},
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            return Case(process)

        yield {
            "redis": start(BACKEND, servers[0].url()),
            "memory": start(BACKEND, ""),
            "unreachable": start(BACKEND, url_of(refused)),
            "broken": start(BROKEN, servers[1].url()),
        }


@pytest.mark.parametrize("name", ["redis", "memory", "unreachable"])
def test_every_test_of_django_passes(cases, name):
    report = cases[name].report()
    assert report["failed"] == {}
    assert set(report["skipped"]) == CULL
    assert report["run"] - len(CULL) >= FEWEST


def test_twin__a_backend_that_forgets_the_version_is_found_out(cases):
    assert "test_cache_versioning_get_set" in cases["broken"].report()["failed"]


def __getattr__(name: str) -> Any:
    """``Forgetful``, for the child: this module imports no backend before settings exist."""
    if name != "Forgetful":
        raise AttributeError(name)
    from resilience.cache import ResilientCache

    class Forgetful(ResilientCache):
        def get(self, key: Any, default: Any = None, version: int | None = None) -> Any:  # noqa: ARG002 - it forgets
            return super().get(key, default, None)

    return Forgetful
