"""What this package raises on purpose.

::

    ResilienceError
    ├── CacheUnavailable      only Redis may answer this, and it does not
    ├── UsageError            the caller asked for something that does not exist
    └── EnvError              the environment cannot give what the code declared
        ├── MissingVariable   declared without a default, found nowhere
        ├── InvalidVariable   found, but not of the declared type
        └── BrokenSource      a file or pair of variables that cannot be read without guessing

A message says what happened, to which thing, and what to do next. It never holds the value of a
variable, so it may go to any log.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ResilienceError(Exception):
    """Base of everything raised here on purpose."""


class CacheUnavailable(ResilienceError):
    """Redis does not answer, and nobody may answer in its place: a STRICT key, a lock, a scan."""


class UsageError(ResilienceError):
    """A command or a setting was given a word that it cannot use."""


class EnvError(ResilienceError):
    """The environment cannot give what the code declared.

    ``id`` is the finding id under which ``checkdeploy`` reports it, ``subject`` the variable or
    file, ``hint`` the next step, ``location`` the ``file:line`` where there is one.
    """

    id: str

    def __init__(
        self, subject: str, problem: str, hint: str, *, location: str | None = None
    ) -> None:
        self.subject = subject
        self.problem = problem
        self.hint = hint
        self.location = location
        super().__init__(subject, problem, hint, location)

    def __str__(self) -> str:
        where = f" ({self.location})" if self.location else ""
        return f"{self.problem}{where}. {self.hint}"


class MissingVariable(EnvError):
    """A variable was declared without a default and no source has it."""

    id = "env.missing"


class InvalidVariable(EnvError):
    """A variable is set, but its text is not of the declared type."""

    id = "env.invalid"


class BrokenSource(EnvError):
    """A source cannot be used without guessing: unreadable, malformed, or contradicting another."""

    def __init__(
        self, id: str, subject: str, problem: str, hint: str, *, location: str | None = None
    ) -> None:
        super().__init__(subject, problem, hint, location=location)
        self.id = id


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`` Did you mean …?`` with the nearest of the known words, or nothing."""
    nearest = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" Did you mean {nearest[0]!r}?" if nearest else ""
