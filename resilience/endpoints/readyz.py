"""``/readyz``: should this process be sent requests? From what the monitor knows already.

Without the token one word in every format; with it everything that is known.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from django.http import HttpRequest, HttpResponse

from resilience import cache, conf
from resilience.endpoints import door, draining, wire
from resilience.endpoints.accept import Format, choose
from resilience.health import monitor
from resilience.health.states import Health, Readiness
from resilience.probes import targets
from resilience.render import health_json, openmetrics, plain, status_json

WAIT = 0.8
"""Seconds for the first answer of a process. Kubernetes gives a probe 1 s in all."""

DRAINING = "draining"
_SERVING = (Readiness.READY, Readiness.DEGRADED)
_RETRY_AFTER = {Readiness.STARTING: 1, Readiness.NOT_READY: int(monitor.PERIOD), DRAINING: 10}

# Whoever waits holds a thread of the server. The others are told at once what is known.
_WAITING = 2
_waiting = threading.BoundedSemaphore(_WAITING)
_TICK = 0.05  # seconds


def answer(request: HttpRequest) -> HttpResponse:
    """The whole answer. It may wait ``WAIT`` while nothing is known, and holds a thread then."""
    granted = door.admit(request)
    if isinstance(granted, HttpResponse):
        return wire.finish(request, granted)
    return _tell(request, _ask(), granted=granted)


async def answer_async(request: HttpRequest) -> HttpResponse:
    """The same, without a thread."""
    granted = door.admit(request)
    if isinstance(granted, HttpResponse):
        return wire.finish(request, granted)
    return _tell(request, await _ask_async(), granted=granted)


# ── what is known ───────────────────────────────────────────────────────────────────────────────


def _ask() -> Health:
    places = _waiting
    if not places.acquire(blocking=False):
        return monitor.ask(0.0)
    try:
        return monitor.ask(WAIT)
    finally:
        places.release()


async def _ask_async() -> Health:
    if not conf.get().BACKGROUND:  # rarely asked: only there an answer may be too old
        return await asyncio.to_thread(_ask)
    health = monitor.ask(0.0)
    ends = time.monotonic() + WAIT
    while health.readiness is Readiness.STARTING and time.monotonic() < ends:
        await asyncio.sleep(_TICK)
        health = monitor.snapshot()
    return health


# ── what is said ────────────────────────────────────────────────────────────────────────────────


def _tell(request: HttpRequest, health: Health, *, granted: bool) -> HttpResponse:
    word = DRAINING if draining.is_draining() else str(health.readiness)
    serving = word in _SERVING
    chosen = choose(request.META.get("HTTP_ACCEPT", ""))
    if chosen is Format.HTML:
        response = _page(request, health, word, granted=granted)
    else:
        body = _body(request, health, word, chosen, granted=granted)
        response = HttpResponse(body, chosen.value)
    if not serving and chosen not in (Format.OPENMETRICS, Format.PROMETHEUS):
        # A scraper drops what comes with another status than 200, just when it matters.
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
        response["Retry-After"] = str(_RETRY_AFTER[word])
    return wire.finish(request, response)


def _page(request: HttpRequest, health: Health, word: str, *, granted: bool) -> HttpResponse:
    from resilience.page import answers  # noqa: PLC0415 - no probe needs a page

    if granted:
        return answers.token_page(request, health)
    return answers.token_form(request, word)


def _body(request: HttpRequest, health: Health, word: str, chosen: Format, *, granted: bool) -> str:
    if chosen is Format.TEXT:
        verbose = granted and "verbose" in request.GET
        return plain.render(health, word) if verbose else f"{word}\n"
    if chosen is Format.JSON:
        return status_json.render(word, health if granted else None)
    if chosen is Format.HEALTH_JSON:
        return health_json.render(word, health if granted else None)
    serving = word in _SERVING
    if not granted:
        return openmetrics.render_word(serving=serving)
    return openmetrics.render(health, _caches(), serving=serving)


def _caches() -> dict[str, Mapping[str, Any]]:
    """How the caches of ours do, as far as this process uses any: none is imported for it."""
    if "resilience.cache.backend" not in sys.modules:
        return {}
    return {alias: cache.status(alias) for alias in targets.ours()}


def _after_fork() -> None:
    """Those who waited in the parent are not here."""
    global _waiting  # noqa: PLW0603 - the places of this process
    _waiting = threading.BoundedSemaphore(_WAITING)


os.register_at_fork(after_in_child=_after_fork)
