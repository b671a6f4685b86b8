"""What starts the heartbeat of a process: its first request, or the start of a Celery worker."""

from __future__ import annotations

import sys
from typing import Any

from django.core.signals import request_started

from resilience.history import heartbeat


def connect() -> None:
    """Celery's signals only where Celery is imported: its users do so before Django's setup."""
    request_started.connect(_requested, dispatch_uid="resilience.history")
    if "celery" in sys.modules:
        from celery import signals  # noqa: PLC0415 - imported already

        signals.worker_ready.connect(_worker_ready, dispatch_uid="resilience.history")
        signals.worker_process_init.connect(_worker_process, dispatch_uid="resilience.history")
        signals.beat_init.connect(_beat, dispatch_uid="resilience.history")
        signals.beat_embedded_init.connect(_beat, dispatch_uid="resilience.history")
        # A pool's process ends without Python's own end.
        signals.worker_process_shutdown.connect(_ends, dispatch_uid="resilience.history")


def is_test() -> bool:
    """Whether Django's test environment is set up: a test database may vanish at any moment."""
    return hasattr(sys.modules.get("django.core.mail"), "outbox")


def _requested(**_: Any) -> None:
    if not is_test():
        heartbeat.start("web")


def _worker_ready(sender: Any, **_: Any) -> None:
    """Not the parent of a pool that forks, now or to replace a process."""
    pool = type(getattr(sender, "pool", None)).__module__
    if not pool.endswith(".prefork"):
        heartbeat.start("celery-worker")


def _worker_process(**_: Any) -> None:
    heartbeat.start("celery-worker")


def _beat(**_: Any) -> None:
    heartbeat.start("celery-beat")


def _ends(**_: Any) -> None:
    heartbeat.stop()
