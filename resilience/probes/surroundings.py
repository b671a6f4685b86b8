"""What the rules of a platform look at: the platform, the environment, the file system, the day."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import NamedTuple

from django.conf import settings

from resilience import conf
from resilience.findings import Finding
from resilience.hosting import Hosting

SUBJECT = "hosting"
HEALTH = "resilience.middleware.HealthMiddleware"


def _today() -> date:
    return datetime.now(UTC).date()


@dataclass(frozen=True)
class Surroundings:
    """Everything that a rule may ask besides Django's settings.

    ``asked_for`` says that somebody named the area: what cannot be known from inside is told only
    then. ``root`` is where ``/proc`` and ``/sys`` are.
    """

    hosting: Hosting
    environ: Mapping[str, str] = field(repr=False)
    root: Path = Path("/")
    asked_for: bool = True
    today: Callable[[], date] = _today


Rule = Callable[[Surroundings], Iterator[Finding]]


def here(*, asked_for: bool) -> Surroundings:
    """Those of this process."""
    return Surroundings(conf.detect_hosting(), os.environ, asked_for=asked_for)


class Edge(NamedTuple):
    """What stands before the app: it ends TLS and says so in X-Forwarded-Proto.

    ``domain`` names the variable that holds the app's public host name, ``pattern`` makes that name
    of another variable.
    """

    domain: str = ""
    pattern: tuple[str, str] = ("", "")


# docs/explanation/platforms.md has the sources. An orchestrator's ingress is everybody's own.
EDGES = {
    "railway": Edge("RAILWAY_PUBLIC_DOMAIN"),
    "heroku": Edge("HEROKU_APP_DEFAULT_DOMAIN_NAME"),
    "render": Edge("RENDER_EXTERNAL_HOSTNAME"),
    "fly": Edge(pattern=("FLY_APP_NAME", "{}.fly.dev")),
    "cloud-run": Edge(),
}


def edge(around: Surroundings) -> Edge | None:
    """The platform's own edge, None where there may be any or none."""
    return EDGES.get(around.hosting.platform)


def public_host(around: Surroundings) -> str:
    """The host name by which the platform serves this app, "" if no variable tells."""
    known = edge(around)
    if known is None:
        return ""
    name, form = known.pattern
    if name and around.environ.get(name):
        return form.format(around.environ[name]).lower()
    return around.environ.get(known.domain, "").strip().lower()


def health_is_first() -> bool:
    """Whether our middleware answers probes before anything else has a say."""
    middleware = getattr(settings, "MIDDLEWARE", None) or ()
    return isinstance(middleware, list | tuple) and list(middleware[:1]) == [HEALTH]
