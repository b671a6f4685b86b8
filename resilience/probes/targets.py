"""Which Redis servers the settings name, and with which credentials and TLS options.

The options are taken exactly as the cache's own client would take them (a URL's parameter beats
an option of the same name, as in redis-py), so that what is examined is what the app uses.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

from django.conf import settings
from django.core.cache.backends.base import get_key_func
from django.utils.module_loading import import_string

from resilience import redact
from resilience.env import casts
from resilience.errors import UsageError, did_you_mean

PROBE_KEY = "resilience-probe"
_LAST_PORT = 65535
SCHEMES = ("redis", "rediss", "unix")
DJANGO = "django.core.cache.backends.redis.RedisCache"
DJANGO_REDIS = "django_redis.cache.RedisCache"
OURS = "resilience.cache.ResilientCache"
_DEFINED = {f"{OURS.rpartition('.')[0]}.backend.ResilientCache": OURS}


class InvalidTarget(Exception):
    """A Redis location that no client can use: the finding id, the problem and its repair."""

    def __init__(self, id: str, problem: str, hint: str) -> None:
        super().__init__(id, problem, hint)
        self.id, self.problem, self.hint = id, problem, hint


@dataclass(frozen=True)
class Target:
    """One Redis server as one client would use it. ``options`` may hold secrets.

    ``kind`` is the backend (whose commands it needs), ``cluster`` says that its client is one for a
    cluster, ``key`` is the probe's as the alias spells it.
    """

    origin: str = field(compare=False)
    host: str = "localhost"
    port: int = 6379
    path: str = ""
    db: int = 0
    tls: bool = False
    cluster: bool = False
    writes: bool = True
    kind: str = field(default=OURS, compare=False)
    key: str = field(default=PROBE_KEY, compare=False)
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def where(self) -> str:
        """``host:port``, or the path of a socket."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.path or f"{host}:{self.port}"

    @property
    def is_named_by_url(self) -> bool:
        """Whether nobody knows which keys its client uses."""
        return self.origin == "argument" and self.key == PROBE_KEY

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
    kind: str
    sentinel: bool
    cluster: bool

    def target(self) -> Target:
        """Raises InvalidTarget."""
        found = parse(self.url, origin=f"caches.{self.alias}", options=self.options)
        return replace(
            found, key=self.key, writes=self.writes, kind=self.kind, cluster=self.cluster
        )


def locations() -> Iterator[Location]:
    """Every Redis location of ``CACHES``, the first of an alias being the one that takes writes."""
    caches: Mapping[str, Mapping[str, Any]] = settings.CACHES
    for alias, config in caches.items():
        kind = redis_kind(str(config.get("BACKEND", "")))
        if kind is None:
            continue
        options = config.get("OPTIONS") or {}
        classes = _classes(options)
        for index, url in enumerate(_split(config.get("LOCATION"), kind)):
            yield Location(
                alias=alias,
                index=index,
                url=url,
                options=_client_options(options, kind),
                key=_spelled(config),
                writes=index == 0,
                kind=kind,
                sentinel="Sentinel" in classes,
                cluster="Cluster" in classes,
            )


def _classes(options: Mapping[str, Any]) -> str:
    """The names of the classes that options choose: they tell what kind of client it is."""
    default = getattr(settings, "DJANGO_REDIS_CONNECTION_FACTORY", "")
    names = ("CLIENT_CLASS", "REDIS_CLIENT_CLASS", "CONNECTION_POOL_CLASS", "pool_class")
    chosen = [options.get("CONNECTION_FACTORY", default), *(options.get(name) for name in names)]
    return " ".join(str(each) for each in chosen)


def redis_kind(backend: str) -> str | None:
    """Which of the known Redis backends a dotted path is or extends; None for another cache."""
    known = (OURS, DJANGO_REDIS, DJANGO)
    if backend in known:
        return backend
    try:
        cls = import_string(backend)
    except (Exception, SystemExit):  # noqa: BLE001 - the cache probe says what is wrong with it
        return None
    names = [f"{base.__module__}.{base.__qualname__}" for base in getattr(cls, "__mro__", ())]
    return next((found for name in names if (found := _DEFINED.get(name, name)) in known), None)


def ours() -> list[str]:
    """The aliases of ``CACHES`` with our backend, or one that extends it."""
    return [
        alias
        for alias, config in settings.CACHES.items()
        if redis_kind(str(config.get("BACKEND", ""))) == OURS
    ]


def parse(url: str, *, origin: str, options: Mapping[str, Any] | None = None) -> Target:
    """A URL and client options as a target. Raises InvalidTarget; the URL is never in it."""
    redact.register_settings(options or {})
    try:
        casts.to_url(url, SCHEMES)
        _refuse_cut_off(url)
    except casts.Refused as refused:
        raise InvalidTarget(
            "redis.url-invalid",
            f"The Redis URL {refused}.",
            "Write redis://<host>:6379/0, or redis://<user>:<password>@<host>:6379/0 with "
            "%, /, #, ? and @ in the password percent-encoded (/ is %2F).",
        ) from None
    if url != url.strip():
        raise InvalidTarget(
            "redis.url-invalid",
            "The Redis URL begins or ends with white space, which redis-py refuses.",
            "Remove it where the URL is set.",
        )
    parts = urlsplit(url)
    in_url = "family" in parse_qs(parts.query)
    if in_url or "family" in (options or {}):
        where = "The Redis URL has ?family=…" if in_url else "The options of Redis have 'family'"
        raise InvalidTarget(
            "redis.family-option",
            f"{where}, an option of Node's ioredis that redis-py refuses.",
            "Remove it: redis-py tries IPv6 and IPv4 addresses by itself.",
        )
    if parts.scheme != "unix" and not re.fullmatch(r"/?\d*", parts.path):
        raise InvalidTarget(
            "redis.url-invalid",
            "The Redis URL's path is not a database number; redis-py would silently use 0.",
            "End the URL with /0, or another number.",
        )
    merged = {**(options or {}), **_understood(url, options or {})}
    redact.register_settings({name: merged[name] for name in ("password",) if merged.get(name)})
    if not 0 < int(merged.get("port", 6379)) <= _LAST_PORT:
        raise InvalidTarget(
            "redis.url-invalid", "The Redis port is not from 1 to 65535.", "Correct the port."
        )
    return Target(
        origin=origin,
        host=merged.get("host", "localhost"),
        port=int(merged.get("port", 6379)),
        path=merged.get("path", ""),
        db=int(merged.get("db") or 0),
        tls=parts.scheme == "rediss",
        options=merged,
    )


