"""A base image where no registry can be reached: the host's own Debian, by debootstrap."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from tests.container.engines import Engine, Failed

NAME = "localhost/test-container-base"
_PACKAGES = "ca-certificates,python3,python3-venv"
_STORE = Path("etc/ssl/certs/ca-certificates.crt")
_WITHIN = 300.0  # seconds
_ENDS_WITHIN = 10.0  # seconds
_CACHES = ("var/cache/apt/archives", "var/lib/apt/lists", "var/log")


class Source(NamedTuple):
    """Where this machine gets its own packages from."""

    mirror: str
    suite: str
    components: tuple[str, ...]


def make(engine: Engine) -> str:
    """Make it, and return its name. Raises Failed with one sentence where that cannot be done.

    It trusts whom this machine trusts: a proxy that intercepts TLS stands between pip and its
    index in the build too.
    """
    if os.geteuid() != 0 or shutil.which("debootstrap") is None:
        raise Failed("without a registry the base is made by debootstrap, as root")
    source = find_source()
    with engine.tree(NAME) as tree:
        command = ["debootstrap", "--variant=minbase", f"--include={_PACKAGES}"]
        command += [f"--components={','.join(source.components)}", source.suite]
        _run([*command, str(tree), source.mirror], engine.folder / "debootstrap.log")
        if (Path("/") / _STORE).exists():
            shutil.copyfile(Path("/") / _STORE, tree / _STORE)
        for cache in _CACHES:  # as the official images come
            for left in (tree / cache).iterdir():
                shutil.rmtree(left) if left.is_dir() else left.unlink()
    return NAME


def _run(command: list[str], log: Path) -> None:
    """Raises Failed. Interrupted, it gets the time to unmount what it mounted in the tree."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        status = process.wait(_WITHIN)
    except BaseException:
        for end in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(process.pid, end)
                process.wait(_ENDS_WITHIN)
        raise
    if status:
        raise Failed("debootstrap failed:\n" + "\n".join(log.read_text().splitlines()[-5:]))


def find_source() -> Source:
    """What apt uses for this release. Raises Failed if it does not say."""
    try:
        suite = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
        listed = subprocess.run(
            ["apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME) $(COMPONENT)"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise Failed(
            "debootstrap needs to know this machine's Debian, and apt names none"
        ) from error
    return parse_source(listed, suite)


def parse_source(listed: str, suite: str) -> Source:
    """The first mirror of the suite itself, not of its updates, with all its components."""
    mirror, components = "", set()
    for line in listed.splitlines():
        uri, codename, component = line.split()
        if codename == suite and uri.startswith("http"):
            mirror = mirror or uri
            if uri == mirror:
                components.add(component)
    if not mirror:
        raise Failed(f"apt has no mirror of {suite or 'this release'} that debootstrap could use")
    return Source(mirror, suite, tuple(sorted(components)))
