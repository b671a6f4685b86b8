"""Images without a daemon, and without namespaces where there are none."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.container.engines import BUILD_WITHIN, Engine, Running, options


class Buildah(Engine):
    """buildah by itself: no daemon, and by default no namespaces either (isolation ``chroot``).

    So a container's processes are children of ours, which is how they are found, and its network
    is the host's. Images lie in a folder of this run and go with it.
    """

    def __init__(self, program: str, folder: Path) -> None:
        super().__init__(program, folder)
        self._container = ""
        self._driver = os.environ.get("STORAGE_DRIVER", "")

    def works(self) -> bool:
        # overlay copies nothing, but not every file system can carry it.
        for driver in [self._driver] if self._driver else ["overlay", "vfs"]:
            self._driver = driver
            if super().works():
                return True
        return False

    @contextmanager
    def tree(self, name: str) -> Iterator[Path]:
        container = self._done("from", "scratch")
        yield Path(self._done("mount", container))
        self._done("umount", container)
        self._done("commit", "--rm", container, name, within=BUILD_WITHIN)
        self._made.append(name)

    def build(self, context: Path, arguments: Mapping[str, str]) -> None:
        super().build(context, arguments)
        self._container = self._done("from", "--pull-never", self.image)

    def signal(self, running: Running, number: signal.Signals) -> None:
        first, *others = inside(running.process.pid) or [running.process.pid]
        for process in [first, *others] if number is signal.SIGKILL else [first]:
            with suppress(ProcessLookupError):
                os.kill(process, number)

    def close(self) -> None:
        self._call("rm", "--all")
        self._call("rmi", "--all", "--force")

    def _run_words(
        self,
        name: str,  # noqa: ARG002 - containers of buildah are not what runs
        variables: Mapping[str, str],
        volumes: Mapping[Path, str],
        user: str | None,
    ) -> list[str]:
        words = self._words("run", "--network", "host", *options(variables, volumes, user))
        return [*words, "--", self._container]

    def run(self, *command: str, **how: Any) -> Running:
        return super().run(*(command or self._own_command()), **how)

    def _own_command(self) -> list[str]:
        """Entry point and command of the image, which buildah leaves to podman."""
        config = json.loads(self._done("inspect", "--type", "image", self.image))["OCIv1"]["config"]
        return [*config.get("Entrypoint", []), *config.get("Cmd", [])]

    def _words(self, *arguments: str) -> list[str]:
        store = ["--root", str(self.folder / "images"), "--runroot", str(self.folder / "state")]
        return [self.program, *store, "--storage-driver", self._driver, *arguments]

    def _environment(self) -> dict[str, str]:
        # Where it mounts: inside our folder nothing is left behind by name.
        return {"BUILDAH_ISOLATION": "chroot", **os.environ, "TMPDIR": str(self.folder)}


def unmount_below(folder: Path) -> None:
    """Whatever is still mounted there, the latest first, as an interrupted engine leaves it."""
    mounted = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for place in reversed(mounted):
        if Path(place).is_relative_to(folder):
            subprocess.run(["umount", "--lazy", place], check=False, capture_output=True)


def inside(pid: int) -> list[int]:
    """The descendants of a process that run programs of another root, ancestors first.

    buildah's own helpers, one of which has that root already, run from memory.
    """
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):  # it has just ended
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    family = [pid]
    for member in family:  # which grows meanwhile
        family += children.get(member, [])
    return [member for member in family if _is_inside(Path(f"/proc/{member}"))]


def _is_inside(process: Path) -> bool:
    with suppress(OSError):
        own_root = (process / "root").readlink() == Path("/")
        return not own_root and not str((process / "exe").readlink()).startswith("/memfd:")
    return False
