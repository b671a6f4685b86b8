"""Judges every file of an image: nothing that gives something away, nothing that nobody needs."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from typing import NamedTuple

LIST = r"""
import json, os, sys
canary, device, seen = sys.argv[1].encode(), os.lstat("/").st_dev, set()
for folder, folders, files in os.walk("/"):
    folders[:] = [f for f in folders if os.lstat(os.path.join(folder, f)).st_dev == device
                  and not os.path.ismount(os.path.join(folder, f))]
    for name in folders + files:
        path = os.path.join(folder, name)
        about = os.lstat(path)
        plain = name in files and not os.path.islink(path) and about.st_dev == device
        told = False
        if plain and os.path.isfile(path) and about.st_size < 1 << 24:
            with open(path, "rb") as file:
                told = canary in file.read()
        size = about.st_size if plain and about.st_ino not in seen else 0
        seen.add(about.st_ino)
        print(json.dumps([path, size, about.st_uid, about.st_mode, told]))
"""
"""A program for the image's Python, as root: prints a line of JSON for every file and folder."""

USER = 10001

# What a path must not match, and why.
FORBIDDEN = {
    "*/.env": "settings of a machine",
    "*/.env.*": "settings of a machine",
    "*/.git": "the repository's history",
    "*/.git/*": "the repository's history",
    "*/.dockerignore": "the build context",
    "*.sqlite3": "a laptop's database",
    "/app/*.key": "a private key",
    "/app/tests": "tests",
    "/app/tests/*": "tests",
    "*/bin/*gcc*": "a compiler",
    "*/bin/*g++*": "a compiler",
    "*/bin/cc": "a compiler",
    "*/bin/c++": "a compiler",
    "*/bin/clang*": "a compiler",
    "*/bin/make": "a build tool",
    "/venv/bin/pip*": "an installer",
    "/pip": "the builder's own installer",
    "/root/.cache/*": "a cache",
    "/home/*/.cache/*": "a cache",
    "/app/*.cache*": "a cache",
    "/var/cache/apt/archives/*.deb": "a cache",
    "/var/lib/apt/lists/*Packages*": "a cache",
    "/tmp/*": "left over",
}
_PACKAGES = ("/app/", "/venv/")
_MIB = 1 << 20


class File(NamedTuple):
    """One file or folder; ``told`` is whether it holds the canary."""

    path: str
    size: int
    user: int
    mode: int
    told: bool


def parse(listed: str) -> list[File]:
    """What the program printed."""
    return [File(*json.loads(line)) for line in listed.splitlines()]


def problems(files: list[File]) -> list[str]:
    """One sentence for each thing that is wrong."""
    found = []
    for file in files:
        found += [
            f"{file.path}: {what}"
            for pattern, what in FORBIDDEN.items()
            if fnmatchcase(file.path, pattern)
        ]
        if file.told:
            found.append(f"{file.path} holds what was planted in the build context")
        if file.user == USER:
            found.append(f"{file.path} belongs to the user that the server runs as")
        if file.path.startswith(_PACKAGES) and not _is_open(file):
            found.append(f"{file.path} cannot be read by the user that the server runs as")
    return [*found, *_uncompiled(files)]


def mebibytes(files: list[File], *below: str) -> float:
    """What they take, all or those below some folders."""
    return sum(file.size for file in files if file.path.startswith(below or "/")) / _MIB


def _is_open(file: File) -> bool:
    """Whether others may read it, and enter it if it is a folder."""
    is_folder = file.mode >> 12 == 0o4
    return bool(file.mode & 0o004) and (not is_folder or bool(file.mode & 0o001))


def _uncompiled(files: list[File]) -> list[str]:
    """Modules that every start would have to compile again: it may write nothing."""
    compiled = {
        file.path.replace("/__pycache__", "").rsplit(".", 2)[0]
        for file in files
        if file.path.endswith(".pyc")
    }
    sources = [file.path for file in files if file.path.endswith(".py")]
    missing = [
        path
        for path in sources
        if path.startswith(("/app/resilience/", "/app/opsproject/", "/venv/lib/"))
        and path.removesuffix(".py") not in compiled
    ]
    return [f"{len(missing)} modules have no bytecode, {missing[0]} for one"] if missing else []
