"""What one process does for all, at most once per interval: the state over time, and the purge.

Whoever's beat comes first does it. The state is computed from now, never from the journal: from
what the live processes say of themselves at this moment. So it cannot miss the end of anything.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from django.db import connections
from django.db.models import Q, Value

from resilience.findings import Level
from resilience.history import pace, purge
from resilience.history.clock import DatabaseNow
from resilience.history.connection import bounded
from resilience.history.models import Instance, Keeper, Stretch

_SUBJECTS = 500


def gap() -> float:
    """Seconds between two looks after which nobody can tell what was in between."""
    return pace.gone_after()


def keep(using: str, subjects: Collection[str]) -> bool:
    """Do what is due; False if somebody else has. Raises django.db.Error.

    ``subjects`` are those that this process watches: OK unless some process says otherwise.
    """
    with bounded(using):
        now = _claim(using)
        if now is None:
            return False
        _prolong(using, worst(using, subjects, now), now)
    with bounded(using):
        purge.purge(using, now)
    return True


def prepare(using: str) -> None:
    """The one row that :func:`keep` is claimed by."""
    with bounded(using):
        Keeper.objects.using(using).get_or_create(pk=1, defaults={"taken_at": 0.0})


def worst(using: str, subjects: Collection[str], now: float) -> dict[str, int]:
    """The worst level of each subject among the live processes; {} without any."""
    live = Instance.objects.using(using).filter(
        stopped=False, last_beat__gte=now - pace.stale_after()
    )
    return merged([dict.fromkeys(subjects, int(Level.OK)), *live.values_list("levels", flat=True)])


def merged(said: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """The worst level of each subject, of what several processes say."""
    levels: dict[str, int] = {}
    for each in said:
        for subject, level in each.items():
            levels[subject] = max(levels.get(subject, level), level)
    return levels


def _claim(using: str) -> float | None:
    """The database's time if it is this process's turn; the row is locked until the end."""
    # A clock that was set back must not stop the work until it has caught up.
    due = Keeper.objects.using(using).filter(
        Q(taken_at__lte=DatabaseNow() - Value(pace.INTERVAL))
        | Q(taken_at__gt=DatabaseNow() + Value(pace.INTERVAL)),
        pk=1,
    )
    can_skip = connections[using].features.has_select_for_update_skip_locked
    # Two hundred others need not wait for the one that has begun.
    if can_skip and not list(due.select_for_update(skip_locked=True).values_list("pk")):
        return None
    if not due.update(taken_at=DatabaseNow()):
        return None
    return Keeper.objects.using(using).values_list("taken_at", flat=True).get(pk=1)


def _prolong(using: str, levels: Mapping[str, int], now: float) -> None:
    """Each subject's latest stretch up to now, or a new one where the level is another."""
    stretches = Stretch.objects.using(using)
    latest = {
        subject: (pk, level, end)
        for pk, subject, level, end in stretches.filter(end__gte=now - gap())
        .order_by("end", "pk")
        .values_list("pk", "subject", "level", "end")
    }
    prolonged: list[int] = []
    begun: list[Stretch] = []
    for subject, level in sorted(levels.items())[:_SUBJECTS]:
        pk, before, end = latest.get(subject[:200], (None, None, now))
        if pk is not None and before is not None and before >= level:
            # Up to now it was as bad as before: nobody looked in between.
            prolonged.append(pk)
            end = now
        if before != level:
            begun.append(Stretch(subject=subject[:200], level=level, start=end, end=now))
    if prolonged:
        stretches.filter(pk__in=prolonged).update(end=now)
    stretches.bulk_create(begun, batch_size=100)
