"""Permission that ends while a process runs: from then on its contexts refuse every handshake.

A client makes its context once and lives for weeks; the last day of an exception does not wait for
its restart.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any

from resilience.errors import InsecureExpired


class HandshakeRefused(InsecureExpired, ssl.SSLError):
    """As clients expect it of a handshake: libraries handle an SSLError, asyncio nothing else."""


def watch(context: ssl.SSLContext, check: Callable[[], None]) -> None:
    """Have every handshake of a context call ``check``, which refuses it by InsecureExpired."""
    answer = {"check": staticmethod(check)}
    context.sslsocket_class = type("WatchedSocket", (_WatchedSocket,), answer)
    context.sslobject_class = type("WatchedObject", (_WatchedObject,), answer)


class _Watched:
    """What ``SSLSocket`` and ``SSLObject`` have in common here."""

    check: Callable[[], None]

    def do_handshake(self, *args: Any) -> None:
        try:
            self.check()
        except InsecureExpired as over:
            raise HandshakeRefused(str(over)) from None
        super().do_handshake(*args)  # type: ignore[misc]


class _WatchedSocket(_Watched, ssl.SSLSocket):
    pass


class _WatchedObject(_Watched, ssl.SSLObject):
    pass
