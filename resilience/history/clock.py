"""The database's clock: the only one that all processes share.

A beat is judged by its age. Hosts may disagree about the time by minutes, and every one of them
would be "gone" for another.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from django.db.models import FloatField, Func

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models.sql.compiler import SQLCompiler


_SPELLED = {
    "postgresql": "EXTRACT(EPOCH FROM STATEMENT_TIMESTAMP())::double precision",
    "sqlite": "((julianday('now') - 2440587.5) * 86400.0)",
    "mysql": "(UNIX_TIMESTAMP(NOW(6)) + 0e0)",
}


class DatabaseNow(Func):
    """Unix seconds when the statement began, with fractions; UTC whatever ``USE_TZ`` says."""

    output_field = FloatField()

    def as_sql(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, *_: Any, **__: Any
    ) -> tuple[str, tuple[Any, ...]]:
        """For databases that are not named, this host's clock."""
        del compiler
        spelled = _SPELLED.get(connection.vendor)
        return (spelled, ()) if spelled else ("%s", (time.time(),))

    as_sqlite = as_sql  # which would cast the number once more
