"""Which Redis servers the settings name, and with which credentials and TLS options.

The options are taken exactly as the cache's own client would take them (a URL's parameter beats
an option of the same name, as in redis-py), so that what is examined is what the app uses.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from django.conf import settings
from django.core.cache.backends.base import get_key_func
from django.utils.module_loading import import_string

from resilience import redact
from resilience.env import casts
from resilience.errors import UsageError

PROBE_KEY = "resilience-probe"
SCHEMES = ("redis", "rediss", "unix")
_DJANGO = "django.core.cache.backends.redis.RedisCache"
_DJANGO_REDIS = "django_redis.cache.RedisCache"


class InvalidTargetError(Exception):
    """A Redis location that no client can use: the finding id, the problem and its repair."""

    def __init__(self, id: str, problem: str, hint: str) -> None:
        super().__init__(id, problem, hint)
        self.id, self.problem, self.hint = id, problem, hint


@dataclass(frozen=True)
class Target:
    """One Redis server as one client would use it. ``options`` may hold secrets."""

    origin: str
    host: str = "localhost"
    port: int = 6379
    path: str = ""
    db: int = 0
    tls: bool = False
    writes: bool = True
    key: str = PROBE_KEY
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def where(self) -> str:
        """``host:port``, or the path of a socket."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.path or f"{host}:{self.port}"

    @property
    def subject(self) -> str:
        """``redis.host:port/db``."""
        return f"redis.{self.where}/{self.db}"


@dataclass(frozen=True)
class Location:
    """An entry of ``CACHES`` that lives on Redis, before anything of it was parsed."""

    alias: str
    index: int
    url: str = field(repr=False)
    options: Mapping[str, Any] = field(repr=False)
    key: str
    writes: bool
    sentinel: bool

    def target(self) -> Target:
        """Raises InvalidTargetError."""
        return parse(
            self.url,
            origin=f"caches.{self.alias}",
            options=self.options,
            key=self.key,
            writes=self.writes,
        )


def locations() -> Iterator[Location]:
    """Every Redis location of ``CACHES``, the first of an alias being the one that takes writes."""
    caches: Mapping[str, Mapping[str, Any]] = settings.CACHES
    for alias, config in caches.items():
        kind = redis_kind(str(config.get("BACKEND", "")))
        if kind is None:
            continue
        options = config.get("OPTIONS") or {}
        factory = str(options.get("CONNECTION_FACTORY", "")) + str(options.get("CLIENT_CLASS", ""))
        for index, url in enumerate(_split(config.get("LOCATION"), kind)):
            yield Location(
                alias=alias,
                index=index,
                url=url,
                options=_client_options(options, kind),
                key=_spelled(config),
                writes=index == 0,
                sentinel="Sentinel" in factory,
            )


def redis_kind(backend: str) -> str | None:
    """Which of the known Redis backends a dotted path is or extends; None for another cache."""
    if backend in (_DJANGO, _DJANGO_REDIS):
        return backend
    try:
        cls = import_string(backend)
    except Exception:  # noqa: BLE001 - the cache probe reports what is wrong with the backend
        return None
    names = {f"{base.__module__}.{base.__qualname__}" for base in getattr(cls, "__mro__", ())}
    return next((kind for kind in (_DJANGO_REDIS, _DJANGO) if kind in names), None)


