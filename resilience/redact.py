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
import traceback as _traceback
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MASK = "***"

# Shorter values would mask ordinary words in the report; a secret of 3 letters is not one.
SHORTEST = 4

# Passwords that are also words of this report. Masking them would hide the diagnosis and protect
# nothing.
_WORDS = frozenset(
    "admin cache default django false guest localhost none null password postgres production "
    "redis root secret test true user".split()
)

_SECRET_NAME = re.compile(
    r"(?:PASSWORD|PASSWD|PASSPHRASE|_PASS|^PASS|_PWD|SECRET|TOKEN|API_?KEY|ACCESS_?KEY|SECRET_?KEY|"
    r"PRIVATE_?KEY|ENCRYPTION_?KEY|SIGNING_?KEY|CREDENTIALS?|DSN|SALT)(?:_FALLBACKS|_\d+)?$",
    re.IGNORECASE,
)

_KEY = r"[\w.-]*(?:pass(?:word|wd|phrase)?|secret|token|api[_-]?key|access[_-]?key|signature)"
_SHAPES: tuple[tuple[re.Pattern[str], str], ...] = (
    # An unencoded "/", "@" or "#" in a password ends the user part early for a parser, not for us:
    # everything up to the last "@" of the word goes.
    (re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)[^\s'\"<>]*@"), rf"\1{MASK}@"),
    # password=abc, password='abc', {"password": "abc"}; but not password=<yours>.
    (
        re.compile(
            rf"(?i)(?<![\w.-])({_KEY}(?:=|['\"]:\s?))(?!<)"
            r"(?:'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|['\"]?[^&;\s,'\")]+)"
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
# The apostrophe of "can't" neither opens nor closes; what nobody closes goes up to the end.
_QUOTED = re.compile(
    r"(?:(?<!\w)|(?<=\b[bBfFrRuU]))(['\"])(?:\\.|(?!\1)[^\\]|\1(?=\w))*(?:\1|\\?\Z)"
)
_NAMING = (ImportError, NameError, AttributeError, SyntaxError, KeyError, OSError, LookupError)
_HARMLESS_VALUE = re.compile(r"[/~.].*|[a-z_][a-z_.]*")

_FRAMES = 30  # a RecursionError has a thousand

_lock = threading.Lock()
_registered: set[str] = set()


def is_secret_name(name: str) -> bool:
    """Whether a variable, setting or option of this name holds a secret."""
    return bool(_SECRET_NAME.search(name))


def register(value: str) -> None:
    """Mask ``value`` from now on, also URL-encoded or decoded, and the password of a URL in it."""
    found = _masked_forms(value)
    with _lock:
        _registered.update(found)


def register_settings(values: Mapping[str, object]) -> None:
    """Register every secret-named string of a nested mapping, and every URL's password in it."""
    for name, value in values.items():
        for text_ in _strings(value):
            for secret in _secrets(name, text_):
                register(secret)
        for part in _mappings(value):
            register_settings(part)


def reset() -> None:
    """Forget what was registered (tests)."""
    with _lock:
        _registered.clear()


def text(value: str) -> str:
    """``value`` with every known or recognisable secret replaced by ``***``."""
    for secret in sorted(_known(), key=len, reverse=True):
        value = value.replace(secret, MASK)
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


def traceback(error: BaseException) -> list[str]:
    """The innermost frames, each as ``file:line in function``: no source line, no variable."""
    frames = _traceback.extract_tb(error.__traceback__, limit=-_FRAMES)
    return [text(f"{frame.filename}:{frame.lineno} in {frame.name}") for frame in frames]


def location(error: BaseException) -> str | None:
    """``file:line`` of the innermost frame that is the user's own code, else of the innermost."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{shorten(error.filename)}:{error.lineno or 1}"
    frames = _traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if is_own_file(frame.filename)]
    chosen = (own or frames)[-1] if frames else None
    return f"{shorten(chosen.filename)}:{chosen.lineno}" if chosen else None


def is_own_file(filename: str) -> bool:
    """Whether a source file is the user's: not installed, not the standard library, not ours."""
    return (
        not filename.startswith("<")
        and "site-packages" not in filename
        and "dist-packages" not in filename
        and not filename.startswith((str(Path(os.__file__).parent), str(Path(__file__).parent)))
    )


def shorten(filename: str) -> str:
    """A path relative to the working directory where it lies below it."""
    try:
        return str(Path(filename).relative_to(Path.cwd()))
    except (ValueError, OSError):
        return filename


def _quotes_names(error: BaseException) -> bool:
    if isinstance(error, _NAMING):
        return not isinstance(error, UnicodeError)
    naming = ("django.core.exceptions", "resilience.")
    return any(base.__module__.startswith(naming) for base in type(error).__mro__)


def _known() -> set[str]:
    with _lock:
        known = set(_registered)
    for name, value in os.environ.items():
        for secret in _secrets(name, value):
            known |= _masked_forms(secret)
    return known


def _mask_environment(message: str) -> str:
    for value in os.environ.values():
        if len(value) >= SHORTEST and not _HARMLESS_VALUE.fullmatch(value):
            message = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", MASK, message)
    return message


def _secrets(name: str, value: str) -> Iterator[str]:
    """What is secret in the value of this name: all of it, or the passwords of its URLs."""
    return iter((value,)) if is_secret_name(name) else _passwords(value)


def _masked_forms(value: str) -> set[str]:
    return {form for form in _forms(value) if len(form) >= SHORTEST and form.lower() not in _WORDS}


def _forms(value: str) -> Iterator[str]:
    whole = value.strip()
    lines = (line.strip() for line in whole.splitlines() if not line.startswith("-----"))
    for form in (whole, *lines, *_passwords(whole)):
        for plain in (form, unquote(form)):
            # Without the quotes, repr() is how a KeyError shows it.
            yield from (plain, quote(plain), quote(plain, safe=""), repr(plain)[1:-1])


def _passwords(value: str) -> Iterator[str]:
    """Of every URL in ``value``, up to the last ``@``: an unencoded password may hold anything."""
    for rest in (*value.split("://")[1:], value.partition("://")[2]):
        yield rest.rpartition("@")[0].partition(":")[2]


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from _strings(item)


def _mappings(value: object) -> Iterator[Mapping[str, object]]:
    if isinstance(value, dict):
        yield {str(key): item for key, item in value.items()}
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _mappings(item)
