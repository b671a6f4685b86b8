"""Do sessions outlive what their cache loses, and mean the same to every process?"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from django.conf import settings

from resilience import conf
from resilience.findings import Finding, Level
from resilience.hosting import Hosting
from resilience.probes import aliases, targets
from resilience.probes.base import Deadline, Probe

_CACHE = "django.contrib.sessions.backends.cache"
_CACHED_DB = "django.contrib.sessions.backends.cached_db"
_DUMMY = "django.core.cache.backends.dummy.DummyCache"
_LOCAL = "django.core.cache.backends.locmem.LocMemCache"
# What both engines put before a session's key; the pattern must mean them all.
_SAMPLE = "django.contrib.sessions.cached_db" + "0123456789abcdefghijklmnopqrstuv"


def probes() -> list[Probe]:
    alias = str(settings.SESSION_CACHE_ALIAS)
    return [Sessions("sessions", (f"caches.{alias}",), alias=alias)]


@dataclass(frozen=True)
class Sessions(Probe):
    """The engine of the sessions against the cache that it stands on."""

    area = "deploy"
    live = False
    alias: str = field(kw_only=True)

    def run(self, deadline: Deadline) -> Iterator[Finding]:  # noqa: ARG002 - it reads settings only
        engine = _engine(settings.SESSION_ENGINE)
        if engine is None:
            return
        if self.alias not in settings.CACHES:
            yield self._finding(
                Level.ERROR,
                "SESSION_CACHE_ALIAS names no alias of CACHES: every request with a session fails.",
                "Set it to one of CACHES.",
            )
        elif config := aliases.settings_of(self.alias):
            told = self._cache if engine == _CACHE else self._cached_db
            yield from told(config, conf.detect_hosting())

    def _cache(self, config: Mapping[str, Any], hosting: Hosting) -> Iterator[Finding]:
        """Sessions that are nowhere but in the cache."""
        switch = f'Set SESSION_ENGINE = "{_CACHED_DB}"; everybody logs in once more then.'
        backend = str(config.get("BACKEND", ""))
        level = Level.WARNING if hosting.on_platform else Level.INFO
        if backend == _DUMMY:
            level = Level.ERROR if hosting.on_platform else Level.WARNING
            summary = "Sessions are in DummyCache, which keeps nothing: nobody stays logged in."
        elif self._is_local(backend):
            level = _level_of_local(hosting) or Level.INFO
            summary = (
                "Sessions are in a cache of one process: another process knows none of them, and "
                f"a restart logs everybody out{_why(hosting)}."
            )
        elif targets.redis_kind(backend) == targets.OURS:
            summary = (
                "Sessions are in the cache alone: in an outage of Redis everybody who comes is "
                "logged out, logging in fails, and logging out deletes nothing."
            )
        else:
            summary = "Sessions are in the cache alone: what it loses, or cannot say, logs out."
        yield self._finding(level, summary, switch)

    def _cached_db(self, config: Mapping[str, Any], hosting: Hosting) -> Iterator[Finding]:
        """Sessions of the database, with copies in the cache."""
        backend = str(config.get("BACKEND", ""))
        kind = targets.redis_kind(backend)
        if self._is_local(backend):
            level = _level_of_local(hosting)
            if level is not None:
                yield self._finding(
                    level,
                    "Each process keeps its own copies of sessions: who logs out in one stays "
                    f"logged in in the others{_why(hosting)}.",
                    f"Give CACHES[{self.alias!r}] a LOCATION redis://… that all processes share, "
                    'or set SESSION_ENGINE = "django.contrib.sessions.backends.db".',
                )
        elif kind == targets.OURS:
            if self._is_strict():
                yield self._finding(
                    Level.WARNING,
                    "STRICT names the keys of sessions: in an outage every request of somebody "
                    "who is logged in raises CacheUnavailable.",
                    f"Narrow the patterns of CACHES[{self.alias!r}]: sessions need none, their "
                    "copies are never read in an outage.",
                )
        elif kind is not None and not _ignores_errors(config):
            yield self._finding(
                Level.INFO,
                "In an outage of Redis every request with a session raises, though the database "
                "has them all.",
                f"Set CACHES[{self.alias!r}]['BACKEND'] to {targets.OURS}.",
            )

    def _is_local(self, backend: str) -> bool:
        """Whether every process has one of its own."""
        options = aliases.options_of(self.alias)
        return backend == _LOCAL if options is None else not options.locations

    def _is_strict(self) -> bool:
        options = aliases.options_of(self.alias)
        strict = () if options is None else options.strict
        return any(fnmatch.fnmatchcase(_SAMPLE, pattern) for pattern in strict)

    def _finding(self, level: Level, summary: str, hint: str) -> Finding:
        return Finding("deploy.cache-sessions", level, self.subject, summary, hint)


def _engine(path: str) -> str | None:
    """Which of Django's two engines with a cache it is or extends."""
    if path in (_CACHE, _CACHED_DB):
        return path
    with suppress(Exception, SystemExit):  # a module of the user's own; the app raises it too
        bases = {base.__module__ for base in import_module(path).SessionStore.__mro__}
        return next((known for known in (_CACHED_DB, _CACHE) if known in bases), None)
    return None


def _level_of_local(hosting: Hosting) -> Level | None:
    """For a cache of one process: on a platform there are replicas, or will be."""
    if hosting.on_platform:
        return Level.ERROR
    return Level.WARNING if (hosting.processes or 1) > 1 else None


def _why(hosting: Hosting) -> str:
    if (hosting.processes or 1) > 1:
        return f"; {hosting.processes_source} starts {hosting.processes} processes"
    return ""


def _ignores_errors(config: Mapping[str, Any]) -> bool:
    """Of django-redis; it then waits for its own timeouts, but does not raise."""
    default = getattr(settings, "DJANGO_REDIS_IGNORE_EXCEPTIONS", False)
    return bool((config.get("OPTIONS") or {}).get("IGNORE_EXCEPTIONS", default))