def _refuse_cut_off(url: str) -> None:
    """A password with @ and one of / ? # in it would leave a part of itself as the host.

    Raises casts.Refused. A query may hold @, in the value of an option.
    """
    parts = urlsplit(url)
    if parts.scheme == "unix":  # whose path may hold anything
        return
    if "@" in parts.path + parts.fragment or "@" in parts.query.partition("=")[0]:
        raise casts.Refused(casts.UNESCAPED)


def _understood(url: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The URL's own options, if redis-py's connection takes them all. Nothing is dialled."""
    # 0.1 s that only a Redis user pays. This pool takes what every other one takes, and timeout.
    from redis.connection import BlockingConnectionPool, parse_url  # noqa: PLC0415

    try:
        BlockingConnectionPool.from_url(url, **options).make_connection()
        return dict(parse_url(url))
    except Exception as error:  # noqa: BLE001 - RedisError, TypeError, ValueError, of any option
        said = str(error)
        name = re.search(r"(?:Invalid value for|unexpected keyword argument) '(\w+)'", said)
        what = f"option {name[1]!r}" if name else f"options ({redact.exception(error)})"
        raise InvalidTarget(
            "redis.url-invalid",
            f"redis-py refuses the Redis URL's {what}.",
            "Correct or remove it in the URL or in OPTIONS; redis-py's documentation of "
            "ConnectionPool.from_url lists what it takes.",
        ) from None


def of_url(url: str) -> Target:
    """The target that a user named by its URL. Raises UsageError, which never repeats the URL."""
    try:
        return parse(url, origin="argument")
    except InvalidTarget as error:
        raise UsageError(f"{error.problem} {error.hint}") from None


def spelled_as_configured(target: Target) -> Target:
    """With the key of the alias that uses the same server: an ACL may allow no other prefix."""
    for location in locations():
        with contextlib.suppress(InvalidTarget):
            if location.target().where == target.where:
                return replace(target, key=location.key, kind=location.kind)
    return target


def configured() -> list[Location]:
    """Every Redis location of ``CACHES``. Raises UsageError if there is none."""
    found = list(locations())
    if not found:
        raise UsageError("No alias of CACHES uses Redis: name a URL, redis://…")
    return found


def of_alias(word: str) -> list[Location]:
    """The locations of an alias of ``CACHES``. Raises UsageError, which names those there are."""
    known = list(locations())
    found = [entry for entry in known if entry.alias == word]
    if found:
        return found
    if word in settings.CACHES:
        raise UsageError(f"CACHES[{word!r}] does not use Redis.")
    aliases = sorted({entry.alias for entry in known})
    if re.fullmatch(r"[\w.-]{1,60}:\d{1,5}", word):
        raise UsageError(f"A Redis is named by its URL: write redis://{word}/0.")
    if not re.fullmatch(r"[\w.-]{1,60}", word):
        raise UsageError("The argument is neither a URL (redis://…) nor an alias of CACHES.")
    there = ", ".join(aliases) if aliases else "none uses Redis"
    raise UsageError(
        f"{word!r} is neither a URL (redis://…) nor a Redis alias of CACHES ({there})."
        + did_you_mean(word, aliases)
    )


def _spelled(config: Mapping[str, Any]) -> str:
    """The probe's key as this alias spells its keys: an ACL may allow no others."""
    try:
        key_func = get_key_func(config.get("KEY_FUNCTION"))
        return str(key_func(PROBE_KEY, config.get("KEY_PREFIX", ""), config.get("VERSION", 1)))
    except Exception:  # noqa: BLE001 - the user's own function; the cache probe reports it
        return PROBE_KEY


def _split(location: object, kind: str) -> list[str]:
    if kind == OURS:  # white space is no part of a URL, and no URL is none
        several = (
            location if isinstance(location, list | tuple | set) else str(location or "").split(",")
        )
        return [str(url).strip() for url in several if str(url).strip()]
    if isinstance(location, list | tuple | set):
        return [str(url) for url in location]
    separators = "[;,]" if kind == DJANGO else ","
    # str() of a placeholder or a lazy string; an empty LOCATION is one (invalid) URL. White space
    # stays, as it does in the clients.
    return re.split(separators, str(location or ""))


def _client_options(options: Mapping[str, Any], kind: str) -> dict[str, Any]:
    if kind == DJANGO:  # the rest goes to redis-py as it is
        ours = ("serializer", "pool_class", "parser_class")
        return {name: value for name, value in options.items() if name not in ours}
    named_ones = {
        name.lower(): options[name] for name in ("USERNAME", "PASSWORD") if options.get(name)
    }
    return {**named_ones, **(options.get("CONNECTION_POOL_KWARGS") or {})}
