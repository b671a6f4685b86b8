"""The Django app. ``ready()`` loads the environment if nobody did, registers, and checks CACHES."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from django.apps import AppConfig, apps
from django.conf import settings
from django.core.signals import setting_changed

from resilience import boot, conf, env
from resilience.components.discovery import discover
from resilience.env import handover
from resilience.env.collect import is_collecting

if TYPE_CHECKING:
    from django.utils.autoreload import BaseReloader


class ResilienceConfig(AppConfig):
    """``INSTALLED_APPS += ["resilience"]``: no table, no required setting, no work at start-up.

    Raises InvalidCacheBackendError for an alias of ResilientCache whose options cannot work.
    """

    name = "resilience"
    verbose_name = "Resilience"

    def ready(self) -> None:
        from resilience import checks  # noqa: F401, PLC0415 - importing it registers the checks

        setting_changed.connect(conf.changed, dispatch_uid="resilience.conf")
        if not env.snapshot().loaded:
            _load_late()
        _serve_development()
        _declare_components()
        _check_caches()
        boot.note_ready()


def _load_late() -> None:
    """The settings have been read by now; files that are there are reported as read too late."""
    module = sys.modules.get(getattr(settings, "SETTINGS_MODULE", None) or "")
    filename = getattr(module, "__file__", None)
    if filename:
        with env.collecting():  # a broken .env must not stop an app that never asked for one
            env.load(after=filename)


def _serve_development() -> None:
    """An edited ``.env`` restarts ``runserver``, and its error page shows nothing of it."""
    if "django.utils.autoreload" in sys.modules:  # imported by every management command
        from django.utils.autoreload import autoreload_started  # noqa: PLC0415

        autoreload_started.connect(_watch_files, dispatch_uid="resilience.env")
    if sys.argv[1:2] in (["runserver"], ["testserver"]):
        from wsgiref.handlers import BaseHandler  # noqa: PLC0415 - no other server has use for it

        # It gives each request a copy of the environment, which is a part of request.META.
        for name in (*env.snapshot().exported, handover.VARIABLE):
            BaseHandler.os_environ.pop(name, None)


def _watch_files(sender: BaseReloader, **_: object) -> None:
    loaded = env.snapshot()
    if loaded.root is not None:
        sender.extra_files.update(loaded.root / name for name in loaded.tried)


def _declare_components() -> None:
    """By name only: nothing that a declaration names is imported before it is used."""
    others = (app.module for app in apps.get_app_configs() if app.name != ResilienceConfig.name)
    discover(module for module in others if module is not None)
    conf.push()


def _check_caches() -> None:
    """Now, not at the first request; the doctor lives on, and its cache probe says it."""
    from resilience.probes import targets  # noqa: PLC0415 - as above

    if is_collecting():
        return
    for alias in targets.ours():
        from resilience.cache import options  # noqa: PLC0415 - redis, which only its users pay

        options.parse(alias, settings.CACHES[alias])
