"""Build the image and run it as a platform would.

    scripts/test-container [--engine docker|podman|buildah] [--base IMAGE] [--boot SECONDS]

Prints a line per check with what it measured. The base is the Dockerfile's own where a registry
can be reached, else one that debootstrap makes (as root). Exit status: 0 all passed, 1 a check
failed or the image did not build, 2 wrong use, 77 this machine cannot build or run images.
"""
# ruff: noqa: T201 - a script that prints figures

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import NoReturn

from tests.container import base, checks, context, site
from tests.container.buildah import Buildah, unmount_below
from tests.container.checks import Setting
from tests.container.engines import Engine, Failed
from tests.processes import ROOT
from tests.servers import postgres_server, redis_server
from tests.services import OpenAI

ENGINES = ("docker", "podman", "buildah")
SKIPPED = 77  # as automake and others use it
BOOT = 3.0  # seconds to ready, the goal
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # the last: its terminal has gone
_PIP = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")


def main() -> int:
    given = _arguments()
    for number in _SIGNALS:
        signal.signal(number, _interrupted)
    with ExitStack() as held:
        # Not /dev/shm: overlay and the ids of other users do not work in every memory file system.
        folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="test-container-")))
        folder.chmod(0o755)
        engine = choose(folder, given.engine)
        if engine is None:
            print(f"skipped: {given.engine or 'docker, podman or buildah'} does not work here")
            return SKIPPED
        held.callback(unmount_below, folder)
        held.enter_context(closing(engine))
        print(f"with {engine.program}, the container's network is the host's", flush=True)
        try:
            chosen = _timed("base", lambda: _base(engine, given.base))
        except Failed as error:
            print(f"skipped: no base image: {error}")
            return SKIPPED
        try:
            _timed("build", lambda: _build(engine, chosen))
        except Failed as error:
            print(f"FAILED  build: {error}")
            return 1
        return _check(engine, folder, given, held)


def choose(folder: Path, name: str | None = None) -> Engine | None:
    """The first one that works here, or the named one if it does."""
    for candidate in [name] if name else ENGINES:
        program = shutil.which(candidate)
        if program is not None:
            engine = (Buildah if candidate == "buildah" else Engine)(program, folder)
            if engine.works():
                return engine
    return None


def _check(engine: Engine, folder: Path, given: argparse.Namespace, held: ExitStack) -> int:
    password = secrets.token_urlsafe(16)
    evicting = ("--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru")
    redis = held.enter_context(redis_server("--requirepass", password, *evicting, directory=folder))
    postgres = held.enter_context(postgres_server(folder))
    model = held.enter_context(OpenAI(secrets.token_urlsafe(16)))
    setting = Setting(
        engine,
        site.variables(redis, password, postgres, model),
        postgres,
        context.health_command((ROOT / "Dockerfile").read_text()),
    )
    every: dict[str, Callable[[], str]] = {
        "files": lambda: checks.files(setting),
        "user": lambda: checks.user(setting),
        "migrate": lambda: checks.migrated(setting),
        "boot": lambda: checks.boots(setting, given.boot),
        "health": lambda: checks.healthy(setting),
        "checkdeploy": lambda: checks.checked(setting),
        "limited CA store": lambda: checks.limited_store(setting),
        "SIGTERM": lambda: checks.ends_in_order(setting),
    }
    failed = 0
    for name, check in every.items():
        try:
            _timed(name, check)
        except (AssertionError, site.NotReady, Failed) as error:
            failed += 1
            print(f"FAILED  {name}: {error}", flush=True)
    return int(bool(failed))


def _timed(name: str, do: Callable[[], str]) -> str:
    began = time.monotonic()
    told = do()
    print(f"{time.monotonic() - began:6.1f} s  {name}: {told}", flush=True)
    return told


def _base(engine: Engine, asked: str | None) -> str:
    """The asked one, the Dockerfile's own, or a made one. Raises Failed."""
    named = asked or context.default_base((ROOT / "Dockerfile").read_text())
    if engine.pull(named):
        return named
    if asked:
        raise Failed(f"{engine.program} cannot pull {asked}")
    return base.make(engine)


def _build(engine: Engine, chosen: str) -> str:
    tree = engine.folder / "context"
    context.make(ROOT, tree)
    kept = {name: os.environ[name] for name in (*_PIP, *_PROXIES) if os.environ.get(name)}
    engine.build(tree, {"BASE_IMAGE": chosen, **kept})
    return engine.image


def _interrupted(*_: object) -> NoReturn:
    """Every container, server and image goes first; a second signal does not disturb that."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/test-container",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--engine", choices=ENGINES)
    parser.add_argument("--base", metavar="IMAGE", help="instead of the Dockerfile's own")
    parser.add_argument("--boot", metavar="SECONDS", type=float, default=BOOT, help="the goal")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("interrupted")
        sys.exit(130)
