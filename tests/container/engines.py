"""What builds and runs images here: docker or podman. For buildah see ``buildah``."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

STOP_WITHIN = 5.0  # seconds, for a container that nobody needs any more
PULL_WITHIN = 300.0  # seconds
BUILD_WITHIN = 600.0  # seconds


class Failed(Exception):
    """An engine refused. The message is the end of what it said."""


class Ended(NamedTuple):
    """What a command in a container left behind."""

    code: int
    out: str
    err: str


class Running:
    """A container in the foreground of a process of ours; output in ``log``."""

    def __init__(self, engine: Engine, name: str, process: subprocess.Popen[bytes]) -> None:
        self.engine = engine
        self.name = name
        self.process = process

    def terminate(self) -> None:
        """SIGTERM for the container's first process, as every platform sends it."""
        self.engine.signal(self, signal.SIGTERM)

    def wait(self, within: float) -> int:
        """Its exit status; subprocess.TimeoutExpired if it does not end in so many seconds."""
        return self.process.wait(within)

    def end(self) -> None:
        """Whatever it is doing."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self.process.poll() is None:
                self.engine.signal(self, number)
                with suppress(subprocess.TimeoutExpired):
                    self.process.wait(STOP_WITHIN)
        self.process.kill()
        self.process.wait()


class Engine:
    """docker and podman, whose command lines agree in what is used here.

    ``close()`` removes what it built, and nothing else.
    """

    def __init__(self, program: str, folder: Path) -> None:
        self.program = program
        self.folder = folder
        self.image = f"localhost/test-container-{secrets.token_hex(4)}"
        self._made: list[str] = []
        self._started: list[str] = []

    def works(self) -> bool:
        """Whether it can be used here: a client without its daemon cannot."""
        with suppress(OSError, subprocess.TimeoutExpired):
            return not self._call("info", within=20.0).code
        return False

    def pull(self, image: str) -> bool:
        """Whether the image is here now."""
        with suppress(subprocess.TimeoutExpired):
            return not self._call("pull", image, within=PULL_WITHIN).code
        return False

    @contextmanager
    def tree(self, name: str) -> Iterator[Path]:
        """A folder; what is put into it becomes the image ``name``. Needs root."""
        folder = self.folder / "tree"
        folder.mkdir()
        yield folder
        self._made.append(name)
        with subprocess.Popen(["tar", "-C", folder, "-c", "."], stdout=subprocess.PIPE) as tar:
            self._done("import", "-", name, stdin=tar.stdout)
        shutil.rmtree(folder)

    def build(self, context: Path, arguments: Mapping[str, str]) -> None:
        """Build ``image``. The names of ``arguments`` are on the command line, not the values."""
        command = ["build", "--network", "host", "--tag", self.image]
        for name in arguments:
            command += ["--build-arg", name]
        self._made.append(self.image)
        self._done(*command, str(context), within=BUILD_WITHIN, variables=arguments)

    def run(
        self,
        *command: str,
        log: Path,
        variables: Mapping[str, str] | None = None,
        volumes: Mapping[Path, str] | None = None,
        user: str | None = None,
        errors: Path | None = None,
    ) -> Running:
        """Start the image with this command or its own. Each of ``volumes`` is read-only."""
        name = f"test-container-{secrets.token_hex(4)}"
        self._started.append(name)
        words = self._run_words(name, variables or {}, volumes or {}, user)
        with log.open("wb") as output, (errors or log).open("ab") as other:
            process = subprocess.Popen(
                [*words, *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=other,
                env=self._environment(),
                start_new_session=True,  # Ctrl-C is for us: the container is ended in order
            )
        return Running(self, name, process)

    def once(
        self,
        *command: str,
        within: float = 60.0,
        variables: Mapping[str, str] | None = None,
        volumes: Mapping[Path, str] | None = None,
        user: str | None = None,
    ) -> Ended:
        """Run a command in a container of the image to its end."""
        token = secrets.token_hex(4)
        out, err = self.folder / f"{token}.out", self.folder / f"{token}.err"
        running = self.run(
            *command, log=out, errors=err, variables=variables, volumes=volumes, user=user
        )
        try:
            code = running.wait(within)
        finally:
            running.end()
        return Ended(code, out.read_text(), err.read_text())

    def signal(self, running: Running, number: signal.Signals) -> None:
        self._call("kill", "--signal", number.name, running.name, within=STOP_WITHIN)

    def close(self) -> None:
        if self._started:  # one that was interrupted while it began may be there still
            self._call("rm", "--force", *self._started)
        for image in reversed(self._made):
            self._call("rmi", "--force", image, within=60.0)

    # ── the command line ────────────────────────────────────────────────────────────────────────

    def _run_words(
        self,
        name: str,
        variables: Mapping[str, str],
        volumes: Mapping[Path, str],
        user: str | None,
    ) -> list[str]:
        words = [self.program, "run", "--rm", "--network", "host", "--name", name]
        words += options(variables, volumes, user)
        return [*words, self.image]

    def _words(self, *arguments: str) -> list[str]:
        return [self.program, *arguments]

    def _environment(self) -> dict[str, str]:
        return dict(os.environ)

    def _call(
        self,
        *arguments: str,
        within: float = 60.0,
        stdin: IO[bytes] | int | None = subprocess.DEVNULL,
        variables: Mapping[str, str] | None = None,
    ) -> Ended:
        done = subprocess.run(
            self._words(*arguments),
            stdin=stdin,
            capture_output=True,
            text=True,
            timeout=within,
            check=False,
            env={**self._environment(), **(variables or {})},
        )
        return Ended(done.returncode, done.stdout.strip(), done.stderr.strip())

    def _done(self, *arguments: str, **how: Any) -> str:
        """Raises Failed."""
        ended = self._call(*arguments, **how)
        if ended.code:
            said = "\n".join((ended.out + "\n" + ended.err).splitlines()[-15:])
            raise Failed(f"{self.program} {arguments[0]} ended with {ended.code}:\n{said}")
        return ended.out


def options(
    variables: Mapping[str, str], volumes: Mapping[Path, str], user: str | None
) -> list[str]:
    words = [f"--env={name}={value}" for name, value in variables.items()]
    words += [f"--volume={source}:{target}:ro" for source, target in volumes.items()]
    return [*words, f"--user={user}"] if user else words
