"""Since when a link is down, and why: what its callers are told. Knows no lock and no clock."""

from __future__ import annotations

from redis import exceptions

from resilience import redact
from resilience.cache.connection import LinkDown
from resilience.cache.connector import Server


class Downtime:
    """``cause`` is None while nothing has failed; ``said`` outlives it, for whoever looks later."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.cause: Exception | None = None
        self.said = ""
        self.since: float | None = None
        self.failed_at = 0.0

    def fail(self, error: Exception, now: float) -> None:
        self.cause, self.said = error, redact.exception(error)
        self.since = now if self.since is None else self.since
        self.failed_at = now

    def end(self) -> None:
        self.cause, self.since = None, None

    def error(self, cause: Exception) -> LinkDown:
        """An exception of its own for every thread."""
        said = self.said if cause is self.cause else redact.exception(cause)
        down = LinkDown(f"Redis at {self._server.where} is not connected: {said}", cause)
        down.__cause__ = cause
        return down

    def late(self) -> exceptions.TimeoutError:
        """The cause while a dial has not ended, or could not begin."""
        return exceptions.TimeoutError(
            f"no connection to {self._server.where} so far ({self._server.connect_timeout:g} s at "
            "most): it says nothing, its name is still being resolved, or other dials take up "
            "every place"
        )
