"""One alias of ``CACHES`` as a frozen object; what cannot work is refused by name, at start.

What a site on django-redis has in its settings is honoured as it is, with two exceptions: options
of time and of hidden errors are superseded (:func:`superseded` lists them), and classes that would
wait, dial or retry on their own are refused.
"""

from __future__ import annotations

import difflib
import hashlib
import math
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache, cached_property
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qs, urlsplit

from django.conf import settings
from django.core.cache.backends.base import (
    InvalidCacheBackendError,
    default_key_func,
    get_key_func,
)
from django.utils.module_loading import import_string

from resilience.cache import locations
from resilience.cache.locations import Location, kind, word
from resilience.cache.patterns import literal
from resilience.env.casts import Refused
from resilience.errors import did_you_mean

_SENTINEL_CLIENTS = (
    "django_redis.client.SentinelClient",
    "django_redis.client.sentinel.SentinelClient",
)
_SENTINEL_FACTORY = "django_redis.pool.SentinelConnectionFactory"
_ALLOWED_CLASSES = {
    "CLIENT_CLASS": (
        "django_redis.client.DefaultClient",
        "django_redis.client.default.DefaultClient",
        *_SENTINEL_CLIENTS,
    ),
    "CONNECTION_FACTORY": ("django_redis.pool.ConnectionFactory", _SENTINEL_FACTORY),
    "CONNECTION_POOL_CLASS": (
        "redis.ConnectionPool",
        "redis.connection.ConnectionPool",
        "redis.sentinel.SentinelConnectionPool",
    ),
    "REDIS_CLIENT_CLASS": ("redis.Redis", "redis.client.Redis"),
    "PARSER_CLASS": (),
}


LONGEST = 86_400  # seconds; what a socket takes ends at 24 days


@dataclass(frozen=True, kw_only=True, eq=False)
class Options:
    """``locations`` empty: memory only; the first one takes the writes.

    ``client_kwargs`` are redis-py's arguments for a connection to each of them, a parameter of the
    URL beats them. ``options`` are OPTIONS as they are, for django-redis's own client. The last
    block is RESILIENCE, key by key, with its defaults.
    """

    alias: str
    locations: tuple[Location, ...]
    client_kwargs: Mapping[str, Any] = field(repr=False)
    sentinels: tuple[tuple[str, int], ...]
    sentinel_kwargs: Mapping[str, Any] = field(repr=False)
    replica_read_only: bool
    key_prefix: str
    key_func: Callable[..., str]
    options: Mapping[str, Any] = field(repr=False)

    operation_timeout: float = 0.25
    bulk_timeout: float = 30.0
    connect_timeout: float = 2.0
    max_stale: float = 60.0
    l1_max_bytes: int = 16 * 1024 * 1024
    max_connections: int = 16
    strict: tuple[str, ...] = ()
    clear_pattern: str | None = None
    hot: tuple[str, ...] = ()

    @cached_property
    def store_key(self) -> tuple[str, int, int] | tuple[str, str]:
        """Which store this alias stands on: aliases on one store share what is held of it."""
        if not self.locations:
            return "memory", ""  # as with LocMem: of one LOCATION, so of one store
        primary = self.locations[0]
        host = primary.host
        if self.sentinels:  # two Sentinels may know two servers by one name
            host += "@" + ",".join(f"{name}:{number}" for name, number in sorted(self.sentinels))
        return host, primary.port, primary.db

    @cached_property
    def every_key(self) -> str:
        """The Redis pattern of all keys of this alias, of every version."""
        return self.clear_pattern or f"{literal(str(self.key_prefix))}:*"

    @cached_property
    def fingerprint(self) -> str:
        """Equal for equal connections, in this process; a salted digest, as secrets are in it."""
        spelled = _spell(
            (
                [(each.url, each.is_master) for each in self.locations],
                (self.client_kwargs, self.sentinels, self.sentinel_kwargs, self.replica_read_only),
                (self.operation_timeout, self.bulk_timeout, self.connect_timeout),
                (self.max_connections, self.max_stale, self.l1_max_bytes),
                (self.key_prefix, self.strict, self.clear_pattern, self.hot),
            )
        )
        return hashlib.blake2b(
            spelled.encode(errors="surrogatepass"), key=_salt(), digest_size=16
        ).hexdigest()


