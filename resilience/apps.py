"""The Django app. ``ready()`` loads the environment if nobody did, registers, and checks CACHES."""

from __future__ import annotations

import sys

from django.apps import AppConfig
from django.conf import settings
from django.core.signals import setting_changed

from resilience import conf, env
from resilience.env.collect import is_collecting


class ResilienceConfig(AppConfig):
    """``INSTALLED_APPS += ["resilience"]``: no table, no required setting, no work at start-up.

    Raises InvalidCacheBackendError for an alias of ResilientCache whose options cannot work.
    """

    name = "resilience"
    verbose_name = "Resilience"

    def ready(self) -> None:
        from resilience import checks  # noqa: F401, PLC0415 - importing it registers the checks

        setting_changed.connect(conf.reset, dispatch_uid="resilience.conf")
        if not env.snapshot().loaded:
            _load_late()
        _check_caches()


def _load_late() -> None:
    """The settings have been read by now; files that are there are reported as read too late."""
    module = sys.modules.get(getattr(settings, "SETTINGS_MODULE", None) or "")
    filename = getattr(module, "__file__", None)
    if filename:
        with env.collecting():  # a broken .env must not stop an app that never asked for one
            env.load(after=filename)


def _check_caches() -> None:
    """Now, not at the first request; the doctor lives on, and its cache probe says it."""
    from resilience.probes import targets  # noqa: PLC0415 - as above

    if is_collecting():
        return
    for alias, config in settings.CACHES.items():
        if targets.redis_kind(str(config.get("BACKEND", ""))) == targets.OURS:
            from resilience.cache import options  # noqa: PLC0415 - redis, which only its users pay

            options.parse(alias, config)
