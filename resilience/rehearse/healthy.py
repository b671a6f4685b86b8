"""Nothing is broken: what the other scenarios are compared with."""

from __future__ import annotations

from resilience.rehearse.scenario import Scenario


class Healthy(Scenario):
    name = "healthy"
    fault = "Nothing is broken"
