"""Four tables, every one bounded. Times are unix seconds of the database's clock.

Not of Django's date fields: their meaning depends on ``USE_TZ``, and a page compares ages.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django.db import models

if TYPE_CHECKING:
    _TextField = models.Field[Any, Any]
else:
    _TextField = models.TextField

# Said, not found out: by its folder alone this package belongs to the app "resilience".
LABEL = "resilience_history"


class LevelsField(_TextField):
    """Subject to level, as JSON. Not Django's JSONField, whose system check asks the database."""

    def from_db_value(self, value: str, *_: object) -> Any:
        return json.loads(value)

    def get_prep_value(self, value: Any) -> str:
        return json.dumps(value)


class Instance(models.Model):
    """One process, from its first beat to its last.

    ``key`` is random, so that a process with the pid of a former one is another. ``stopped`` says
    that the last beat was a farewell. ``levels`` holds what is not OK, subject to level.

    No index but the key's: a beat of PostgreSQL then leaves every index alone (HOT), and there are
    never more than ``purge.INSTANCES`` rows to look through.
    """

    key = models.UUIDField(unique=True)
    replica = models.CharField(max_length=200)
    host = models.CharField(max_length=200)
    pid = models.BigIntegerField()
    role = models.CharField(max_length=50)
    booted_at = models.FloatField()
    last_beat = models.FloatField()
    stopped = models.BooleanField(default=False)
    commit = models.CharField(max_length=100)
    config = models.CharField(max_length=16)
    versions = models.CharField(max_length=200)
    memory_bytes = models.BigIntegerField(null=True)
    levels = LevelsField(default=dict)

    class Meta:
        app_label = LABEL
        default_permissions = ()  # nobody edits these by hand

    def __str__(self) -> str:
        return f"{self.role} {self.pid} on {self.replica}"


class Transition(models.Model):
    """One process saw one subject change its level."""

    at = models.FloatField()
    subject = models.CharField(max_length=200)
    old = models.SmallIntegerField(null=True)
    new = models.SmallIntegerField()
    finding = models.CharField(max_length=100)
    summary = models.CharField(max_length=500)
    replica = models.CharField(max_length=200)
    pid = models.BigIntegerField()

    class Meta:
        app_label = LABEL
        default_permissions = ()
        # The newest for the page, the oldest for the purge.
        indexes = [models.Index(fields=["at", "id"], name="resilience_transition_at")]  # noqa: RUF012 - Django's form

    def __str__(self) -> str:
        return f"{self.subject}: {self.old} to {self.new}"


class Stretch(models.Model):
    """How long the worst of all processes had one level of a subject. Between two: unknown."""

    subject = models.CharField(max_length=200)
    level = models.SmallIntegerField()
    start = models.FloatField()
    end = models.FloatField()

    class Meta:
        app_label = LABEL
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.subject}: {self.level}"


class Keeper(models.Model):
    """One row: when somebody last did the work that one process does for all."""

    taken_at = models.FloatField()

    class Meta:
        app_label = LABEL
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.taken_at}"
