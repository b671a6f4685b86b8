"""Text to typed value, strictly. A refusal says what was expected and never what it got."""

from __future__ import annotations

import difflib
import math
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from resilience import redact

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})
_HOSTLESS = "unix file sqlite spatialite postgres postgresql psql pgsql postgis".split()
UNESCAPED = "has a / ? or # in its user or password: percent-encode it (/ is %2F)"
_UNRESOLVED = re.compile(r"\$\{\{.*?\}\}")


class Refused(Exception):
    """Why a text is not of the type, in words that do not hold the text."""


def to_str(text: str) -> str:
    return text


def to_secret(text: str) -> str:
    if not text.strip():
        raise Refused("is empty")
    redact.register(text)
    return text


def to_bool(text: str) -> bool:
    word = text.strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise Refused("must be one of true, false, 1, 0, yes, no, on, off")


def to_int(text: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]{1,30}", text.strip()):
        raise Refused("must be a whole number")
    return int(text)


def to_float(text: str) -> float:
    if not re.fullmatch(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?", text.strip()):
        raise Refused("must be a number such as 0.25")
    value = float(text)
    if not math.isfinite(value):
        raise Refused("must be a finite number")
    return value


def to_list(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def to_url(text: str, schemes: tuple[str, ...] = ()) -> str:
    """Check scheme, host and port, and register the password for masking."""
    url = text.strip()
    redact.register_url(url)
    scheme, separator, rest = url.partition("://")
    if is_unresolved(url):
        raise Refused("holds a reference to another variable that nobody resolved")
    if not separator or not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme):
        raise Refused("must be a URL that begins with scheme://")
    if schemes and scheme.lower() not in schemes:
        meant = difflib.get_close_matches(scheme.lower(), schemes, n=1)
        guess = f" (did you mean {meant[0]}?)" if meant else ""
        raise Refused(f"must be a URL whose scheme is one of {', '.join(schemes)}{guess}")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if ":" in authority and "@" in rest and "@" not in authority:
        raise Refused(UNESCAPED)
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise Refused("has a port that is not a number from 0 to 65535, or a broken host") from None
    # Without a host PostgreSQL means its local socket, the others a file.
    if not host and scheme.lower() not in _HOSTLESS:
        raise Refused("names no host after ://")
    return url


def to_db(text: str, root: Path | None) -> dict[str, Any]:
    """A database URL as Django's dictionary; a relative SQLite path is relative to the project."""
    from environ import Env  # noqa: PLC0415 - imports django.core: 0.1 s that only settings.py pays

    url = text.strip()
    if url != "sqlite://:memory:":  # which is no URL, but what everybody writes
        to_url(url, tuple(Env.DB_SCHEMES))
        if re.match("(?i)sqlite://[^/?#]", url):  # django-environ would take it for :memory:
            raise Refused("has a host after sqlite://: a file needs three slashes, sqlite:///name")
    try:
        config: dict[str, Any] = dict(Env.db_url_config(url))
    except Exception:  # noqa: BLE001 - whatever it says, it says it with the URL in it
        raise Refused("is not a database URL that django-environ understands") from None
    name = str(config.get("NAME", ""))
    in_file = config["ENGINE"].endswith(("sqlite3", "spatialite")) and name != ":memory:"
    if in_file and root is not None:
        config["NAME"] = str(root / name)
    return config


def is_unresolved(text: str, *, secret: bool = False) -> bool:
    """Whether a reference to another variable was left as it is.

    Railway's ``${{Redis.REDIS_URL}}`` anywhere; a shell's ``$NAME`` or ``${NAME}`` as the whole
    text, or inside a URL. Elsewhere, and in a secret, ``$`` is literal.
    """
    if secret:
        return bool(_UNRESOLVED.search(text))
    whole = re.fullmatch(r"\$\w+|\$\{\w+\}", text.strip())
    inside_url = "://" in text and re.search(r"\$\{\w+\}", text)
    return bool(_UNRESOLVED.search(text) or whole or inside_url)
