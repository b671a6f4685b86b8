"""Masks secrets in every text that leaves the process.

Two nets, because each alone has holes. *By value*: what was registered as a secret, and what the
environment holds under a name that sounds like one, is masked wherever it appears. *By shape*:
the user part of a URL, secret-looking parameters, bearer tokens, private keys and well-known key
prefixes are masked even when nobody told us their value.

Foreign exceptions get a third net (:func:`exception`): their messages quote the very value that
they could not parse (``invalid literal for int() with base 10: '…'``), so quoted text survives
only in exceptions that are known to quote names.
"""

from __future__ import annotations

import os
import re
import threading
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, quote, unquote, unquote_plus

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MASK = "***"

# Shorter values would mask ordinary words in the report; a secret of 3 letters is not one.
_SHORTEST = 4

# Passwords that are also words of this report. Masking them would hide the diagnosis and protect
# nothing.
_WORDS = frozenset(
    "admin cache default django false guest localhost none null password postgres production "
    "redis root secret test true user".split()
)

_SECRET_NAME = re.compile(
    r"(?:PASSWORD|PASSWD|PASSPHRASE|_PASS|^PASS|DBPASS|_PWD|SECRET|TOKEN|_KEY|APIKEY|_AUTH|CREDENTIAL|DSN|SALT)"
    r"S?(?:_FALLBACKS|_?V?\d+)?$",
    re.IGNORECASE,
)

_KEY = r"[\w.-]*(?:pass(?:word|wd|phrase)?|pwd|secret|token|api[_-]?key|access[_-]?key|signature)"
_SHAPES: tuple[tuple[re.Pattern[str], str], ...] = (
    # An unencoded "/", "@" or "#" in a password ends the user part early for a parser, not for us:
    # everything up to the last "@" of the word goes.
    (re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)[^\s'\"<>]*@"), rf"\1{MASK}@"),
    # password=abc, password='abc', {"password": "abc"}, ODBC's Pwd={a;b}; but not password=<yours>.
    (
        re.compile(
            rf"(?i)(?<![\w.-])({_KEY}(?:=|['\"]:\s?))(?!<)"
            r"(?:\{(?:[^{}]|\}\})*\}|'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|['\"]?[^&;\s,'\")]+)"
        ),
        rf"\1{MASK}",
    ),
    # But "basic authentication" and "bearer credentials" are words.
    (
        re.compile(
            r"\b((?i:bearer|basic)\s+)(?![A-Za-z][a-z-]{0,18}\.?(?![\w.~+/=-]))"
            r"[A-Za-z0-9._~+/=-]{8,}"
        ),
        rf"\1{MASK}",
    ),
    (
        re.compile(r"\b(?:sk-|lsv2_|gh[pousr]_|github_pat_|xox[abps]-|AKIA|eyJ)[\w.-]{8,}"),
        MASK,
    ),
    (
        re.compile(r"-----BEGIN [^-]*PRIVATE KEY-----.*?(?:-----END [^-]*-----|\Z)", re.DOTALL),
        MASK,
    ),
)

# Long mixed words in a foreign message: a key, a hash, a token.
_TOKEN = re.compile(r"(?<![\w/.-])(?=[\w+=-]*\d)(?=[\w+=-]*[A-Za-z])[\w+=-]{20,}(?![\w/])")
# And in the path of a URL that somebody keeps as a secret.
_KEY_IN_PATH = re.compile(r"(?=.*\d)(?=.*[A-Za-z]).{16,}")
# The apostrophe of "can't" neither opens nor closes; what nobody closes goes up to the end.
_QUOTED = re.compile(
    r"(?:(?<!\w)|(?<=\b[bBfFrRuU]))(['\"])(?:\\.|(?!\1)[^\\]|\1(?=\w))*(?:\1|\\?\Z)"
)
_NAMING = (ImportError, NameError, AttributeError, SyntaxError, LookupError, OSError, TypeError)
_HARMLESS_VALUE = re.compile(r"[/~.].*|[a-z_][a-z_.]*")

_LONGEST = 2000  # characters of one text
_LINES = 100  # of one secret
_DEPTH = 8  # of nested settings

_lock = threading.Lock()
_registered: set[str] = set()


def is_secret_name(name: str) -> bool:
    """Whether a variable, setting or option of this name holds a secret."""
    return bool(_SECRET_NAME.search(name))


def _after_fork() -> None:
    global _lock  # noqa: PLW0603 - another thread may have held it
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)


def register(value: str) -> None:
    """Mask ``value`` from now on, also URL-encoded or decoded, and the password of a URL in it."""
    found = _masked_forms(value)
    with _lock:
        _registered.update(found)


def register_url(url: str, *, path: bool = False) -> None:
    """Mask the password of a URL from now on, in its user part or among its parameters.

    With ``path`` also every long word with letters and digits behind the host: who knows the
    address of a webhook may post to it.
    """
    for password in (*_passwords(url), *(_path_secrets(url) if path else ())):
        register(password)
    for name, values in parse_qs(url.partition("?")[2]).items():
        if is_secret_name(name):
            for value in values:
                register(value)


