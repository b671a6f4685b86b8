"""What this package raises on purpose.

::

    ResilienceError
    ├── CacheUnavailable      only Redis may answer this, and it does not
    ├── ComponentUnavailable  a component is not ready: its status, and the fix
    ├── InsecureExpired       verification was switched off until a day that has passed
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
from typing import Any, Self


class ResilienceError(Exception):
    """Base of everything raised here on purpose."""


class CacheUnavailable(ResilienceError):
    """Redis does not answer, and nobody may answer in its place: a STRICT key, a lock, a scan."""


class ComponentUnavailable(ResilienceError):
    """A component is not ready.

    ``name``, its ``state`` (``unknown`` if nothing declares it), the ``problem`` as a sentence
    without its stop, the ``hint``.
    """

    def __init__(self, name: str, state: str, problem: str, hint: str) -> None:
        self.name = name
        self.state = state
        self.problem = problem
        self.hint = hint
        super().__init__(name, state, problem, hint)

    def __str__(self) -> str:
        return f"Component {self.name!r} is {self.state}: {self.problem}. {self.hint}"


class InsecureExpired(ResilienceError):
    """TLS without verification was allowed until a date, and that is over."""


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

    def __reduce__(self) -> tuple[Any, ...]:
        # By default the arguments are given by position, which is not how they are taken.
        return _revive, (type(self), self.args), self.__dict__

    def bare(self) -> Self:
        """Itself, without the frames and exceptions whose variables hold what was refused."""
        error: BaseException = self
        error.__cause__ = error.__context__ = error.__traceback__ = None
        return self

    def __str__(self) -> str:
        where = f" ({self.location})" if self.location else ""
        return f"{self.problem}{where}. {self.hint}"


def _revive(cls: type[EnvError], arguments: tuple[Any, ...]) -> EnvError:
    return cls.__new__(cls, *arguments)


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
