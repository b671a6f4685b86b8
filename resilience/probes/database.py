"""Does every database answer, and are its migrations applied?"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from django.db import Error as DatabaseError, connections
from django.db.migrations.executor import MigrationExecutor

from resilience import env, places, redact
from resilience.findings import Fact, Finding, Level
from resilience.probes.base import Deadline, Probe, elapsed_ms
from resilience.probes.env import skipped_for

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

# SQLSTATE class 28 is "invalid authorization"; libpq gives no state for a failed connection.
_AUTH_TEXTS = (
    "password authentication failed",
    "no password supplied",
    "pg_hba.conf",
    "Access denied for user",
)
_DUMMY = "django.db.backends.dummy"
# Of libpq: a server that has gone without a word is given up after 5 s. The kernel's own time for
# it is 15 minutes for what was sent, 2 hours for an answer that is waited for.
_GONE = {
    "tcp_user_timeout": 5000,  # ms
    "keepalives": 1,
    "keepalives_idle": 2,  # s, as the next one
    "keepalives_interval": 1,
}


def probes() -> list[Probe]:
    """One for each alias. Of several on one server the first explains the others."""
    first: dict[tuple[str, ...], str] = {}
    found: list[Probe] = []
    for probe in _databases():
        config = connections.settings[probe.alias]
        server = tuple(str(config.get(key) or "") for key in ("ENGINE", "HOST", "PORT"))
        known = first.setdefault(server, probe.subject) if config.get("HOST") else probe.subject
        found.append(probe if known == probe.subject else replace(probe, needs=(known,)))
    return found


def _databases() -> list[Database]:
    return [
        Database(f"databases.{alias}", alias=alias)
        for alias in connections
        if connections.settings[alias]["ENGINE"] != _DUMMY
        or env.placeholder_in(connections.settings[alias])
    ]


@dataclass(frozen=True)
class Database(Probe):
    """Connects with a connection of its own, asks one question, and closes it.

    With ``migrations`` False it looks for no unapplied ones: Django imports all of them for it.
    """

    area = "database"
    alias: str = field(kw_only=True)
    migrations: bool = field(default=True, kw_only=True)

    def unobtrusive(self) -> Probe:
        return replace(self, migrations=False)

    def run(self, deadline: Deadline) -> Iterator[Finding]:
        skipped = skipped_for(self.subject, connections.settings[self.alias])
        if skipped:
            yield skipped
            return
        missing = self._missing_file()
        if missing:
            yield missing
            return
        try:
            with own_connection(self.alias, deadline) as connection:
                yield from self._examine(connection)
        except Exception as error:  # noqa: BLE001 - drivers and odd settings raise anything
            yield self._failed(error)

    def _examine(self, connection: BaseDatabaseWrapper) -> Iterator[Finding]:
        began = time.perf_counter()
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            cursor.fetchone()
        took = elapsed_ms(began)
        if self.migrations:
            yield from self._migrations(connection)
        version = ".".join(map(str, connection.get_database_version()))
        yield Finding(
            "database.ok",
            Level.OK,
            self.subject,
            f"{connection.display_name} {version} answered in {took} ms.",
            facts={"connect_and_query_ms": took, "version": version},
        )

    def _migrations(self, connection: BaseDatabaseWrapper) -> Iterator[Finding]:
        try:
            executor = MigrationExecutor(connection)
            pending = executor.migration_plan(executor.loader.graph.leaf_nodes())
        except DatabaseError:
            raise
        except Exception as error:  # noqa: BLE001 - a migration is the user's code
            yield Finding(
                "database.migrations",
                Level.ERROR,
                self.subject,
                f"The migrations do not load: {redact.exception(error)}",
                "Correct the migration that the message names; python manage.py showmigrations "
                "shows the whole traceback.",
                location=places.of_error(error),
            )
            return
        if pending:
            first = f"{pending[0][0].app_label}.{pending[0][0].name}"
            yield _unmigrated(self.subject, self.alias, f"{len(pending)} pending, first {first}")

    def _missing_file(self) -> Finding | None:
        """SQLite would create the file by being asked: a check must not."""
        config = connections.settings[self.alias]
        name = str(config["NAME"])
        if (
            not str(config["ENGINE"]).endswith("sqlite3")
            or ":memory:" in name
            or name.startswith("file:")
        ):
            return None
        if Path(name).exists():
            return None
        has_folder = Path(name).absolute().parent.is_dir()
        if has_folder and self.migrations:
            return _unmigrated(self.subject, self.alias, "its file does not exist yet")
        what, remedy = "The folder of the SQLite file", "Create it, or correct the path"
        if has_folder:  # and the app serves already
            what, remedy = "The SQLite file", "Run python manage.py migrate, or correct the path"
        return Finding(
            "database.unreachable",
            Level.ERROR,
            self.subject,
            f"{what} {places.shorten(name)} does not exist.",
            f"{remedy}; on a platform mount a volume there.",
        )

    def _place(self) -> dict[str, Fact]:
        """Host, port and name as configured: drivers quote them, and quotes are masked."""
        config = connections.settings[self.alias]
        found = {key.lower(): str(config.get(key) or "") for key in ("HOST", "PORT", "NAME")}
        return {key: value for key, value in found.items() if value}

    def _failed(self, error: Exception) -> Finding:
        text = str(error)
        if _is_auth(error, text):
            return Finding(
                "database.auth",
                Level.ERROR,
                self.subject,
                "The database rejected the user, the password or this host.",
                "Copy the current URL from the service that runs the database; percent-encode "
                "%, /, # and ? in its password.",
            )
        return Finding(
            "database.unreachable",
            Level.ERROR,
            self.subject,
            f"The database does not answer: {redact.exception(error)}",
            "Check host, port and name of the URL, and that the database runs and is reachable "
            "from here.",
            self._place(),
        )


@contextmanager
def own_connection(alias: str, deadline: Deadline) -> Iterator[BaseDatabaseWrapper]:
    """A connection that nobody else uses, with a connect timeout unless the project has its own.

    Not one of a pool either, which would keep it open and wait 30 s for a server that is down.
    Drivers wait for minutes by default. libpq and MySQL's client count whole seconds; libpq reads
    1 as 2. For this thread it takes the place of the app's: Django reads the applied migrations
    through the alias, and would open a second connection that nobody closes.
    """
    usual = connections[alias]
    connection = usual.copy()
    if connection.vendor in ("postgresql", "mysql"):
        options = connection.settings_dict.setdefault("OPTIONS", {})
        options.pop("pool", None)
        options.setdefault("connect_timeout", max(1, round(deadline.stage())))
        if connection.vendor == "postgresql":
            for name, value in _GONE.items():
                options.setdefault(name, value)
    connections[alias] = connection
    try:
        yield connection
    finally:
        connections[alias] = usual
        connection.close()
        if connection.connection is not None:  # Django leaves an SQLite database in memory open
            connection.connection.close()


def _is_auth(error: Exception, text: str) -> bool:
    state = getattr(error.__cause__, "sqlstate", None) or ""
    unknown_role = re.search(r'role ".*" does not exist', text)
    return bool(
        state.startswith("28") or unknown_role or any(words in text for words in _AUTH_TEXTS)
    )


def _unmigrated(subject: str, alias: str, detail: str) -> Finding:
    option = "" if alias == "default" else f" --database {alias}"
    return Finding(
        "database.migrations",
        Level.WARNING,
        subject,
        f"Migrations are not applied: {detail}.",
        f"Run python manage.py migrate{option} before the new code takes requests.",
    )
