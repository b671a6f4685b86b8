"""What a process knows of each alias, whatever thread or task asks.

Django makes a cache backend for every thread and every async task, so nothing of this may live in
one. States are kept by alias and fingerprint of the connection, stores by the server and database
that they shadow: two aliases of one database agree.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from django.core.cache import caches
from django.dispatch import Signal

from resilience import redact
from resilience.cache.breaker import Breaker
from resilience.cache.faults import Kind
from resilience.cache.link import Link
from resilience.cache.local import LocalStore
from resilience.cache.lock import Held
from resilience.cache.prober import Prober
from resilience.cache.servers import servers_of
from resilience.errors import CacheUnavailable

if TYPE_CHECKING:
    from resilience.cache.options import Options

logger = logging.getLogger("resilience.cache")

state_changed = Signal()
"""Sent when a role of an alias opens or closes, in the thread that saw it.

With ``alias`` (the sender too), ``role`` ("read" or "write"), ``old``, ``new`` and ``why``.
"""

SUMMARY_SECONDS = 10.0


class AliasState:
    """One alias: a breaker per role, the links of its servers, the store behind them."""

    def __init__(
        self, options: Options, store: LocalStore, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.options = options
        self.store = store
        self.clock = clock
        # Under the alias's own prefix: an ACL may allow no other.
        self.probe_key = options.key_func("resilience-probe", options.key_prefix, 1)
        self.in_memory = not options.locations
        self._begin()
        links = [Link(server, options.alias, clock) for server in servers_of(options)]
        self.primary, self.replicas = links[:1], links[1:]
        self.readers = self.replicas or self.primary
        self.writers = self.primary if options.replica_read_only else links

    def _begin(self) -> None:
        """Healthy and counted from zero: at first, and in the child of a fork."""
        self.read = Breaker(self.clock, partial(self._changed, "read"))
        self.write = Breaker(self.clock, partial(self._changed, "write"))
        self.prober = Prober(self)
        self.locks = Held(self.clock)
        self._last_error = ""
        self._last_kind: Kind | None = None
        self._fallbacks = 0
        self._said_at = -SUMMARY_SECONDS
        self._counted = 0

    # ── what happened ───────────────────────────────────────────────────────────────────────────

    def note(self, kind: Kind, error: BaseException) -> None:
        """Remember why Redis did not answer; configuration errors and refusals are said at once."""
        first = kind is not self._last_kind
        self._last_kind, self._last_error = kind, redact.exception(error)
        if kind is Kind.PERMISSION and first:
            logger.error(
                "cache %s: a command is not allowed: %s", self.options.alias, self._last_error
            )

    def count_fallback(self) -> None:
        """A read that this process answered instead; one summary in 10 s says how many."""
        self._fallbacks += 1
        if self.clock() - self._said_at >= SUMMARY_SECONDS:
            self._said_at = self.clock()
            if self._fallbacks - self._counted > 1:
                logger.warning(
                    "cache %s: %d reads answered without Redis so far: %s",
                    self.options.alias,
                    self._fallbacks,
                    self._last_error,
                )
            self._counted = self._fallbacks

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
            logger.log(
                level, "cache %s: %s falls back: %s (%s)", alias, role, why, self._last_error
            )
            self._said_at = self.clock()
            self.prober.start()
        else:
            logger.warning("cache %s: %s is back on Redis: %s", alias, role, why)
            if role == "read":
                self.store.demote()
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
            "journal": {"keys": 0},
            "l1": dict(self.store.snapshot()),
            "links": [link.snapshot() for link in (*self.primary, *self.replicas)],
            "last_error": self._last_error,
            "fallbacks": self._fallbacks,
        }

    def after_fork(self) -> None:
        """The child starts anew: the parent's threads, locks and sockets are not its own."""
        self.store.reset()
        self._begin()

    def reset(self) -> None:
        """End the prober and every connection (tests, changed settings)."""
        self.prober.stop()
        for link in (*self.primary, *self.replicas):
            link.reset()


_lock = threading.Lock()
_states: dict[tuple[str, str], AliasState] = {}
_stores: dict[tuple[Any, ...], LocalStore] = {}


def state_of(options: Options) -> AliasState:
    """The state of an alias with these options, made on first use."""
    key = (options.alias, options.fingerprint)
    found = _states.get(key)
    if found is not None:
        return found
    with _lock:
        if key not in _states:
            store = _stores.get(options.store_key)
            if store is None:
                store = _stores[options.store_key] = LocalStore(options.l1_max_bytes)
            store.grow(options.l1_max_bytes)
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
    for each in states:
        each.reset()


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
    for each in _states.values():
        each.after_fork()


os.register_at_fork(after_in_child=_after_fork)
