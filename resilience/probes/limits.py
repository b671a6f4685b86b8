"""Do rate limits hold in an outage, when a cache that falls back counts in each process alone?

Known are the keys of django-ratelimit 4, django-axes 8 and Django REST framework 3.
"""

from __future__ import annotations

import fnmatch
import glob
import hashlib
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from django.conf import settings
from django.utils.connection import ConnectionProxy
from django.utils.module_loading import import_string

from resilience.findings import Finding, Level
from resilience.probes import aliases

_AXES = "axes.handlers.cache.AxesCacheHandler"
_IDENTS = ("7", "203.0.113.7", "2001:db8::7", "0f8fad5b-d9cb-469f-a165-70867728950e")
_DIGESTS = tuple(hashlib.sha256(ident.encode()).hexdigest() for ident in _IDENTS)


@dataclass(frozen=True)
class Limit:
    """Who counts in which alias, and under which keys: some of those that ``pattern`` means."""

    package: str
    alias: str
    pattern: str
    keys: tuple[str, ...]
    otherwise: str = ""


def found() -> Iterator[Finding]:
    """One for each package and alias that falls back where it should not.

    The URLs are imported, if nobody did yet: only its import tells that django-ratelimit is used.
    """
    with suppress(Exception, SystemExit):  # the system checks say so
        import_module(settings.ROOT_URLCONF)
    limits = list(dict.fromkeys([*_ratelimit(), *_axes(), *_throttles()]))
    for package, alias in dict.fromkeys((limit.package, limit.alias) for limit in limits):
        here = [limit for limit in limits if (limit.package, limit.alias) == (package, alias)]
        open_ = _not_strict(alias, here)
        if open_:
            patterns = ", ".join(dict.fromkeys(f'"{limit.pattern}"' for limit in open_))
            yield Finding(
                "deploy.rate-limit-local",
                Level.WARNING,
                f"caches.{alias}",
                f"{package} counts in this cache, which falls back: in an outage of Redis every "
                "process counts for itself, so that all together allow a multiple.",
                f'Add {patterns} to CACHES[{alias!r}]["OPTIONS"]["RESILIENCE"]["STRICT"]: such a '
                f"request then raises CacheUnavailable.{open_[0].otherwise}",
            )


def _not_strict(alias: str, limits: Iterable[Limit]) -> list[Limit]:
    """Those whose keys this process would answer for; none where Redis is not asked at all."""
    options = aliases.options_of(alias)
    if options is None or not options.locations:  # in one process anyway: cache.local-only
        return []
    means = re.compile("|".join(map(fnmatch.translate, options.strict)) or "(?!)").match
    return [limit for limit in limits if not all(map(means, limit.keys))]


# ── who counts ──────────────────────────────────────────────────────────────────────────────────


def _ratelimit() -> Iterator[Limit]:
    """django-ratelimit: a prefix and a digest. Its decorators need no setting."""
    named = [*settings.INSTALLED_APPS, *settings.MIDDLEWARE]
    used = "django_ratelimit.core" in sys.modules or any(
        str(name).split(".")[0] == "django_ratelimit" for name in named
    )
    if used and getattr(settings, "RATELIMIT_ENABLE", True):
        prefix = str(getattr(settings, "RATELIMIT_CACHE_PREFIX", "rl:"))
        yield Limit(
            "django-ratelimit",
            str(getattr(settings, "RATELIMIT_USE_CACHE", "default")),
            glob.escape(prefix) + "*",
            tuple(prefix + digest for digest in _DIGESTS),
        )


def _axes() -> Iterator[Limit]:
    """django-axes, if its handler is the one that counts in a cache."""
    handler = getattr(settings, "AXES_HANDLER", None)
    if handler is not None and getattr(settings, "AXES_ENABLED", True) and _extends(handler, _AXES):
        yield Limit(
            "django-axes",
            str(getattr(settings, "AXES_CACHE", "default")),
            "axes-*",
            tuple(f"axes-{digest}" for digest in _DIGESTS),
            " Or count in the database, by its AxesDatabaseHandler: else nobody can log in.",
        )


def _throttles() -> Iterator[Limit]:
    """REST framework's default throttles; a class may have its own cache and form of keys."""
    given = getattr(settings, "REST_FRAMEWORK", None)
    classes = given.get("DEFAULT_THROTTLE_CLASSES") if isinstance(given, Mapping) else None
    for path in classes or ():
        throttle: Any = _resolve(path)
        form, alias = getattr(throttle, "cache_format", None), _alias_of(throttle)
        if not isinstance(form, str) or alias is None:
            continue  # one that counts elsewhere
        head = form.partition("%")[0]
        for scope in _scopes(throttle):
            with suppress(KeyError, TypeError, ValueError):  # the first request raises it
                keys = tuple(form % {"scope": scope, "ident": ident} for ident in _IDENTS)
                start = head or (form % {"scope": scope, "ident": "\0"}).partition("\0")[0]
                if start:  # else STRICT would have to name every key there is
                    yield Limit("REST framework", alias, glob.escape(start) + "*", keys)


def _scopes(throttle: Any) -> list[str]:
    """Those with a rate; a class without one takes the view's, which may be any of them."""
    rates = getattr(throttle, "THROTTLE_RATES", None) or {}
    scope = getattr(throttle, "scope", None)
    if scope is None:
        return [name for name, rate in rates.items() if rate]
    return [scope] if getattr(throttle, "rate", None) or rates.get(scope) else []


def _alias_of(throttle: Any) -> str | None:
    """The alias of its ``cache``; None for a cache that is not ours, or none at all."""
    cache = getattr(throttle, "cache", None)
    if isinstance(cache, ConnectionProxy):  # django.core.cache.cache
        return str(vars(cache)["_alias"])
    alias = getattr(getattr(cache, "_options", None), "alias", None)
    return None if alias is None else str(alias)


# ── classes that settings name ──────────────────────────────────────────────────────────────────


def _resolve(path: object) -> Any:
    """What a dotted path names; None if it does not import, which the app itself raises."""
    if not isinstance(path, str):
        return path
    with suppress(Exception, SystemExit):
        return import_string(path)
    return None


def _extends(path: object, known: str) -> bool:
    bases = getattr(_resolve(path), "__mro__", ())
    return path == known or known in (f"{base.__module__}.{base.__qualname__}" for base in bases)
