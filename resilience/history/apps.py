"""The Django app. ``ready()`` registers; nothing is written before the first request."""

from __future__ import annotations

from django.apps import AppConfig

from resilience.probes import areas


class HistoryConfig(AppConfig):
    """``INSTALLED_APPS += ["resilience.history"]`` and ``migrate``: no setting."""

    name = "resilience.history"
    label = "resilience_history"
    verbose_name = "Resilience history"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from resilience.history import beginnings  # noqa: PLC0415 - the models are there only now

        areas.join("instances", "resilience.history.probes")
        beginnings.connect()
