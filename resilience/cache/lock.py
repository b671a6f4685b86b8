"""What ``cache.lock()`` gives: redis-py's lock, in Redis or in this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Literal

from redis._parsers.encoders import Encoder
from redis.exceptions import LockNotOwnedError
from redis.lock import Lock


class RedisLock(Lock):
    """redis-py's, with each script in one round trip: there is no script that Redis must know."""

    def register_scripts(self) -> None:
        """No I/O, and nothing is kept on redis-py's class, where every client would share it."""
        for name in ("release", "extend", "reacquire"):
            setattr(self, f"lua_{name}", _script(getattr(self, f"LUA_{name.upper()}_SCRIPT")))


def _script(source: str) -> Callable[..., Any]:
    def run(*, keys: list[str], args: list[Any], client: Any) -> Any:
        return client.eval(source, len(keys), *keys, *args)

    return run


class LocalLock(Lock):
    """The same interface for the threads of this process: a cache without LOCATION."""

    redis: Held

    def register_scripts(self) -> None:
        """There are none."""

    def do_acquire(self, token: Any) -> bool:
        return self.redis.take(self.name, token, self.timeout or None)

    def do_release(self, expected_token: Any) -> None:
        self._check(owned=self.redis.free(self.name, expected_token))

    def do_extend(self, additional_time: float, replace_ttl: bool) -> Literal[True]:  # noqa: FBT001 - redis-py's signature
        token = self.local.token
        self._check(owned=self.redis.extend(self.name, token, additional_time, add=not replace_ttl))
        return True

    def do_reacquire(self) -> Literal[True]:
        return self.do_extend(self.timeout or 0, replace_ttl=True)

    def _check(self, *, owned: bool) -> None:
        if not owned:
            message = f"The lock {self.name!r} is no longer owned: its timeout is over."
            raise LockNotOwnedError(message, lock_name=self.name)


class Held:
    """Who holds which lock of one cache, in the place of the Redis that a lock asks."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._held: dict[str, tuple[Any, float | None]] = {}  # token, end

    def take(self, name: str, token: Any, seconds: float | None) -> bool:
        with self._lock:
            if self._token(name) is not None:
                return False
            self._hold(name, token, seconds)
            return True

    def free(self, name: str, token: Any) -> bool:
        with self._lock:
            owned: bool = self._token(name) == token
            if owned:
                del self._held[name]
            return owned

    def extend(self, name: str, token: Any, seconds: float, *, add: bool) -> bool:
        with self._lock:
            if self._token(name) != token:
                return False
            ends = self._held[name][1]
            left = ends - self._clock() if add and ends is not None else 0.0
            self._hold(name, token, left + seconds)
            return True

    def get(self, name: str) -> Any:
        """The token of who holds it, or None."""
        with self._lock:
            return self._token(name)

    def get_encoder(self) -> Encoder:
        return Encoder("utf-8", "strict", decode_responses=False)

    def _hold(self, name: str, token: Any, seconds: float | None) -> None:
        self._held[name] = token, None if seconds is None else self._clock() + seconds

    def _token(self, name: str) -> Any:
        """With the lock held."""
        token, ends = self._held.get(name, (None, None))
        if ends is not None and ends <= self._clock():
            del self._held[name]
            return None
        return token
