"""Surroundings for the rules of a platform, with its variables and a file system of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path

from resilience import hosting
from resilience.findings import Finding
from resilience.probes.surroundings import Rule, Surroundings

RAILWAY = {
    "RAILWAY_ENVIRONMENT_ID": "e1",
    "RAILWAY_SERVICE_ID": "s1",
    "RAILWAY_PUBLIC_DOMAIN": "shop.up.railway.app",
}
RENDER = {"RENDER": "true", "RENDER_EXTERNAL_HOSTNAME": "shop.onrender.com"}
FLY = {"FLY_APP_NAME": "shop"}
HEROKU = {"DYNO": "web.1", "HEROKU_APP_DEFAULT_DOMAIN_NAME": "shop-1.herokuapp.com"}
KUBERNETES = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}
NOWHERE = Path("/nonexistent")

OVERLAY = "1 0 0:50 / / rw,relatime - overlay overlay rw\n"


def around(
    environ: Mapping[str, str],
    root: Path = NOWHERE,
    *,
    asked_for: bool = True,
    today: date = date(2026, 6, 1),
) -> Surroundings:
    found = hosting.detect(environ=environ, root=root)
    return Surroundings(found, environ, root, asked_for=asked_for, today=lambda: today)


def ids(rules: Iterable[Rule], surroundings: Surroundings) -> list[str]:
    return [found.id for found in run(rules, surroundings)]


def run(rules: Iterable[Rule], surroundings: Surroundings) -> list[Finding]:
    return [found for rule in rules for found in rule(surroundings)]


def write(root: Path, path: str, text: str | bytes) -> Path:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return file


def process(
    root: Path, pid: int, *arguments: str, inodes: Iterable[int] = (), parent: int = 0
) -> None:
    """A process of the faked ``/proc``, with the sockets that it holds."""
    write(root, f"proc/{pid}/stat", f"{pid} (a name) of) S {parent} 1 1 0 -1")
    write(root, f"proc/{pid}/cmdline", "\0".join([*arguments, ""]))
    folder = root / f"proc/{pid}/fd"
    folder.mkdir()
    for number, inode in enumerate(inodes):
        (folder / str(number)).symlink_to(f"socket:[{inode}]")
