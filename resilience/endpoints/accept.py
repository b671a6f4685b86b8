"""Which format an Accept header asks for. Any bytes at all get an answer, never an exception.

Probes send headers that no grammar allows: Java's ``text/html, image/gif, image/jpeg, *; q=.2``,
a lone ``*``. What is not understood is passed over, and what is left over means plain text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple


class Format(StrEnum):
    """A representation of ``/readyz``; the value is the Content-Type that it is sent with."""

    TEXT = "text/plain; charset=utf-8"
    JSON = "application/json"
    HEALTH_JSON = "application/health+json"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
    PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
    HTML = "text/html; charset=utf-8"


_BY_TYPE = {
    "text/plain": Format.TEXT,
    "text/*": Format.TEXT,
    "*/*": Format.TEXT,
    "*": Format.TEXT,
    "application/json": Format.JSON,
    "application/*": Format.JSON,
    "application/health+json": Format.HEALTH_JSON,
    "application/openmetrics-text": Format.OPENMETRICS,
    "text/html": Format.HTML,
    "application/xhtml+xml": Format.HTML,
}
_PROMETHEUS_VERSION = "0.0.4"  # text/plain of this version is Prometheus's, and no other text is
_LONGEST = 2000  # characters; a browser sends about 130
_QUALITY = re.compile(r"(?:0(?:\.\d*)?|\.\d+|1(?:\.0*)?)", re.ASCII)


class _Range(NamedTuple):
    quality: float
    is_named: bool  # a type and not a wildcard
    format: Format


def choose(accept: str) -> Format:
    """The known format of the highest quality; of equals one that is named, then the first.

    Without a header, and with one that names nothing known, plain text.
    """
    best: _Range | None = None
    for each in _ranges(accept[:_LONGEST]):
        if each.quality > 0 and (best is None or each[:2] > best[:2]):
            best = each
    return best.format if best else Format.TEXT


def _ranges(accept: str) -> Iterator[_Range]:
    for part in accept.lower().split(","):
        type_, *parameters = (word.strip() for word in part.split(";"))
        found = _BY_TYPE.get(type_)
        if found is None:
            continue
        given = dict(_parameter(word) for word in parameters)
        if type_ == "text/plain" and given.get("version") == _PROMETHEUS_VERSION:
            found = Format.PROMETHEUS
        quality = given.get("q", "1")
        if _QUALITY.fullmatch(quality):
            yield _Range(float(quality), "*" not in type_, found)


def _parameter(word: str) -> tuple[str, str]:
    name, _, value = word.partition("=")
    return name.strip(), value.strip().strip('"')
