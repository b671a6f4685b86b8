from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # at run time the package is imported by whom it serves, phase 2
    from langchain_core.messages import AIMessage


class Verdict(NamedTuple):
    good: bool
    why: str


class Evaluate:
    """Phase 3: whether an answer is worth keeping."""

    def judge(self, answer: "AIMessage") -> Verdict:
        ended = answer.response_metadata.get("finish_reason", "stop")
        if ended != "stop":
            return Verdict(good=False, why=f"the model stopped because of {ended}")
        if not answer.text.strip():
            return Verdict(good=False, why="the model said nothing")
        return Verdict(good=True, why="the model ended by itself")
