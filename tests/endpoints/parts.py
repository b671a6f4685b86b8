"""A site inside pytest, whose only cache has a probe that can be counted, broken and held."""

from __future__ import annotations

import threading
from typing import Any

from django.core.cache.backends.locmem import LocMemCache
from django.http import HttpResponse
from django.test import Client
from django.urls import path

TOKEN = "correct-horse-battery-staple"
BEARER = {"authorization": f"Bearer {TOKEN}"}
FORM = "application/x-www-form-urlencoded"
OPENMETRICS = "application/openmetrics-text"
OURS = "resilience.middleware.HealthMiddleware"


async def shown(request):
    return HttpResponse(f"{threading.get_ident()}")


urlpatterns = [path("thread/", shown)]
SITE: dict[str, Any] = {
    "MIDDLEWARE": [
        OURS,
        "django.middleware.security.SecurityMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
    ],
    "ROOT_URLCONF": __name__,
    "ALLOWED_HOSTS": ["shop.example"],
    "SECURE_SSL_REDIRECT": True,
    "APPEND_SLASH": True,
    "CACHES": {"default": {"BACKEND": "tests.endpoints.parts.Counting"}},
    "RESILIENCE": {"STATUS_TOKEN": TOKEN, "CRITICAL": ["caches.default"]},
}


def ready(**headers: str) -> Any:
    return Client().get("/readyz", headers=headers)


class Counter:
    """What the cache of this process shall do; ``runs`` are the probes that wrote to it."""

    def __init__(self) -> None:
        self.holding = threading.Event()
        self.reset()

    def reset(self) -> None:
        self.runs, self.broken, self.saying = 0, False, "on purpose"
        self.holding.set()


COUNTER = Counter()


class Counting(LocMemCache):
    """Every probe of an alias writes once."""

    def set(self, *args: Any, **more: Any) -> None:
        COUNTER.runs += 1
        COUNTER.holding.wait(60)
        if COUNTER.broken:
            raise OSError(COUNTER.saying)
        super().set(*args, **more)
