"""A variable that the project needs was not set on the platform."""

from __future__ import annotations

from resilience.rehearse.request import LANGSMITH
from resilience.rehearse.scenario import Scenario
from resilience.rehearse.stage import Stage
from resilience.rehearse.survey import Survey

_DJANGO = "SECRET_KEY"


class MissingSecret(Scenario):
    name = "missing-secret"
    fault = "A secret is missing"
    expects = ("components.blocked", "env.missing", "langsmith.key-missing")
    along = ("components.blocked", "env.missing", "components.unknown")

    def unfit(self, survey: Survey, stage: Stage) -> str:
        return "" if _chosen(stage, survey) else "the environment and .env hold no secret"

    def arrange(self, stage: Stage) -> None:
        stage.environ.pop(_chosen(stage, stage.survey), None)

    def may_refuse(self, survey: Survey) -> bool:
        """An app without any secret but Django's own may not start, if it says why."""
        return not survey.secrets


def _chosen(stage: Stage, survey: Survey) -> str:
    """What components ask for, then another secret of the user's, then Django's own."""
    there = [name for name in stage.mentioned if name in stage.environ and name != LANGSMITH]
    known = [name for name in survey.secrets if name in stage.environ]
    return next(iter([*known, *sorted(there, key=lambda name: name == _DJANGO)]), "")
