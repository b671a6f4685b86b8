"""What every test gets: a process that nobody has used yet."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import settings

from resilience import conf, env, redact
from resilience.cache.idle import CLOSER
from resilience.components import components
from resilience.health import monitor
from resilience.tls import policy
from tests.servers import PostgresServer, postgres_server

# At a desk every run tries other examples; where a change is judged, the same ones.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")


@contextmanager
def clean_process() -> Iterator[None]:
    """Forget what the process-wide state holds, before and after, and give os.environ back."""
    before = dict(os.environ)
    _forget()
    try:
        yield
    finally:
        _forget()
        os.environ.clear()
        os.environ.update(before)


def _forget() -> None:
    env.reset()
    redact.reset()
    conf.reset()
    components.reset()
    policy.reset()
    monitor.reset()
    CLOSER.use(wanted=False)


@pytest.fixture(autouse=True)
def clean_state() -> Iterator[None]:
    """No test sees what another one declared, loaded, registered or configured."""
    with clean_process():
        yield


@pytest.fixture(scope="session")
def postgres(tmp_path_factory) -> Iterator[PostgresServer]:
    """One cluster for all tests; who stops it lets it go on, and who changes it starts another."""
    with postgres_server(tmp_path_factory.mktemp("postgres")) as server:
        yield server
