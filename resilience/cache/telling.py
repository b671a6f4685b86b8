"""What an alias says in the log: one line per change, and never one per call.

A circuit that opens and closes all the time is told of a few times a minute, then counted.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

logger = logging.getLogger("resilience.cache")

SUMMARY_SECONDS = 10.0
CHANGES = 6  # lines within MINUTE; the next one says how many were left out
MINUTE = 60.0
REFUSALS = 32  # texts; a new one more is told, at the cost of telling the oldest again


class Telling:
    """Of one alias. Threads may tell at once: a line more or less is no matter."""

    def __init__(self, alias: str, clock: Callable[[], float]) -> None:
        self._alias, self._clock = alias, clock
        self._told: deque[float] = deque(maxlen=CHANGES)
        self._untold = 0
        self._refusals: dict[str, float] = {}
        self._summed_at = -SUMMARY_SECONDS
        self._counted = 0

    def change(self, level: int, text: str) -> None:
        """A role opened or closed."""
        now = self._clock()
        self._summed_at = now
        if len(self._told) == CHANGES and now - self._told[0] < MINUTE:
            self._untold += 1
            if self._untold == 1:
                logger.error(
                    "cache %s: falls back and returns all the time; the next changes are counted "
                    "and not told for up to %d s",
                    self._alias,
                    MINUTE,
                )
            return
        self._told.append(now)
        untold, self._untold = self._untold, 0
        since = f" ({untold} changes were not told)" if untold else ""
        logger.log(level, "cache %s: %s%s", self._alias, text, since)

    def refusal(self, text: str) -> None:
        """An ACL forbids something: each once a minute."""
        now = self._clock()
        if now - self._refusals.get(text, -MINUTE) < MINUTE:
            return
        if len(self._refusals) >= REFUSALS:
            self._refusals.pop(next(iter(self._refusals)), None)
        self._refusals[text] = now
        logger.error("cache %s: a command is not allowed (redis.permission): %s", self._alias, text)

    def fallback(self, count: int, why: str) -> None:
        """So many reads were answered without Redis since the start: one summary in 10 s."""
        now = self._clock()
        if now - self._summed_at < SUMMARY_SECONDS:
            return
        self._summed_at = now
        if count - self._counted > 1:
            text = "cache %s: %d reads answered without Redis so far: %s"
            logger.warning(text, self._alias, count, why)
        self._counted = count
