"""What the settings of the caches on Redis tell by themselves, before anybody is asked."""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from django.conf import settings
from django.core.cache.backends.base import InvalidCacheBackendError

from resilience import conf, env as environment
from resilience.findings import Finding, Level
from resilience.probes import aliases, redis, targets
from resilience.probes.base import Deadline, Probe

_MIB = 1 << 20
_SHARE = 4  # the part of a container's memory that a cache's copies may take
_PICKLES = (
    None,
    "django.core.cache.backends.redis.RedisSerializer",
    "django_redis.serializers.PickleSerializer",
    "django_redis.serializers.pickle.PickleSerializer",
)


@dataclass(frozen=True)
class Options(Probe):
    """The options of one alias on Redis."""

    area = "cache"
    live = False
    alias: str = field(kw_only=True)
    kind: str | None = field(kw_only=True)

    def run(self, deadline: Deadline) -> Iterator[Finding]:  # noqa: ARG002 - it reads settings only
        if environment.placeholder_in(self._config) is not None:
            return  # the round trip says so
        if self.refusal is not None:
            yield Finding(
                "cache.options-invalid",
                Level.ERROR,
                self.subject,
                f"{self.refusal}.",
                "Correct it there: an app with these options does not start.",
            )
            return
        if self.kind == targets.OURS:
            yield from self._superseded()
            yield from self._threads()
        yield from self._prefix()
        yield from self._pickle()

    @property
    def _config(self) -> Mapping[str, Any]:
        config: Mapping[str, Any] = settings.CACHES[self.alias]
        return config

    @cached_property
    def refusal(self) -> str | None:
        """Why our backend refuses these options."""
        if self.kind == targets.OURS and environment.placeholder_in(self._config) is None:
            from resilience.cache import options  # noqa: PLC0415 - redis, which only its users pay

            try:
                options.parse(self.alias, self._config)
            except InvalidCacheBackendError as error:
                return str(error).rstrip(".")
        return None

    def _threads(self) -> Iterator[Finding]:
        """Python has no threads in uWSGI unless it is told otherwise; then nothing dials."""
        uwsgi = sys.modules.get("uwsgi")  # there only inside the server
        options = {str(name) for name in getattr(uwsgi, "opt", ())}
        if uwsgi is not None and not options & {"enable-threads", "threads"}:
            yield Finding(
                "cache.no-threads",
                Level.ERROR,
                self.subject,
                "uWSGI runs without threads: nobody can connect to Redis in the background.",
                "Start uWSGI with --enable-threads.",
            )

    def _superseded(self) -> Iterator[Finding]:
        from resilience.cache import options  # noqa: PLC0415 - as above

        names = options.superseded(self.alias, self._config)
        if names:
            yield Finding(
                "cache.options-superseded",
                Level.INFO,
                self.subject,
                f"Without effect here: {', '.join(names)}. OPERATION_TIMEOUT, CONNECT_TIMEOUT and "
                "the fallback take their place.",
            )

    def _prefix(self) -> Iterator[Finding]:
        if self._config.get("KEY_PREFIX"):
            return
        others = _on_the_same_database(self.alias)
        options = self._config.get("OPTIONS") or {}
        clears = self.kind == targets.OURS and not (options.get("RESILIENCE") or {}).get(
            "CLEAR_PATTERN"
        )
        if not others and not (clears and _databases(self.alias)):
            return
        danger = [f"its keys mix with those of {', '.join(others)}"] if others else []
        danger += ["clear() takes every key that begins with a colon"] if clears else []
        yield Finding(
            "cache.prefix-empty",
            Level.WARNING if conf.detect_hosting().on_platform else Level.INFO,
            self.subject,
            f"KEY_PREFIX is empty: {' and '.join(danger)}.",
            f'Set CACHES[{self.alias!r}]["KEY_PREFIX"] to a word of its own; the cache starts '
            "empty then.",
        )

    def _pickle(self) -> Iterator[Finding]:
        options = self._config.get("OPTIONS") or {}
        name = "serializer" if self.kind == targets.DJANGO else "SERIALIZER"
        if options.get(name) not in _PICKLES:
            return
        reasons = filter(None, map(_why_untrusted, _targets(self.alias)))
        why = next(reasons, None)
        if why is None:
            return
        signed = "resilience.cache.signing.SignedPickleSerializer"
        also = "" if self.kind == targets.DJANGO else f", or sign: OPTIONS SERIALIZER {signed}"
        yield Finding(
            "redis.pickle-untrusted",
            Level.WARNING,
            self.subject,
            f"Values are pickles from a Redis {why}: whoever writes there runs code here.",
            f"Give Redis a password and its TLS a certificate that is verified{also}.",
        )


@dataclass(frozen=True)
class Memory(Probe):
    """What every process may hold in its own memory, together."""

    area = "cache"
    live = False

    def run(self, deadline: Deadline) -> Iterator[Finding]:  # noqa: ARG002 - it reads settings only
        hosting = conf.detect_hosting()
        stores = _stores()
        each, processes = sum(stores.values()), hosting.processes or 1
        if hosting.memory_limit is None or each * processes * _SHARE <= hosting.memory_limit:
            return
        yield Finding(
            "cache.l1-memory",
            Level.WARNING,
            self.subject,
            f"{processes} processes may hold {_mib(each)} MiB each of what they read from Redis, "
            f"and the container has {_mib(hosting.memory_limit)} MiB: more than a quarter of it.",
            'Lower OPTIONS["RESILIENCE"]["L1_MAX_BYTES"] or the number of processes.',
            {
                "processes": processes,
                "stores": len(stores),
                "l1_max_mib": _mib(each),
                "memory_limit_mib": _mib(hosting.memory_limit),
            },
        )


def _stores() -> dict[object, int]:
    """How many bytes each store of our aliases may take."""
    found: dict[object, int] = {}
    for parsed in filter(None, map(aliases.options_of, settings.CACHES)):
        found[parsed.store_key] = max(found.get(parsed.store_key, 0), parsed.l1_max_bytes)
    return found


def _targets(alias: str) -> Iterator[targets.Target]:
    for location in targets.locations():
        if location.alias == alias:
            try:
                yield location.target()
            except targets.InvalidTarget:  # the redis probe says so
                continue


def _databases(alias: str) -> set[str]:
    return {target.subject for target in _targets(alias)}


def _on_the_same_database(alias: str) -> list[str]:
    """The other aliases there that have no prefix of their own."""
    mine = _databases(alias)
    return [
        f"caches.{other}"
        for other, config in settings.CACHES.items()
        if other != alias and mine & _databases(other) and not config.get("KEY_PREFIX")
    ]


def _why_untrusted(target: targets.Target) -> str | None:
    if target.tls and redis.trusts_anybody(target):
        return "whose certificate nobody verifies"
    known = ("password", "credential_provider", "ssl_certfile")
    if target.path or _is_loopback(target.host) or any(target.options.get(name) for name in known):
        return None
    return "on the network without a password"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _mib(size: int) -> float:
    return round(size / _MIB, 1)
