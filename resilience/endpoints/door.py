"""Who asks for ``/readyz``: everybody, somebody with the token, or somebody who guesses.

No session, no CSRF cookie and no database has a part in it: this is the way in when they are down.
"""

from __future__ import annotations

import math
from http import HTTPStatus
from urllib.parse import urlsplit

from django.core.exceptions import SuspiciousOperation
from django.http import HttpRequest, HttpResponse, QueryDict, UnreadablePostError

from resilience import conf
from resilience.endpoints import token, wire
from resilience.endpoints.guesses import GUESSES

METHODS = ("GET", "HEAD", "POST")
FIELD = "token"
"""Of the form."""

_LONGEST_FORM = 4096  # bytes
_DIGITS = 18  # of a length; int() raises for thousands
_FORM = "application/x-www-form-urlencoded"


def admit(request: HttpRequest) -> HttpResponse | bool:
    """Whether details may be shown, or a response that is the whole answer."""
    if request.method not in METHODS:
        return wire.not_allowed(METHODS)
    if request.method == "POST":
        return _post(request)
    expected = conf.get().STATUS_TOKEN
    given = token.of_header(request.META.get("HTTP_AUTHORIZATION", ""))
    if given is None:
        return token.is_sealed(request.COOKIES.get(token.COOKIE, ""), expected)
    if wait := GUESSES.wait(_address(request)):
        return wire.text("too-many-tries", HTTPStatus.TOO_MANY_REQUESTS, Retry_After=_whole(wait))
    if _is_right(request, given, expected):
        return True
    return wire.text("unauthorized", HTTPStatus.UNAUTHORIZED, WWW_Authenticate="Bearer")


def _post(request: HttpRequest) -> HttpResponse:
    """The form: for the right token there is a cookie."""
    if not _is_same_origin(request):
        return wire.text("forbidden", HTTPStatus.FORBIDDEN)
    given = _form_token(request)
    if given is None:
        return wire.text("bad-request", HTTPStatus.BAD_REQUEST)
    if wait := GUESSES.wait(_address(request)):
        return _form(request, HTTPStatus.TOO_MANY_REQUESTS, "Retry-After", _whole(wait), wait)
    expected = conf.get().STATUS_TOKEN
    if not _is_right(request, given, expected):
        return _form(request, HTTPStatus.UNAUTHORIZED, "WWW-Authenticate", "Bearer")
    response = HttpResponse(status=HTTPStatus.SEE_OTHER, headers={"Location": request.path})
    response.set_cookie(
        token.COOKIE,
        token.seal(expected),
        max_age=token.COOKIE_SECONDS,
        path=request.path.rstrip("/"),
        secure=request.is_secure(),
        httponly=True,
        samesite="Strict",
    )
    return response


def _form(
    request: HttpRequest, status: HTTPStatus, header: str, value: str, wait: float = 0.0
) -> HttpResponse:
    from resilience.page import answers  # noqa: PLC0415 - no probe needs a page

    response = answers.token_form(request, "", refused=not wait, wait=math.ceil(wait))
    response.status_code = status
    response[header] = value
    return response


def _is_right(request: HttpRequest, given: bytes, expected: str) -> bool:
    if token.is_right(given, expected):
        GUESSES.forget(_address(request))
        return True
    GUESSES.count(_address(request))
    return False


def _is_same_origin(request: HttpRequest) -> bool:
    """Whether our own form sent it, or no browser at all.

    Browsers say so on HTTPS and on localhost. Elsewhere the origin is compared with the Host
    header, which an edge leaves as it is.
    """
    site = request.META.get("HTTP_SEC_FETCH_SITE")
    if site is not None:
        return str(site) == "same-origin"
    origin = request.META.get("HTTP_ORIGIN")
    if origin is None:
        return True
    try:
        host = urlsplit(origin).netloc
    except ValueError:
        return False
    return bool(host) and host == request.META.get("HTTP_HOST")


def _form_token(request: HttpRequest) -> bytes | None:
    """What the field holds; None for what our form would not send."""
    length = request.META.get("CONTENT_LENGTH") or ""
    if request.content_type != _FORM or not (length.isascii() and length.isdigit()):
        return None
    if len(length) > _DIGITS or int(length) > _LONGEST_FORM:
        return None
    try:
        form = QueryDict(request.body, encoding="utf-8")
    except (UnreadablePostError, SuspiciousOperation):  # the latter: beyond the project's limits
        return None
    return (form.get(FIELD) or "").strip().encode("utf-8", "surrogatepass")


def _address(request: HttpRequest) -> str:
    return str(request.META.get("REMOTE_ADDR") or "")


def _whole(seconds: float) -> str:
    return str(math.ceil(seconds))
