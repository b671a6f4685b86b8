"""Does every cache alias keep what it is given, and for whom?"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field

from django.conf import settings
from django.core.cache import caches

from resilience import conf, redact
from resilience.findings import Finding, Level
from resilience.hosting import Hosting
from resilience.probes import env, redis
from resilience.probes.base import Deadline, Probe

_DUMMY = "django.core.cache.backends.dummy.DummyCache"
_LOCAL = "django.core.cache.backends.locmem.LocMemCache"
_KEY_SECONDS = 10


def probes() -> list[Probe]:
    found: list[Probe] = []
    for alias, config in settings.CACHES.items():
        subject, backend = f"caches.{alias}", str(config.get("BACKEND", ""))
        if backend in (_DUMMY, _LOCAL):
            found.append(Kind(subject, alias=alias, backend=backend))
        if backend != _DUMMY:
            found.append(RoundTrip(subject, redis.subjects_of(alias), alias=alias))
    return found


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
            "Nothing to do on a laptop. Where you deploy, set REDIS_URL (or this alias's LOCATION) "
            "to a Redis that all processes share.",
        )


@dataclass(frozen=True)
class RoundTrip(Probe):
    """Writes, reads, compares and deletes one key through Django's cache API."""

    area = "cache"
    alias: str = field(kw_only=True)

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

    def _round_trip(self) -> Finding:
        cache = caches[self.alias]
        key, value = f"resilience-probe:{uuid.uuid4().hex}", uuid.uuid4().hex
        began = time.perf_counter()
        try:
            cache.set(key, value, timeout=_KEY_SECONDS)
            read = cache.get(key)
            cache.delete(key)
            left = cache.get(key)
        finally:
            cache.close()
        took = round((time.perf_counter() - began) * 1000, 2)
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
            facts={"round_trip_ms": took},
        )

    def _failed(self, error: Exception) -> Finding:
        return Finding(
            "cache.failed",
            Level.ERROR,
            self.subject,
            f"The cache does not work: {redact.exception(error)}",
            f"Look at what it stands on, then at CACHES[{self.alias!r}].",
            location=redact.location(error) if isinstance(error, ImportError) else None,
        )


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


def _short(backend: str) -> str:
    return backend.rpartition(".")[2]
