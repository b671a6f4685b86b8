"""When a failure counts: one that nobody sees again must not take the app out of service."""

from __future__ import annotations

RUNS = 2


class Threshold:
    """Whether a subject counts as failing, after each of its runs.

    The first run counts at once. From then on it takes ``RUNS`` in a row to count as failing, and
    as many to count as well again; a run in between starts the count anew.
    """

    def __init__(self) -> None:
        self._streak = 0
        self.failing: bool | None = None  # before the first run

    def note(self, *, failed: bool) -> None:
        """One more run ended."""
        if failed is self.failing:
            self._streak = 0
            return
        self._streak += 1
        if self.failing is None or self._streak >= RUNS:
            self.failing, self._streak = failed, 0
