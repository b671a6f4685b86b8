"""Whom each component trusts: ``RESILIENCE["TLS"]`` as one frozen object, and the trust it makes.

A component is ``redis``, ``database``, ``email`` or ``langsmith``. An entry for HOST:PORT beats the
one for the component.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import ssl
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from resilience.errors import UsageError, did_you_mean
from resilience.silence import reason_and_date
from resilience.tls import pinning
from resilience.tls.trust import Insecure, Trust

COMPONENTS = ("redis", "database", "email", "langsmith")
CA_VARIABLES = ("TLS_CA_BUNDLE", "TLS_CA_PEM")
_VARIABLES = (
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "AWS_CA_BUNDLE",
    "PGSSLROOTCERT",
)
_ADDRESS = re.compile(r"[\w.-]+:\d{1,5}|\[[0-9a-fA-F:.]+\]:\d{1,5}")
_LAST_PORT = 65535


def _nothing() -> Mapping[str, Any]:
    return MappingProxyType({})


@dataclass(frozen=True)
class Policy:
    """``ca`` is a path or PEM text; everything else is by component or HOST:PORT."""

    ca: str | None = field(default=None, repr=False)
    relax_strict: frozenset[str] = frozenset()
    pins: Mapping[str, tuple[str, ...]] = field(default_factory=_nothing)
    client_cert: Mapping[str, tuple[str, str | None]] = field(default_factory=_nothing)
    insecure: Mapping[str, Insecure] = field(default_factory=_nothing)


class _State:
    """What this process was told, and the stores that it has read for it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.policy = Policy()
        self.loaded: dict[object, Future[Trust]] = {}


_state = _State()


def use(policy: Policy) -> None:
    """From now on this is the policy (``conf`` calls it; before that the defaults hold)."""
    with _state.lock:
        _state.policy = policy


def current() -> Policy:
    return _state.policy


def reset() -> None:
    """Forget the policy and the stores that were read (tests, and a child after a fork)."""
    global _state  # noqa: PLW0603 - the one state of this module
    _state = _State()


def snapshot() -> dict[str, object]:
    """The names of what is configured, and how many stores were read. No path and no text."""
    policy = _state.policy
    return {
        "ca": bool(cas()),
        "relax_strict": sorted(policy.relax_strict),
        "pins": sorted(policy.pins),
        "client_cert": sorted(policy.client_cert),
        "insecure": sorted(policy.insecure),
        "loaded": len(_state.loaded),
    }


def _after_fork() -> None:
    _state.lock = threading.Lock()
    _state.loaded = {}  # somebody may have been reading; the policy stays, for it never changes


os.register_at_fork(after_in_child=_after_fork)


def trust_of(component: str = "", host: str = "", port: int = 0) -> Trust:
    """The trust for one server. Reads the stores once, and again when one of them changed."""
    policy = _state.policy
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def entry(entries: Mapping[str, Any]) -> Any:
        return entries.get(where, entries.get(component))

    relaxed = bool({where, component} & policy.relax_strict)
    return replace(
        _stores(),
        strict=False if relaxed else None,
        pins=entry(policy.pins) or (),
        client_cert=entry(policy.client_cert),
        insecure=entry(policy.insecure),
    )


def cas() -> tuple[str, ...]:
    """The user's own authorities: of the settings, otherwise of TLS_CA_BUNDLE and TLS_CA_PEM."""
    if _state.policy.ca:
        return (_state.policy.ca,)
    path, text = (os.environ.get(name, "").strip() for name in CA_VARIABLES)
    return tuple(filter(None, (path, _pem(text))))


def _pem(text: str) -> str:
    """TLS_CA_PEM as PEM: platforms keep one line, so it may be base64, or have escaped ends."""
    if "-----BEGIN" in text:
        return text.replace("\\n", "\n")
    try:
        return base64.b64decode("".join(text.split()), validate=True).decode()
    except (binascii.Error, ValueError):
        return "\n" + text  # a text, so that Trust says that it is none


