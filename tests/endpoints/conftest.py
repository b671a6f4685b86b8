"""The site of the tests that need no server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.test import override_settings

from resilience.endpoints import draining, readyz
from resilience.endpoints.guesses import GUESSES
from resilience.health import monitor
from resilience.probes import cache
from tests.endpoints.parts import COUNTER, SITE


@pytest.fixture
def site(monkeypatch) -> Iterator[None]:
    """What is asked is the cache alone: no other probe has a part in these tests."""
    monkeypatch.setattr(monitor, "_monitor", monitor.Monitor(probes=cache.probes))
    monkeypatch.setattr(readyz, "WAIT", 10.0)  # a busy machine is no reason to be starting
    COUNTER.reset()
    with override_settings(**SITE):
        yield
    monitor.reset()
    draining.reset()
    GUESSES.reset()
