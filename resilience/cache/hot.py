"""``resilience.cache.HotCache``: what is read most comes from this process while Redis is healthy.

A read of a hot key touches no socket once this process has it: Redis tells of every change, and
the listener says how long its silence means that there was none. Without the listener it is a
ResilientCache, to the last byte.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from django.core.cache.backends.base import DEFAULT_TIMEOUT, InvalidCacheBackendError

from resilience.cache.aio import MISSING
from resilience.cache.backend import ResilientCache
from resilience.cache.bulk import BulkAnswers
from resilience.cache.copies import Copier, copier_of
from resilience.cache.flights import Codec
from resilience.cache.local import Entry, Heat
from resilience.cache.outage import SESSION_PREFIX
from resilience.cache.state import AliasState


class HotAnswers(BulkAnswers):
    """The operations of one alias; what Redis says of a hot key is kept for the next read."""

    def __init__(
        self,
        state: AliasState,
        decode: Callable[[bytes], Any],
        encode: Callable[[Any], bytes],
    ) -> None:
        super().__init__(state, decode, encode)
        self._prefixes = state.options.hot
        self.head = 0  # how long a name is without its key

    def read_hot(self, name: str) -> Entry | None:
        """What Redis holds, without asking it; None if it must be asked."""
        listener = self._state.listener
        session = listener.session
        if not session or self._clock() >= listener.until:
            return None
        return self._local.read_hot(name, session)

    def read_hot_many(self, names: Sequence[str]) -> list[Entry | None]:
        """The same for many keys, in their order."""
        listener = self._state.listener
        session = listener.session
        if not session or self._clock() >= listener.until:
            return [None] * len(names)
        return self._local.read_hot_many(names, session)

    def has(self, name: str, key: Any, ends: float) -> bool:
        return self.read_hot(name) is not None or super().has(name, key, ends)

    # ── what is kept of Redis's answers ─────────────────────────────────────────────────────────

    def _is_hot(self, name: str) -> bool:
        if not name.startswith(self._prefixes):
            return False
        self._state.listener.keep()
        key = name[self.head :]
        # A logout, a limit and a lock hold at once and everywhere.
        return not key.startswith(SESSION_PREFIX) and not self.is_strict(key)

    def _token(self, name: str) -> Any:
        if not self._is_hot(name):
            return super()._token(name)
        local = self._local
        # The session first: the next one begins before anything could be read in it.
        return self._state.listener.session, local.changes(name), local.token(name)

    def _needs_no_ttl(self, name: str) -> bool:
        return super()._needs_no_ttl(name) and not (
            self._state.listener.session and self._is_hot(name)
        )

    def _tokens(self, names: Sequence[str]) -> dict[str, Any]:
        return {name: self._token(name) for name in names if not self._needs_no_ttl(name)}

    def _fill(self, name: str, value: bytes, ttl: float | None, token: Any) -> None:
        heat = None
        if isinstance(token, tuple):
            session, changes, token = token
            with suppress(Exception):  # what does not decode is a miss, hot or not
                copier = copier_of(self._decode(value)) or Copier(partial(self._decode, value), 0)
                heat = Heat(changes, session, copier)
        self._local.fill(name, value, ttl, token, heat)


class HotCache(ResilientCache):
    """A ResilientCache that answers reads of the prefixes in ``HOT`` by itself.

    Another process's write is seen within milliseconds, and at most ``listener.LEASE`` seconds
    later whatever happens to the connection that tells of it. Raises InvalidCacheBackendError for
    options that cannot keep that.
    """

    _takes_hot = True
    _answers_class = HotAnswers
    _answers: HotAnswers

    def __init__(self, server: Any, params: dict[str, Any]) -> None:
        super().__init__(server, params)
        if self._own_keys:
            raise InvalidCacheBackendError(
                f"{type(self).__name__} has a make_key of its own, and HOT needs Django's"
            )
        self._answers.head = len(self.make_key(""))
        self._codec = Codec(self._encode, self._loads)

    def get(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        version_ = self.version if version is None else version
        # The name needs no check: there is nothing under one that would not pass.
        entry = self._answers.read_hot(f"{self.key_prefix!s}:{version_!s}:{key!s}")
        return super().get(key, default, version) if entry is None else entry.make()

    def get_many(self, keys: Iterable[Any], version: int | None = None) -> dict[Any, Any]:
        hot, rest = self._hot_many(keys, version)
        return {**hot, **super().get_many(rest, version)} if rest else hot

    def _hot_many(
        self, keys: Iterable[Any], version: int | None
    ) -> tuple[dict[Any, Any], list[Any]]:
        """The values that are hot, and the other keys."""
        keys = list(keys)
        head = f"{self.key_prefix!s}:{self.version if version is None else version!s}:"
        entries = self._answers.read_hot_many([f"{head}{key!s}" for key in keys])
        hot = {k: entry.make() for k, entry in zip(keys, entries, strict=True) if entry is not None}
        return hot, [] if len(hot) == len(keys) else [key for key in keys if key not in hot]

    def get_or_set(
        self, key: Any, default: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> Any:
        """As Django's; of all threads and tasks that find nothing, one calls the function."""
        parent = super().get_or_set
        if not callable(default):
            return parent(key, default, timeout, version)
        flight, value = self._flight(key, version)
        if value is not MISSING:
            return value
        compute = partial(parent, key, default, timeout, version)
        return self._state.flights.run(flight, compute, self._codec)

    async def aget_or_set(
        self,
        key: Any,
        default: Any,
        timeout: Any = DEFAULT_TIMEOUT,  # noqa: ASYNC109 - Django's, and no time limit
        version: int | None = None,
    ) -> Any:
        parent = super().aget_or_set
        if not callable(default):
            return await parent(key, default, timeout, version)
        flight, value = self._flight(key, version)
        if value is not MISSING:
            return value
        compute = partial(parent, key, default, timeout, version)
        return await self._state.flights.arun(flight, compute, self._codec)

    def _flight(self, key: Any, version: int | None) -> tuple[Hashable, Any]:
        """Whose computation to share, and the value if it is hot already."""
        name = self._name(key, version)
        entry = self._answers.read_hot(name)
        value = MISSING if entry is None else entry.make()
        # Whoever wrote the key since must not be given what was read before.
        return (name, self._state.store.token(name)), value

    async def aget_many(self, keys: Iterable[Any], version: int | None = None) -> dict[Any, Any]:
        hot, rest = self._hot_many(keys, version)
        return {**hot, **await super().aget_many(rest, version)} if rest else hot

    async def _aget(self, key: Any, default: Any, version: int | None, ends: float) -> Any:
        entry = self._answers.read_hot(self._name(key, version))
        return await super()._aget(key, default, version, ends) if entry is None else entry.make()
