"""Whose code a file is: the project's own, the standard library's, this package's, a package's.

What lies in site-packages is a package's, except the package of the settings: a project may be
installed there itself.
"""

from __future__ import annotations

import os
import sysconfig
from functools import lru_cache
from importlib.util import find_spec
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
_adopted: set[str] = set()  # files and folders in site-packages that are the project's own


@lru_cache(maxsize=4096)
def owner(filename: str) -> str:
    """``OWN`` for the project's own file, ``STANDARD``, ``OURS``, or the name of a package."""
    parts = Path(filename).parts
    for site in _SITES:
        if site in parts:
            start = len(parts) - parts[::-1].index(site)
            inside = parts[start:]
            if inside and str(Path(*parts[: start + 1])) in _adopted:
                return OURS if filename.startswith(_OURS) else OWN
            return inside[0].removesuffix(".py") if inside else STANDARD
    if filename.startswith(("<", *_STANDARD)):
        return STANDARD
    return OURS if filename.startswith(_OURS) else OWN


def is_own(filename: str) -> bool:
    return owner(filename) == OWN


def adopt(settings_module: str) -> None:
    """Count the top package of these settings as the project's own, wherever it is installed.

    Nothing is imported. Settings that Django itself ships adopt nothing.
    """
    top = settings_module.partition(".")[0]
    if not top or top == "django":
        return
    try:
        spec = find_spec(top)
    except (ImportError, ValueError):  # no such package, or one without a spec: __main__
        return
    found = [] if spec is None else [*(spec.submodule_search_locations or [spec.origin or ""])]
    new = {str(Path(place)) for place in found if place and Path(place).parent.name in _SITES}
    if not new <= _adopted:
        _adopted.update(new)
        owner.cache_clear()


def adopted() -> list[str]:
    """Of what :func:`adopt` found: the files, and the folders with a separator at their end."""
    return sorted(place if place.endswith(".py") else f"{place}{os.sep}" for place in _adopted)
