"""The three pages: in the admin, behind the token, and the question for the token.

What they show is rendered by an engine of our own: the page has to work whatever TEMPLATES holds.
Only its frame in the admin is the project's.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.template import Context, Engine
from django.template.response import TemplateResponse
from django.utils.safestring import SafeString

from resilience import conf
from resilience.health.states import Health
from resilience.page import fleet, panels, policy
from resilience.page.panels import Notice, Operating, Page
from resilience.page.words import Mark

TITLE = "Component status"
_FOLDER = Path(__file__).parent.parent / "templates"


@cache
def _engine() -> Engine:
    return Engine(dirs=[str(_FOLDER)])


def _render(name: str, **context: Any) -> SafeString:
    return _engine().get_template(f"resilience/{name}").render(Context(context))


@cache
def _asset(*names: str) -> SafeString:
    """Style or script of the page; the same for every response."""
    return SafeString("\n".join(_render(name) for name in names))


def token_page(request: HttpRequest, health: Health) -> HttpResponse:  # noqa: ARG001 - as the form
    """The page without a database, a session or the project's templates: behind the token."""
    known = fleet.not_asked(unreachable=panels.is_without_database(health))
    page = panels.build(health, known)
    return _bare("token.html", page=page, body=_body(page), script=_asset("page.js"))


def token_form(
    request: HttpRequest, word: str, *, refused: bool = False, wait: int = 0
) -> HttpResponse:
    """Asks for the token in the field ``token``, POSTed to where it was asked.

    ``word`` is what everybody is told, in every format. ``wait``: seconds until a token of this
    client is looked at again, after a wrong one; the one that came was not.
    """
    return _bare(
        "form.html",
        word=word,
        refused=refused,
        wait=wait,
        closed=not conf.get().STATUS_TOKEN,
        action=request.path,
        mark=Mark("bad", "Refused."),
    )


def status_page(
    request: HttpRequest,
    health: Health,
    *,
    frame: dict[str, Any],
    notices: Sequence[Notice] = (),
    operating: Operating | None = None,
) -> HttpResponse:
    """The page in the admin; ``frame`` is the context of the admin's own templates."""
    page = panels.build(health, fleet.read(health.taken_at), notices, operating)
    nonce = policy.nonce()
    context = {
        **frame,
        "title": TITLE,
        "nonce": nonce,
        "style": _asset("page.css"),
        "script": _asset("page.js"),
        "body": _body(page),
    }
    response = TemplateResponse(request, "resilience/status.html", context)
    policy.protect(response, nonce, static_url=settings.STATIC_URL)
    return response


def _body(page: Page) -> SafeString:
    return _render("body.html", page=page)


def _bare(name: str, **context: Any) -> HttpResponse:
    nonce = policy.nonce()
    style = _asset("token.css", "page.css")
    html = _render(name, title=TITLE, nonce=nonce, style=style, **context)
    response = HttpResponse(html)
    policy.protect(response, nonce)
    return response
