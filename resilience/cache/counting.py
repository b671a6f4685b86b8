"""Counting: in Redis in one step, in an outage here; never taken out of Redis afterwards."""

from __future__ import annotations

from typing import Any

from redis import exceptions

from resilience.cache.asking import NUMBER, NUMBER_OR_NIL, VALUE, Unanswered
from resilience.cache.faults import Kind
from resilience.cache.local import Missing
from resilience.cache.outage import Answers, seconds, set_command

# One round trip, atomic, and nil for a key that is not there (INCRBY would make it).
_INCR = "if redis.call('EXISTS',KEYS[1])==1 then return redis.call('INCRBY',KEYS[1],ARGV[1]) end"


class Counting(Answers):
    """``incr`` of one alias. ``decr`` is a negative delta."""

    def incr(self, name: str, key: Any, delta: int, ends: float) -> int:
        """Raises ValueError for a key that is not there."""
        if self._memory:
            return self._incr_locally(name, key, delta, ends)
        local = self._local
        try:
            self._free(name, ends)
            ttl, token = local.ttl(name), local.bump(name)
            result = self._incr_in_redis(name, delta, ends)
        except Unanswered:
            self._refuse_strict(key)
            return self._incr_locally(name, key, delta, ends)
        self._journal.spare(name)
        if result is None:
            local.drop(name)
            raise _no_such_key(name)
        if isinstance(ttl, Missing):
            local.drop(name)  # the next read learns value and TTL together
        else:
            local.write(name, self._encode(result), ttl, outage=False, token=token)
        return result

    def _incr_in_redis(self, name: str, delta: int, ends: float) -> int | None:
        """None for a key that is not there. Raises Unanswered."""
        ask = self.asking.write
        try:
            (reply,) = ask((("EVAL", _INCR, 1, name, delta),), (NUMBER_OR_NIL,), ends)
        except Unanswered as unanswered:
            if unanswered.kind is not Kind.PERMISSION:
                raise
            # Without scripts it takes two steps, as Django's own backend does it.
            (there,) = ask((("EXISTS", name),), (NUMBER,), ends)
            if not there:
                return None
            try:
                (reply,) = ask((("INCRBY", name, delta),), (NUMBER,), ends)
            except exceptions.ResponseError as error:
                return self._incr_encoded(name, delta, ends, error)
        except exceptions.ResponseError as error:
            return self._incr_encoded(name, delta, ends, error)
        return reply  # type: ignore[no-any-return]

    def _incr_encoded(
        self, name: str, delta: int, ends: float, error: exceptions.ResponseError
    ) -> int | None:
        """What is not an integer to Redis: a pickled number, or one beyond 64 bits."""
        if not any(words in str(error) for words in ("not an integer", "overflow")):
            raise error
        ask = self.asking.write
        value, ttl = ask((("GET", name), ("PTTL", name)), (VALUE, NUMBER), ends)
        if value is None:
            return None
        result = self._number(name, value) + delta
        ask((set_command(name, self._encode(result), seconds(ttl)),), (VALUE,), ends)
        return result  # type: ignore[no-any-return]

    def _incr_locally(self, name: str, key: Any, delta: int, ends: float) -> int:
        while True:
            value = self.get(name, key, ends)
            if value is None:
                raise _no_such_key(name)
            result = self._number(name, value) + delta
            kept = self._local.replace(name, value, self._encode(result))
            if kept or not self._local.has(name):
                return result  # type: ignore[no-any-return]

    def _number(self, name: str, value: bytes) -> Any:
        """What does not decode is a miss, here too."""
        try:
            return self._decode(value)
        except Exception:  # noqa: BLE001 - another serializer's bytes, or broken ones
            raise _no_such_key(name) from None


def _no_such_key(name: str) -> ValueError:
    return ValueError(f"Key {name!r} not found")
