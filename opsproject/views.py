from django.http import HttpRequest, HttpResponse
from django.urls import reverse


def home(request: HttpRequest) -> HttpResponse:
    """Answers whatever else is down: no database, no cache, no template."""
    admin = request.build_absolute_uri(reverse("admin:index"))
    return HttpResponse(f"opsproject is running. Sign in at {admin}\n", content_type="text/plain")
