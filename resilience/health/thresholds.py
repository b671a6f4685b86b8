"""When a failure counts: one that nobody sees again must not take the app out of service."""

from __future__ import annotations

FAILURES = 2
SUCCESSES = 2


class Threshold:
    """Whether a subject counts as failing, after each of its runs.

    The first run counts at once. From then on it takes ``failures`` runs in a row to count as
    failing and ``successes`` in a row to count as well again; a run in between starts the count
    anew. Raises ValueError for less than 1.
    """

    def __init__(self, failures: int = FAILURES, successes: int = SUCCESSES) -> None:
        if failures < 1 or successes < 1:
            raise ValueError("a threshold is at least 1")
        self._wanted = {True: failures, False: successes}
        self._streak = 0
        self.failing: bool | None = None  # before the first run
        self.since: float | None = None  # unix seconds

    def note(self, *, failed: bool, at: float) -> None:
        """One more run ended at ``at``, in unix seconds."""
        if failed is self.failing:
            self._streak = 0
            return
        self._streak += 1
        if self.failing is None or self._streak >= self._wanted[failed]:
            self.failing, self.since, self._streak = failed, at, 0
