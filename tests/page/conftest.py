"""One Chromium for all, and two sites: one in order, one with every kind of trouble."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from resilience.simulation.authority import Authority
from resilience.simulation.fake_langsmith import FakeLangSmith
from tests.page.browser import Browser, chromium, folder
from tests.page.site import Site, serving
from tests.servers import RedisServer, redis_server

# One as a password manager makes them, one as people make them.
CANARIES = ("cnry9f8e7d6c5b4a39281706fe", "Tr0ub4dor&Horse")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Where to look at what the tests looked at."""
    if any(folder().glob("*.png")):
        terminalreporter.write_line(f"pictures of the status page: {folder()}")


class Expiring(Authority):
    """What it issues has eleven days left of ninety-two."""

    def _issue(self, names, *, expired):  # noqa: ARG002 - it always is, soon
        now = datetime.now(UTC)
        begins, ends = now - timedelta(days=80), now + timedelta(days=11, hours=12)
        return self._ca.issue_cert(*names, not_before=begins, not_after=ends)


@dataclass(frozen=True)
class Scene:
    """A site and its Redis."""

    site: Site
    redis: RedisServer


@pytest.fixture(scope="package")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture(scope="package")
def fine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Redis, database and every component in order."""
    folder = tmp_path_factory.mktemp("fine")
    with (
        redis_server(directory=folder) as redis,
        serving(folder, REDIS_URL=redis.url(), OPENAI_API_KEY="sk-only-for-tests") as site,
    ):
        yield Scene(site, redis)


@pytest.fixture(scope="package")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """On a platform: a phase without its key, a certificate near its end, canaries everywhere.

    A password of one Redis in its URL, another Redis over TLS, a key that nothing may show.
    """
    folder = tmp_path_factory.mktemp("bad")
    authority = Expiring()
    with (
        redis_server("--requirepass", CANARIES[1], directory=folder) as redis,
        redis_server("--requirepass", CANARIES[0], directory=folder, tls=authority) as far,
        FakeLangSmith(CANARIES[0]) as langsmith,
        serving(
            folder,
            REDIS_URL=redis.url(password=CANARIES[1]),
            SITE_TLS_REDIS=far.url(password=CANARIES[0]),
            TLS_CA_BUNDLE=str(authority.write_ca(folder / "ca.pem")),
            SECRET_KEY=f"{CANARIES[0]}-{CANARIES[1]}-and-some-more-of-it-for-its-length",
            RAILWAY_ENVIRONMENT_ID="environment",
            RAILWAY_SERVICE_ID="service",
            RAILWAY_REPLICA_ID="replica-1",
            LANGSMITH_API_KEY=CANARIES[0],
            LANGSMITH_ENDPOINT=langsmith.url,
        ) as site,
    ):
        yield Scene(site, redis)
