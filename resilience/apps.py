"""The Django app. ``ready()`` loads the environment if nobody did, and registers; nothing more."""

from __future__ import annotations

import sys

from django.apps import AppConfig
from django.conf import settings
from django.core.signals import setting_changed

from resilience import conf, env


class ResilienceConfig(AppConfig):
    """``INSTALLED_APPS += ["resilience"]``: no table, no required setting, no work at start-up."""

    name = "resilience"
    verbose_name = "Resilience"

    def ready(self) -> None:
        from resilience import checks  # noqa: F401, PLC0415 - importing it registers the checks

        setting_changed.connect(conf.reset, dispatch_uid="resilience.conf")
        if not env.snapshot().loaded:
            _load_late()


def _load_late() -> None:
    """The settings have been read by now; files that are there are reported as read too late."""
    module = sys.modules.get(getattr(settings, "SETTINGS_MODULE", None) or "")
    filename = getattr(module, "__file__", None)
    if filename:
        with env.collecting():  # a broken .env must not stop an app that never asked for one
            env.load(beside=filename, late=True)
