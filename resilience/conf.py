"""``settings.RESILIENCE`` as one frozen object.

A wrong entry never stops a running app: the default holds for it, and ``checkdeploy`` and Django's
system checks report ``conf.invalid``. Nothing here reads settings at import.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, NamedTuple

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from resilience import hosting, redact, silence
from resilience.cache.idle import CLOSER
from resilience.components import components
from resilience.components.declarations import SETTINGS
from resilience.components.spec import Spec, read_all
from resilience.errors import UsageError, did_you_mean
from resilience.findings import Finding, Level
from resilience.silence import Silence
from resilience.tls import policy


@dataclass(frozen=True)
class Conf:
    """Every key of ``RESILIENCE`` with its default: ``{}`` is a complete production configuration.

    ``COMPONENTS``: the declared components by name, wrong ones included, which say so.
    ``CRITICAL``: subjects whose failure takes the app out of service. ``PLATFORM``: force what
    hosting detects, a slug of ``hosting.CHOICES``. ``SILENCE``: findings that do not count for a
    while. ``TLS``: whom we trust, and the exceptions. ``STATUS_TOKEN``: opens the details of
    ``/readyz``; empty, nothing does. ``BACKGROUND``: whether anything is sent while nobody asks;
    False for platforms that put an idle app to sleep.
    """

    COMPONENTS: Mapping[str, Spec] = field(default_factory=lambda: MappingProxyType({}))

    CRITICAL: tuple[str, ...] = ("databases.default",)
    PLATFORM: str | None = None
    SILENCE: Mapping[str, Silence] = field(default_factory=lambda: MappingProxyType({}))
    TLS: policy.Policy = field(default_factory=policy.Policy)
    STATUS_TOKEN: str = field(default="", repr=False)
    BACKGROUND: bool = True


class _Read(NamedTuple):
    conf: Conf
    problems: tuple[Finding, ...]
    hosting: hosting.Hosting


_lock = threading.Lock()
_current: _Read | None = None


def get() -> Conf:
    """The configuration, read on first use and again after ``override_settings``."""
    return _read().conf


def problems() -> tuple[Finding, ...]:
    """What is wrong with ``RESILIENCE``, one finding per entry."""
    return _read().problems


def detect_hosting() -> hosting.Hosting:
    """Where this process runs, ``PLATFORM`` taken into account."""
    return _read().hosting


def push() -> None:
    """Hand down the trust of the settings, their components, and whether idle means silent.

    They alone are read: ``ready()`` calls this, and a start has no time for all of the settings.
    """
    raw = getattr(settings, "RESILIENCE", {})
    trust = policy.Policy()
    specs: Mapping[str, Spec] = {}
    background = True
    if isinstance(raw, dict):
        with contextlib.suppress(UsageError):  # which problems() tells
            trust = policy.parse(raw.get("TLS", {}))
        with contextlib.suppress(UsageError):
            specs = _components(raw.get("COMPONENTS", {}))
        with contextlib.suppress(UsageError):
            background = _background(raw.get("BACKGROUND", True))
    policy.use(trust)
    components.declare(SETTINGS, specs)
    CLOSER.use(wanted=not background)


def changed(*, setting: str, **_: object) -> None:
    """Read everything again on next use (connected to ``setting_changed`` by ``ready()``)."""
    reset()
    if setting == "RESILIENCE":
        push()


def reset() -> None:
    """Forget what was read (tests)."""
    global _current  # noqa: PLW0603 - the one configuration of this process
    with _lock:
        _current = None


def _read() -> _Read:
    """Read ``RESILIENCE`` once, and tell the redactor which secrets the settings hold."""
    global _current  # noqa: PLW0603 - as in reset()
    with _lock:
        if _current is None:
            conf, found = _parse(getattr(settings, "RESILIENCE", {}))
            redact.register_settings(_set_by_the_user())
            _current = _Read(conf, found, hosting.detect(forced=conf.PLATFORM))
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
    found += [of_spec(spec) for spec in values.get("COMPONENTS", {}).values() if spec.problem]
    return Conf(**values), tuple(found)


def of_spec(spec: Spec) -> Finding:
    """The finding of a component whose declaration is wrong, wherever it stands."""
    return Finding(
        "conf.invalid",
        Level.ERROR,
        f"components.{spec.name}",
        f"The declaration of component {spec.name!r} {spec.problem}.",
        spec.repair,
        location=spec.place(),
        area="conf",
    )


def _unknown(key: str, known: set[str]) -> Finding:
    hint = f"Use one of {', '.join(sorted(known))}.{did_you_mean(key.upper(), known)}"
    return _invalid(f" has an unknown key {key!r}", hint)


def _invalid(problem: str, hint: str) -> Finding:
    return Finding("conf.invalid", Level.ERROR, "settings.RESILIENCE", f"RESILIENCE{problem}", hint)


def _components(value: object) -> Mapping[str, Spec]:
    module = sys.modules.get(getattr(settings, "SETTINGS_MODULE", None) or "")
    return MappingProxyType(read_all(value, getattr(module, "__file__", None) or ""))


def _critical(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise UsageError("must be a list of subjects")
    for subject in value:
        _check_subject(subject)
    return tuple(value)


def _check_subject(subject: str) -> None:
    """A misspelt subject would silently take the app out of nobody's sight."""
    kind, _, alias = subject.partition(".")
    known = {
        "databases": settings.DATABASES,
        "caches": settings.CACHES,
        "components": components.specs(),
    }.get(kind)
    if isinstance(known, dict) and alias not in known:
        subjects = [f"{kind}.{name}" for name in known]
        raise UsageError(f"there is no {subject!r}.{did_you_mean(subject, subjects)}")
    if kind not in ("databases", "caches", "components", *_OTHER_SUBJECTS):
        raise UsageError(f"{subject!r} is not a subject.")


