"""A variable that is needed later: named where it is declared, read where it is used."""

from __future__ import annotations

from dataclasses import dataclass, field

from resilience import redact
from resilience.env import ledger, sources
from resilience.errors import EnvError


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
        # Of a URL the password only: host and path are what a diagnosis is about.
        (redact.register_url if "://" in found.text else redact.register)(found.text)
        return found.text, None


def ref(name: str) -> Ref:
    """A reference to ``name``, resolved when somebody asks. Never raises and reads nothing.

    It declares the name, so that reports know it and say whether it is set.
    """
    location = ledger.caller()
    ledger.refer(name, location)
    return Ref(name, location)