def parse(alias: str, params: Mapping[str, Any]) -> Options:
    """``settings.CACHES[alias]``, read. Raises InvalidCacheBackendError, which holds no value."""
    with _refusing(alias):
        options, pool = _options_of(params)
        _check_classes(options)
        own = _resilience(options.get("RESILIENCE"))
        named = {key.lower(): options[key] for key in ("USERNAME", "PASSWORD") if options.get(key)}
        kwargs = {**named, **pool}
        urls = locations.split(params.get("LOCATION"))
        with_sentinel = _sentinel(options) and bool(urls)
        sentinels = locations.sentinels(options.get("SENTINELS")) if with_sentinel else ()
        found = [locations.read(url, kwargs, sentinel=with_sentinel) for url in urls]
        # For redis-py 0 and None mean its own default.
        limit = next((each.max_connections for each in found if each.max_connections), None)
        if limit and "max_connections" not in own:
            own["max_connections"] = _count("max_connections", limit)
        if len(found) == 1 and options.get("CLIENT_CLASS") in _SENTINEL_CLIENTS:
            found = locations.both_roles(found[0])
        key_func = _key_function(params.get("KEY_FUNCTION"), own.get("clear_pattern"))
        own |= _hot(params, own.get("hot", ()), key_func)
        return Options(
            alias=alias,
            locations=tuple(found),
            client_kwargs=locations.connection_kwargs(kwargs, sentinel=with_sentinel),
            sentinels=sentinels,
            sentinel_kwargs=locations.connection_kwargs(_mapping(options, "SENTINEL_KWARGS")),
            replica_read_only=bool(options.get("REPLICA_READ_ONLY", True)),
            key_prefix=params.get("KEY_PREFIX", ""),
            key_func=key_func,
            options=options,
            **own,
        )


def superseded(alias: str, params: Mapping[str, Any]) -> list[str]:
    """Names of what has no effect any more: deadline, fallback and connector replace it."""
    with _refusing(alias):
        options, pool = _options_of(params)
        urls = locations.split(params.get("LOCATION"))
    found = [name for name in options if name == "IGNORE_EXCEPTIONS" or name.startswith("SOCKET_")]
    found += [f"CONNECTION_POOL_KWARGS.{name}" for name in pool if name in locations.SUPERSEDED]
    for url in urls:
        found += [f"LOCATION ?{name}=" for name in _query(url) if name in locations.SUPERSEDED]
    if getattr(settings, "DJANGO_REDIS_IGNORE_EXCEPTIONS", False):
        found.append("DJANGO_REDIS_IGNORE_EXCEPTIONS")
    return list(dict.fromkeys(found))


@contextmanager
def _refusing(alias: str) -> Iterator[None]:
    try:
        yield
    except Refused as refused:
        raise InvalidCacheBackendError(f"CACHES[{alias!r}]: {refused}") from None


# ── RESILIENCE ──────────────────────────────────────────────────────────────────────────────────


def _resilience(raw: object) -> dict[str, Any]:
    given = _mapping({"RESILIENCE": raw}, "RESILIENCE")
    for key in given:
        if key not in _KEYS:
            guess = did_you_mean(key.upper(), _KEYS)
            raise Refused(
                f"RESILIENCE has an unknown key {word(key)}.{guess} Allowed: {', '.join(_KEYS)}"
            )
    return {key.lower(): _KEYS[key](f"RESILIENCE[{key!r}]", value) for key, value in given.items()}


def _positive(name: str, value: object) -> float:
    seconds = _seconds(name, value)
    if not 0 < seconds <= LONGEST:
        raise Refused(f"{name} must be more than 0 and at most {LONGEST} seconds")
    return seconds


