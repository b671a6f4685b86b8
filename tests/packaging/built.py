"""The distributions as they would be published, and environments that have them: each made once."""

from __future__ import annotations

import atexit
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable
from functools import cache
from pathlib import Path

from tests.processes import ROOT


@cache
def folder() -> Path:
    """Where all of this is, until the tests end."""
    made = Path(tempfile.mkdtemp(prefix="packaging-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


@cache
def wheel() -> Path:
    """The wheel, built from the source tree."""
    return build(folder() / "wheel", "--wheel", ROOT)


@cache
def sdist() -> Path:
    """The source distribution."""
    return build(folder() / "sdist", "--sdist", ROOT)


@cache
def wheel_of_sdist() -> Path:
    """The wheel again, built from nothing but the unpacked source distribution."""
    unpacked = folder() / "unpacked"
    shutil.unpack_archive(sdist(), unpacked, filter="data")
    return build(folder() / "wheel-of-sdist", "--wheel", next(unpacked.iterdir()))


@cache
def python() -> str:
    """An environment that has the wheel itself; its dependencies are those of the tests."""
    made, site = _environment("borrowing")
    pip("install", "--no-deps", "--target", str(site), str(wheel()))
    ours = [place for place in sys.path if place.endswith("site-packages")]
    (site / "tests.pth").write_text("\n".join(ours))
    return made


def installed(python: Callable[[], str] = python) -> Path:
    """The package as the wheel has put it into an environment."""
    place = Path(python()).parent.parent
    return next(place.glob("lib/python*/site-packages")) / "resilience"


@cache
def bare_python() -> str:
    """An environment that has the wheel, what it requires as pip resolves it, and nothing else."""
    made, _ = _environment("bare")
    pip("--python", made, "install", str(wheel()))
    return made


def pip(*arguments: str) -> str:
    """Run pip and return what it prints. AssertionError, with what it complains of, if it fails."""
    quiet = ("--quiet", "--disable-pip-version-check", "--no-input")
    command = (sys.executable, "-m", "pip", *arguments, *quiet)
    if "install" in arguments:
        command += ("--no-compile",)
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, (
        f"pip {' '.join(arguments)} failed. The tests of the packages install them as a user does, "
        "so they need a package index: connect this machine, or let PIP_INDEX_URL or "
        f"PIP_FIND_LINKS name a mirror.\n{done.stderr[-2000:]}"
    )
    return done.stdout


def _environment(name: str) -> tuple[str, Path]:
    """A Python that has nothing but itself, and its folder of packages."""
    place = folder() / name
    venv.create(place, with_pip=False, symlinks=True)
    return str(place / "bin" / "python"), next(place.glob("lib/python*/site-packages"))


def build(outdir: Path, kind: str, source: Path) -> Path:
    """Build one kind of distribution of a source tree, and return its file."""
    command = (sys.executable, "-m", "build", kind, "--no-isolation", "--outdir", outdir, source)
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(path for path in outdir.iterdir() if path.suffix in (".whl", ".gz"))
