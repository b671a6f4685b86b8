"""Takes away what is too old or too much, a little at a time."""

from __future__ import annotations

from typing import Any

from django.db.models import Count, Model, Q, QuerySet

from resilience.history.models import Instance, Stretch, Transition

DAY = 86400.0
DAYS = 90
"""How long transitions and the state over time are kept."""

TRANSITIONS = 100_000
STRETCHES = 5_000
INSTANCES = 2_000
"""Rows that are kept at most; the newest, give or take a batch."""

STOPPED_DAYS = 1
GONE_DAYS = 7
"""How long a process is remembered that said goodbye, and one that did not."""

BATCH = 500
"""Rows that one purge takes from a table."""


def purge(using: str, now: float) -> int:
    """How many rows went. Raises django.db.Error."""
    return sum(
        _delete(found)
        for found in (*_transitions(using, now), *_stretches(using, now), *_instances(using, now))
    )


def _transitions(using: str, now: float) -> list[QuerySet[Any]]:
    rows = Transition.objects.using(using)
    newest = rows.order_by("-pk").values_list("pk", flat=True).first() or 0
    return [
        rows.filter(at__lt=now - DAYS * DAY).order_by("at", "id"),
        # By number, not counted: gaps keep fewer, and a count would read the whole table.
        rows.filter(pk__lte=newest - TRANSITIONS).order_by("pk"),
    ]


def _stretches(using: str, now: float) -> list[QuerySet[Any]]:
    rows = Stretch.objects.using(using)
    found: list[QuerySet[Any]] = [rows.filter(end__lt=now - DAYS * DAY).order_by("end")]
    if rows.count() > STRETCHES:
        # What flaps loses its own past, not that of the others.
        most = rows.values("subject").annotate(rows=Count("pk")).order_by("-rows").first()
        if most:
            found.append(rows.filter(subject=most["subject"]).order_by("end"))
    return found


def _instances(using: str, now: float) -> list[QuerySet[Any]]:
    rows = Instance.objects.using(using)
    old = Q(last_beat__lt=now - GONE_DAYS * DAY) | Q(
        stopped=True, last_beat__lt=now - STOPPED_DAYS * DAY
    )
    found: list[QuerySet[Any]] = [rows.filter(old).order_by("last_beat")]
    newest = rows.order_by("-last_beat").values_list("last_beat", flat=True)
    limit = next(iter(newest[INSTANCES : INSTANCES + 1]), None)
    if limit is not None:
        found.append(rows.filter(last_beat__lte=limit).order_by("last_beat"))
    return found


def _delete(found: QuerySet[Any]) -> int:
    numbers = list(found.values_list("pk", flat=True)[:BATCH])
    if not numbers:
        return 0
    model: type[Model] = found.model
    deleted, _ = model._default_manager.using(found.db).filter(pk__in=numbers).delete()  # noqa: SLF001 - documented
    return deleted
