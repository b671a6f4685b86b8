"""The same for many keys: round trip by round trip, each within OPERATION_TIMEOUT.

Keys come as a mapping from the final name to the caller's key. ``bulk_ends`` is when the last round
trip must have ended; what is left then is answered as in an outage.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from resilience.cache.asking import MANY, NUMBER, NUMBER_IF_ALLOWED, VALUE, Unanswered
from resilience.cache.counting import Counting
from resilience.cache.outage import set_command

if TYPE_CHECKING:
    from resilience.cache.link import Command

CHUNK_KEYS = 500
CHUNK_BYTES = 1_000_000


class BulkAnswers(Counting):
    """The operations of one alias, on one key and on many."""

    def get_many(self, keys: Mapping[str, Any], bulk_ends: float) -> dict[str, bytes | None]:
        """By name; None for a key that is not there."""
        found: dict[str, bytes | None] = {}
        for names in _chunks(list(keys), list(map(len, keys))):
            found.update(self._get_chunk(names, bulk_ends))
            found.update({n: self.recall(n, keys[n]) for n in names if n not in found})
        return found

    def _get_chunk(self, names: Sequence[str], bulk_ends: float) -> dict[str, bytes | None]:
        """What Redis said to one round trip's worth of keys; not there: it did not answer."""
        if self._memory or not self._state.read.closed:
            return {}
        local, asking = self._local, self.asking
        tokens = self._tokens(names)  # before anything else: a write that comes later voids them
        freed: dict[str, bytes | None] = {}
        if self._journal.active:
            names, freed = self._free_many(names, bulk_ends)
            tokens = {name: tokens[name] for name in names if name in tokens}
        commands: list[Command] = [("MGET", *names)]
        commands += [("PTTL", name) for name in tokens]
        says = [MANY, *[NUMBER_IF_ALLOWED] * len(tokens)]
        try:
            values, *ttls = asking.read(commands, says, asking.turn(bulk_ends)) if names else [[]]
        except Unanswered:
            return freed
        answered: dict[str, bytes | None] = dict(zip(names, values, strict=True))
        local.confirm_many(answered)
        for (name, token), ttl in zip(tokens.items(), ttls, strict=True):
            self._learn(name, answered[name], ttl, token)
        return {**answered, **freed}

    def _tokens(self, names: Sequence[str]) -> dict[str, Any]:
        """What _learn() needs, of those keys whose TTL Redis must be asked for."""
        return self._local.tokens(names)

    def _free_many(
        self, names: Sequence[str], bulk_ends: float
    ) -> tuple[list[str], dict[str, bytes | None]]:
        """Take the masked ones out of Redis: those it may be asked about, and those just freed."""
        ends = self.asking.turn(bulk_ends)
        masks = {name: mask for name in names if (mask := self._mask_now(name, ends)) is not None}
        rest = [name for name in names if name not in masks]
        freed: dict[str, bytes | None] = {}
        if masks:
            with suppress(Unanswered):
                self.asking.unlink(list(masks), self.asking.turn(bulk_ends))
                freed = {n: None for n, mask in masks.items() if self._journal.done(n, mask)}
            for name in freed:
                self._local.drop(name)
        return rest, freed

    def set_many(
        self,
        keys: Mapping[str, Any],
        values: Mapping[str, bytes],
        ttl: float | None,
        bulk_ends: float,
    ) -> list[str]:
        """The names that nobody keeps."""
        failed: list[str] = []
        sizes = [len(name) + len(value) for name, value in values.items()]
        for names in _chunks(list(values), sizes):
            chunk = {name: values[name] for name in names}
            failed += self._set_chunk(keys, chunk, ttl, bulk_ends)
        return failed

    def _set_chunk(
        self,
        keys: Mapping[str, Any],
        values: Mapping[str, bytes],
        ttl: float | None,
        bulk_ends: float,
    ) -> list[str]:
        local, asking = self._local, self.asking
        if ttl is not None and ttl <= 0:
            self.delete_many({name: keys[name] for name in values}, bulk_ends)
            return []
        if self._memory:
            write = local.write
            return [n for n, value in values.items() if not write(n, value, ttl, outage=True)]
        ends = asking.turn(bulk_ends)
        masks = {name: self._mask_now(name, ends) for name in values}
        tokens = local.bump_many(values)
        commands = [set_command(name, value, ttl) for name, value in values.items()]
        try:
            asking.write(commands, [VALUE] * len(commands), asking.turn(bulk_ends))
        except Unanswered as unanswered:
            loose = self._loose(values, keys)
            self.mask(loose, unanswered)
            failed = [name for name in loose if not self._keep(name, values[name], ttl)]
            self._refuse_any(values, keys)
            return failed
        for name, mask in masks.items():
            self._unmask(name, mask)
        local.write_many(values, ttl, tokens)
        return []

    def _loose(self, names: Iterable[str], keys: Mapping[str, Any]) -> list[str]:
        return [name for name in names if not self.is_strict(keys[name])]

    def _refuse_any(self, names: Iterable[str], keys: Mapping[str, Any]) -> None:
        """Once everything else is taken care of."""
        for name in names:
            self._refuse_strict(keys[name])

    def delete_many(self, keys: Mapping[str, Any], bulk_ends: float) -> int:
        """How many there were."""
        local, gone = self._local, 0
        for names in _chunks(list(keys), list(map(len, keys))):
            ends = self.asking.turn(bulk_ends)
            masks = {name: self._mask_now(name, ends) for name in names}
            local.bump_many(names)
            if not self._memory:
                try:
                    (reply,) = self.asking.write(
                        (("DEL", *names),), (NUMBER,), self.asking.turn(bulk_ends)
                    )
                except Unanswered as unanswered:
                    loose = self._loose(names, keys)
                    self.mask(loose, unanswered)
                    gone += sum([local.drop(name) for name in loose])
                    self._refuse_any(names, keys)
                    continue
                gone += reply
            here = sum([local.drop(name) for name in names])
            gone += here if self._memory else 0
            for name, mask in masks.items():
                self._unmask(name, mask)
        return gone

    def delete_pattern(self, pattern: str, bulk_ends: float) -> int:
        """Every key that a Redis pattern means, by SCAN and UNLINK; how many."""
        pattern.encode()  # raises now what no Redis could be asked for
        here = self._forget(pattern)
        if self._memory:
            return here
        gone = 0
        try:
            for names in self.asking.scan(pattern, bulk_ends):
                gone += self.asking.unlink(names, self.asking.turn(bulk_ends))
        except Unanswered:
            gone = here
            self._journal.add_pattern(pattern, self._state.options.every_key)
            self._state.flush()
        finally:
            self._forget(pattern)  # what was filled meanwhile
        return gone

    def _forget(self, pattern: str) -> int:
        local = self._local
        local.bump(None)
        here = local.keys(pattern)
        for name in here:
            local.drop(name)
        return len(here)


def _chunks(names: list[str], sizes: list[int]) -> Iterator[list[str]]:
    """Round trips' worth of names: at most 500, at most about 1 MB."""
    if 0 < len(names) <= CHUNK_KEYS and sum(sizes) <= CHUNK_BYTES:
        yield names
        return
    chunk: list[str] = []
    total = 0
    for name, size in zip(names, sizes, strict=True):
        if chunk and (len(chunk) == CHUNK_KEYS or total + size > CHUNK_BYTES):
            yield chunk
            chunk, total = [], 0
        chunk.append(name)
        total += size
    if chunk:
        yield chunk
