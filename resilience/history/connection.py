"""A connection for one beat: short-lived, bounded in time, and nobody else's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.db import OperationalError, connections, router, transaction

from resilience.history.models import Instance
from resilience.probes.base import Deadline
from resilience.probes.database import own_connection

CONNECT = 2.0
STATEMENT = 3.0
LOCK = 1.0
"""Seconds that connecting, one statement and waiting for a lock may take."""

BUSY = 0.5
"""Seconds to wait for SQLite's one writer; then the beat is dropped."""

_BOUNDS = (
    "SELECT set_config('statement_timeout', %s, true), set_config('lock_timeout', %s, true), "
    "set_config('idle_in_transaction_session_timeout', %s, true)"
)


def alias() -> str:
    """Where the history is. For reading too: on a replica that lags, live ones look gone."""
    return router.db_for_write(Instance)


def is_missing(using: str) -> bool:
    """Whether the tables are not there. One query; raises django.db.Error."""
    return Instance._meta.db_table not in connections[using].introspection.table_names()  # noqa: SLF001 - documented


@contextmanager
def own(using: str) -> Iterator[None]:
    """For this thread ``using`` is a connection of its own, closed at the end.

    Raises OperationalError for an SQLite file that is not there: a beat makes no database.
    """
    with own_connection(using, Deadline(CONNECT)) as connection:
        # Or what is written here would need a commit that nobody makes.
        connection.settings_dict["AUTOCOMMIT"] = True
        options = connection.settings_dict.setdefault("OPTIONS", {})
        if connection.vendor == "sqlite":
            options["timeout"] = BUSY
            name = str(connection.settings_dict["NAME"])
            if not (":memory:" in name or name.startswith("file:") or Path(name).exists()):
                raise OperationalError("the file of the database does not exist yet")
        elif connection.vendor == "mysql":
            options.setdefault("read_timeout", round(STATEMENT))
            options.setdefault("write_timeout", round(STATEMENT))
        yield


@contextmanager
def bounded(using: str) -> Iterator[None]:
    """One transaction, each of its statements within its time.

    The bounds end with the transaction: behind a pooler the session is not ours.
    """
    with transaction.atomic(using=using):
        if connections[using].vendor == "postgresql":
            times = [str(round(seconds * 1000)) for seconds in (STATEMENT, LOCK, STATEMENT)]
            with connections[using].cursor() as cursor:
                cursor.execute(_BOUNDS, times)
        yield
