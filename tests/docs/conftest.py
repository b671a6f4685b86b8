"""A new project, and a Redis, for those who follow the pages."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from resilience.simulation.redis_server import RedisServer
from tests.processes import ROOT, run

_APPS = 'INSTALLED_APPS += ["resilience"]\n'
_HISTORY = 'INSTALLED_APPS += ["resilience.history"]\n'


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``startproject`` makes, with the first step of adoption, migrated. To be copied."""
    folder = tmp_path_factory.mktemp("shop")
    variables = {"PYTHONPATH": str(ROOT)}
    start = (sys.executable, "-m", "django", "startproject", "shop", str(folder))
    assert run(*start, cwd=folder, variables={}).code == 0
    settings = folder / "shop" / "settings.py"
    settings.write_text(f"{settings.read_text()}\n{_APPS}{_HISTORY}")
    migrate = (sys.executable, "manage.py", "migrate", "--verbosity", "0")
    ended = run(*migrate, cwd=folder, variables=variables)
    assert ended.code == 0, ended.err
    settings.write_text(settings.read_text().removesuffix(_HISTORY))  # its tables stay
    return folder


@pytest.fixture
def throwaway(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that the test may stop."""
    with RedisServer(tmp_path) as server:
        yield server
