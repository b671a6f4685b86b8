"""LangSmith answers every request with an error of its own."""

from __future__ import annotations

from resilience.rehearse.scenario import LangSmithScenario
from resilience.rehearse.stage import Stage

_UNAVAILABLE = 503


class LangSmithDown(LangSmithScenario):
    name = "langsmith-down"
    fault = "LangSmith is down"
    expects = ("langsmith.server-error",)

    def arrange(self, stage: Stage) -> None:
        stage.langsmith.status = _UNAVAILABLE
