"""What a child process inherits from us, told apart from what it is given on purpose.

Values from files stand in ``os.environ``, so every child starts with them, ``runserver``'s reloaded
one too. One more variable tells it which ones: their names, where they came from, and a salted
digest of each value. The child reads those anew; a value that is not the digest's was given to it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field

# Django's error page masks every name with SIGNATURE in it: a digest of a short value can be tried.
VARIABLE = "RESILIENCE_ENV_SIGNATURES"
# Linux starts no process with a variable of more than 128 KiB: what is longer has several parts.
_LONGEST = 100_000
_SALT = 16  # bytes


@dataclass(repr=False)
class Handover:
    """Names of one process, each with its origin and the digest of its value.

    ``root`` is the folder of the files, and says whose values these are.
    """

    root: str = ""
    salt: str = field(default_factory=lambda: os.urandom(_SALT).hex())
    entries: dict[str, list[str]] = field(default_factory=dict)

    def note(self, name: str, text: str, origin: str) -> None:
        """Count a value among ours."""
        self.entries[name] = [origin, self._digest(text)]

    def forget(self, name: str) -> None:
        """Count a name among ours no more."""
        self.entries.pop(name, None)

    def publish(self) -> None:
        """Tell the children that start from now on."""
        written = json.dumps([self.root, self.salt, self.entries]) if self.entries else ""
        parts = range(0, len(written), _LONGEST)
        for number, start in enumerate(parts):
            os.environ[_part(number)] = written[start : start + _LONGEST]
        withdraw(len(parts))

    def inherited(self) -> Iterator[tuple[str, str, str]]:
        """Name, value and origin of what stands in ``os.environ`` as it was handed over."""
        for name, (origin, digest) in self.entries.items():
            text = os.environ.get(name)
            if text is not None and self._digest(text) == digest:
                yield name, text, origin

    def _digest(self, text: str) -> str:
        from hashlib import blake2b  # noqa: PLC0415 - 2 ms, for those who have something to tell

        return blake2b(os.fsencode(text), key=bytes.fromhex(self.salt), digest_size=12).hexdigest()


def withdraw(first: int = 0) -> None:
    """Tell children nothing, or no part from the ``first`` on."""
    while os.environ.pop(_part(first), None) is not None:
        first += 1


def received() -> Handover:
    """What the parent told us; nothing if it is not of our form."""
    try:
        root, salt, entries = json.loads("".join(_parts()))
        known = {
            str(name): [str(origin), str(digest)] for name, (origin, digest) in entries.items()
        }
        os.fsencode("".join([str(root), *known, *(origin for origin, _ in known.values())]))
        if len(bytes.fromhex(salt)) != _SALT:
            return Handover()
    except (ValueError, TypeError, AttributeError, RecursionError):
        return Handover()
    return Handover(str(root), salt, known)


def _parts() -> Iterator[str]:
    number = 0
    while (part := os.environ.get(_part(number))) is not None:
        yield part
        number += 1


def _part(number: int) -> str:
    return f"{VARIABLE}_{number + 1}" if number else VARIABLE
