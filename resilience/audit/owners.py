"""Whose code a file is: the project's own, the standard library's, this package's, a package's."""

from __future__ import annotations

import os
import sysconfig
from functools import lru_cache
from pathlib import Path

OWN = ""
STANDARD = "the standard library"
OURS = "resilience"

_STANDARD = tuple(
    f"{Path(folder)}{os.sep}"
    for folder in {
        sysconfig.get_path("stdlib"),
        sysconfig.get_path("platstdlib"),
        str(Path(os.__file__).parent),
    }
    if folder
)
_OURS = f"{Path(__file__).parent.parent}{os.sep}"
_SITES = ("site-packages", "dist-packages")


@lru_cache(maxsize=4096)
def owner(filename: str) -> str:
    """``OWN`` for the project's own file, ``STANDARD``, ``OURS``, or the name of a package."""
    parts = Path(filename).parts
    for site in _SITES:
        if site in parts:
            inside = parts[len(parts) - parts[::-1].index(site) :]
            return inside[0].removesuffix(".py") if inside else STANDARD
    if filename.startswith(("<", *_STANDARD)):
        return STANDARD
    return OURS if filename.startswith(_OURS) else OWN


def is_own(filename: str) -> bool:
    return owner(filename) == OWN
