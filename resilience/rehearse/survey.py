"""What the project is made of, asked inside a child of it: which scenarios fit it."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from typing import Any


@dataclass(frozen=True)
class Survey:
    """Facts about settings and packages; no value.

    ``caches`` are the aliases on Redis with the dotted path of their backend, ``tls`` whether one
    of them speaks TLS, ``header`` what tells the app that the edge spoke HTTPS. ``secrets`` are
    those that components ask for, ``health`` says that HealthMiddleware is installed.
    """

    problem: str = ""
    wsgi: str = ""
    asgi: str = ""
    servers: tuple[str, ...] = ()
    caches: dict[str, str] = field(default_factory=dict)
    sentinel: bool = False
    tls: bool = False
    databases: dict[str, str] = field(default_factory=dict)
    host: str = "localhost"
    header: tuple[str, str] = ("X-Forwarded-Proto", "https")
    health: bool = False
    secrets: tuple[str, ...] = ()
    langsmith: bool = False

    @classmethod
    def read(cls, said: str) -> Survey:
        """From what ``taken()`` returned."""
        known: dict[str, Any] = json.loads(said)
        for name in ("servers", "header", "secrets"):
            known[name] = tuple(known[name])
        return cls(**known)


def taken() -> str:
    """The survey of this process's project as text."""
    import django  # noqa: PLC0415 - a child's own

    django.setup()
    return json.dumps(asdict(_survey()))


def _survey() -> Survey:
    from django.conf import settings  # noqa: PLC0415

    from resilience.probes import targets  # noqa: PLC0415
    from resilience.rehearse.substitutes import MIDDLEWARE  # noqa: PLC0415

    locations = list(targets.locations())
    root = os.environ["DJANGO_SETTINGS_MODULE"].rpartition(".")[0].partition(".")[0]
    name, value = getattr(settings, "SECURE_PROXY_SSL_HEADER", None) or ("", "")
    header = name.removeprefix("HTTP_").replace("_", "-").title() or "X-Forwarded-Proto"
    wsgi = _application(settings.WSGI_APPLICATION, root, "wsgi")
    return Survey(
        wsgi=wsgi,
        asgi=_application(
            getattr(settings, "ASGI_APPLICATION", None), "" if wsgi else root, "asgi"
        ),
        servers=tuple(each for each in ("gunicorn", "uvicorn") if find_spec(each)),
        caches={
            each.alias: str(settings.CACHES[each.alias]["BACKEND"])
            for each in locations
            if not each.url.startswith("unix:")
        },
        sentinel=any(each.sentinel for each in locations),
        tls=any(each.url.lower().startswith("rediss:") for each in locations),
        databases={
            alias: str(each.get("ENGINE", "")) for alias, each in settings.DATABASES.items()
        },
        host=_host(settings.ALLOWED_HOSTS),
        header=(header, value or "https"),
        health=MIDDLEWARE in settings.MIDDLEWARE,
        secrets=_secrets(),
        langsmith=bool(find_spec("langsmith")),
    )


def _application(named: str | None, root: str, kind: str) -> str:
    if named:
        return named
    return f"{root}.{kind}.application" if root and find_spec(f"{root}.{kind}") else ""


def _host(allowed: list[str]) -> str:
    """A name that the project answers to, as the edge would send it."""
    concrete = [each.lstrip(".") for each in allowed if each.strip("*.")]
    return concrete[0] if concrete else "localhost"


def _secrets() -> tuple[str, ...]:
    """The variables that components cannot be built without."""
    from resilience.components import components  # noqa: PLC0415

    needs = (need for name in components for need in components.status(name).needs)
    return tuple(dict.fromkeys(need.name for need in needs if need.kind == "variable"))
