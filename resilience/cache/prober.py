"""Asks an open circuit's Redis whether it is back. No user traffic takes part."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from redis import exceptions

from resilience.cache.faults import Kind, classify

if TYPE_CHECKING:
    from resilience.cache.breaker import Breaker
    from resilience.cache.link import Command, Link
    from resilience.cache.state import AliasState

PERIOD = 0.5  # seconds; a short first wait makes a blip a blip
PERIOD_LATER = 2.0
LATER = 60.0  # seconds after which nobody hopes for a blip
JITTER = 0.2  # of the period, so that a thousand processes do not ask in step
_KEY_MS = 1000


class Prober:
    """One daemon thread per alias, alive while a role is open."""

    def __init__(self, state: AliasState) -> None:
        self._state = state
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()

    def start(self) -> None:
        """Probe until every role is closed. Does nothing if that is under way."""
        with self._lock:
            alive = self._thread is not None and self._thread.is_alive()
            if alive or self._stopped.is_set():
                return
            name = f"resilience-prober-{self._state.options.alias}"
            self._thread = threading.Thread(target=self._run, name=name, daemon=True)
            # Without a thread to be had the next open circuit or fallback tries again.
            with contextlib.suppress(RuntimeError):
                self._thread.start()

    def stop(self) -> None:
        """End for good."""
        self._stopped.set()

    def _run(self) -> None:
        began = self._state.clock()
        while not self._stopped.is_set():
            late = self._state.clock() - began > LATER
            period = PERIOD_LATER if late else PERIOD
            jitter = 1 + random.uniform(-JITTER, JITTER)  # noqa: S311 - no secret
            if self._stopped.wait(period * jitter):
                return
            self.probe()
            with self._lock:
                if self._state.read.closed and self._state.write.closed:
                    self._thread = None
                    return

    def probe(self) -> None:
        """Ask once for each role that is open."""
        state = self._state
        key = state.probe_key
        self._probe_role(state.read, state.readers, ("GET", key))
        self._probe_role(state.write, state.writers, ("SET", key, b"1", "PX", _KEY_MS))

    def _probe_role(self, breaker: Breaker, links: Sequence[Link], command: Command) -> None:
        """One server that answers is enough: reads leave out those that are down."""
        if breaker.closed or not breaker.half_open():
            return
        answers = [self._answers(link, command) for link in links]  # every one, to connect it too
        if any(answers):
            breaker.close()
        else:
            breaker.reopen()

    def _answers(self, link: Link, command: Command) -> bool:
        state = self._state
        try:
            link.dial()
            (reply,) = link.exchange((command,), state.clock() + state.options.operation_timeout)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is no answer
            state.note(classify(error), error)
            return False
        if isinstance(reply, exceptions.RedisError):
            kind = classify(reply)
            state.note(kind, reply)
            if kind is Kind.READONLY:
                link.drop()
            return kind is Kind.PERMISSION  # it answers, and this user may not ask for this key
        return True
