"""Who answers an operation on a key: Redis, or this process while Redis does not.

::

    healthy   Redis answers; the local store is a shadow that learns what Redis said
    outage    the local store answers, from what it may still vouch for; no socket is touched
    masked    as in an outage, for one key: what Redis holds of it this process has changed since
    memory    (no LOCATION) the local store is the cache, for this process

Values are the bytes that Redis holds. A key comes twice: ``name`` is final (prefix and version in
it), ``key`` is the caller's, which decides who may answer in an outage. Every operation has
``ends``, a time of the clock after which it must have been answered, by whom ever.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal

from resilience.cache.asking import (
    NUMBER,
    NUMBER_IF_ALLOWED,
    VALUE,
    Asking,
    Unanswered,
)
from resilience.cache.local import Missing

if TYPE_CHECKING:
    from resilience.cache.journal import Mask
    from resilience.cache.link import Command
    from resilience.cache.state import AliasState

_GONE = -2  # PTTL's word for no such key
SESSION_PREFIX = "django.contrib.sessions."  # a miss is always better than an old answer
BACKED_PREFIX = SESSION_PREFIX + "cached_db"  # and costs no more than a look into the database


called_at: ContextVar[float | None] = ContextVar("resilience_cache_called_at", default=None)
"""When an asynchronous caller called, which may be long before a thread takes the call."""


class Answers:
    """The operations of one alias. Cheap to make; what is shared lives in ``AliasState``.

    ``decode`` and ``encode`` are for the numbers that Redis cannot add up itself.
    """

    def __init__(
        self,
        state: AliasState,
        decode: Callable[[bytes], Any],
        encode: Callable[[Any], bytes],
    ) -> None:
        self._decode, self._encode = decode, encode
        self._state = state
        self.asking = Asking(state)
        self._local, self._journal = state.store, state.journal
        self._clock = state.clock
        self._memory = state.in_memory
        self._max_stale = None if state.in_memory else state.options.max_stale
        self._timeout = state.options.operation_timeout
        strict = "|".join(map(fnmatch.translate, state.options.strict))
        self._strict = re.compile(strict) if strict else None

    @property
    def answers_at_once(self) -> bool:
        """Whether a read touches no socket now."""
        return self._memory or not self._state.read.closed

    def ends(self) -> float:
        """When an operation that begins now, or was called then, must have ended."""
        called = called_at.get()
        return (self._clock() if called is None else called) + self._timeout

    # ── reading ─────────────────────────────────────────────────────────────────────────────────

    def get(self, name: str, key: Any, ends: float) -> bytes | None:
        if self._may_read(key):
            local = self._local
            token = self._token(name)  # before anything else: a write that comes later voids it
            mask = self._mask_now(name, ends)
            if mask is not None:
                return None if self.free(name, mask, ends) else self.recall(name, key)
            try:
                if self._needs_no_ttl(name):
                    (value,) = self.asking.read((("GET", name),), (VALUE,), ends)
                    local.confirm(name, value)
                else:
                    value, ttl = self.asking.read(
                        (("GET", name), ("PTTL", name)), (VALUE, NUMBER_IF_ALLOWED), ends
                    )
                    self._learn(name, value, ttl, token)
            except Unanswered:
                pass
            else:
                return value  # type: ignore[no-any-return]
        return self.recall(name, key)

    def has(self, name: str, key: Any, ends: float) -> bool:
        if self._may_read(key):
            mask = self._mask_now(name, ends)
            if mask is not None:
                return not self.free(name, mask, ends) and self.recall(name, key) is not None
            try:
                (reply,) = self.asking.read((("EXISTS", name),), (NUMBER,), ends)
                return bool(reply)
            except Unanswered:
                pass
        return self.recall(name, key) is not None

    def recall(self, name: str, key: Any) -> bytes | None:
        """What this process may answer by itself. Raises CacheUnavailable for a STRICT key."""
        if self._memory:
            return self._local.read(name, None)
        self._refuse_strict(key)
        self._state.count_fallback()
        if str(key).startswith(SESSION_PREFIX):
            return None
        return self._local.read(name, self._max_stale, own=self._mask(name) is not None)

    def remaining(self, name: str, otherwise: float | None) -> float | None:
        """Seconds that a key which was just read has left; ``otherwise`` if nobody kept them."""
        ttl = self._local.ttl(name)
        return otherwise if isinstance(ttl, Missing) else ttl

    def _may_read(self, key: Any) -> bool:
        """Whether Redis may be asked about a key that is not masked."""
        if self._memory or not self._state.read.closed:
            return False
        # While only writes fail, whoever logged out elsewhere could not take it out of Redis.
        return self._state.write.closed or not str(key).startswith(BACKED_PREFIX)

    def _token(self, name: str) -> Any:
        """What _learn() needs of the time before Redis was asked."""
        return self._local.token(name)

    def _needs_no_ttl(self, name: str) -> bool:
        return self._local.has(name)

    def _learn(self, name: str, value: bytes | None, ttl: int | None, token: Any) -> None:
        """Redis answered GET and PTTL for a key that was not here."""
        # None: the user may not ask for it, so nobody knows how long it may be kept. Gone: it
        # expired between the two.
        if value is not None and ttl is not None and ttl != _GONE:
            self._fill(name, value, seconds(ttl), token)

    def _fill(self, name: str, value: bytes, ttl: float | None, token: Any) -> None:
        self._local.fill(name, value, ttl, token)

    # ── writing ─────────────────────────────────────────────────────────────────────────────────

    def set(self, name: str, key: Any, value: bytes, ttl: float | None, ends: float) -> None:
        if ttl is not None and ttl <= 0:
            self.delete(name, key, ends)
            return
        if self._memory:
            self._local.write(name, value, ttl, outage=True)
            return
        mask, token = self._mask_now(name, ends), self._local.bump(name)
        try:
            self.asking.write((set_command(name, value, ttl),), (VALUE,), ends)
        except Unanswered as unanswered:
            self._refuse_strict(key)
            self.mask((name,), unanswered)
            self._keep(name, value, ttl)
        else:
            self._unmask(name, mask)
            self._local.write(name, value, ttl, outage=False, token=token)

    def add(self, name: str, key: Any, value: bytes, ttl: float | None, ends: float) -> bool:
        if ttl is not None and ttl <= 0:
            return not self.has(name, key, ends)
        if not self._memory:
            try:
                return self._set_if("NX", name, value, ttl, ends)
            except Unanswered:
                self._refuse_strict(key)
            if self._state.read.closed and self.has(name, key, ends):
                return False
        own = self._mask(name) is not None
        return self._local.add(name, value, ttl, self._max_stale, own=own)

    def replace(self, name: str, key: Any, value: bytes, ttl: float | None, ends: float) -> bool:
        """Set a key only if it is there (SET XX); was it?"""
        if ttl is not None and ttl <= 0:
            return self.delete(name, key, ends)
        failed = None
        if not self._memory:
            try:
                return self._set_if("XX", name, value, ttl, ends)
            except Unanswered as unanswered:
                failed = unanswered
        there = self.recall(name, key) is not None
        if failed is not None:
            self.mask((name,), failed)
        if there:
            self._keep(name, value, ttl)
        else:
            self._local.drop(name)
        return there

    def _set_if(
        self,
        condition: Literal["NX", "XX"],
        name: str,
        value: bytes,
        ttl: float | None,
        ends: float,
    ) -> bool:
        """SET under a condition; was it met? Raises Unanswered."""
        self._free(name, ends)
        token = self._local.bump(name)
        command = (*set_command(name, value, ttl), condition)
        (reply,) = self.asking.write((command,), (VALUE,), ends)
        if reply is not None:
            self._journal.spare(name)
            self._local.write(name, value, ttl, outage=False, token=token)
        return reply is not None

    def delete(self, name: str, key: Any, ends: float) -> bool:
        local = self._local
        if self._memory:
            return local.drop(name)
        mask = self._mask_now(name, ends)
        local.bump(name)
        try:
            (reply,) = self.asking.write((("DEL", name),), (NUMBER,), ends)
        except Unanswered as unanswered:
            self._refuse_strict(key)
            self.mask((name,), unanswered)
            return local.drop(name)
        self._unmask(name, mask)
        there = local.drop(name)
        return bool(reply) if mask is None else there

    def touch(self, name: str, key: Any, ttl: float | None, ends: float) -> bool:
        if ttl is not None and ttl <= 0:
            return self.delete(name, key, ends)
        local = self._local
        if self._memory:
            return local.touch(name, ttl)
        # PERSIST says 0 for a key that has no TTL already.
        change: Command = ("PERSIST", name) if ttl is None else ("PEXPIRE", name, ms(ttl))
        try:
            self._free(name, ends)
            local.bump(name)
            _, there = self.asking.write((change, ("EXISTS", name)), (NUMBER, NUMBER), ends)
        except Unanswered as unanswered:
            there = self.recall(name, key) is not None
            self.mask((name,), unanswered)
            if not there:
                local.drop(name)
            return there and local.touch(name, ttl)
        local.touch(name, ttl) if there else local.drop(name)
        return bool(there)

    # ── the journal ─────────────────────────────────────────────────────────────────────────────

    def mask(self, names: tuple[str, ...] | list[str], unanswered: Unanswered) -> None:
        """Redis did not acknowledge a write of these keys."""
        owner = self._state.options.every_key
        self._journal.add(names, owner, unknown=unanswered.sent)
        self._state.flush()

    def free(self, name: str, mask: Mask, ends: float) -> bool:
        """Take a masked key out of Redis; False if that was not to be had."""
        try:
            self._free(name, ends, mask)
        except Unanswered:
            return False
        return True

    def is_free(self, name: str, ends: float) -> bool:
        """Whether a key is not masked, or not any more."""
        mask = self._mask_now(name, ends)
        return mask is None or self.free(name, mask, ends)

    def _free(self, name: str, ends: float, mask: Mask | None = None) -> None:
        mask = mask or self._mask_now(name, ends)
        if mask is not None:
            self.asking.unlink((name,), ends)
            if not self._journal.done(name, mask):
                raise Unanswered  # another write of it failed meanwhile
            self._local.drop(name)

    def _mask(self, name: str) -> Mask | None:
        if not self._journal.active:
            return None
        self._state.flush()  # a forked child has the masks of its parent, and no thread
        return self._journal.mask(name)

    def _mask_now(self, name: str, ends: float) -> Mask | None:
        """The same once no UNLINK of the flusher is under way, which would take what comes next."""
        mask = self._mask(name)
        if mask is not None and mask.wait(ends - self._clock()):
            mask = self._mask(name)
        return mask

    def _keep(self, name: str, value: bytes, ttl: float | None) -> bool:
        """What this process wrote without Redis, for as long as the key is masked."""
        kept = self._local.write(name, value, ttl, outage=True)
        if self._mask(name) is None:  # the flusher was faster
            self._local.drop(name)
        return kept

    def _unmask(self, name: str, mask: Mask | None) -> None:
        """Redis acknowledged a write that leaves nothing of what it held."""
        if mask is not None:
            self._journal.done(name, mask)

    def is_strict(self, key: Any) -> bool:
        """Whether nobody but Redis may answer for a caller's key."""
        return self._strict is not None and self._strict.match(str(key)) is not None

    def _refuse_strict(self, key: Any) -> None:
        if self.is_strict(key):
            raise self._state.unavailable(f"{key!r}, a STRICT key,")


def set_command(name: str, value: bytes, ttl: float | None) -> Command:
    return ("SET", name, value) if ttl is None else ("SET", name, value, "PX", ms(ttl))


def ms(ttl: float) -> int:
    return max(1, int(ttl * 1000))


def seconds(pttl: int) -> float | None:
    return None if pttl < 0 else pttl / 1000
