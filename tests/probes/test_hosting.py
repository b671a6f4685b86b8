"""The two probes of the area: what settings tell, and what only a process in its place can see."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from resilience import catalogue, conf, hosting
from resilience.findings import Finding, Level
from resilience.probes import hosting as probe, surroundings
from resilience.probes.base import Deadline
from resilience.probes.surroundings import Surroundings

ODD = Finding("hosting.port", Level.WARNING, "hosting", "Odd.", "Mend it.")


def run(of: object) -> list[Finding]:
    [found] = [each for each in probe.probes() if isinstance(each, of)]  # type: ignore[arg-type]
    return list(found.run(Deadline(1.0)))


def test_settings_are_looked_at_in_a_build_and_the_container_is_not():
    assert [(each.subject, each.live) for each in probe.probes()] == [
        ("hosting", False),
        ("container", True),
    ]


def test_the_platform_is_told_first_with_its_commit(hosted, monkeypatch):
    monkeypatch.setenv("GIT_SHA", "0123456789abcdef")
    hosted("railway")
    first, *_ = run(probe.Hosting)
    assert (first.id, first.level) == ("hosting.ok", Level.OK)
    assert (first.facts["platform"], first.facts["commit"]) == ("railway", "0123456789abcdef")


def test_the_rules_follow_the_platform(hosted, settings):
    settings.ALLOWED_HOSTS = ["*"]
    hosted("railway")
    assert "hosting.any-host" in {found.id for found in run(probe.Hosting)}
    hosted("none")
    assert [found.id for found in run(probe.Hosting)] == ["hosting.ok"]


@pytest.mark.parametrize("found", [[], [ODD]])
def test_the_container_is_fine_where_no_rule_finds_anything(monkeypatch, found):
    def rule(_: Surroundings) -> Iterator[Finding]:
        yield from found

    monkeypatch.setattr(probe, "LIVE", (rule,))
    ids = [each.id for each in run(probe.Running)]
    assert ids == (["hosting.port"] if found else ["hosting.ok"])


def test_a_rule_looks_at_this_process(monkeypatch):
    monkeypatch.setenv("PORT", "8123")
    around = surroundings.here(asked_for=False)
    assert around.environ["PORT"] == "8123"
    assert around.hosting is conf.detect_hosting()
    assert around.today().year >= 2026


def test_every_platform_with_an_edge_is_one_that_is_detected():
    assert set(surroundings.EDGES) <= set(hosting.CHOICES)


def test_every_rule_is_run():
    """Each id of the area but hosting.ok is yielded by a module whose rules are listed."""
    listed = {rule.__module__ for rule in (*probe.STATIC, *probe.LIVE)}
    assert len(listed) == 5
    ids = {each for each in catalogue.entries() if re.match(r"hosting\.", each)}
    assert len(ids) == 26
