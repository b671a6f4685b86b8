"""What is built: a copy of this tree in which things lie around that no image may hold."""

from __future__ import annotations

import json
import re
import secrets
import shutil
from pathlib import Path

CANARY = f"canary-{secrets.token_hex(16)}"
"""Is in every planted file."""

PLANTED = (
    ".env",
    ".env.local",
    ".git/config",
    "db.sqlite3",
    "opsproject/.env",
    "opsproject/.env.production",
    "opsproject/.git/config",
    "opsproject/db.sqlite3",
    "opsproject/server.key",
    "opsproject/__pycache__/settings.cpython-300.pyc",
    "resilience/.cache/left-over",
    "resilience/__pycache__/left.cpython-300.pyc",
    "staticfiles/left-over.css",
)
_LEFT_OUT = (".git", ".*_cache", ".hypothesis", ".venv*", "__pycache__", ".env*", "db.sqlite3*")


def make(root: Path, target: Path) -> None:
    """Copy ``root`` to ``target``, readable for its owner alone, as under ``umask 077``."""
    shutil.copytree(root, target, ignore=shutil.ignore_patterns(*_LEFT_OUT))
    for name in PLANTED:
        planted = target / name
        planted.parent.mkdir(parents=True, exist_ok=True)
        planted.write_text(CANARY)
    for path in (target, *target.rglob("*")):
        path.chmod(path.stat().st_mode & 0o700)


def default_base(dockerfile: str) -> str:
    """The base image that the Dockerfile names."""
    found = re.search(r"^ARG BASE_IMAGE=(\S+)$", dockerfile, re.MULTILINE)
    assert found is not None, "the Dockerfile has no ARG BASE_IMAGE=… of its own any more"
    return found[1]


def health_command(dockerfile: str) -> list[str]:
    """What HEALTHCHECK runs, which images in OCI's format do not keep; nothing without one."""
    found = re.search(r"^HEALTHCHECK(?:\s|\\\n)[^[]*CMD (\[.*\])$", dockerfile, re.MULTILINE)
    return [str(word) for word in json.loads(found[1])] if found else []
