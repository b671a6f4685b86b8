"""What a process knows of each alias, whatever thread or task asks.

Django makes a cache backend for every thread and every async task, so nothing of this may live in
one. States are kept by alias and fingerprint of the connection, stores by the server and database
that they shadow: two aliases of one database agree.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from django.core.cache import caches
from django.dispatch import Signal

from resilience import redact
from resilience.cache.breaker import Breaker
from resilience.cache.faults import Kind
from resilience.cache.flights import Flights
from resilience.cache.flusher import Flusher
from resilience.cache.journal import Journal
from resilience.cache.link import Link
from resilience.cache.listener import Listener
from resilience.cache.local import LocalStore
from resilience.cache.lock import Held
from resilience.cache.prober import Prober
from resilience.cache.servers import servers_of
from resilience.cache.telling import Telling
from resilience.errors import CacheUnavailable

if TYPE_CHECKING:
    from resilience.cache.options import Options

state_changed: Signal = Signal()
"""Sent when a role of an alias opens or closes, in the thread that saw it.

With ``alias`` (the sender too), ``role`` ("read" or "write"), ``old``, ``new`` and ``why``.
"""

EXIT_SECONDS = 1.0  # for what the journals still hold when the process ends


class Store(NamedTuple):
    """What this process holds of one database of one server, whatever aliases lead there."""

    local: LocalStore
    journal: Journal


class AliasState:
    """One alias: a breaker per role, the links of its servers, the store behind them."""

    def __init__(
        self, options: Options, store: Store, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.options = options
        self.store, self.journal = store
        self.clock = clock
        # Under the alias's own prefix: an ACL may allow no other.
        self.probe_key = options.key_func("resilience-probe", options.key_prefix, 1)
        self.in_memory = not options.locations
        self._begin()
        links = [Link(server, options.alias, clock) for server in servers_of(options)]
        self.primary, self.replicas = links[:1], links[1:]
        # What is hot must come from the server that tells of changes.
        self.readers = self.primary if options.hot else self.replicas or self.primary
        self.writers = self.primary if options.replica_read_only else links

    def _begin(self) -> None:
        """Healthy and counted from zero: at first, and in the child of a fork."""
        self.read = Breaker(self.clock, partial(self._changed, "read"))
        self.write = Breaker(self.clock, partial(self._changed, "write"))
        self.prober = Prober(self)
        self.flusher = Flusher(self)
        self.listener = Listener(self)
        self.flights = Flights()
        self.locks = Held(self.clock)
        self._telling = Telling(self.options.alias, self.clock)
        self._last_error = ""
        self._last_kind: Kind | None = None
        self._fallbacks = 0

    # ── what happened ───────────────────────────────────────────────────────────────────────────

    def note(self, kind: Kind, error: BaseException) -> None:
        """Remember why Redis did not answer; refusals are said at once."""
        # Redis repeats the arguments of a command that it does not know: keys, and values.
        said = redact.exception(error).partition(", with args beginning with")[0]
        self._last_kind, self._last_error = kind, said
        if kind is Kind.PERMISSION:
            self._telling.refusal(self._last_error)

    def count_fallback(self) -> None:
        """A read that this process answered instead."""
        if not self.read.closed:
            self.prober.keep()
        self._fallbacks += 1
        self._telling.fallback(self._fallbacks, self._last_error)

    def flush(self) -> None:
        """Something was journaled: take it out of Redis soon, or when its circuit closes."""
        if self.write.closed:
            self.flusher.start()

    def unavailable(self, what: str) -> CacheUnavailable:
        """The error for something that only Redis may answer, with the reason it does not."""
        if self.in_memory:
            why = "this cache has no LOCATION and lives in this process only"
        else:
            why = f"Redis does not answer ({self._last_error or 'its circuit is open'})"
        return CacheUnavailable(f"Cache {self.options.alias!r}: {what} needs Redis, and {why}.")

    def _changed(self, role: str, old: str, new: str, why: str) -> None:
        if new == "half-open" or (old == "half-open" and new == "open"):
            return  # a probe, not a change that anybody can act on
        alias = self.options.alias
        if new == "open":
            loud = self._last_kind is Kind.CONFIGURATION
            level = logging.CRITICAL if loud else logging.ERROR
            self._telling.change(level, f"{role} falls back: {why} ({self._last_error})")
            self.prober.start()
        else:
            self._telling.change(logging.WARNING, f"{role} is back on Redis: {why}")
            self.store.demote()
            if role == "write" and not self.flusher.is_idle():
                self.flusher.start(wake=True)
            self._last_kind = None
        state_changed.send_robust(sender=alias, alias=alias, role=role, old=old, new=new, why=why)

    # ── for operators and reports ───────────────────────────────────────────────────────────────

    def snapshot(self) -> dict[str, Any]:
        """See :func:`status`."""
        now = self.clock()
        state = "memory" if self.in_memory else self.read.state
        return {
            "state": state,
            "since_seconds": round(now - self.read.since, 3),
            "read": _role(self.read, now),
            "write": _role(self.write, now),
            "journal": self.journal.snapshot(),
            "l1": dict(self.store.snapshot()),
            "hot": self.listener.snapshot() if self.options.hot else None,
            "links": [link.snapshot() for link in (*self.primary, *self.replicas)],
            "last_error": self._last_error,
            "fallbacks": self._fallbacks,
        }

    def after_fork(self) -> None:
        """The child starts anew: the parent's threads, locks and sockets are not its own."""
        self.listener.disown()
        self._begin()

    def reset(self) -> None:
        """End the threads and every connection (tests, changed settings)."""
        self.prober.stop()
        self.flusher.stop()
        self.listener.stop()
        for link in (*self.primary, *self.replicas):
            link.reset()


