"""What a fake Redis keeps: values under keys, by database, each with its end."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Final, NamedTuple

from resilience.simulation.resp import MAX_ARGUMENTS, ErrorReply, Reply

Data = dict[tuple[int, bytes], tuple[bytes, float | None]]

SYNTAX: Final = ErrorReply("ERR syntax error")
NOT_A_NUMBER: Final = ErrorReply("ERR value is not an integer or out of range")


class Keys:
    """The commands on ``data``: each takes a database and its arguments.

    ``clock`` gives seconds, for expiry. Not locked.
    """

    def __init__(self, data: Data, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._data = data

    def get(self, database: int, arguments: list[bytes]) -> Reply:
        return self._find(database, arguments[0])[0]

    def mget(self, database: int, arguments: list[bytes]) -> Reply:
        return [self._find(database, key)[0] for key in arguments]

    def exists(self, database: int, arguments: list[bytes]) -> Reply:
        return sum(self._find(database, key)[0] is not None for key in arguments)

    def pttl(self, database: int, arguments: list[bytes]) -> Reply:
        value, until = self._find(database, arguments[0])
        if value is None:
            return -2
        return -1 if until is None else round((until - self._clock()) * 1000)

    def set(self, database: int, arguments: list[bytes]) -> Reply:
        key, value, *options = arguments
        until: float | None = None
        condition = None
        while options:
            option = options.pop(0).upper()
            if option in (b"NX", b"XX") and condition in (None, option):
                condition = option
            elif option in (b"EX", b"PX") and until is None and options:
                amount = integer(options.pop(0))
                if amount is None:
                    return NOT_A_NUMBER
                if amount <= 0:
                    return ErrorReply("ERR invalid expire time in 'set' command")
                until = self._clock() + (amount if option == b"EX" else amount / 1000)
            else:
                return SYNTAX
        exists = self._find(database, key)[0] is not None
        if (condition == b"NX" and exists) or (condition == b"XX" and not exists):
            return None
        self._data[database, key] = (value, until)
        return "OK"

    def pexpire(self, database: int, arguments: list[bytes]) -> Reply:
        key, amount = arguments[0], integer(arguments[1])
        if amount is None:
            return NOT_A_NUMBER
        value, _ = self._find(database, key)
        if value is None:
            return 0
        self._data[database, key] = (value, self._clock() + amount / 1000)
        return 1

    def persist(self, database: int, arguments: list[bytes]) -> Reply:
        value, until = self._find(database, arguments[0])
        if value is None or until is None:
            return 0
        self._data[database, arguments[0]] = (value, None)
        return 1

    def delete(self, database: int, arguments: list[bytes]) -> Reply:
        found = [key for key in set(arguments) if self._find(database, key)[0] is not None]
        for key in found:
            del self._data[database, key]
        return len(found)

    def scan(self, database: int, arguments: list[bytes]) -> Reply:
        """Every key in one go. MATCH as Python's ``fnmatch``, which knows no backslash."""
        cursor, *options = arguments
        given = {
            name.upper(): word for name, word in zip(options[::2], options[1::2], strict=False)
        }
        if cursor != b"0" or len(options) % 2 or not given.keys() <= {b"MATCH", b"COUNT"}:
            return SYNTAX
        keys = [key for home, key in list(self._data) if home == database]
        there = [key for key in keys if self._find(database, key)[0] is not None]
        return [b"0", [key for key in there if fnmatchcase(key, given.get(b"MATCH", b"*"))]]

    def _find(self, database: int, key: bytes) -> tuple[bytes | None, float | None]:
        """Value and expiry of a key; an expired one is dropped."""
        value, until = self._data.get((database, key), (None, None))
        if until is not None and until <= self._clock():
            del self._data[database, key]
            return None, None
        return value, until


Run = Callable[[Keys, int, list[bytes]], Reply]


class Command(NamedTuple):
    """How many arguments it takes, the name aside, and who does it."""

    fewest: int
    most: int
    run: Run


COMMANDS: Final = {
    "DEL": Command(1, MAX_ARGUMENTS, Keys.delete),
    "EXISTS": Command(1, MAX_ARGUMENTS, Keys.exists),
    "GET": Command(1, 1, Keys.get),
    "MGET": Command(1, MAX_ARGUMENTS, Keys.mget),
    "PERSIST": Command(1, 1, Keys.persist),
    "PEXPIRE": Command(2, 2, Keys.pexpire),
    "PTTL": Command(1, 1, Keys.pttl),
    "SCAN": Command(1, 5, Keys.scan),
    "SET": Command(2, 8, Keys.set),
    "UNLINK": Command(1, MAX_ARGUMENTS, Keys.delete),
}


def integer(word: bytes) -> int | None:
    try:
        return int(word)
    except ValueError:
        return None