def parse(
    url: str,
    *,
    origin: str,
    options: Mapping[str, Any] | None = None,
    key: str = PROBE_KEY,
    writes: bool = True,
) -> Target:
    """A URL and client options as a target. Raises InvalidTargetError; the URL is never in it."""
    from redis.connection import parse_url  # noqa: PLC0415 - 0.1 s that only a Redis user pays

    redact.register_settings({"url": url, **(options or {})})
    try:
        casts.to_url(url, SCHEMES)
    except casts.Refused as refused:
        raise InvalidTargetError(
            "redis.url-invalid",
            f"The Redis URL {refused}.",
            "Write redis://[user][:password]@host:6379/0, with /, @, : and # in the password "
            "percent-encoded (/ is %2F).",
        ) from None
    parts = urlsplit(url)
    if "family" in parse_qs(parts.query):
        raise InvalidTargetError(
            "redis.family-option",
            "The Redis URL has ?family=…, an option of Node's ioredis that redis-py refuses.",
            "Remove it: redis-py tries IPv6 and IPv4 addresses by itself.",
        )
    if parts.scheme != "unix" and not re.fullmatch(r"/?\d*", parts.path):
        raise InvalidTargetError(
            "redis.url-invalid",
            "The Redis URL's path is not a database number; redis-py would silently use 0.",
            "End the URL with /0, or another number.",
        )
    try:
        merged = {**(options or {}), **parse_url(url)}
        return Target(
            origin=origin,
            host=merged.get("host", "localhost"),
            port=int(merged.get("port", 6379)),
            path=merged.get("path", ""),
            db=int(merged.get("db") or 0),
            tls=parts.scheme == "rediss",
            writes=writes,
            key=key,
            options=merged,
        )
    except (TypeError, ValueError) as error:
        name = re.search(r"Invalid value for '(\w+)'", str(error))
        what = f"option {name[1]!r}" if name else "host, port or database"
        raise InvalidTargetError(
            "redis.url-invalid",
            f"The Redis URL's {what} has a value that redis-py refuses.",
            "Correct it; redis-py's documentation of from_url lists the options.",
        ) from None


def of_url(url: str) -> Target:
    """The target that a user named by its URL. Raises UsageError, which never repeats the URL."""
    try:
        return parse(url, origin="argument")
    except InvalidTargetError as error:
        raise UsageError(f"{error.problem} {error.hint}") from None


def of_alias(word: str) -> list[Location]:
    """The locations of an alias of ``CACHES``. Raises UsageError, which names those there are."""
    known = list(locations())
    found = [entry for entry in known if entry.alias == word]
    if found:
        return found
    if word in settings.CACHES:
        raise UsageError(f"CACHES[{word!r}] does not use Redis.")
    aliases = sorted({entry.alias for entry in known})
    if not re.fullmatch(r"[\w.-]{1,60}", word):
        raise UsageError("The argument is neither a URL (redis://…) nor an alias of CACHES.")
    nearest = difflib.get_close_matches(word, aliases, n=1)
    guess = f" Did you mean {nearest[0]!r}?" if nearest else ""
    there = ", ".join(aliases) if aliases else "none uses Redis"
    raise UsageError(
        f"{word!r} is neither a URL (redis://…) nor a Redis alias of CACHES ({there}).{guess}"
    )


def _spelled(config: Mapping[str, Any]) -> str:
    """The probe's key as this alias spells its keys: an ACL may allow no others."""
    try:
        key_func = get_key_func(config.get("KEY_FUNCTION"))
        return str(key_func(PROBE_KEY, config.get("KEY_PREFIX", ""), config.get("VERSION", 1)))
    except Exception:  # noqa: BLE001 - the user's own function; the cache probe reports it
        return PROBE_KEY


def _split(location: object, kind: str) -> list[str]:
    if isinstance(location, list | tuple | set):
        return [str(url) for url in location]
    separators = "[;,]" if kind == _DJANGO else ","
    # str() of a placeholder or a lazy string; an empty LOCATION is one (invalid) URL.
    return [url.strip() for url in re.split(separators, str(location or ""))]


def _client_options(options: Mapping[str, Any], kind: str) -> dict[str, Any]:
    if kind == _DJANGO:
        return dict(options)
    named_ones = {
        name.lower(): options[name] for name in ("USERNAME", "PASSWORD") if options.get(name)
    }
    return {**named_ones, **(options.get("CONNECTION_POOL_KWARGS") or {})}
