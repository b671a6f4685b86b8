from typing import Any

from resilience import redact
from resilience.components import components

PHASES = ("framework.gather", "framework.reason", "framework.evaluate", "framework.learn")


class Unanswered(Exception):
    """The model's service refused, failed, or took too long. The message holds no secret."""


def run(question: str) -> dict[str, Any]:
    """All four phases in their order, as one trace.

    Raises ComponentUnavailable if one of them cannot be used, before the first begins.
    """
    gather, reason, evaluate, learn = (components[name] for name in PHASES)
    # Both came with phase 2. At the head of this file they would cost every process a second.
    from langsmith import traceable  # noqa: PLC0415
    from openai import OpenAIError  # noqa: PLC0415

    @traceable
    def framework(question: str) -> dict[str, Any]:
        answer = reason.invoke(gather.messages(question))
        verdict = evaluate.judge(answer)
        if verdict.good:
            learn.keep(question, answer.text)
        return {"answer": answer.text, "good": verdict.good, "why": verdict.why}

    try:
        return framework(question)
    except OpenAIError as error:
        raise Unanswered(redact.exception(error)) from error
