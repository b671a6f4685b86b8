"""The servers that a LOCATION names, read as django-redis and redis-py read them.

A URL's parameter beats the argument of the same name in CONNECTION_POOL_KWARGS, which beats
USERNAME and PASSWORD. What redis-py would refuse at the first connection is refused here, in words
that hold no value: ``casts.Refused``.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from redis.connection import (
    FALSE_STRINGS,
    Connection,
    SSLConnection,
    UnixDomainSocketConnection,
    parse_url,
)

from resilience.env import casts
from resilience.env.casts import Refused
from resilience.errors import did_you_mean

# The deadline of an operation and the connector replace them.
SUPERSEDED = frozenset(
    "socket_timeout socket_connect_timeout timeout retry retry_on_timeout retry_on_error "
    "health_check_interval".split()
)
_OF_THE_POOL = frozenset({"check_connection", "connection_class", "max_connections"})
_OF_SENTINEL = frozenset({"ssl", "is_master"})
_CLASSES = "connection_class parser_class queue_class cache_factory cache_config".split()
_CONNECTIONS = {"redis": Connection, "rediss": SSLConnection, "unix": UnixDomainSocketConnection}
_HOW = (
    "write redis://[user][:password]@host:6379/0, with /, @, : and # in the password "
    "percent-encoded (/ is %2F)"
)


@dataclass(frozen=True, kw_only=True)
class Location:
    """One server. Behind Sentinel ``host`` is the service that Sentinel knows, and ``port`` 0.

    Of a socket ``host`` is the path and ``port`` 0. ``url`` is for redis-py, with what only
    Sentinel understands taken out. ``max_connections`` is what the URL or CONNECTION_POOL_KWARGS
    say.
    """

    url: str = field(repr=False)
    host: str
    port: int
    db: int
    is_master: bool = True
    max_connections: Any = field(default=None, repr=False)


def split(raw: object) -> list[str]:
    """The URLs of a LOCATION: one, several with commas, a list; none is memory only."""
    match raw or "":
        case str(text):
            urls = text.split(",")
        case (list() | tuple() | set()) as several if all(isinstance(url, str) for url in several):
            urls = list(several)
        case _:
            raise Refused(f"LOCATION must be a URL or a list of URLs, not {kind(raw)}")
    return [url.strip() for url in urls if url.strip()]


def read(url: str, options: Mapping[str, Any], *, sentinel: bool) -> Location:
    """Check a URL together with the arguments that the client has for it."""
    kwargs = _merged(url, options)
    scheme = urlsplit(url).scheme
    limit = kwargs.get("max_connections")
    if not sentinel:
        _check_names(scheme, kwargs)
        default = (kwargs.get("path", ""), 0) if scheme == "unix" else ("localhost", 6379)
        host, port = kwargs.get("host", default[0]), kwargs.get("port", default[1])
        return Location(url=url, host=host, port=port, db=kwargs["db"], max_connections=limit)
    secure = scheme == "rediss" or str(kwargs.pop("ssl", False)).upper() not in FALSE_STRINGS
    is_master = str(kwargs.pop("is_master", True)).upper() not in FALSE_STRINGS
    scheme = "rediss" if secure else "redis"
    _check_names(scheme, kwargs)
    parts = urlsplit(url)
    kept = {name: values for name, values in parse_qs(parts.query).items() if name in kwargs}
    return Location(
        url=parts._replace(scheme=scheme, query=urlencode(kept, doseq=True)).geturl(),
        host=kwargs.get("host", "localhost"),
        port=0,
        db=kwargs["db"],
        is_master=is_master,
        max_connections=limit,
    )


def both_roles(location: Location) -> list[Location]:
    """As SentinelClient reads its one location: writes to the primary, reads from a replica."""
    return [replace(location, is_master=role) for role in (True, False)]


def sentinels(raw: object) -> tuple[tuple[str, int], ...]:
    """The SENTINELS option, checked."""
    match raw:
        case [_, *_]:
            return tuple(_sentinel(each) for each in raw)
    raise Refused('SENTINELS must be a list such as [("sentinel-1", 26379)]')


def connection_kwargs(kwargs: Mapping[str, Any], *, sentinel: bool = False) -> dict[str, Any]:
    """What is left of a client's arguments for a connection: no time, no retry, no pool."""
    dropped = SUPERSEDED | _OF_THE_POOL | (_OF_SENTINEL if sentinel else set())
    return {name: kwargs[name] for name in kwargs if name not in dropped}


def kind(value: object) -> str:
    """What a value is, for a message that must not hold it."""
    return "None" if value is None else f"a value of type {type(value).__name__}"


def word(name: object) -> str:
    """A name as it is, but not a text that somebody wrote where a name belongs."""
    return repr(name) if re.fullmatch(r"[\w.]{1,80}", str(name)) else "of another form"


def _sentinel(given: object) -> tuple[str, int]:
    match given:
        case [str(host), int() | str() as port] if str(port).isdecimal():
            return host, int(port)
    raise Refused('each of SENTINELS must be a pair such as ("sentinel-1", 26379)')


def _merged(url: str, options: Mapping[str, Any]) -> dict[str, Any]:
    try:
        casts.to_url(url, tuple(_CONNECTIONS))
    except Refused as refused:
        raise Refused(f"LOCATION {refused}; {_HOW}") from None
    parts = urlsplit(url)
    if parts.scheme != "unix" and not re.fullmatch(r"/?\d*", parts.path):
        raise Refused(f"LOCATION does not end with the number of a database such as /0; {_HOW}")
    given = options.keys() | parse_qs(parts.query).keys()
    for name in _CLASSES:
        if name in given:
            raise Refused(f"{name} is not supported: remove it from CONNECTION_POOL_KWARGS")
    try:
        kwargs = {"db": 0, **options, **parse_url(url)}
        for name in {"port", "db"} & kwargs.keys():
            kwargs[name] = int(kwargs[name] or 0)
    except (TypeError, ValueError) as error:
        named = re.search(r"Invalid value for '(\w+)'", str(error))
        where = f"?{named[1]}=" if named else "its port or database"
        raise Refused(f"LOCATION has a value in {where} that redis-py refuses") from None
    if kwargs.get("decode_responses"):
        raise Refused("decode_responses must be False: the values of a cache are bytes")
    return kwargs


def _check_names(scheme: str, kwargs: Mapping[str, Any]) -> None:
    accepted = _accepted(scheme)
    for name in sorted(connection_kwargs(kwargs).keys() - accepted):
        if name in _accepted("rediss"):
            repair = "write rediss:// if the server speaks TLS, else remove it"
        else:
            repair = f"remove it.{did_you_mean(name, sorted(accepted))}"
        raise Refused(f"a {scheme}:// connection has no option {word(name)}: {repair}")


@cache
def _accepted(scheme: str) -> frozenset[str]:
    """Every argument that redis-py's connection of this scheme has."""
    initializers = (vars(each).get("__init__") for each in _CONNECTIONS[scheme].__mro__[:-1])
    names = {name for init in initializers if init for name in inspect.signature(init).parameters}
    return frozenset(names - {"self", "args", "kwargs"})
