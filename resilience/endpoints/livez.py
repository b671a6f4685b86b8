"""``/livez``: this process answers requests. Nothing is asked, read or connected to."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse

from resilience.endpoints import wire

METHODS = ("GET", "HEAD")


def answer(request: HttpRequest) -> HttpResponse:
    """200 and ``ok``; 405 to other methods than GET and HEAD."""
    if request.method not in METHODS:
        return wire.not_allowed(METHODS)
    return wire.finish(request, wire.text("ok"))
