"""What the tests of the probes share."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from resilience import conf

Hosted = Callable[..., None]


@pytest.fixture
def hosted(settings, monkeypatch) -> Hosted:
    """Choose the platform, and how many processes its variables ask for."""

    def choose(platform: str = "none", processes: int | None = None) -> None:
        monkeypatch.delenv("GUNICORN_CMD_ARGS", raising=False)
        monkeypatch.delenv("WEB_CONCURRENCY", raising=False)
        if processes is not None:
            monkeypatch.setenv("WEB_CONCURRENCY", str(processes))
        settings.RESILIENCE = {"PLATFORM": platform}
        conf.reset()

    return choose
