from django.conf import settings
from django.http import HttpRequest, JsonResponse
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_http_methods

from resilience.components import components
from resilience.errors import ComponentUnavailable

from .run import PHASES, Unanswered, run


@ensure_csrf_cookie
@require_http_methods(["GET", "POST"])
def framework(request: HttpRequest) -> JsonResponse:
    """GET tells how the phases do, POST with a ``question`` runs them: staff only, it costs money.

    503 says which phase is missing and why, 502 what the model's service said.
    """
    if not (settings.DEBUG or request.user.is_staff):
        return JsonResponse({"error": "Sign in as staff at /admin/."}, status=403)
    if request.method == "GET":
        told, usable = _phases()
        return JsonResponse({"phases": told}, status=200 if usable else 503)
    question = request.POST.get("question", "").strip()
    if not question:
        return JsonResponse({"error": "POST a question."}, status=400)
    try:
        return JsonResponse({"question": question, **run(question)})
    except ComponentUnavailable as error:
        return JsonResponse({"error": str(error), "phases": _phases()[0]}, status=503)
    except Unanswered as error:
        return JsonResponse({"error": str(error)}, status=502)


def _phases() -> tuple[dict[str, str], bool]:
    """How every phase does, and whether all can be used. The first that is down explains others."""
    told, usable = {}, True
    for name in PHASES:
        try:
            status = components.status(name)
        except ComponentUnavailable as error:  # nothing declares it
            told[name], usable = str(error), False
        else:
            told[name] = str(status)
            usable = usable and status.state in ("ready", "not-loaded", "loading")
    return told, usable
