"""What one beat writes: that this process lives, how it does, and what changed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

from django.db.models import Value

from resilience.findings import Level
from resilience.history import keeping
from resilience.history.clock import DatabaseNow
from resilience.history.connection import bounded
from resilience.history.fitting import fit
from resilience.history.identity import Identity, memory
from resilience.history.models import Instance, Stretch, Transition
from resilience.history.recording import Change, Recorder

BATCH = 200
"""Changes that one beat writes; the rest is for the next one."""

_SUBJECTS = 200  # that are not OK, of one process


def write(
    using: str, me: Identity, recorder: Recorder, now: Mapping[str, Level], *, stopped: bool
) -> None:
    """One beat. ``now`` holds the level of every subject. Raises django.db.Error."""
    levels = recorder.levels(now)
    changes = recorder.take(BATCH)
    try:
        with bounded(using):
            _alive(using, me, levels, stopped=stopped)
            _changed(using, me, changes)
    except BaseException:
        recorder.restore(changes)
        raise
    recorder.told(levels)


def _alive(using: str, me: Identity, levels: Mapping[str, Level], *, stopped: bool) -> None:
    bad = {name: int(level) for name, level in levels.items() if level > Level.OK}
    state = {
        "last_beat": DatabaseNow(),
        "stopped": stopped,
        "memory_bytes": memory(),
        "levels": dict(sorted(bad.items(), key=lambda item: -item[1])[:_SUBJECTS]),
    }
    if Instance.objects.using(using).filter(key=me.key).update(**state):
        return
    # The first beat, or this process was away so long that its row was purged.
    Instance(
        key=me.key,
        replica=fit(me.replica),
        host=fit(me.host),
        pid=me.pid,
        role=fit(me.role, 50),
        booted_at=DatabaseNow() - Value(time.monotonic() - me.born),
        commit=me.commit,
        config=me.config,
        versions=me.versions[:200],
        **state,
    ).save(force_insert=True, using=using)


def _changed(using: str, me: Identity, changes: Sequence[Change]) -> None:
    if not changes:
        return
    now = time.monotonic()
    Transition.objects.using(using).bulk_create(
        [
            Transition(
                # How long ago, so that the clocks of hosts need not agree.
                at=DatabaseNow() - Value(now - change.at),
                subject=change.subject,
                old=change.old,
                new=change.new,
                finding=change.finding[:100],
                summary=change.summary[:500],
                replica=fit(me.replica),
                pid=me.pid,
            )
            for change in _news(using, changes)
        ],
        batch_size=100,
    )


def _news(using: str, changes: Sequence[Change]) -> Iterator[Change]:
    """Without what a process found at its start and all others had found before.

    Each of a hundred new processes would tell the same warning at every deploy.
    """
    known: dict[str, int] = {}
    if any(change.old is None for change in changes):
        lately = DatabaseNow() - Value(keeping.gap())
        known = dict(
            Stretch.objects.using(using)
            .filter(end__gte=lately)
            .order_by("end")
            .values_list("subject", "level")
        )
    for change in changes:
        if change.old is not None or known.get(change.subject) != change.new:
            yield change
