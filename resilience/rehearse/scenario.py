"""One scenario: what is broken, when, and which findings name it."""

from __future__ import annotations

import time
from typing import ClassVar

from resilience.rehearse.stage import Stage
from resilience.rehearse.survey import Survey


class Scenario:
    """A fault that is there before the project boots, unless a subclass says otherwise.

    ``fault`` says it as the beginning of a sentence. ``expects`` are the findings that name it,
    any of which will do; none for a scenario without a fault. ``along`` are those that may stand
    beside it as root causes of their own.
    """

    name: ClassVar[str]
    fault: ClassVar[str]
    expects: ClassVar[tuple[str, ...]] = ()
    along: ClassVar[tuple[str, ...]] = ()

    def unfit(self, survey: Survey, stage: Stage) -> str:  # noqa: ARG002 - for those that ask
        """Why it cannot be played with this project; empty if it can."""
        return ""

    def arrange(self, stage: Stage) -> None:
        """Break what is broken from the start."""

    def during(self, stage: Stage, seconds: float) -> None:  # noqa: ARG002 - as above
        """What happens while requests come, for so many seconds."""
        time.sleep(seconds)

    def may_refuse(self, survey: Survey) -> bool:  # noqa: ARG002 - as above
        """Whether not to boot is a right answer, as long as the reason is named."""
        return False


class RedisScenario(Scenario):
    """A fault of Redis."""

    along: ClassVar[tuple[str, ...]] = ("cache.fallback", "deploy.cache-sessions", "probe.timeout")

    def unfit(self, survey: Survey, stage: Stage) -> str:  # noqa: ARG002 - the base's signature
        if not survey.caches:
            return "no alias of CACHES lives on Redis"
        if survey.sentinel:
            return "CACHES finds Redis through Sentinel, which is not rehearsed"
        return ""


class LangSmithScenario(Scenario):
    """A fault of LangSmith."""

    along = ("components.probe-failed", "tls.insecure")

    def unfit(self, survey: Survey, stage: Stage) -> str:
        if not survey.langsmith:
            return "langsmith is not installed"
        return "" if stage.request.uses_langsmith else "nothing in the project mentions LangSmith"