def _platform(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise UsageError("must be None or the name of a platform")
    return hosting.by_slug(value).slug


def _status_token(value: object) -> str:
    """No error repeats it: a token that is too short may still be the one in use."""
    if not isinstance(value, str):
        raise UsageError("must be a text")
    if value:
        redact.register(value)
    if value and (len(value) < _TOKEN_LENGTH or not re.fullmatch(r"[!-~]+", value)):
        raise UsageError(
            f"must have at least {_TOKEN_LENGTH} characters, all of them visible ASCII"
        )
    return value


def _background(value: object) -> bool:
    if not isinstance(value, bool):
        raise UsageError("must be True or False")
    return value


_TOKEN_LENGTH = 16
_OTHER_SUBJECTS = ("redis", "tls", "langsmith", "env", "hosting", "deploy")
_CHECKS = {
    "COMPONENTS": _components,
    "CRITICAL": _critical,
    "PLATFORM": _platform,
    "SILENCE": silence.read_all,
    "TLS": policy.parse,
    "STATUS_TOKEN": _status_token,
    "BACKGROUND": _background,
}
_REPAIRS = {
    "COMPONENTS": 'Write {"name": {"BACKEND": "package.module.Class"}}.',
    "CRITICAL": 'Write for example ["databases.default"]; checkdeploy shows the subjects.',
    "PLATFORM": f"Use None or one of {', '.join(hosting.CHOICES)}.",
    "SILENCE": 'Write {"redis.slow": {"reason": "moving on Friday", "until": "2027-01-31"}}.',
    "TLS": 'Write for example {"CA": "/etc/ssl/our-root.pem"}; see docs/reference/tls.md.',
    "STATUS_TOKEN": 'Set a variable to the output of: python -c "import secrets; '
    'print(secrets.token_urlsafe(32))" and write env.secret("STATUS_TOKEN", default="").',
    "BACKGROUND": "Use False only where an idle app is put to sleep.",
}


def _set_by_the_user() -> dict[str, object]:
    """The settings that are not Django's defaults, which hold no secret."""
    found: dict[str, object] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # reading a deprecated setting warns
        for name in filter(str.isupper, dir(settings)):
            # An empty SECRET_KEY raises only when it is read.
            with contextlib.suppress(ImproperlyConfigured):
                if settings.is_overridden(name):  # type: ignore[misc]
                    found[name] = getattr(settings, name)
    return found


def _after_fork() -> None:
    global _lock  # noqa: PLW0603 - another thread may have held it
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