_lock = threading.Lock()
_states: dict[tuple[str, str], AliasState] = {}
_stores: dict[tuple[Any, ...], Store] = {}


def state_of(options: Options) -> AliasState:
    """The state of an alias with these options, made on first use."""
    key = (options.alias, options.fingerprint)
    found = _states.get(key)
    if found is not None:
        return found
    with _lock:
        if key not in _states:
            if not _states:
                atexit.register(_at_exit)
            store = _stores.get(options.store_key)
            if store is None:
                store = Store(LocalStore(options.l1_max_bytes), Journal())
                _stores[options.store_key] = store
            store.local.grow(options.l1_max_bytes)
            _states[key] = AliasState(options, store)
        return _states[key]


def status(alias: str = "default") -> dict[str, Any]:
    """How an alias does in this process, as a plain dictionary.

    ``state`` of the read role (``closed`` ``open`` ``half-open`` ``memory``), ``since_seconds``,
    ``read``, ``write``, ``journal``, ``l1``, ``links``, ``last_error``, ``fallbacks``. Raises
    InvalidCacheBackendError for an alias that is not in ``CACHES``, TypeError for one of another
    backend.
    """
    return _of(alias).snapshot()


def force(
    alias: str,
    state: Literal["open", "closed"] | None,
    role: Literal["read", "write"] | None = None,
) -> None:
    """Hold a role of an alias (None: both) open or closed in this process; None releases it.

    Raises as :func:`status`.
    """
    found = _of(alias)
    if found.in_memory:
        raise TypeError(f"CACHES[{alias!r}] has no LOCATION: there is no circuit to hold")
    for breaker in (found.read, found.write) if role is None else (getattr(found, role),):
        breaker.force(state)
    if state is None:
        found.prober.start()


def _of(alias: str) -> AliasState:
    backend = caches[alias]
    found = getattr(backend, "_state", None)
    if not isinstance(found, AliasState):
        raise TypeError(f"CACHES[{alias!r}] is no resilience.cache.ResilientCache")
    return found


def reset() -> None:
    """Forget everything and close every connection (tests, changed settings)."""
    with _lock:
        states = list(_states.values())
        _states.clear()
        _stores.clear()
    atexit.unregister(_at_exit)
    for each in states:
        each.reset()


def _at_exit() -> None:
    ends = time.monotonic() + EXIT_SECONDS
    for each in list(_states.values()):
        with suppress(Exception):  # whatever it is, the others have their turn
            each.flusher.finish(ends)


def _role(breaker: Breaker, now: float) -> dict[str, Any]:
    return {
        "state": breaker.state,
        "since_seconds": round(now - breaker.since, 3),
        "forced": breaker.forced,
        "latest_ms": round(breaker.latest * 1000, 3),
    }


def _after_fork() -> None:
    global _lock  # noqa: PLW0603 - a thread that does not exist here may hold the old one
    _lock = threading.Lock()
    for store in _stores.values():
        store.local.after_fork()
        store.journal.after_fork()
    for each in _states.values():
        each.after_fork()


os.register_at_fork(after_in_child=_after_fork)
