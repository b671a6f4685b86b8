"""LANGSMITH_ENDPOINT names the host of the web page, which answers POST with 405."""

from __future__ import annotations

from resilience.rehearse.scenario import LangSmithScenario
from resilience.rehearse.stage import Stage


class LangSmith405(LangSmithScenario):
    name = "langsmith-405"
    fault = "LangSmith answers 405"
    expects = ("langsmith.ui-host", "langsmith.path", "langsmith.http-redirect")

    def arrange(self, stage: Stage) -> None:
        stage.langsmith.prefix = "/api/v1"  # and the variable has no path
