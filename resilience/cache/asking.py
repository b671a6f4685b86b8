"""Asks Redis under the breaker's eye: what comes back is its answer, or Unanswered is raised.

A reply is held against what its command can say. One that Redis never gives comes from something
else on that port, or on a connection that lost count: then every connection to it goes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import inf
from typing import TYPE_CHECKING, Any

from redis import exceptions

from resilience.cache.breaker import Breaker
from resilience.cache.connection import TimedOut, may_be_done
from resilience.cache.faults import Kind, classify
from resilience.cache.link import Command, Link
from resilience.chance import CHANCE

if TYPE_CHECKING:
    from resilience.cache.state import AliasState

SCAN_COUNT = 500
WHOLE = 0.8  # of OPERATION_TIMEOUT; a round trip that had less and ended does not count

# What a command may say, by the type of its reply.
Says = frozenset[type]
NUMBER: Says = frozenset({int})
NUMBER_OR_NIL: Says = frozenset({int, type(None)})
VALUE: Says = frozenset({bytes, type(None)})  # SET too: OK, or nil for its condition
MANY: Says = frozenset({list})
NUMBER_IF_ALLOWED: Says = frozenset({int, float})  # a number; None where an ACL forbids to ask


class Unanswered(Exception):
    """Redis did not answer; somebody else must.

    ``kind`` is None if nobody was asked. ``sent``: it may have been done nevertheless.
    """

    def __init__(self, kind: Kind | None = None, *, sent: bool = False) -> None:
        super().__init__(kind)
        self.kind = kind
        self.sent = sent


class Asking:
    """The servers of one alias."""

    def __init__(self, state: AliasState) -> None:
        self._state = state
        self._clock = state.clock
        self._timeout = state.options.operation_timeout

    def read(self, commands: Sequence[Command], says: Sequence[Says], ends: float) -> list[Any]:
        """The replies to one round trip. Raises Unanswered, or ResponseError for a caller's bug."""
        state = self._state
        links = state.readers
        link = links[0] if len(links) == 1 else _one_of(links)
        return self._ask(state.read, link, commands, says, ends)

    def write(self, commands: Sequence[Command], says: Sequence[Says], ends: float) -> list[Any]:
        """As read(), from a server that takes writes."""
        state = self._state
        if not state.write.closed:
            state.prober.keep()
            raise Unanswered
        links = state.writers
        link = links[0] if len(links) == 1 else _first_of(links)
        return self._ask(state.write, link, commands, says, ends)

    def unlink(self, names: Sequence[bytes | str], ends: float) -> int:
        """Take keys out of Redis; how many. DEL where an ACL knows only that."""
        try:
            (reply,) = self.write((("UNLINK", *names),), (NUMBER,), ends)
        except Unanswered as unanswered:
            if unanswered.kind is not Kind.PERMISSION:
                raise
            (reply,) = self.write((("DEL", *names),), (NUMBER,), ends)
        return int(reply)

    def scan(self, pattern: str, bulk_ends: float = inf) -> Iterator[list[bytes]]:
        """The keys that a Redis pattern means, page by page, each within its own time.

        A cursor means nothing to another process of Redis, which may answer in the place of the
        first without any error here: then it begins anew.
        """
        cursor: bytes | int = 0
        began = self._beginnings()
        while True:
            command: Command = ("SCAN", cursor, "MATCH", pattern, "COUNT", SCAN_COUNT)
            ((cursor, names),) = self.write((command,), (MANY,), self.turn(bulk_ends))
            if names:
                yield names
            if began != (now := self._beginnings()):
                cursor, began = 0, now
            elif cursor == b"0":
                return

    def _beginnings(self) -> list[int]:
        return [link.beginnings for link in self._state.writers]

    def guard(self, breaker: Breaker, link: Link, call: Callable[[], Any]) -> Any:
        """What a client of redis-py on the link's pool got. Raises as read()."""
        if not breaker.closed:
            raise Unanswered
        began = self._clock()
        try:
            result = call()
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            # redis-py packs what is packed already; so it could make nothing of the reply.
            odd = self._nonsense(link, f"what {type(error).__name__} came of")
            raise self._fault(breaker, link, odd, began) from None
        except Exception as error:  # noqa: BLE001 - classified there, and raised
            raise self._fault(breaker, link, error, began) from None
        breaker.record_success(self._clock() - began)
        return result

    def turn(self, bulk_ends: float) -> float:
        """When a round trip of many that begins now must have ended."""
        return min(self._clock() + self._timeout, bulk_ends)

    def _ask(
        self,
        breaker: Breaker,
        link: Link,
        commands: Sequence[Command],
        says: Sequence[Says],
        ends: float,
    ) -> list[Any]:
        began = self._clock()
        try:
            replies: list[Any] = link.exchange(commands, ends)
        except Exception as error:  # noqa: BLE001 - classified there, and raised
            raise self._fault(breaker, link, error, began) from None
        for place, reply in enumerate(replies):
            allowed = says[place]
            if type(reply) not in allowed or (
                type(reply) is list and not _fits(commands[place], reply)
            ):
                odd = self._odd(link, commands[place], reply)
                if allowed is NUMBER_IF_ALLOWED and classify(odd) is Kind.PERMISSION:
                    self._state.note(Kind.PERMISSION, odd)
                    replies[place] = None
                else:
                    raise self._fault(breaker, link, odd, began) from None
        breaker.record_success(self._clock() - began)
        return replies

    def _odd(self, link: Link, command: Command, reply: Any) -> exceptions.RedisError:
        """The error that a reply is, or amounts to."""
        if isinstance(reply, exceptions.RedisError):
            return reply
        return self._nonsense(link, f"{command[0]!s} with {type(reply).__name__}")

    def _nonsense(self, link: Link, what: str) -> exceptions.InvalidResponse:
        """It may be an earlier command's reply: no connection to that server can be believed."""
        link.drop()
        where = link.server.where
        return exceptions.InvalidResponse(f"{where} answered {what}: no Redis, or a broken one")

    def _fault(self, breaker: Breaker, link: Link, error: Exception, began: float) -> Exception:
        """What to raise for an error that is counted now."""
        kind = classify(error)
        if kind is Kind.BUG:
            return error
        self._state.note(kind, error)
        if kind is Kind.READONLY:
            link.drop()  # the name may lead to the new primary by now
        now = self._clock()
        # Had it only what others had left of the time, it says nothing about Redis.
        whole = now - max(began, getattr(error, "since", 0.0)) >= WHOLE * self._timeout
        if whole or not isinstance(error, TimedOut):
            breaker.record_failure(kind, now - began)
        is_reply = isinstance(error, exceptions.ResponseError)
        return Unanswered(kind, sent=not is_reply and may_be_done(error))


def _fits(command: Command, reply: list[Any]) -> bool:
    """Whether a list is what MGET or SCAN says."""
    if command[0] == "MGET":
        return len(reply) == len(command) - 1 and all(type(each) in VALUE for each in reply)
    match reply:
        case [bytes(), [*names]]:
            return all(type(name) is bytes for name in names)
    return False


def _first_of(links: Sequence[Link]) -> Link:
    """The primary, or after REPLICA_READ_ONLY = False the next one that is not known to be gone."""
    return next((link for link in links if not link.is_down), links[0])


def _one_of(links: Sequence[Link]) -> Link:
    """Any that is not known to be gone."""
    return CHANCE.choice([link for link in links if not link.is_down] or links)
