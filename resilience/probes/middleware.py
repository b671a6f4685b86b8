"""Is HealthMiddleware placed where no other middleware answers before it?"""

from __future__ import annotations

from collections.abc import Iterator

from django.conf import settings

from resilience.findings import Finding, Level
from resilience.probes.surroundings import HEALTH as OURS


def found() -> Iterator[Finding]:
    """One if it stands behind another; nothing where it is first, or not there at all."""
    placed = [str(dotted) for dotted in settings.MIDDLEWARE]
    if OURS not in placed or placed[0] == OURS:
        return
    yield Finding(
        "deploy.middleware-order",
        Level.WARNING,
        "settings.MIDDLEWARE",
        f"HealthMiddleware is number {placed.index(OURS) + 1}: what stands before it may answer "
        "/livez and /readyz with a redirect, a login or an error.",
        f'Put "{OURS}" first in MIDDLEWARE, before {placed[0]}.',
    )
