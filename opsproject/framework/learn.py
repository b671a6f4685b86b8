from django.core.cache import cache

from .gather import lesson_key

A_DAY = 24 * 60 * 60  # seconds


class Learn:
    """Phase 4: keeps a good answer for the next time that the question is asked."""

    def keep(self, question: str, answer: str) -> None:
        cache.set(lesson_key(question), answer, A_DAY)
