"""A variable that is needed later: named where it is declared, read where it is used."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from resilience import redact
from resilience.env import ledger, sources
from resilience.errors import EnvError, UsageError

# Also one that no shell could assign: platforms take more.
_NAME = re.compile(r"\w[\w.-]*")


@dataclass(frozen=True)
class Ref:
    """The name of a variable, in the place of its value. Safe to print, compare and pickle."""

    name: str
    location: str = field(default="", compare=False)

    def __repr__(self) -> str:
        return f"env.ref({self.name!r})"

    def resolve(self) -> str:
        """The value as it is now, masked in every report from then on.

        Raises MissingVariable where no source has it or where it is empty, BrokenSource where a
        source cannot be read.
        """
        found, problem = self._look_up()
        if problem is not None:
            raise problem  # here, where no frame of the traceback holds the value
        return found

    def _look_up(self) -> tuple[str, EnvError | None]:
        try:
            found = sources.lookup(self.name)
        except EnvError as error:
            return "", error.bare()
        if found is None or not found.text.strip():
            return "", ledger.missing(self.name, self.location, empty=found is not None)
        if "://" in found.text:  # its host is what a diagnosis is about
            redact.register_url(found.text, path=True)
        else:
            redact.register(found.text)
        return found.text, None


def ref(name: str) -> Ref:
    """A reference to ``name``, resolved when somebody asks. It reads nothing.

    It declares the name, so that reports know it and say whether it is set. Raises UsageError for
    what is no name, a value in its place for example, and does not repeat it.
    """
    location = ledger.caller()
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        given = "a text that is none" if isinstance(name, str) else type(name).__name__
        del name  # a value in its place is in no frame of the traceback
        raise UsageError(
            f"env.ref() takes the name of a variable and was given {given} ({location}). "
            'Write it as in env.ref("OPENAI_API_KEY").'
        )
    ledger.refer(name, location)
    return Ref(name, location)
