import os

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods


def home(request: HttpRequest) -> HttpResponse:
    """Answers whatever else is down: no database, no cache, no template."""
    pages = {
        "framework": "Four phases built from components",
        "account": "A session, and a note in it",
        "admin:index": "Sign in as staff (scripts/run createsuperuser), then: Component status",
    }
    lines = [
        f"{about}: {request.build_absolute_uri(reverse(name))}" for name, about in pages.items()
    ]
    text = "\n".join(["opsproject is running.", *lines, ""])
    return HttpResponse(text, content_type="text/plain")


@require_http_methods(["GET", "HEAD", "POST"])
def account(request: HttpRequest) -> HttpResponse:
    """Who this session is and what it keeps: a note, which logging in takes along."""
    if request.method == "POST":
        request.session["note"] = request.POST.get("note", "")[:200]
        return redirect("account")
    note = request.session.get("note", "")
    return render(request, "account/account.html", {"note": note, "process": os.getpid()})
