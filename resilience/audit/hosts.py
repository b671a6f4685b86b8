"""What is shown of an address that an import has asked for."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from resilience import redact

_PLAIN = re.compile(r"\w(?:[\w.-]{0,252}[\w.])?|[0-9A-Fa-f:.]{2,45}(?:%\w+)?")
_SHORTEST = 4  # characters of a secret that is looked for


def shown(host: object, port: object = None) -> str:
    """``host:port`` if the host is a plain name or IP address, else a mask for it.

    A host that has the value of a variable with a secret's name in it is masked too, and so is a
    port that is no number.
    """
    text = host.decode(errors="replace") if isinstance(host, bytes) else str(host or "")
    if text and (not _PLAIN.fullmatch(text) or _is_secret(text)):
        text = redact.MASK
    number = str(port) if port is not None and port != "" else ""
    if number and not number.isdecimal():
        number = redact.MASK
    return f"{text}:{number}" if number else text


def path(socket: str) -> str:
    """The path of a Unix socket, masked as a host is."""
    return redact.MASK if _is_secret(socket) else redact.shapes(socket)


def _is_secret(text: str) -> bool:
    return any(value in text for value in _secrets())


def _secrets() -> Iterator[str]:
    """Read below the patched ``os.environ``: this is no reading of the project's."""
    for name, value in list(os.environ._data.items()):  # type: ignore[attr-defined]  # noqa: SLF001
        secret = os.fsdecode(value)
        if len(secret) >= _SHORTEST and redact.is_secret_name(os.fsdecode(name)):
            yield secret
