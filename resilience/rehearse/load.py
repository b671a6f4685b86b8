"""Requests to the project while something is broken, each with its time."""

from __future__ import annotations

import http.client
import itertools
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

LIMIT = 2.0  # seconds for one request: what an edge or a person still waits for
_GIVEN_UP = LIMIT + 0.5
_USERS = 4
_PAUSE = 0.04  # seconds between two requests of one user: the load is not the fault
_SERVER_ERROR = 500


@dataclass(frozen=True)
class Measured:
    """What became of the requests. Milliseconds; ``broken`` had no answer at all."""

    milliseconds: tuple[float, ...] = ()
    statuses: Mapping[int, int] = field(default_factory=dict)
    broken: int = 0

    @property
    def requests(self) -> int:
        return len(self.milliseconds)

    @property
    def failed(self) -> int:
        """Answers of 500 and above, and connections that were cut."""
        refused = (n for status, n in self.statuses.items() if status >= _SERVER_ERROR)
        return self.broken + sum(refused)

    @property
    def slow(self) -> int:
        """Requests over the limit."""
        return sum(each > LIMIT * 1000 for each in self.milliseconds)

    def percentile(self, share: float) -> float:
        """The time that this share of the requests did not exceed."""
        ordered = sorted(self.milliseconds)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


class Load:
    """A few users who ask the paths in turn, from entering the block until leaving it."""

    def __init__(
        self, address: tuple[str, int], paths: Sequence[str], headers: Mapping[str, str]
    ) -> None:
        self._address, self._headers = address, dict(headers)
        self._paths = itertools.cycle(paths)
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._took: list[float] = []
        self._statuses: dict[int, int] = {}
        self._broken = 0
        self._users: list[threading.Thread] = []

    def __enter__(self) -> Self:
        for number in range(_USERS):
            user = threading.Thread(target=self._ask, name=f"rehearsal-user-{number}", daemon=True)
            user.start()
            self._users.append(user)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for user in self._users:
            user.join(_GIVEN_UP + 1)

    def measured(self) -> Measured:
        with self._lock:
            return Measured(tuple(self._took), dict(self._statuses), self._broken)

    def _ask(self) -> None:
        while not self._over.is_set():
            with self._lock:
                path = next(self._paths)
            began = time.perf_counter()
            status = self._one(path)
            took = (time.perf_counter() - began) * 1000
            with self._lock:
                self._took.append(took)
                if status:
                    self._statuses[status] = self._statuses.get(status, 0) + 1
                elif took < LIMIT * 1000:  # else it is one of the slow ones
                    self._broken += 1
            self._over.wait(_PAUSE)

    def _one(self, path: str) -> int:
        line = http.client.HTTPConnection(*self._address, timeout=_GIVEN_UP)
        try:
            line.request("GET", path, headers=self._headers)
            answer = line.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            return 0
        else:
            return answer.status
        finally:
            line.close()
