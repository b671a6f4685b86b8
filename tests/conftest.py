"""What every test gets: a process that nobody has used yet."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

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


# The longest first, so that no process is left alone with one at the end. Where a name is a folder,
# its files share servers that take seconds to start, and stay in one process.
LONGEST = (
    "tests/page/",
    "tests/cache/test_resurrection.py",
    "tests/rehearse/test_projects.py",
    "tests/test_adoption.py",
    "tests/commands/test_canary.py",
    "tests/test_entry_points.py",
    "tests/commands/test_checkdeploy.py",
    "tests/cache/test_contract.py",
    "tests/probes/test_tls.py",
    "tests/probes/test_deployment.py",
    "tests/rehearse/",
    "tests/cache/test_sessions.py",
    "tests/history/",
    "tests/framework/",
)


class Shared(LoadScopeScheduling):  # type: ignore[misc] # it ships no types
    """Gives a process of the tests whole files: what a module shares is started once."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return next((name for name in LONGEST if file.startswith(name)), file)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Shared:
    config.option.loadscopereorder = False  # the most tests are not the longest
    return Shared(config, log)


def pytest_xdist_auto_num_workers() -> int:
    """Two for each core: most of the time a test waits for a deadline. docs/decisions/0056."""
    return 2 * len(os.sched_getaffinity(0))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=_place)


def _place(item: pytest.Item) -> int:
    places = (n for n, name in enumerate(LONGEST) if item.nodeid.startswith(name))
    return next(places, len(LONGEST))


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, object, object]:
    """What a process of the tests reports to the one that counts, as UTF-8 can hold it.

    Some tests log half a surrogate pair. pytest-xdist ends the whole run over one.
    """
    return _encodable((yield))


def _encodable(value: object) -> object:
    match value:
        case str():
            return value.encode(errors="backslashreplace").decode()
        case list() | tuple():
            return type(value)(map(_encodable, value))
        case dict():
            return {_encodable(key): _encodable(each) for key, each in value.items()}
    return value


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
