"""Every area has a file of probes, and a build image asks nobody."""

from __future__ import annotations

import socket
from importlib import import_module

import pytest

from resilience.errors import UsageError
from resilience.findings import Finding
from resilience.probes import areas
from resilience.probes.base import Deadline, Probe

REDIS = {
    "default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": "redis://127.0.0.1:1/0"},
    "local": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
}


@pytest.fixture(autouse=True)
def without_apps(monkeypatch) -> None:
    """The areas that every project has; tests/history has the one that joins."""
    monkeypatch.setattr(areas, "_joined", {})


def names(probes: list[Probe]) -> list[str]:
    return [probe.area for probe in probes]


@pytest.mark.parametrize("area", areas.AREAS)
def test_an_area_makes_its_own_probes(area, settings):
    settings.CACHES = REDIS
    made = import_module(f"resilience.probes.{area}").probes()
    assert made
    assert set(names(made)) == {area}
    assert all(isinstance(probe, Probe) and probe.subject for probe in made)


def test_all_areas_in_their_order(settings):
    settings.CACHES = REDIS
    found = names(areas.probes_of())
    assert set(found) == set(areas.AREAS) - {"audit"}
    assert found == sorted(found, key=areas.AREAS.index)


def test_some_areas_in_the_same_order(settings):
    settings.CACHES = REDIS
    found = names(areas.probes_of(["redis", "env"]))
    assert list(dict.fromkeys(found)) == ["env", "redis"]


def test_the_cache_brings_what_explains_it(settings):
    settings.CACHES = REDIS
    assert set(names(areas.probes_of(["cache"]))) == {"cache", "redis"}


def test_the_cache_brings__twin__redis_brings_nothing(settings):
    settings.CACHES = REDIS
    assert set(names(areas.probes_of(["redis"]))) == {"redis"}


def test_an_unknown_area_is_named_with_its_nearest():
    with pytest.raises(UsageError, match=r"no area 'databse'.*Did you mean 'database'\?$"):
        areas.probes_of(["env", "databse"])


def test_an_unknown_area__twin():
    unasked = [probe for probe in areas.probes_of(areas.AREAS) if probe.area != "audit"]
    assert unasked == areas.probes_of()


def test_an_unknown_area_without_a_likeness():
    with pytest.raises(UsageError) as raised:
        areas.probes_of(["xyz"])
    assert "Did you mean" not in str(raised.value)
    assert ", ".join(areas.AREAS) in str(raised.value)


def test_an_app_may_join_with_an_area_of_its_own(monkeypatch):
    monkeypatch.setattr(areas, "_joined", {})
    before = areas.probes_of()
    areas.join("instances", "resilience.probes.hosting")  # any module with probes()
    assert areas.names() == (*areas.AREAS, "instances")
    assert areas.named("instances") == "instances"
    assert len(areas.probes_of()) == len(before) + len(areas.probes_of(["instances"]))
    for stage in ("build", "predeploy"):
        monkeypatch.setattr(areas, "_joined", {})
        without = areas.probes_of(stage=stage)
        areas.join("instances", "resilience.probes.hosting")
        assert areas.probes_of(stage=stage) == without


# ── stages ──────────────────────────────────────────────────────────────────────────────────────


def test_a_build_keeps_what_reads_settings_only(settings):
    settings.CACHES = REDIS
    everything, built = areas.probes_of(areas.AREAS), areas.probes_of(stage="build")
    assert built == [probe for probe in everything if not probe.live]
    assert set(names(built)) == set(areas.AREAS) - {"redis", "database"}
    assert areas.probes_of(stage="predeploy") == areas.probes_of()


@pytest.fixture
def offline(monkeypatch) -> list[object]:
    """Nobody connects or resolves; who tries is listed."""
    tried: list[object] = []

    def refuse(*args: object, **_: object) -> None:
        tried.append(args)
        raise ConnectionRefusedError

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return tried


def ask(probes: list[Probe]) -> list[Finding]:
    return [found for probe in probes for found in probe.run(Deadline(1.0))]


def test_a_build_asks_nobody(settings, offline):
    settings.CACHES = REDIS
    assert ask(areas.probes_of(stage="build"))
    assert offline == []


def test_a_build_asks_nobody__twin__a_run_does(settings, offline):
    settings.CACHES = REDIS
    ask(areas.probes_of(["redis"]))
    assert offline
