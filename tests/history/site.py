"""The URLs of :mod:`tests.history.worker`."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.urls import path


def page(request: HttpRequest) -> HttpResponse:
    return HttpResponse("fine")


urlpatterns = [path("", page)]
