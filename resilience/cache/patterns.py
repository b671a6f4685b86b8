"""Which keys a Redis pattern means, as Redis itself reads it."""

from __future__ import annotations

import re
from collections.abc import Callable


def matcher(pattern: str) -> Callable[[str], bool]:
    """Tell which keys a Redis pattern means: by byte, with ``[^a]`` and backslashes, as KEYS does.

    A star never goes back on what an earlier one took, so the time is bounded.
    """
    glob = pattern.encode("utf-8", "surrogatepass")
    pieces = [b""]  # between the stars
    at = 0
    while at < len(glob):
        at += 1
        match glob[at - 1 : at]:
            case b"*":
                pieces.append(b"")
            case b"?":
                pieces[-1] += b"."
            case b"[":
                some, at = _some(glob, at)
                pieces[-1] += some
            case b"\\" if at < len(glob):
                pieces[-1] += re.escape(glob[at : at + 1])
                at += 1
            case itself:
                pieces[-1] += re.escape(itself)
    first, *middle = pieces
    last = b".*" + middle.pop() if middle else b""
    taken = b"".join(b"(?>.*?%b)" % piece for piece in middle)
    compiled = re.compile(first + taken + last, re.DOTALL)
    return lambda key: compiled.fullmatch(key.encode("utf-8", "surrogatepass")) is not None


def literal(text: str) -> str:
    """A text as a pattern that means nothing but it."""
    return re.sub(r"([*?\[\]\\^-])", r"\\\1", text)


def _some(glob: bytes, at: int) -> tuple[bytes, int]:
    """The brackets that begin before ``at``, as a regular expression, and where they end.

    Redis's own reading: the end of the pattern closes them, and ``[a-]`` is a range to ``]``.
    """
    inverted = glob[at : at + 1] == b"^"
    at += inverted
    members: set[int] = set()
    while at < len(glob) and glob[at] != ord("]"):
        if glob[at] == ord("\\") and at + 1 < len(glob):
            members.add(glob[at + 1])
            at += 2
        elif glob[at + 1 : at + 2] == b"-" and at + 2 < len(glob):
            # Redis compares signed chars: bytes above 127 come before the others.
            low, high = sorted((glob[end] + 128) % 256 for end in (at, at + 2))
            members.update((place - 128) % 256 for place in range(low, high + 1))
            at += 3
        else:
            members.add(glob[at])
            at += 1
    if inverted:
        members = set(range(256)) - members
    listed = b"".join(b"\\x%02x" % member for member in sorted(members))
    return (b"[%b]" % listed if listed else b"(?!)"), at + 1
