"""LangSmith does not know the key."""

from __future__ import annotations

from resilience.rehearse.scenario import LangSmithScenario
from resilience.rehearse.stage import Stage


class LangSmithBadKey(LangSmithScenario):
    name = "langsmith-bad-key"
    fault = "LangSmith does not know the key"
    expects = ("langsmith.key-invalid", "langsmith.key-forbidden")

    def arrange(self, stage: Stage) -> None:
        stage.environ["LANGSMITH_API_KEY"] = "lsv2_pt_another"
