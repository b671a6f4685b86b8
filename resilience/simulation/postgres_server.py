"""A real PostgreSQL cluster that is thrown away."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resilience.simulation.program import (
    HOST,
    PORTS,
    START_WITHIN,
    free_port,
    not_started,
    running,
    until,
    userinfo,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class PostgresServer:
    """A running PostgreSQL cluster with one superuser."""

    port: int
    pid: int
    password: str = field(repr=False)
    host: str = HOST
    user: str = "tester"
    database: str = "postgres"

    def url(self, password: str | None = None) -> str:
        """Spell the URL, with the right password unless another is given."""
        user = userinfo(self.user, self.password if password is None else password)
        return f"postgresql://{user}{self.host}:{self.port}/{self.database}"


@contextmanager
def postgres_server(directory: Path) -> Iterator[PostgresServer]:
    """Run a new, empty PostgreSQL cluster: passwords over TCP (scram), no care for the disk.

    ``directory`` takes its logs. PostgreSQL refuses to be root: as root it runs as ``postgres``,
    else ``nobody``, with its data in the system's temporary directory, where such a user may go.
    Raises RuntimeError, with the end of the log, when it is not installed or does not start.
    """
    programs = _postgres_programs()
    logs = Path(tempfile.mkdtemp(prefix="postgres-", dir=directory))
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="postgres-")))
        identity = _postgres_identity(home)
        password = secrets.token_urlsafe(16)
        data = _postgres_data(programs, home, logs / "initdb.log", password, identity)
        server = [str(programs / "postgres"), "-D", str(data), *_postgres_options(home)]
        # Fast, then immediate. Never SIGKILL at once: it leaves shared memory behind for ever.
        ends = (signal.SIGINT, signal.SIGQUIT)
        for tries_left in reversed(range(PORTS)):
            port = free_port()
            log = logs / "postgres.log"
            start = [*server, "-p", str(port)]
            with running(start, log=log, ends=ends, cwd=home, **identity) as process:
                if _postgres_started(process, data):
                    yield PostgresServer(port=port, pid=process.pid, password=password)
                    return
            if not tries_left or "already in use" not in log.read_text():
                raise not_started("postgres", log)


def _postgres_programs() -> Path:
    """Find the newest directory that holds initdb and postgres."""
    installed = Path("/usr/lib/postgresql").glob("*/bin/postgres")  # Debian keeps them off PATH
    found = sorted(installed, key=lambda path: float(path.parts[-3]), reverse=True)
    if on_path := shutil.which("postgres"):
        found.append(Path(on_path))
    for program in found:
        if (program.parent / "initdb").exists():
            return program.parent
    raise RuntimeError("no PostgreSQL server here: run scripts/test, or install postgresql")


def _postgres_identity(home: Path) -> dict[str, Any]:
    """Choose who runs it, as arguments for Popen, and give that user the directory."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            user = pwd.getpwnam(name)
            os.chown(home, user.pw_uid, user.pw_gid)
            return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    raise RuntimeError("PostgreSQL refuses to run as root, and neither postgres nor nobody exists")


def _postgres_data(
    programs: Path, home: Path, log: Path, password: str, identity: dict[str, Any]
) -> Path:
    data, secret = home / "data", home / "password"
    secret.touch(mode=0o600)
    secret.write_text(password)
    if identity:
        os.chown(secret, identity["user"], identity["group"])
    create = [str(programs / "initdb"), "-D", str(data), "-U", PostgresServer.user]
    create += ["--auth=scram-sha-256", f"--pwfile={secret}"]
    create += ["--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"]
    with log.open("wb") as output:
        status = subprocess.run(  # noqa: S603 - initdb
            create, stdout=output, stderr=output, cwd=home, check=False, timeout=60, **identity
        ).returncode
    secret.unlink()
    if status:
        raise not_started("initdb", log)
    return data


def _postgres_options(home: Path) -> list[str]:
    settings = {
        "listen_addresses": HOST,
        "unix_socket_directories": str(home),
        # A client that connects during the shutdown and then stays silent is not signalled: no
        # signal but SIGKILL ends the server before this time (15, measured; by default a minute).
        "authentication_timeout": "2s",
        "autovacuum": "off",
        "fsync": "off",
        "full_page_writes": "off",
        "max_connections": "40",
        "max_wal_senders": "0",
        "shared_buffers": "16MB",
        "synchronous_commit": "off",
        "wal_level": "minimal",
    }
    return [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]


def _postgres_started(process: subprocess.Popen[bytes], data: Path) -> bool:
    """Wait for the word in the eighth line of postmaster.pid, as pg_ctl does."""
    for _ in until(START_WITHIN):
        if process.poll() is not None:
            return False
        with suppress(OSError):
            lines = (data / "postmaster.pid").read_text().splitlines()
            if lines[7:] and lines[7].strip() == "ready":
                return True
    return False
