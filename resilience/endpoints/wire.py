"""What every response of ours has in common, whatever the middleware behind us would add."""

from __future__ import annotations

from collections.abc import Sequence

from django.http import HttpRequest, HttpResponse

from resilience.endpoints.accept import Format

FAILING = 500


def text(word: str, status: int = 200, **headers: str) -> HttpResponse:
    """One word as plain text; ``Retry_After="1"`` is the header Retry-After."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return HttpResponse(f"{word}\n", Format.TEXT.value, status, headers=named)


def not_allowed(methods: Sequence[str]) -> HttpResponse:
    return _headers(text("method-not-allowed", 405, Allow=", ".join(methods)))


def finish(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """The same response, never kept by a cache; to HEAD without its body, but with its length."""
    _headers(response)
    if request.method == "HEAD":
        response.content = b""
    return response


def _headers(response: HttpResponse) -> HttpResponse:
    response["Cache-Control"] = "no-store"
    response["X-Content-Type-Options"] = "nosniff"
    response["Content-Length"] = str(len(response.content))
    if response.status_code >= FAILING:
        # An answer, and no error: Django would log it as one and mail it to ADMINS at each probe.
        response._has_been_logged = True  # type: ignore[attr-defined]  # noqa: SLF001
    return response