def stamp() -> tuple[object, ...]:
    """Another one as soon as a variable or file changed that decides whom this process trusts."""
    paths = ssl.get_default_verify_paths()
    variables = tuple(os.environ.get(name) for name in _VARIABLES)
    files = (*cas(), *variables, paths.openssl_cafile, paths.openssl_capath)
    return (*cas(), *variables, *map(_changed, files))


def _stores() -> Trust:
    """Whoever comes first reads, the others wait for it."""
    wanted, key = cas(), stamp()
    mine: Future[Trust] = Future()
    with _state.lock:
        found = _state.loaded.get(key)
        if found is None:
            _state.loaded = {key: mine}
    if found is None:
        found = mine
        try:
            mine.set_result(Trust.load(*wanted))
        except BaseException as error:
            mine.set_exception(error)
            with _state.lock:
                _state.loaded.pop(key, None)
            raise
    return found.result()


def _changed(file: str | None) -> int:
    try:
        return Path(file).stat().st_mtime_ns if file else 0
    except (OSError, ValueError):  # not there, or PEM text
        return 0


# ── the setting ─────────────────────────────────────────────────────────────────────────────────


def parse(raw: object) -> Policy:
    """``RESILIENCE["TLS"]``. Raises UsageError, which repeats no value but names."""
    if not isinstance(raw, Mapping):
        raise UsageError("must be a dictionary")
    values: dict[str, Any] = {}
    for key, value in raw.items():
        if key not in _KEYS:
            raise UsageError(f"has an unknown key {key!r}.{did_you_mean(str(key).upper(), _KEYS)}")
        try:
            values[key.lower()] = _KEYS[key](value)
        except UsageError as error:
            raise UsageError(f"[{key!r}]: {error}") from None
    return Policy(**values)


def _ca(value: object) -> str | None:
    if value is not None and not isinstance(value, str | os.PathLike):
        raise UsageError("must be None, a path or PEM text")
    return os.fspath(value) if value else None


def _names(value: object) -> frozenset[str]:
    if not isinstance(value, list | tuple | set | frozenset):
        raise UsageError("must be a list of components")
    return frozenset(_name(each) for each in value)


def _name(word: object) -> str:
    if word in COMPONENTS:
        return str(word)
    if isinstance(word, str) and _ADDRESS.fullmatch(word):
        if 0 < int(word.rpartition(":")[2]) <= _LAST_PORT:
            return word
        raise UsageError("the port of an entry is not from 1 to 65535")
    is_word = isinstance(word, str) and re.fullmatch(r"[\w.-]{1,60}", word)
    shown = f"{word!r} is" if is_word else "an entry is"
    raise UsageError(
        f"{shown} neither HOST:PORT nor one of {', '.join(COMPONENTS)}"
        + did_you_mean(str(word), COMPONENTS)
    )


def _entries(read: Callable[[str, object], Any]) -> Callable[[object], Mapping[str, Any]]:
    def parsed(value: object) -> Mapping[str, Any]:
        if not isinstance(value, Mapping):
            raise UsageError("must be a dictionary by component or HOST:PORT")
        return MappingProxyType({_name(key): read(key, each) for key, each in value.items()})

    return parsed


def _pins(name: str, value: object) -> tuple[str, ...]:
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, list | tuple) or not words:
        raise UsageError(f"{name!r} must be a list of pins")
    return tuple(pinning.parse(word) for word in words)


def _client_cert(name: str, value: object) -> tuple[str, str | None]:
    paths = (value,) if isinstance(value, str | os.PathLike) else value
    if (
        not isinstance(paths, list | tuple)
        or not 1 <= len(paths) <= 2  # noqa: PLR2004 - certificate and key
        or not all(isinstance(path, str | os.PathLike) and path for path in paths)
    ):
        raise UsageError(f"{name!r} must be a path, or the paths of certificate and key")
    certificate, *key = map(os.fspath, paths)
    return certificate, key[0] if key else None


def _insecure(name: str, value: object) -> Insecure:
    return Insecure(name, *reason_and_date(name, value))


_KEYS: dict[str, Callable[[object], Any]] = {
    "CA": _ca,
    "RELAX_STRICT": _names,
    "PINS": _entries(_pins),
    "CLIENT_CERT": _entries(_client_cert),
    "INSECURE": _entries(_insecure),
}
