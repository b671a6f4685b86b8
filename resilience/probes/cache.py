"""Does every cache alias keep what it is given, and for whom?"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from django.conf import settings
from django.core.cache import caches
from django.core.cache.backends.base import InvalidCacheBackendError
from django.core.cache.backends.redis import RedisCache, RedisCacheClient
from django.db import Error as DatabaseError

from resilience import conf, env as environment, places, redact
from resilience.findings import Fact, Finding, Level
from resilience.hosting import Hosting
from resilience.probes import cache_options, env, redis
from resilience.probes.base import Deadline, Probe, elapsed_ms
from resilience.probes.targets import OURS, PROBE_KEY, redis_kind

_DUMMY = "django.core.cache.backends.dummy.DummyCache"
_LOCAL = "django.core.cache.backends.locmem.LocMemCache"
_KEY_SECONDS = 10
_LISTENS_WITHIN = 1.0  # seconds


def probes() -> list[Probe]:
    found: list[Probe] = []
    for alias, config in settings.CACHES.items():
        subject, backend = f"caches.{alias}", str(config.get("BACKEND", ""))
        kind = redis_kind(backend)
        options = cache_options.Options(subject, alias=alias, kind=kind)
        if options.refusal is not None:
            found.append(replace(options, needs=redis.unusable_of(alias)))
            continue
        if kind is not None:
            found.append(options)
        if backend in (_DUMMY, _LOCAL) or (kind == OURS and not redis.subjects_of(alias)):
            found.append(Kind(subject, alias=alias, backend=backend))
        if backend != _DUMMY:
            needs = _stands_on(alias, backend)
            found.append(RoundTrip(subject, needs, alias=alias, ours=kind == OURS))
    return [*found, cache_options.Memory("caches")]


def _stands_on(alias: str, backend: str) -> tuple[str, ...]:
    if backend == "django.core.cache.backends.db.DatabaseCache":
        return ("databases.default",)
    return redis.subjects_of(alias)


@dataclass(frozen=True)
class Kind(Probe):
    """Names the caches that are none, or only this process's own."""

    area = "cache"
    live = False
    alias: str = field(kw_only=True)
    backend: str = field(kw_only=True)

    def run(self, deadline: Deadline) -> Iterator[Finding]:  # noqa: ARG002 - it reads settings only
        hosting = conf.detect_hosting()
        setting = f"CACHES[{self.alias!r}]"
        if self.backend == _DUMMY:
            yield Finding(
                "cache.dummy",
                Level.WARNING if hosting.on_platform else Level.INFO,
                self.subject,
                "DummyCache keeps nothing: every read is a miss.",
                f"Give {setting} a real backend where you deploy.",
            )
            return
        because = _why_shared(self.alias, hosting)
        level = Level.INFO
        if hosting.on_platform:
            level = Level.ERROR if because else Level.WARNING
        yield Finding(
            "cache.local-only",
            level,
            self.subject,
            "This cache lives in this process only: other processes and replicas neither see nor "
            f"delete its entries, and a restart empties it{because}.",
            _how_to_share(setting, hosting, has_client=self.backend != _LOCAL),
        )


@dataclass(frozen=True)
class RoundTrip(Probe):
    """Writes, reads, compares and deletes one key through Django's cache API."""

    area = "cache"
    alias: str = field(kw_only=True)
    ours: bool = field(default=False, kw_only=True)

    def run(self, deadline: Deadline) -> Iterator[Finding]:  # noqa: ARG002 - the backend knows no deadline
        skipped = env.skipped_for(self.subject, settings.CACHES[self.alias])
        if skipped:
            yield skipped
            return
        try:
            finding = self._round_trip()
        except Exception as error:  # noqa: BLE001 - a backend may raise its client's own types
            finding = self._failed(error)
        yield finding
        if self.ours and finding.level is Level.OK:
            yield from self._hot()

    def _hot(self) -> Iterator[Finding]:
        """Whether Redis tells HotCache of changes."""
        state = caches[self.alias]._state  # type: ignore[attr-defined] # noqa: SLF001 - our own backend
        if not state.options.hot or state.in_memory:
            return
        hot = state.listener.try_now(_LISTENS_WITHIN)
        if not hot["listening"]:
            yield Finding(
                "cache.hot-untracked",
                Level.WARNING,
                self.subject,
                "Redis does not tell this process of changes, so nothing is hot: every read asks "
                f"Redis ({hot['why']}).",
                "Connect to Redis 6 or newer, or Valkey, without a proxy that does not pass CLIENT "
                "TRACKING, as a user who may call it: ACL SETUSER name +client|tracking +ping "
                "+hello.",
                {"why": hot["why"]},
            )

    def _round_trip(self) -> Finding:
        cache: Any = caches[self.alias]
        key, value = f"{PROBE_KEY}:{uuid.uuid4().hex}", uuid.uuid4().hex
        before = _dialled(cache) if self.ours else {}
        began = time.perf_counter()
        try:
            cache.set(key, value, timeout=_KEY_SECONDS)
            read = cache.get(key)
            cache.delete(key)
            left = cache.get(key)
        finally:
            cache.close()
            _hang_up(cache)
        took = elapsed_ms(began)
        status = cache._state.snapshot() if self.ours else {}  # noqa: SLF001 - our own backend
        if self.ours and _fell_back(before, status, as_told=read == value and left is None):
            return self._fallback(status)
        if read != value or left is not None:
            return Finding(
                "cache.mismatch",
                Level.ERROR,
                self.subject,
                "A value was written without an error, but "
                + (
                    "reading gave something else." if read != value else "it survived its deletion."
                ),
                "The backend hides its errors (IGNORE_EXCEPTIONS) or another program uses these "
                "keys: look at the Redis finding first, then at KEY_PREFIX.",
            )
        return Finding(
            "cache.ok",
            Level.OK,
            self.subject,
            f"Set, get and delete through {_short(settings.CACHES[self.alias]['BACKEND'])} in "
            f"{took} ms.",
            facts={"round_trip_ms": took, **(_facts(status) if self.ours else {})},
        )

    def _fallback(self, status: dict[str, Any]) -> Finding:
        error = status["last_error"]
        why = f" ({error})" if error else ""
        hint = (
            f"Mend the Redis finding of this report; without one, look at CACHES[{self.alias!r}] "
            "and at what Redis says. This cache returns to Redis by itself."
        )
        held = [role for role in ("read", "write") if status[role]["forced"] == "open"]
        if held:  # by an operator, so it says nothing about Redis and does not end by itself
            why = f" (held open by hand: {' and '.join(held)})"
            hint = (
                "Release it where it is held, once Redis is well: Automatic on that process's "
                f"status page, or resilience.cache.force({self.alias!r}, None) in it. A restart "
                "releases it, too."
            )
        return Finding(
            "cache.fallback",
            Level.ERROR,
            self.subject,
            "Answered by this process instead of Redis: the app goes on, but processes do not see "
            f"each other's changes{why}.",
            hint,
            {
                "state": status["state"],
                "write_state": status["write"]["state"],
                "last_error": error,
                "fallbacks": status["fallbacks"],
                "l1_bytes": status["l1"]["bytes"],
            },
        )

    def _failed(self, error: Exception) -> Finding:
        return Finding(
            "cache.failed",
            Level.ERROR,
            self.subject,
            f"The cache does not work: {redact.exception(error)}",
            _how_to_mend(error, f"CACHES[{self.alias!r}]"),
            location=places.of_error(error) if isinstance(error, ImportError) else None,
        )


