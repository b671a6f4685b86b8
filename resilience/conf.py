"""``settings.RESILIENCE`` as one frozen object.

A wrong entry never stops a running app: the default holds for it, and ``checkdeploy`` and Django's
system checks report ``conf.invalid``. Nothing here reads settings at import.
"""

from __future__ import annotations

import contextlib
import difflib
import threading
import warnings
from dataclasses import dataclass, fields
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from resilience import hosting, redact
from resilience.errors import UsageError
from resilience.findings import Finding, Level


@dataclass(frozen=True)
class Conf:
    """Every key of ``RESILIENCE`` with its default: ``{}`` is a complete production configuration.

    ``CRITICAL``: subjects whose failure takes the app out of service. ``PLATFORM``: force what
    hosting detects, a slug of ``hosting.CHOICES``.
    """

    CRITICAL: tuple[str, ...] = ("databases.default",)
    PLATFORM: str | None = None


_lock = threading.Lock()
_current: tuple[Conf, tuple[Finding, ...]] | None = None
_hosting: hosting.Hosting | None = None


def get() -> Conf:
    """The configuration, read on first use and again after ``override_settings``."""
    return _load()[0]


def problems() -> tuple[Finding, ...]:
    """What is wrong with ``RESILIENCE``, one finding per entry."""
    return _load()[1]


def detect_hosting() -> hosting.Hosting:
    """Where this process runs, ``PLATFORM`` taken into account. Detected once per process."""
    global _hosting  # noqa: PLW0603 - a cache of what cannot change while the process lives
    if _hosting is None:
        _hosting = hosting.detect(forced=get().PLATFORM)
    return _hosting


def reset(**_: object) -> None:
    """Read everything again on next use (connected to ``setting_changed`` by ``ready()``)."""
    global _current, _hosting  # noqa: PLW0603 - see the two caches above
    with _lock:
        _current = _hosting = None


def _load() -> tuple[Conf, tuple[Finding, ...]]:
    global _current  # noqa: PLW0603 - the one configuration of this process
    with _lock:
        if _current is None:
            _current = _parse(getattr(settings, "RESILIENCE", {}))
            redact.register_settings(_secrets_of_settings())
        return _current


def _parse(raw: object) -> tuple[Conf, tuple[Finding, ...]]:
    if not isinstance(raw, dict):
        return Conf(), (_invalid(" must be a dictionary", "Write RESILIENCE = {}."),)
    known = {field.name for field in fields(Conf)}
    found: list[Finding] = []
    values: dict[str, Any] = {}
    for key, value in raw.items():
        if key not in known:
            found.append(_unknown(str(key), known))
            continue
        try:
            values[key] = _CHECKS[key](value)
        except UsageError as error:
            found.append(_invalid(f"[{key!r}]: {error}", _REPAIRS[key]))
    return Conf(**values), tuple(found)


def _unknown(key: str, known: set[str]) -> Finding:
    nearest = difflib.get_close_matches(key.upper(), known, n=1, cutoff=0.5)
    hint = f"Did you mean {nearest[0]!r}?" if nearest else f"Use one of {', '.join(sorted(known))}."
    return _invalid(f" has an unknown key {key!r}", hint)


def _invalid(problem: str, hint: str) -> Finding:
    return Finding("conf.invalid", Level.ERROR, "settings.RESILIENCE", f"RESILIENCE{problem}", hint)


def _critical(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise UsageError("must be a list of subjects")
    return tuple(value)


def _platform(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise UsageError("must be None or the name of a platform")
    return hosting.by_slug(value).slug


_CHECKS = {"CRITICAL": _critical, "PLATFORM": _platform}
_REPAIRS = {
    "CRITICAL": 'Write for example ["databases.default"]; checkdeploy shows the subjects.',
    "PLATFORM": f"Use None or one of {', '.join(hosting.CHOICES)}.",
}


def _secrets_of_settings() -> dict[str, object]:
    """What the user has set: a default of Django's holds no secret."""
    found: dict[str, object] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # reading a deprecated setting warns
        for name in filter(str.isupper, dir(settings)):
            # An empty SECRET_KEY raises only when it is read.
            with contextlib.suppress(ImproperlyConfigured):
                if settings.is_overridden(name):  # type: ignore[misc]
                    found[name] = getattr(settings, name)
    return found
