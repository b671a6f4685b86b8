"""``resilience.cache.ResilientCache``: Django's names, mapped to whoever answers.

Keys and values in Redis are byte for byte django-redis's: its client makes, encodes and decodes
them here, and never connects.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from django.core.cache import caches
from django.core.cache.backends.base import (
    DEFAULT_TIMEOUT,
    MEMCACHE_MAX_KEY_LENGTH,
    BaseCache,
    default_key_func,
)
from django_redis.compressors.identity import IdentityCompressor
from django_redis.serializers.pickle import PickleSerializer

from resilience.cache import options as options_
from resilience.cache.aio import MISSING, AsyncNames
from resilience.cache.bulk import BulkAnswers
from resilience.cache.extras import Extras, Names
from resilience.cache.state import state_of

_NOT_PARAMS = ("BACKEND", "LOCATION")


class ResilientCache(Extras, AsyncNames):
    """A cache on Redis that answers within its timeout whatever Redis does.

    See ``docs/reference/cache.md`` for what it answers meanwhile. ``OPTIONS`` are
    django-redis's, and ``RESILIENCE`` in them. Raises InvalidCacheBackendError for options that
    cannot work.
    """

    _takes_hot = False
    _answers_class = BulkAnswers

    def __init__(self, server: Any, params: dict[str, Any]) -> None:
        alias = _alias_of(server, params)
        params = {**params, "OPTIONS": params.get("OPTIONS") or {}}  # Django takes no None
        super().__init__(params)
        config = {**params, "BACKEND": type(self), "LOCATION": server}
        self._options = options_.parse(alias, config)
        self._server, self._params = server, params
        self._state = state_of(self._options)
        # django-redis wants a server to begin with; it is never used.
        self._client: Any = Names(["redis://localhost"], params, self)
        plain = (type(self._client._serializer), type(self._client._compressor))  # noqa: SLF001
        is_plain = plain == (PickleSerializer, IdentityCompressor)
        self._loads: Callable[[bytes], Any] = _loads if is_plain else self._client.decode
        self._answers = self._answers_class(self._state, self._loads, self._encode)
        self._own_keys = type(self).make_key is not BaseCache.make_key

    # ── keys and values ─────────────────────────────────────────────────────────────────────────

    def _name(self, key: Any, version: int | None) -> str:
        """The final key: Django's ``make_and_validate_key``, at a fraction of its time."""
        if self.key_func is default_key_func and not self._own_keys:
            version = self.version if version is None else version
            name = f"{self.key_prefix!s}:{version!s}:{key!s}"
        else:
            name = self.make_key(key, version=version)
        if len(name) > MEMCACHE_MAX_KEY_LENGTH or not _is_plain(name):
            self._validate(name)
        return name

    def _names(self, keys: Sequence[Any], version: int | None) -> list[str]:
        """The same for many keys, checked together."""
        if self.key_func is default_key_func and not self._own_keys:
            version = self.version if version is None else version
            head = f"{self.key_prefix!s}:{version!s}:"
            names = [f"{head}{key!s}" for key in keys]
        else:
            names = [self.make_key(key, version=version) for key in keys]
        longest = max(map(len, names), default=0)
        if longest > MEMCACHE_MAX_KEY_LENGTH or not _is_plain("".join(names)):
            for name in names:
                self._validate(name)
        return names

    def _validate(self, name: str) -> None:
        name.encode()  # UnicodeEncodeError, with Redis and without
        self.validate_key(name)

    def _encode(self, value: Any) -> bytes:
        encoded = self._client.encode(value)
        return encoded if type(encoded) is bytes else str(encoded).encode()

    def _decode(self, value: bytes | None, default: Any) -> Any:
        if value is None:
            return default
        try:
            return self._loads(value)
        except Exception:  # noqa: BLE001 - another serializer's bytes, or broken ones: a miss
            return default

    def _ttl(self, timeout: Any) -> float | None:
        return self.default_timeout if timeout is DEFAULT_TIMEOUT else timeout

    def _bulk_ends(self) -> float:
        return self._answers.ends() - self._options.operation_timeout + self._options.bulk_timeout

    # ── Django's cache API ──────────────────────────────────────────────────────────────────────

    def get(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        return self._get(key, default, version, self._answers.ends())

    def _get(self, key: Any, default: Any, version: int | None, ends: float) -> Any:
        return self._decode(self._answers.get(self._name(key, version), key, ends), default)

    def set(  # type: ignore[override] # noqa: PLR0913 - as django-redis
        self,
        key: Any,
        value: Any,
        timeout: Any = DEFAULT_TIMEOUT,
        version: int | None = None,
        *,
        nx: bool = False,
        xx: bool = False,
    ) -> bool:
        """``nx`` sets only a key that is not there, ``xx`` only one that is, as django-redis."""
        ends = self._answers.ends()
        if nx:
            return not xx and self._add(key, value, timeout, version, ends)
        if xx:
            encoded, name = self._encode(value), self._name(key, version)
            return self._answers.replace(name, key, encoded, self._ttl(timeout), ends)
        self._set(key, value, timeout, version, ends)
        return True

    def _set(self, key: Any, value: Any, timeout: Any, version: int | None, ends: float) -> None:
        encoded = self._encode(value)
        self._answers.set(self._name(key, version), key, encoded, self._ttl(timeout), ends)

    def add(
        self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> bool:
        return self._add(key, value, timeout, version, self._answers.ends())

    def _add(self, key: Any, value: Any, timeout: Any, version: int | None, ends: float) -> bool:
        encoded = self._encode(value)
        name = self._name(key, version)
        return self._answers.add(name, key, encoded, self._ttl(timeout), ends)

    def delete(self, key: Any, version: int | None = None) -> bool:
        return self._answers.delete(self._name(key, version), key, self._answers.ends())

    def touch(self, key: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        name = self._name(key, version)
        return self._answers.touch(name, key, self._ttl(timeout), self._answers.ends())

    def has_key(self, key: Any, version: int | None = None) -> bool:
        return self._answers.has(self._name(key, version), key, self._answers.ends())

    def incr(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        name, ends = self._name(key, version), self._answers.ends()
        return self._answers.incr(name, key, delta, ends)

    def decr(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        return self.incr(key, -delta, version=version)

    def get_or_set(
        self, key: Any, default: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> Any:
        """One time for all round trips; the caller's function takes its own."""
        ends = self._answers.ends()
        value = self._get(key, MISSING, version, ends)
        if value is not MISSING:
            return value
        if callable(default):
            left = ends - self._answers.ends()
            default = default()
            ends = self._answers.ends() + left
        return self._offer(key, default, timeout, version, ends)

    def _offer(self, key: Any, value: Any, timeout: Any, version: int | None, ends: float) -> Any:
        if self._add(key, value, timeout, version, ends):
            return value
        there = self._get(key, MISSING, version, ends)  # another's, if that was faster
        if there is not MISSING:
            return there
        self._set(key, value, timeout, version, ends)  # there, and it does not decode
        return value

    def incr_version(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        """One time for all round trips. The key keeps its time to live, as with django-redis."""
        version = self.version if version is None else version
        ends = self._answers.ends()
        value = self._get(key, MISSING, version, ends)
        if value is MISSING:
            raise ValueError(f"Key {key!r} not found")
        left = self._answers.remaining(self._name(key, version), self.default_timeout)
        self._set(key, value, left, version + delta, ends)
        self._answers.delete(self._name(key, version), key, ends)
        return version + delta

    def get_many(self, keys: Iterable[Any], version: int | None = None) -> dict[Any, Any]:
        keys = list(keys)
        names = self._names(keys, version)
        found = self._answers.get_many(dict(zip(names, keys, strict=True)), self._bulk_ends())
        return self._decode_many(keys, names, found)

    def _decode_many(
        self, keys: Sequence[Any], names: Sequence[str], found: Mapping[str, bytes | None]
    ) -> dict[Any, Any]:
        result: dict[Any, Any] = {}
        loads = self._loads
        for key, name in zip(keys, names, strict=True):
            value = found[name]
            if value is not None:
                try:
                    result[key] = loads(value)
                except Exception:  # noqa: BLE001, S112 - as in _decode()
                    continue
        return result

    def set_many(
        self,
        data: Mapping[Any, Any],
        timeout: Any = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> list[Any]:
        names = dict(zip(self._names(list(data), version), data, strict=True))
        values = {name: self._encode(data[key]) for name, key in names.items()}
        failed = self._answers.set_many(names, values, self._ttl(timeout), self._bulk_ends())
        return [names[name] for name in failed]

    def delete_many(self, keys: Iterable[Any], version: int | None = None) -> None:
        keys = list(keys)
        names = dict(zip(self._names(keys, version), keys, strict=True))
        self._answers.delete_many(names, self._bulk_ends())

    def clear(self) -> bool:  # type: ignore[override] # as django-redis
        """Every key of this alias, of every version; never FLUSHDB, which takes others' too."""
        self._answers.delete_pattern(self._options.every_key, self._bulk_ends())
        return True

    def close(self, **_: Any) -> None:
        """Connections belong to the process and stay."""


def _is_plain(text: str) -> bool:
    """Whether Django's check for memcached would find nothing, without its time."""
    return text.isprintable() and " " not in text


def _loads(value: bytes) -> Any:
    """django-redis's ``decode`` without its layers: an integer, else a pickle."""
    if value[:1] != b"\x80":  # how every pickle begins since protocol 2, and no integer
        try:
            return int(value)
        except ValueError:
            pass
    return pickle.loads(value)  # noqa: S301 - as django-redis: redis.pickle-untrusted tells when not


def _alias_of(server: Any, params: Mapping[str, Any]) -> str:
    """Django does not say which alias it builds: the one that has these very settings."""
    for alias, config in caches.settings.items():
        rest = {name: value for name, value in config.items() if name not in _NOT_PARAMS}
        if rest == params and config.get("LOCATION", "") == server:
            return str(alias)
    return "default"
