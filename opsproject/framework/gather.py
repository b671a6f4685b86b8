import hashlib

from django.core.cache import cache


def lesson_key(question: str) -> str:
    """Where the cache keeps what was learned about a question."""
    words = " ".join(question.casefold().split())
    return f"framework:lesson:{hashlib.sha256(words.encode()).hexdigest()}"


class Gather:
    """Phase 1: everything that the model is to know."""

    def messages(self, question: str) -> list[tuple[str, str]]:
        instructions = "Answer in one or two plain sentences."
        lesson = cache.get(lesson_key(question))
        if lesson:
            instructions += f" You answered this before, and may do better: {lesson}"
        return [("system", instructions), ("human", question)]
