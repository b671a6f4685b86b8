"""Who this process is: replica × host × pid × boot time × role, which code, which configuration."""

from __future__ import annotations

import hmac
import os
import platform
import re
import socket
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePath
from typing import Any

import django
from django.conf import settings
from django.db import connections
from django.utils.crypto import salted_hmac

from resilience import conf, hosting, redact
from resilience.env import ledger

RELEASES = (
    *hosting.COMMITS,
    "CONTAINER_VERSION",  # doc.scalingo.com/platform/app/environment: "usually the commit"
    # No commits, but another one for each release:
    "K_REVISION",  # cloud.google.com/run/docs/container-contract
    "CONTAINER_APP_REVISION",  # Azure Container Apps
    "FLY_IMAGE_REF",  # fly.io/docs/machines/runtime-environment
)
"""Variables that name the code, best first. Kubernetes injects none."""

# Where they differ, processes answer differently.
_SETTINGS = (
    "ALLOWED_HOSTS AUTHENTICATION_BACKENDS CACHES CSRF_TRUSTED_ORIGINS DATABASES DATABASE_ROUTERS "
    "DEBUG INSTALLED_APPS LANGUAGE_CODE MIDDLEWARE RESILIENCE ROOT_URLCONF SECRET_KEY_FALLBACKS "
    "SECURE_PROXY_SSL_HEADER SECURE_SSL_REDIRECT SESSION_COOKIE_NAME SESSION_ENGINE STORAGES "
    "TEMPLATES TIME_ZONE USE_TZ"
).split()
# One for each process or replica, or the commit, which is compared by itself.
_OWN = frozenset(
    {
        *(each.instance for each in hosting.PLATFORMS if each.instance),
        *RELEASES,
        *("HOSTNAME", "PORT", "PWD", "POD_NAME", "POD_IP", "NODE_NAME", "INSTANCE_ID"),
        *("RAILWAY_DEPLOYMENT_ID", "RAILWAY_SNAPSHOT_ID", "GUNICORN_CMD_ARGS", "WEB_CONCURRENCY"),
    }
)
_SALT = "resilience.history.config"
_CONFIG_LENGTH = 16  # hexadecimal digits: 64 bits, for equality among some hundred processes
_COMMIT = re.compile(r"[\w.:/@+-]{1,100}")

_born = time.monotonic()


@dataclass(frozen=True)
class Identity:
    """What stays the same as long as the process lives. ``born`` is on the monotonic clock."""

    role: str
    replica: str
    host: str
    pid: int
    commit: str
    config: str
    versions: str
    born: float
    key: uuid.UUID = field(default_factory=uuid.uuid4)


def identify(role: str) -> Identity:
    """Who asks."""
    return Identity(
        role=role,
        replica=conf.detect_hosting().instance,
        host=socket.gethostname(),
        pid=os.getpid(),
        commit=commit(os.environ),
        config=configuration(),
        versions=_versions(),
        born=_born,
    )


def commit(environ: Mapping[str, str]) -> str:
    """The code of this process as its platform names it, "" if it does not."""
    values = (environ.get(name, "").strip() for name in RELEASES)
    # Somebody may have put a secret there.
    fitting = (value for value in values if _COMMIT.fullmatch(value))
    return next((value for value in fitting if redact.text(value) == value), "")


def configuration() -> str:
    """Equal for processes whose settings and declared variables are equal.

    A keyed digest: without SECRET_KEY nobody can try values against it. Another SECRET_KEY is
    another configuration.
    """
    # Django completes DATABASES when it is first used.
    known: dict[str, Any] = {"DATABASES": connections.settings}
    values = {name: known.get(name, getattr(settings, name, None)) for name in _SETTINGS}
    names = {each.name for each in ledger.declared()} - _OWN
    # What files gave stands in os.environ too.
    variables = {name: os.environ.get(name) for name in names}
    text = spelled([values, variables])
    digest: hmac.HMAC = salted_hmac(_SALT, text.encode(errors="surrogatepass"), algorithm="sha256")
    return digest.hexdigest()[:_CONFIG_LENGTH]


def spelled(value: object, depth: int = 0) -> str:  # noqa: PLR0911 - one for each kind
    """The same text for equal values in every process: no address, no order of a set."""
    if depth > 20:  # noqa: PLR2004 - settings may refer to themselves
        return "…"
    if isinstance(value, Mapping):
        items = (
            f"{spelled(key, depth + 1)}:{spelled(each, depth + 1)}" for key, each in value.items()
        )
        return f"{{{','.join(sorted(items))}}}"
    if isinstance(value, set | frozenset):
        return f"<{','.join(sorted(spelled(each, depth + 1) for each in value))}>"
    if isinstance(value, list | tuple):
        return f"[{','.join(spelled(each, depth + 1) for each in value)}]"
    plain = bool | int | float | complex | str | bytes | date | timedelta
    if value is None or isinstance(value, plain):
        return repr(value)
    if isinstance(value, PurePath):
        return repr(str(value))
    named = value if isinstance(value, type) or callable(value) else type(value)
    name = getattr(named, "__qualname__", None) or type(value).__qualname__
    return f"{getattr(named, '__module__', '')}.{name}"


def memory() -> int | None:
    """Bytes of this process that are in memory now (resident set size); None outside Linux."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


def _versions() -> str:
    found = f"Python {platform.python_version()}, Django {django.get_version()}"
    with suppress(PackageNotFoundError):  # in a folder, as part of a project
        found += f", resilience {version('django-resilience-ops')}"
    return found


def _after_fork() -> None:
    global _born  # noqa: PLW0603 - a child is a process of its own
    _born = time.monotonic()


os.register_at_fork(after_in_child=_after_fork)
