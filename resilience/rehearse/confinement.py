"""Who the children of a run are, and what keeps them in: found once, before anything starts."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from dataclasses import dataclass

from resilience.rehearse.platforms import PLATFORMS
from resilience.rehearse.request import Request
from resilience.rehearse.sights import Sights
from resilience.simulation import mounts, privileges
from resilience.simulation.constrained import nobody


@dataclass(frozen=True)
class Confinement:
    """``isolated``: in a network of their own. ``sights``: with mounts of their own, None without.

    ``user`` is the uid and gid that they change to, None to stay who we are. ``stays`` says why it
    is root that stays; ``powerless`` that it has no capability.
    """

    isolated: bool
    sights: Sights | None = None
    user: tuple[int, int] | None = None
    stays: str = ""

    @property
    def powerless(self) -> bool:
        """Whether root is kept, and its capabilities are not."""
        return bool(self.stays) and sys.platform == "linux"

    @property
    def who(self) -> str:
        """As whom the children run, and why not as nobody."""
        if self.user is not None:
            return "as nobody"
        if not self.stays:
            return f"as uid {os.geteuid()}"
        return f"as root{' without capabilities' * self.powerless}, because {self.stays}"


def found(request: Request, *, isolated: bool) -> Confinement:
    """The tightest that this system allows. Forks: to be called before threads are started."""
    user = nobody() if PLATFORMS[request.platform].bounded else None
    needed = _needed(request)
    sights = _sights(request, needed if user else ()) if isolated else None
    if user is None:
        return Confinement(isolated, sights)
    stays = ""
    if not privileges.may_become(*user):
        stays = "this process may not change its user"
    unreadable = [path for path in needed if not mounts.is_readable(path)]
    closed = [] if sights else list(filter(None, map(mounts.closed, needed)))
    for path in [*unreadable, *closed][:1]:
        stays = stays or f"{path} is closed to nobody"
    return Confinement(isolated, sights, None if stays else user, stays)


def _sights(request: Request, opened: tuple[str, ...]) -> Sights | None:
    with suppress(OSError):
        made = Sights.made(request, opened)
        if made.view(without_authorities=True).works():
            return made
    return None


def _needed(request: Request) -> tuple[str, ...]:
    """The folders without which the project does not run."""
    known = {request.root, request.folder, sys.prefix, sys.base_prefix, *filter(None, sys.path)}
    return tuple(sorted(os.path.abspath(path) for path in known))  # noqa: PTH100 - links are kept
