"""What an operator may do from the page: asked for by POST, and logged before it is done."""

from __future__ import annotations

import os
from typing import Literal, cast

from resilience import cache, conf
from resilience.page import caches
from resilience.page.panels import Notice
from resilience.probes import targets


def force_target(alias: str, choice: str) -> str | None:
    """What the admin's log says of it; None for what no form of the page asks."""
    if alias not in targets.ours() or choice not in caches.CHOICES:
        return None
    if cache.status(alias)["state"] == "memory":
        return None
    how = {"open": "held open", "closed": "held closed", "auto": "automatic again"}[choice]
    return f"Breakers {how} in process {os.getpid()} of {conf.detect_hosting().instance}"


def force(alias: str, choice: str) -> Notice:
    """Hold both breakers of an alias, or let them go, in this process alone."""
    state = None if choice == "auto" else cast('Literal["open", "closed"]', choice)
    cache.force(alias, state)
    done = {
        "open": "held open: this process answers for Redis",
        "closed": "held closed: Redis is always asked",
        "auto": "automatic again",
    }[choice]
    where = f"process {os.getpid()} of {conf.detect_hosting().instance}"
    kind = "ok" if choice == "auto" else "warn"
    return Notice(kind, f"The breakers of {alias} are {done}. This holds in {where} alone.")
