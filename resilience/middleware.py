"""Answers ``/livez`` and ``/readyz`` before anything else has a say. Place it first.

::

    MIDDLEWARE = ["resilience.middleware.HealthMiddleware", …]

So neither ALLOWED_HOSTS nor the redirects to HTTPS or to a trailing slash, no session, login or
maintenance page stands between a probe and its answer, and every Host header will do.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from resilience.endpoints import livez, readyz

Answer = HttpResponseBase | Awaitable[HttpResponseBase]

LIVE = frozenset({"/livez", "/livez/"})
READY = frozenset({"/readyz", "/readyz/"})
"""Without a redirect: a probe may follow none, or follow it out of the container."""


class HealthMiddleware:
    """Both ways of Django: in an asynchronous stack it needs no thread.

    Under ASGI Django gives it a thread all the same if any middleware behind it is synchronous.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Answer]) -> None:
        self._get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Answer:
        path = request.path_info
        if path in LIVE:
            return self._at_once(livez.answer(request))
        if path in READY:
            return readyz.answer_async(request) if self._is_async else readyz.answer(request)
        return self._get_response(request)

    def _at_once(self, response: HttpResponse) -> Answer:
        return _done(response) if self._is_async else response


async def _done(response: HttpResponseBase) -> HttpResponseBase:
    return response
