"""Replies as bytes: none gets more room than it pays for, none is waited for beyond the time.

hiredis makes room for a whole array as soon as its header says how long it is, and walks that room
when it lets go of it: ``*1000000000`` costs 1.4 s, ``>1000000000`` 20 s and 8 GB. So headers are
read here first, and what no Redis would answer to a cache is refused before hiredis sees it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import hiredis
from redis import exceptions
from redis._parsers import _HiredisParser
from redis._parsers.hiredis import NOT_ENOUGH_DATA
from redis.utils import SENTINEL

ELEMENTS = 4_194_304  # announced and not here yet; hiredis's room for them costs 5 ms and 32 MB
VALUE = 536_870_912  # bytes of one value, Redis's own limit (proto-max-bulk-len)
LINE = 65_536  # bytes of a header, a number, a status or an error

_VALUES = b"$="
_ARRAYS = dict.fromkeys(b"*~>", 1) | dict.fromkeys(b"%|", 2)  # elements per announced one
_feed = hiredis.Reader.feed


class Reader(hiredis.Reader):
    """hiredis's reader. ``feed`` raises InvalidResponse for what announces too much.

    ``_due`` counts the elements that were announced and did not come, over all levels of arrays in
    arrays: a reply may be as long as it likes, as long as it arrives.
    """

    _skip = 0  # bytes to the end of the value that is arriving
    _line = b""  # a line that has begun
    _due = 0

    def feed(self, data: Any, start: int = 0, size: int = -1, /) -> None:
        end = len(data) if size < 0 else start + size
        if self._line:
            joined = self._line + data[start:end]
            self._follow(joined, 0, len(joined))
        else:
            self._follow(data, start + self._skip, end)
        _feed(self, data, start, end - start)

    def _follow(self, data: Any, at: int, end: int) -> None:
        """Go from header to header, over the values. Every reply passes here: keep it quick."""
        find, due = data.find, self._due
        try:
            while at < end:
                stop = find(b"\r\n", at, end)
                if stop < 0:
                    break
                if due:
                    due -= 1
                kind = data[at]
                if kind in _VALUES:
                    length = int(data[at + 1 : stop])
                    if length > VALUE:
                        raise _too_much(length, "bytes", VALUE)
                    stop += length + 2 if length >= 0 else 0
                elif kind in _ARRAYS:
                    due += max(0, int(data[at + 1 : stop])) * _ARRAYS[kind]
                    if due > ELEMENTS:
                        raise _too_much(due, "elements", ELEMENTS)
                at = stop + 2
        except ValueError:
            raise exceptions.InvalidResponse("Redis's reply has a length that is none") from None
        self._due = due
        self._skip, self._line = (at - end, b"") if at >= end else (0, bytes(data[at:end]))
        if len(self._line) > LINE:
            raise _too_much(len(self._line), "bytes in one line", LINE)


class Parser(_HiredisParser):
    """redis-py's parser on that reader, with the time that is left before every receive."""

    ends = 0.0
    clock: Callable[[], float] = time.monotonic

    def on_connect(self, connection: Any, **kwargs: Any) -> None:
        super().on_connect(connection, **kwargs)  # type: ignore[no-untyped-call]
        encoder = connection.encoder
        self._reader = Reader(
            protocolError=exceptions.InvalidResponse,
            replyError=self.parse_error,
            encoding=encoder.encoding if encoder.decode_responses else None,
            errors=encoder.encoding_errors,
            notEnoughData=NOT_ENOUGH_DATA,
        )

    def read_from_socket(self, timeout: Any = SENTINEL, raise_on_timeout: bool = True) -> bool:  # noqa: FBT001, FBT002 - redis-py's signature
        left = self.ends - self.clock()
        if timeout is not SENTINEL and timeout is not None:
            left = min(left, timeout)
        if left <= 0 or self._sock is None:
            raise exceptions.TimeoutError("the time for this operation is over")
        self._sock.settimeout(left)
        done = super().read_from_socket(raise_on_timeout=raise_on_timeout)  # type: ignore[no-untyped-call]
        return bool(done)


def _too_much(number: int, what: str, limit: int) -> exceptions.InvalidResponse:
    return exceptions.InvalidResponse(
        f"Redis's reply announces {number} {what}, more than the {limit} that are accepted"
    )