def _seconds(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Refused(f"{name} must be a number of seconds such as 0.25, not {kind(value)}")
    if not math.isfinite(value) or value < 0:
        raise Refused(f"{name} must be a finite number of seconds and not negative")
    return float(value)


def _size(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise Refused(f"{name} must be a whole number, not {kind(value)}")
    if value < 0:
        raise Refused(f"{name} must not be negative")
    return value


def _count(name: str, value: object) -> int:
    count = _size(name, value)
    if not count:
        raise Refused(f"{name} must be at least 1")
    return count


def _patterns(name: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise Refused(f'{name} must be a list of patterns such as ["ratelimit:*"]')
    if not all(isinstance(each, str) and each for each in value):
        raise Refused(f"{name} must hold nothing but non-empty text")
    return tuple(value)


def _pattern(name: str, value: object) -> str | None:
    if value is None or (isinstance(value, str) and value):
        return value
    raise Refused(f'{name} must be None or a Redis pattern such as "shop:*"')


def _prefixes(name: str, value: object) -> tuple[str, ...]:
    prefixes = _patterns(name, value)
    if prefixes == ("*",):
        return ("",)
    for prefix in prefixes:
        if "*" in prefix:
            raise Refused(
                f'{name} has beginnings of keys, no patterns: "product:" for every key that '
                'begins so, or ["*"] alone for every key'
            )
        if prefix.startswith("django.contrib.sessions."):
            raise Refused(f"{name} cannot have sessions: a logout must hold at once, everywhere")
    ordered = sorted(prefixes)
    for prefix, other in pairwise(ordered):  # Redis takes none that overlap
        if other.startswith(prefix):
            raise Refused(f"{name} has {word(prefix)} and another one that begins with it")
    return prefixes


_KEYS: Mapping[str, Callable[[str, object], object]] = {
    "OPERATION_TIMEOUT": _positive,
    "BULK_TIMEOUT": _positive,
    "CONNECT_TIMEOUT": _positive,
    "MAX_STALE": _seconds,
    "L1_MAX_BYTES": _size,
    "MAX_CONNECTIONS": _count,
    "STRICT": _patterns,
    "CLEAR_PATTERN": _pattern,
    "HOT": _prefixes,
}


# ── django-redis's own ──────────────────────────────────────────────────────────────────────────


def _options_of(params: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """OPTIONS, and CONNECTION_POOL_KWARGS in it."""
    options = _mapping(params, "OPTIONS")
    for name in options.keys() - {"RESILIENCE"}:
        if difflib.get_close_matches(name.upper(), ["RESILIENCE"], cutoff=0.75):
            raise Refused(f"OPTIONS has an unknown key {word(name)}. Did you mean 'RESILIENCE'?")
    return options, _mapping(options, "CONNECTION_POOL_KWARGS")


def _check_classes(options: Mapping[str, Any]) -> None:
    for name, allowed in _ALLOWED_CLASSES.items():
        path = _factory(options) if name == "CONNECTION_FACTORY" else options.get(name)
        if path and path not in allowed:
            choices = f" Allowed: {', '.join(allowed)}" if allowed else " Remove it"
            guess = did_you_mean(str(path), allowed)
            raise Refused(f"{name} {word(path)} cannot keep to OPERATION_TIMEOUT.{guess}{choices}")


def _factory(options: Mapping[str, Any]) -> object:
    setting = "DJANGO_REDIS_CONNECTION_FACTORY"
    return options.get("CONNECTION_FACTORY") or getattr(settings, setting, None)


def _sentinel(options: Mapping[str, Any]) -> bool:
    if _factory(options) == _SENTINEL_FACTORY:
        return True
    if options.get("CLIENT_CLASS") in _SENTINEL_CLIENTS:
        raise Refused(f"CLIENT_CLASS SentinelClient needs CONNECTION_FACTORY {_SENTINEL_FACTORY!r}")
    return False


def _key_function(given: object, clear_pattern: str | None) -> Callable[..., str]:
    if not (given is None or callable(given) or isinstance(given, str)):
        raise Refused(f"KEY_FUNCTION must be a function or its dotted path, not {kind(given)}")
    function: Callable[..., str] = get_key_func(given)
    if function is not default_key_func and clear_pattern is None:
        raise Refused(
            "KEY_FUNCTION needs RESILIENCE['CLEAR_PATTERN'], the Redis pattern of this alias's "
            'keys such as "shop:*": else clear() would not know which keys are its own'
        )
    return function


def _hot(
    params: Mapping[str, Any],
    prefixes: tuple[str, ...],
    key_func: Callable[..., str],
) -> dict[str, Any]:
    """Final prefixes, under which Redis tells of changes."""
    backend = params.get("BACKEND")
    with suppress(ImportError):
        backend = import_string(backend) if isinstance(backend, str) else backend
    takes_hot = getattr(backend, "_takes_hot", False)
    if takes_hot != bool(prefixes):
        raise Refused(
            'HotCache needs RESILIENCE["HOT"], the beginnings of the keys that are hot, such as '
            '["product:"]; ["*"] is every key'
            if takes_hot
            else "RESILIENCE['HOT'] needs BACKEND resilience.cache.HotCache"
        )
    if not prefixes:
        return {}
    if key_func is not default_key_func:
        raise Refused("RESILIENCE['HOT'] needs Django's own KEY_FUNCTION: a key must begin with it")
    head = key_func("", params.get("KEY_PREFIX", ""), params.get("VERSION", 1))
    return {"hot": tuple(head + prefix for prefix in prefixes)}


# ── values ──────────────────────────────────────────────────────────────────────────────────────


def _mapping(of: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    given = of.get(name)
    if given is None:
        return {}
    if not isinstance(given, Mapping) or not all(isinstance(key, str) for key in given):
        raise Refused(f"{name} must be a dictionary whose keys are names")
    return given


def _query(url: str) -> Mapping[str, list[str]]:
    try:
        return parse_qs(urlsplit(url).query)
    except ValueError:  # parse() says what is wrong with it
        return {}


def _spell(value: object) -> str:
    """Equal texts for equal values; a foreign object is equal to itself alone."""
    if isinstance(value, Mapping):
        return f"{{{','.join(sorted(_spell(pair) for pair in value.items()))}}}"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_spell, value))}]"
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return repr(value)
    return f"{type(value).__qualname__}@{id(value)}"


@cache
def _salt() -> bytes:
    return secrets.token_bytes(32)
