"""Files that do not outlive a deploy, are not the same in every replica, or cannot be written.

Each container starts with the image's file system; what was written is gone at the next deploy.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from django.conf import settings

from resilience import hosting
from resilience.env.discovery import is_file
from resilience.findings import Finding, Level
from resilience.probes.surroundings import SUBJECT, Surroundings

RETIRED = ("railway.json", "railway.toml")
SUCCESSORS = ("railway.ts", "railway.py", "railway.go")
CUTOFF = date(2026, 12, 1)
"""From this day on Railway reads none of ``RETIRED``: docs.railway.com/config-as-code."""

_LOST = ("overlay", "tmpfs", "aufs")
_FILES = (
    "django.core.files.storage.FileSystemStorage",
    "django.core.files.storage.filesystem.FileSystemStorage",
)
_SQLITE = (".sqlite3", ".spatialite")
_READ_ONLY = re.compile(r"[?&](?:mode=ro|immutable=1)(?:&|$)")
_FILE_CACHE = "django.core.cache.backends.filebased.FileBasedCache"


class Place(NamedTuple):
    """A folder that the app writes into: what for, under which subject, and how to move it."""

    folder: Path
    what: str
    subject: str
    elsewhere: str
    lasts: bool = True  # whether it is meant to outlive the container


def local_state(around: Surroundings) -> Iterator[Finding]:
    """State in the container's own layer, on a platform."""
    if not around.hosting.on_platform:
        return
    for place in places():
        kind = _mounted_as(place.folder, around.root)
        if place.lasts and kind in _LOST:
            yield Finding(
                "hosting.local-state",
                Level.WARNING,
                place.subject,
                f"{place.what} lies in {place.folder}, which belongs to this container alone: "
                "the next deploy begins without it, and another replica has its own.",
                place.elsewhere,
                {"file_system": kind},
            )


def volume(around: Surroundings) -> Iterator[Finding]:
    """A volume of Railway: not there in the build and before the deploy, and one at a time."""
    path = around.environ.get("RAILWAY_VOLUME_MOUNT_PATH", "")
    if not path:
        return
    below = [place for place in places() if _is_below(place.folder, path)]
    mounts = {point for point, _ in hosting.mounts(around.root)}
    if below and mounts and str(PurePosixPath(path)) not in mounts:
        yield Finding(
            "hosting.volume-unmounted",
            Level.WARNING,
            below[0].subject,
            f"{below[0].what} belongs on the volume at {path}, which is not mounted in this "
            "process: neither a build nor a pre-deploy command has it.",
            "Run what writes there (migrate for one) in the start command, before the server.",
        )
    elif around.asked_for:
        yield Finding(
            "hosting.volume",
            Level.INFO,
            SUBJECT,
            f"This service has a volume at {path}: each deploy stops the old container before the "
            "new one starts, health check or not, so a short while nobody answers.",
        )


def unwritable(around: Surroundings) -> Iterator[Finding]:  # noqa: ARG001 - true anywhere
    """What the app writes into and may not: a read-only root file system, another user."""
    for place in places():
        if _is_closed(place.folder):
            yield _refused(place.subject, f"{place.what} lies in {place.folder}", place.elsewhere)
    given = getattr(settings, "FILE_UPLOAD_TEMP_DIR", None)
    if given:
        usable = _takes_files(Path(given))
    else:
        try:
            usable = bool(tempfile.gettempdir())
        except FileNotFoundError:
            usable = False
    if not usable:
        where = f"FILE_UPLOAD_TEMP_DIR, {given}," if given else "no folder for temporary files"
        yield _refused(
            "settings.FILE_UPLOAD_TEMP_DIR",
            f"Uploads over 2.5 MB go through {where}" if given else f"There is {where}",
            "Mount a tmpfs at /tmp (Kubernetes: an emptyDir; docker run --tmpfs /tmp).",
        )


