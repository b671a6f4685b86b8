"""Who sends a wrong token waits before the next is looked at. In this process's memory, bounded."""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from typing import NamedTuple

CLIENTS = 1024
"""How many clients' wrong tokens are remembered; the oldest is forgotten for the next."""
LONGEST_DELAY = 30.0
"""Seconds. Behind a proxy all clients have its address: it must not take long to get in again."""

QUIET = 600.0
"""Seconds without a wrong token, after which a client begins anew."""


class _Guesser(NamedTuple):
    wrong: int
    until: float  # of the clock; no token is looked at before


class Guesses:
    """Wrong tokens by client: after the first 1 s, then 2, 4, … during which none is looked at.

    Nobody sleeps: whoever asks is told how long to wait. A client is an address, or the 64 bits of
    an IPv6 network, which one host has for itself.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._clients: OrderedDict[str, _Guesser] = OrderedDict()

    def wait(self, address: str) -> float:
        """Seconds until a token of this client is looked at again; 0: now."""
        with self._lock:
            known = self._clients.get(_client(address))
        return max(0.0, known.until - self._clock()) if known else 0.0

    def count(self, address: str) -> None:
        """A wrong token came from there."""
        client = _client(address)
        with self._lock:
            known = self._clients.pop(client, None)
            now = self._clock()
            # No more than 10, whose power is beyond the longest delay by far.
            wrong = min(known.wrong, 10) if known and now < known.until + QUIET else 0
            delay = min(2.0**wrong, LONGEST_DELAY)
            self._clients[client] = _Guesser(wrong + 1, now + delay)
            if len(self._clients) > CLIENTS:
                self._clients.popitem(last=False)

    def forget(self, address: str) -> None:
        """The right token came from there."""
        with self._lock:
            self._clients.pop(_client(address), None)

    def snapshot(self) -> dict[str, int]:
        """``clients`` that are remembered."""
        with self._lock:
            return {"clients": len(self._clients)}

    def reset(self) -> None:
        """Forget them all, under a new lock (tests, the child of a fork)."""
        self._lock = threading.Lock()
        self._clients = OrderedDict()


def _client(address: str) -> str:
    try:
        found = ip_address(address)
    except ValueError:  # a unix socket has none
        return address[:64]
    if isinstance(found, IPv6Address) and found.ipv4_mapped is None:
        return found.exploded[:19]
    return str(found)


GUESSES = Guesses()
os.register_at_fork(after_in_child=GUESSES.reset)