def register_settings(values: Mapping[str, object], depth: int = 0) -> None:
    """Register every secret-named string of a nested mapping, and every URL's password in it."""
    for name, value in values.items():
        for text_ in _strings(value):
            if is_secret_name(name):
                register(text_)
            elif "://" in text_:
                register_url(text_)
        if depth < _DEPTH:  # settings may refer to themselves
            for part in _mappings(value, depth):
                register_settings(part, depth + 1)


def reset() -> None:
    """Forget what was registered (tests)."""
    with _lock:
        _registered.clear()


def text(value: str) -> str:
    """``value`` with every known or recognisable secret as ``***``, cut at 2000 characters."""
    for secret in sorted(_known(), key=len, reverse=True):
        value = value.replace(secret, MASK)
    return shapes(value)


def shapes(value: str) -> str:
    """As :func:`text`, by shape only: for names that must stay equal to themselves."""
    value = value[:_LONGEST]  # some shapes take quadratic time, and a server may send megabytes
    for shape, replacement in _SHAPES:
        value = shape.sub(replacement, value)
    return value


def foreign(value: str) -> str:
    """:func:`text` for a message that is not ours: no value of the environment is in it either."""
    return _mask_environment(text(value))


def printable(value: str) -> str:
    """``value`` on one line, without anything that a terminal would obey.

    White space becomes spaces, every other character without a glyph its escape, as ``repr`` does.
    """
    if value.isprintable():
        return value
    return "".join(
        char if char.isprintable() else " " if char.isspace() else ascii(char)[1:-1]
        for char in value
    )


def exception(error: BaseException, limit: int = 300) -> str:
    """``TypeName: message`` in one line of at most ``limit`` characters, safe to print.

    Quoted text is kept only where the exception type quotes names, not values.
    """
    try:
        said = str(error)
    except Exception:  # noqa: BLE001 - a broken __str__ must not take the report with it
        said = "(its message cannot be shown)"
    message = " ".join(foreign(said).split())
    if not _quotes_names(error):
        message = _QUOTED.sub(f"'{MASK}'", message)
    message = _TOKEN.sub(MASK, message)
    name = type(error).__name__
    line = f"{name}: {message}" if message else name
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _quotes_names(error: BaseException) -> bool:
    naming = ("django.core.exceptions", "django.db.utils", "redis.exceptions", "resilience.")
    return isinstance(error, _NAMING) or any(
        base.__module__.startswith(naming) for base in type(error).__mro__
    )


def _known() -> set[str]:
    with _lock:
        known = set(_registered)
    for name, value in _environment():
        if is_secret_name(name):
            known |= _masked_forms(value)
        elif "://" in value:
            for password in _passwords(value):
                known |= _masked_forms(password)
    return known


def _environment() -> list[tuple[str, str]]:
    """As it is now, whoever changes it meanwhile: ``items()`` raises then, in the middle."""
    return [
        (name, value) for name in list(os.environ) if (value := os.environ.get(name)) is not None
    ]


def _mask_environment(message: str) -> str:
    for _, whole in _environment():
        for value in {whole, whole.strip(), *whole.split(",")}:
            if len(value) >= _SHORTEST and not _HARMLESS_VALUE.fullmatch(value):
                message = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", MASK, message)
    return message


@lru_cache(maxsize=1024)
def _masked_forms(value: str) -> frozenset[str]:
    forms = (form for form in _forms(value) if form.lower() not in _WORDS)
    return frozenset(form for form in forms if len(form) >= _SHORTEST)


def _forms(value: str) -> Iterator[str]:
    whole = value.strip()
    lines = (line.strip() for line in whole.splitlines()[:_LINES] if not line.startswith("-----"))
    for form in (value, whole, *lines, *_passwords(whole), *_path_secrets(whole)):
        for plain in (form, unquote(form), unquote_plus(form)):
            # Without the quotes, repr() is how a KeyError shows it. Not every environment is UTF-8.
            yield from (plain, repr(plain)[1:-1])
            for safe in ("/", ""):
                yield quote(plain, safe, errors="surrogateescape")


def _passwords(value: str) -> Iterator[str]:
    """Of every URL in ``value``, up to the last ``@``: an unencoded password may hold anything."""
    for rest in (*value.split("://")[1:], value.partition("://")[2]):
        yield rest.rpartition("@")[0].partition(":")[2]


def _path_secrets(value: str) -> Iterator[str]:
    """Of every URL in ``value`` the long mixed words behind the host."""
    for rest in value.split("://")[1:]:
        for word in re.split(r"[/?#&=;,\s]", rest)[1:]:
            if _KEY_IN_PATH.fullmatch(word):
                yield word


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, bytes):
        yield value.decode(errors="replace")
    elif isinstance(value, list | tuple | set | frozenset):
        yield from (item for item in value if isinstance(item, str))


def _mappings(value: object, depth: int) -> Iterator[Mapping[str, object]]:
    if isinstance(value, dict):
        yield {str(key): item for key, item in value.items()}
    elif isinstance(value, list | tuple) and depth < _DEPTH:  # a list may hold itself, too
        for item in value:
            yield from _mappings(item, depth + 1)