def _hang_up(cache: Any) -> None:
    """Django's own Redis cache has a pool for every thread, and this one is about to end."""
    if isinstance(cache, RedisCache) and isinstance(cache._cache, RedisCacheClient):  # noqa: SLF001
        pools: dict[int, Any] = vars(cache._cache)["_pools"]  # noqa: SLF001 - it has no other way
        for pool in pools.values():
            pool.disconnect()


def _dialled(cache: Any) -> dict[str, Any]:
    """How our cache does, once it has had its time to connect: a new process has not yet."""
    state = cache._state  # noqa: SLF001 - our own backend
    from redis import RedisError  # noqa: PLC0415 - 0.1 s that only a Redis user pays

    for link in (*state.primary, *state.replicas):
        known = link.snapshot()
        if known["ready"] or known["lent"]:
            continue  # else one more connection with every question of a running app
        with suppress(RedisError):  # the round trip will say so
            link.dial()
    return dict(state.snapshot())


def _fell_back(before: dict[str, Any], after: dict[str, Any], *, as_told: bool) -> bool:
    """Whether anybody but Redis answered. What Redis itself read back was written to it, too."""
    if after["state"] == "memory":
        return False
    open_ = any(after[role]["state"] != "closed" for role in ("read", "write"))
    counted = after["fallbacks"] > before["fallbacks"] or _journaled(after) > _journaled(before)
    return bool(open_ or counted or (not as_told and after["last_error"]))


def _journaled(status: dict[str, Any]) -> int:
    """How many keys ever were: those of an outage that has ended are taken out of Redis later."""
    return int(status["journal"]["keys"] + status["journal"]["flushed"])


def _facts(status: dict[str, Any]) -> dict[str, Fact]:
    return {
        "state": status["state"],
        "l1_max_mib": round(status["l1"]["max_bytes"] / (1 << 20), 2),
        "processes": conf.detect_hosting().processes or 1,
    }


def _why_shared(alias: str, hosting: Hosting) -> str:
    """Why a cache of one process is wrong here, as the end of a sentence; empty if it may do."""
    if hosting.processes is not None and hosting.processes > 1:
        return f"; {hosting.processes_source} starts {hosting.processes} processes"
    sessions = (
        "django.contrib.sessions.backends.cache",
        "django.contrib.sessions.backends.cached_db",
    )
    if settings.SESSION_ENGINE in sessions and alias == settings.SESSION_CACHE_ALIAS:
        return "; sessions are kept in it"
    return ""


def _how_to_share(setting: str, hosting: Hosting, *, has_client: bool) -> str:
    laptop = "" if hosting.on_platform else "Nothing to do on a laptop. Where you deploy: "
    if any(item.name == "REDIS_URL" for item in environment.declared()):
        return f"{laptop}set REDIS_URL to a Redis that all processes share."
    backend = "" if has_client else f"BACKEND {OURS} and "
    return f"{laptop}give {setting} {backend}a LOCATION redis://… that all processes share."


def _how_to_mend(error: Exception, setting: str) -> str:
    if isinstance(error, ImportError | InvalidCacheBackendError):
        return f"Install the package that is missing, or correct {setting}['BACKEND']."
    if isinstance(error, DatabaseError):
        return "Run python manage.py createcachetable, and look at the database."
    return f"Look at what it stands on, then at {setting}."


def _short(backend: str) -> str:
    return backend.rpartition(".")[2]
