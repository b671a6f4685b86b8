"""The Redis protocol, the server's side of it: RESP2 and RESP3, as much as a fake needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO, TypeAlias

# Redis's own ceilings: networking.c, and proto-max-bulk-len.
MAX_INLINE = 64 * 1024  # bytes
MAX_ARGUMENTS = 1024 * 1024
MAX_BULK = 512 * 1024 * 1024  # bytes

RESP3 = 3


class ProtocolError(ValueError):
    """The client does not speak Redis; the text is what Redis answers before it hangs up."""


@dataclass(frozen=True)
class ErrorReply:
    """An error as Redis words it, code first: ``ErrorReply("OOM command not allowed …")``."""

    text: str


Reply: TypeAlias = "ErrorReply | str | bytes | int | Sequence[Reply] | Mapping[str, Reply] | None"


def read_command(stream: BinaryIO) -> list[bytes] | None:
    """Read one command, an array of bulk strings or inline like ``PING``: its name and arguments.

    Empty for an empty line, None at the end of the stream. Raises ProtocolError for other bytes.
    """
    line = _line(stream)
    if line is None:
        return None
    if not line.startswith(b"*"):
        return line.split()
    count = _number(line[1:], -MAX_ARGUMENTS, MAX_ARGUMENTS, "invalid multibulk length")
    words: list[bytes] = []
    for _ in range(count):
        header = _line(stream)
        if header is None:
            return None
        if not header.startswith(b"$"):
            raise ProtocolError(f"expected '$', got '{header[:1].decode('latin-1')}'")
        length = _number(header[1:], 0, MAX_BULK, "invalid bulk length")
        word = stream.read(length + 2)
        if len(word) < length + 2:
            return None
        words.append(word[:length])
    return words


def encode(reply: Reply, protocol: int) -> bytes:
    """Turn a value into bytes: ``str`` simple, ``bytes`` bulk, ``None`` null, the rest by its kind.

    In RESP2 a mapping is the flat array of its keys and values.
    """
    match reply:
        case ErrorReply(text):
            return b"-" + _one_line(text) + b"\r\n"
        case None:
            return b"_\r\n" if protocol >= RESP3 else b"$-1\r\n"
        case str():
            return b"+" + _one_line(reply) + b"\r\n"
        case bytes():
            return b"$%d\r\n%b\r\n" % (len(reply), reply)
        case int():
            return b":%d\r\n" % reply
        case Mapping():
            sign, size = (b"%", len(reply)) if protocol >= RESP3 else (b"*", 2 * len(reply))
            values: list[Reply] = [
                value for key, item in reply.items() for value in (key.encode(), item)
            ]
        case _:
            sign, size, values = b"*", len(reply), list(reply)
    return sign + b"%d\r\n" % size + b"".join(encode(value, protocol) for value in values)


def _line(stream: BinaryIO) -> bytes | None:
    """One line without its end; None at the end of the stream, even in the middle of a line.

    Redis looks for the newline with strchr, which never finds one behind a NUL. A TLS ClientHello
    begins with one (16 03 01 02 00), so its sender meets silence, not an error; so here.
    """
    line = stream.readline(MAX_INLINE + 1)
    if b"\0" in line:
        line += stream.read(MAX_INLINE + 1 - len(line))
    elif line.endswith(b"\n"):
        return line.rstrip(b"\r\n")
    if len(line) > MAX_INLINE:
        raise ProtocolError("too big inline request")
    return None


def _number(digits: bytes, lowest: int, highest: int, complaint: str) -> int:
    try:
        number = int(digits)
    except ValueError:
        raise ProtocolError(complaint) from None
    if not lowest <= number <= highest:
        raise ProtocolError(complaint)
    return number


def _one_line(text: str) -> bytes:
    return " ".join(text.splitlines()).encode()
