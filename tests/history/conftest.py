"""The tables in an SQLite file and in a real PostgreSQL, in the place of the test database."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from asgiref.local import Local
from django.core.management import call_command
from django.db import connections

from resilience.history import heartbeat, reading
from resilience.history.models import Instance, Keeper, Stretch, Transition
from tests.servers import PostgresServer

SQLITE = "django.db.backends.sqlite3"
POSTGRES = "django.db.backends.postgresql"
MODELS = (Instance, Transition, Stretch, Keeper)

Use = Callable[..., None]


@pytest.fixture(autouse=True)
def allowed(django_db_blocker) -> Iterator[None]:
    """These tests bring their own databases; none is Django's test database."""
    with django_db_blocker.unblock():
        yield
        heartbeat.reset()
        reading.reset()


@pytest.fixture
def use(monkeypatch) -> Iterator[Use]:
    """Put these databases in the place of the configured ones, for Django's own code as well."""

    def configure(default: dict[str, Any], **others: dict[str, Any]) -> None:
        connections.close_all()
        configured = connections.configure_settings({"default": default, **others})
        monkeypatch.setattr(connections, "settings", configured)
        monkeypatch.setattr(connections, "_connections", Local(connections.thread_critical))

    yield configure
    connections.close_all()


def config_of(server: PostgresServer) -> dict[str, Any]:
    return {
        "ENGINE": POSTGRES,
        "NAME": server.database,
        "USER": server.user,
        "PASSWORD": server.password,
        "HOST": server.host,
        "PORT": str(server.port),
    }


def migrate(alias: str = "default") -> None:
    call_command("migrate", "resilience_history", database=alias, verbosity=0)
    connections[alias].close()


_template: list[Path] = []


@pytest.fixture
def sqlite_file(use, tmp_path, tmp_path_factory) -> dict[str, Any]:
    """A new file with the tables."""
    if not _template:
        _template.append(tmp_path_factory.mktemp("template") / "db.sqlite3")
        sqlite3.connect(_template[0]).close()
        use({"ENGINE": SQLITE, "NAME": _template[0]})
        migrate()
    path = tmp_path / "db.sqlite3"
    shutil.copy(_template[0], path)
    config = {"ENGINE": SQLITE, "NAME": path}
    use(config)
    return config


@pytest.fixture
def postgres_tables(use, postgres) -> dict[str, Any]:
    """The tables on the server, empty."""
    config = config_of(postgres)
    use(config)
    migrate()
    for model in MODELS:
        model._default_manager.all().delete()
    return config


@pytest.fixture(params=["sqlite", "postgres"])
def database(request) -> dict[str, Any]:
    """The settings of a database that has the tables and no row; it is the default one."""
    name = "sqlite_file" if request.param == "sqlite" else "postgres_tables"
    config: dict[str, Any] = request.getfixturevalue(name)
    return config
