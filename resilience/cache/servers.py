"""What to connect to for each location of an alias; behind Sentinel, how to find out."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

from resilience.cache.connector import Server
from resilience.cache.locations import Location
from resilience.cache.options import Options


def servers_of(options: Options) -> Iterator[Server]:
    """The servers of an alias in the order of its locations, the one that takes writes first."""
    for location in options.locations:
        discover = partial(_discover, options, location) if options.sentinels else None
        yield Server(
            location.url,
            options.client_kwargs,
            operation_timeout=options.operation_timeout,
            connect_timeout=options.connect_timeout,
            max_connections=options.max_connections,
            addresses=discover,
        )


def _discover(options: Options, location: Location) -> list[tuple[str, int]]:
    """Where the service is now. Runs in a connector's thread, anew at every dial."""
    each = options.connect_timeout / len(options.sentinels)
    limits = {
        "socket_timeout": each,
        "socket_connect_timeout": each,
        "retry": Retry(NoBackoff(), 0),
    }
    sentinel = Sentinel(
        list(options.sentinels), sentinel_kwargs={**options.sentinel_kwargs, **limits}
    )
    if location.is_master:
        return [sentinel.discover_master(location.host)]
    return sentinel.discover_slaves(location.host) or [sentinel.discover_master(location.host)]
