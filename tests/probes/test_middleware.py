"""Who stands before HealthMiddleware is told of, in the system checks and in checkdeploy."""

from __future__ import annotations

import pytest
from django.core import checks

from resilience.findings import Level
from resilience.probes import middleware

OURS = "resilience.middleware.HealthMiddleware"
SECURITY = "django.middleware.security.SecurityMiddleware"
COMMON = "django.middleware.common.CommonMiddleware"


@pytest.mark.parametrize("placed", [[], [SECURITY], [OURS], [OURS, SECURITY], (OURS, COMMON)])
def test_first_or_not_at_all_is_fine(settings, placed):
    settings.MIDDLEWARE = placed
    assert list(middleware.found()) == []


@pytest.mark.parametrize(
    ("placed", "number"), [([SECURITY, OURS], 2), ([SECURITY, COMMON, OURS], 3)]
)
def test_anywhere_else_is_a_warning(settings, placed, number):
    settings.MIDDLEWARE = placed
    (found,) = middleware.found()
    assert (found.id, found.level) == ("deploy.middleware-order", Level.WARNING)
    assert f"number {number}" in found.summary
    assert SECURITY in found.hint


def test_it_is_among_the_deployment_checks(settings):
    settings.MIDDLEWARE = [SECURITY, OURS]
    every = {message.id for message in checks.run_checks(include_deployment_checks=True)}
    assert "resilience.deploy.middleware-order" in every
    assert "resilience.deploy.middleware-order" not in {m.id for m in checks.run_checks()}
