"""The databases of a run: migrated once, and a fresh copy for every stage."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from resilience.rehearse.addresses import ENGINE
from resilience.simulation.postgres_server import PostgresServer
from resilience.simulation.program import HOST

User = tuple[int, int] | None


class Databases(Protocol):
    """What a stage asks for."""

    def fresh(self, folder: Path, user: User) -> Mapping[str, Any]:
        """The migrated tables, for this stage alone: what ``substitutes`` puts into settings.

        Files are given to ``user``, uid and gid, unless that is None.
        """
        ...

    def keep(self) -> None:
        """Take what ``fresh`` gave last for the migrated one."""
        ...

    def url(self, given: Mapping[str, Any]) -> str:
        """The address of the database ``default``."""
        ...

    def ports(self) -> list[int]:
        """The ports that the children may reach for it."""
        ...


class Nowhere:
    """None: to look at the settings, whose engines stay, and whose servers are away."""

    def fresh(self, folder: Path, user: User) -> Mapping[str, Any]:  # noqa: ARG002 - has no files
        nobody_there = {"HOST": HOST, "PORT": "1", "USER": "", "PASSWORD": ""}
        return {"server": nobody_there, "names": {}}

    def keep(self) -> None:
        pass

    def url(self, given: Mapping[str, Any]) -> str:  # noqa: ARG002 - always the same
        return f"{ENGINE}://{HOST}:1/stage"

    def ports(self) -> list[int]:
        return []


class Sqlite:
    """A file for each alias."""

    def __init__(self, folder: Path) -> None:
        self._template = folder / "migrated"
        self._last = folder

    def fresh(self, folder: Path, user: User) -> Mapping[str, Any]:
        self._last = folder / "databases"
        if self._template.exists():
            shutil.copytree(self._template, self._last)
        else:
            self._last.mkdir()
        if user is not None:
            for path in (self._last, *self._last.iterdir()):
                os.chown(path, *user)
        return {"folder": str(self._last)}

    def keep(self) -> None:
        shutil.copytree(self._last, self._template)

    def url(self, given: Mapping[str, Any]) -> str:
        return f"sqlite:///{Path(given['folder']) / 'default.sqlite3'}"

    def ports(self) -> list[int]:
        return []


class Postgres:
    """A database for each alias in one cluster. ``server`` runs for as long as this is used."""

    def __init__(self, server: PostgresServer, aliases: list[str]) -> None:
        self._server, self._aliases = server, aliases
        self._numbers = itertools.count()
        self._template = ""
        self._last = ""

    def fresh(self, folder: Path, user: User) -> Mapping[str, Any]:  # noqa: ARG002 - has no files
        self._last = f"stage{next(self._numbers)}"
        template = self._template or "template0"
        for alias in self._aliases:
            source = f"{template}_{alias}" if self._template else template
            self._run(f'CREATE DATABASE "{self._last}_{alias}" TEMPLATE "{source}"')
        server = self._server
        told = {"HOST": server.host, "PORT": str(server.port)}
        told |= {"USER": server.user, "PASSWORD": server.password}
        return {"server": told, "names": {each: f"{self._last}_{each}" for each in self._aliases}}

    def keep(self) -> None:
        self._template = self._last

    def url(self, given: Mapping[str, Any]) -> str:
        return f"{self._server.url().rpartition('/')[0]}/{given['names'].get('default', '')}"

    def ports(self) -> list[int]:
        return [self._server.port]

    def _run(self, statement: str) -> None:
        import psycopg  # noqa: PLC0415 - installed wherever a project uses PostgreSQL

        with psycopg.connect(self._server.url(), autocommit=True) as connection:
            connection.execute(statement.encode())
