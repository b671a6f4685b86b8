"""Which of this process's stores would pass: asked by connecting once with each.

Not worked out from the files: only OpenSSL's own verdict is the one that the libraries get.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from concurrent.futures import Future

from resilience.probes.network import StageFailed
from resilience.tls import policy, stores
from resilience.tls.diagnosis import diagnose
from resilience.tls.handshake import shake


class Comparison:
    """The contexts of all stores, made once for the probes of a run: each takes 20 to 60 ms."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: dict[object, Future[ssl.SSLContext]] = {}

    def verdicts(
        self, dial: Callable[[], socket.socket], name: str, seconds: Callable[[], float]
    ) -> dict[str, str]:
        """For each store the finding id that it would give; empty for one that accepts.

        A store is left out if the server did not answer this time. ``seconds`` is asked before
        every handshake.
        """
        found = {}
        for store in stores.used():
            try:
                context = self._context(store)
            except OSError as error:
                found[store.name] = diagnose(error).id
                continue
            try:
                sock = dial()
            except StageFailed:
                continue
            seen, secured = shake(sock, context, name, seconds())
            if secured is not None:
                secured.close()
            if seen.error is None or isinstance(seen.error, ssl.SSLCertVerificationError):
                found[store.name] = diagnose(seen.error).id if seen.error else ""
        return found

    def _context(self, store: stores.Store) -> ssl.SSLContext:
        """Whoever comes first makes it, the others wait. Raises OSError, as its libraries would."""
        key = (store.name, policy.stamp())
        mine: Future[ssl.SSLContext] = Future()
        with self._lock:
            found = self._made.setdefault(key, mine)
        if found is mine:
            try:
                mine.set_result(store.context())
            except BaseException as error:  # noqa: BLE001 - whoever asked gets it from the result
                mine.set_exception(error)
        return found.result()
