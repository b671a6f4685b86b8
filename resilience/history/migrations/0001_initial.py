"""The four tables."""

from typing import ClassVar

from django.db import migrations, models
from django.db.migrations.operations.base import Operation

from resilience.history.models import LevelsField


class Migration(migrations.Migration):
    initial = True

    dependencies: ClassVar[list[tuple[str, str]]] = []

    operations: ClassVar[list[Operation]] = [
        migrations.CreateModel(
            name="Instance",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("key", models.UUIDField(unique=True)),
                ("replica", models.CharField(max_length=200)),
                ("host", models.CharField(max_length=200)),
                ("pid", models.BigIntegerField()),
                ("role", models.CharField(max_length=50)),
                ("booted_at", models.FloatField()),
                ("last_beat", models.FloatField()),
                ("stopped", models.BooleanField(default=False)),
                ("commit", models.CharField(max_length=100)),
                ("config", models.CharField(max_length=16)),
                ("versions", models.CharField(max_length=200)),
                ("memory_bytes", models.BigIntegerField(null=True)),
                ("levels", LevelsField(default=dict)),
            ],
            options={
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="Keeper",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("taken_at", models.FloatField()),
            ],
            options={
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="Stretch",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("subject", models.CharField(max_length=200)),
                ("level", models.SmallIntegerField()),
                ("start", models.FloatField()),
                ("end", models.FloatField()),
            ],
            options={
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="Transition",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("at", models.FloatField()),
                ("subject", models.CharField(max_length=200)),
                ("old", models.SmallIntegerField(null=True)),
                ("new", models.SmallIntegerField()),
                ("finding", models.CharField(max_length=100)),
                ("summary", models.CharField(max_length=500)),
                ("replica", models.CharField(max_length=200)),
                ("pid", models.BigIntegerField()),
            ],
            options={
                "default_permissions": (),
                "indexes": [models.Index(fields=["at", "id"], name="resilience_transition_at")],
            },
        ),
    ]