def config_retired(around: Surroundings) -> Iterator[Finding]:
    """Railway's old configuration file, in the project's folder."""
    folder = Path(str(getattr(settings, "BASE_DIR", None) or "."))
    old = [name for name in RETIRED if is_file(folder / name)]
    if not old:
        return
    over = around.today() >= CUTOFF
    if any(is_file(folder / ".railway" / name) for name in SUCCESSORS):
        hint = f"Delete {old[0]}: .railway/ has its place, and Railway refuses to plan with both."
    else:
        hint = (
            "Run railway config migrate, which writes .railway/railway.ts (--lang py: railway.py), "
            f"then delete {old[0]}."
        )
    yield Finding(
        "hosting.config-retired",
        Level.ERROR if over and around.hosting.platform == "railway" else Level.WARNING,
        SUBJECT,
        f"Railway reads {old[0]} no more: its health check, start and pre-deploy commands are "
        "without effect."
        if over
        else f"Railway stops reading {old[0]} on {CUTOFF}; what it sets is then without effect.",
        hint,
        location=f"{old[0]}:1",
    )


STATIC = (local_state, volume, config_retired)
LIVE = (unwritable,)


def places() -> Iterator[Place]:
    """The folders that the settings name: databases in files, uploads, a cache in files."""
    for alias, database in _entries("DATABASES"):
        name = str(database.get("NAME") or "")
        memory = ":memory:" in name or "mode=memory" in name
        # What is only read may well lie in the image.
        kept = name and not memory and not _READ_ONLY.search(name)
        if str(database.get("ENGINE", "")).endswith(_SQLITE) and kept:
            path = name.removeprefix("file:").partition("?")[0]
            yield Place(
                _absolute(path).parent,
                f"The SQLite file of {alias!r}",
                f"databases.{alias}",
                "Set DATABASE_URL to a database server; or mount a volume there, with one replica.",
            )
    uploads = _uploads()
    if uploads:
        yield Place(
            _absolute(uploads),
            "What users upload (MEDIA_ROOT)",
            "settings.MEDIA_ROOT",
            'Store uploads in a bucket: STORAGES["default"] of django-storages; or mount a volume '
            "there.",
        )
    for alias, cache in _entries("CACHES"):
        if cache.get("BACKEND") == _FILE_CACHE and cache.get("LOCATION"):
            yield Place(
                _absolute(str(cache["LOCATION"])),
                f"The cache {alias!r}",
                f"caches.{alias}",
                "Use a cache on Redis: resilience.cache.ResilientCache.",
                lasts=False,
            )


def _uploads() -> str:
    """The folder of the default storage, "" if it is none of files."""
    storage = dict(_entries("STORAGES")).get("default", {})
    options = storage.get("OPTIONS")
    own = options.get("location") if isinstance(options, Mapping) else None
    return str(own or settings.MEDIA_ROOT or "") if storage.get("BACKEND") in _FILES else ""


def _absolute(path: str) -> Path:
    """As ``Path.absolute``, also where the current folder is gone."""
    try:
        return Path(path).absolute()
    except OSError:
        return Path("/") / path


def _entries(name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What a setting has under each alias; of another form it is another probe's to tell."""
    value = getattr(settings, name, None)
    for alias, entry in value.items() if isinstance(value, Mapping) else ():
        if isinstance(entry, Mapping):
            yield str(alias), entry


def _mounted_as(folder: Path, root: Path) -> str:
    """The type of the file system that holds a folder, "" if nobody tells."""
    found = ("", "")
    for point, kind in hosting.mounts(root):
        # The last of several mounts on one point hides the others.
        if _is_below(folder, point) and len(point) >= len(found[0]):
            found = (point, kind)
    return found[1]


def _is_below(folder: Path, point: str) -> bool:
    return PurePosixPath(str(folder)).is_relative_to(PurePosixPath(point))


def _is_closed(folder: Path) -> bool:
    """Whether a folder takes no file; one that is not there may yet be made."""
    try:
        return folder.is_dir() and not _takes_files(folder)
    except OSError:  # in a folder that this user may not enter
        return True


def _takes_files(folder: Path) -> bool:
    """By trying: a read-only mount and a full disk have the right mode bits."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
    except (OSError, ValueError):  # a zero byte in the name
        return False
    return True


def _refused(subject: str, what: str, elsewhere: str) -> Finding:
    return Finding(
        "hosting.unwritable",
        # Without its database the app fails; not everybody uploads files.
        Level.ERROR if subject.startswith("databases.") else Level.WARNING,
        subject,
        f"{what}, and this process cannot write there.",
        f"Mount something writable there, or give the folder to this user. {elsewhere}",
    )
