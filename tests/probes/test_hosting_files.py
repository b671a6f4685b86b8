"""Files that a deploy loses, a volume that is not there, and folders that take no file."""

from __future__ import annotations

import tempfile
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings

from resilience.findings import Level
from resilience.probes import hosting_files as files
from tests.env.test_dotenv import as_nobody
from tests.probes.hosting_parts import OVERLAY, RAILWAY, around, ids, run, write

MEDIA = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
BUCKET = {**MEDIA, "default": {"BACKEND": "storages.backends.s3.S3Storage"}}


@pytest.fixture
def stored(monkeypatch) -> Any:
    """Choose where the database and the uploads are; Django warns of another DATABASES."""

    def choose(name: str, media: str = "", storages: dict[str, Any] = MEDIA) -> None:
        database = {"ENGINE": "django.db.backends.sqlite3", "NAME": name}
        monkeypatch.setattr(django_settings, "DATABASES", {"default": database})
        monkeypatch.setattr(django_settings, "MEDIA_ROOT", media)
        monkeypatch.setattr(django_settings, "STORAGES", storages)

    return choose


@pytest.fixture
def layer(tmp_path: Path) -> Path:
    """A file system whose root is a container's layer, with a disk at /data."""
    disk = "2 1 8:1 / /data rw - ext4 /dev/sdb rw\n3 1 0:9 / /tmp rw - tmpfs tmpfs rw\n"
    write(tmp_path, "proc/self/mountinfo", OVERLAY + disk)
    return tmp_path


# ── state ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["/app/db.sqlite3", "/tmp/db.sqlite3", "file:/app/db?mode=rwc"])
def test_a_database_in_the_containers_layer_is_lost(stored, layer, name):
    stored(name)
    [found] = run(files.STATIC, around(RAILWAY, layer))
    assert (found.id, found.level) == ("hosting.local-state", Level.WARNING)
    assert found.subject == "databases.default"
    assert "Set DATABASE_URL" in found.hint


@pytest.mark.parametrize("name", ["/data/db.sqlite3", ":memory:", "file:x?mode=memory"])
def test_a_database_is_lost__twin__it_is_on_a_disk_or_none(stored, layer, name):
    stored(name)
    assert ids(files.STATIC, around(RAILWAY, layer)) == []


def test_a_database_is_lost__twin__a_server_or_a_laptop(stored, layer, monkeypatch):
    stored("/app/db.sqlite3")
    assert ids(files.STATIC, around({}, layer)) == []
    server = {"default": {"ENGINE": "django.db.backends.postgresql", "NAME": "shop"}}
    monkeypatch.setattr(django_settings, "DATABASES", server)
    assert ids(files.STATIC, around(RAILWAY, layer)) == []


def test_uploads_in_the_containers_layer_are_lost(stored, layer):
    stored(":memory:", "/app/media")
    [found] = run(files.STATIC, around(RAILWAY, layer))
    assert (found.id, found.subject) == ("hosting.local-state", "settings.MEDIA_ROOT")


@pytest.mark.parametrize(
    ("media", "storages"), [("/data/media", MEDIA), ("/app/media", BUCKET), ("", MEDIA)]
)
def test_uploads_are_lost__twin(stored, layer, media, storages):
    stored(":memory:", media, storages)
    assert ids(files.STATIC, around(RAILWAY, layer)) == []


# ── a volume ────────────────────────────────────────────────────────────────────────────────────

VOLUME = RAILWAY | {"RAILWAY_VOLUME_MOUNT_PATH": "/data"}


def test_a_volume_that_is_not_mounted_takes_nothing(stored, tmp_path):
    stored("/data/db.sqlite3")
    write(tmp_path, "proc/self/mountinfo", OVERLAY)
    found = run([files.volume], around(VOLUME, tmp_path))
    assert [each.id for each in found] == ["hosting.volume-unmounted"]
    assert "start command" in found[0].hint


def test_a_volume_is_not_mounted__twin__it_is(stored, layer):
    stored("/data/db.sqlite3")
    [found] = run(files.STATIC, around(VOLUME, layer))
    assert (found.id, found.level) == ("hosting.volume", Level.INFO)
    assert ids(files.STATIC, around(VOLUME, layer, asked_for=False)) == []
    assert ids(files.STATIC, around(RAILWAY, layer)) == []


# ── folders that take no file ───────────────────────────────────────────────────────────────────


@pytest.fixture
def folder() -> Any:
    """One that nobody may enter but its owner, in a folder that everybody may."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_what_the_app_writes_into_must_take_files(stored, folder):
    stored(f"{folder}/db.sqlite3", str(folder))
    with as_nobody():
        found = run(files.LIVE, around({}))
    assert [(each.id, each.level, each.subject) for each in found] == [
        ("hosting.unwritable", Level.ERROR, "databases.default"),
        ("hosting.unwritable", Level.WARNING, "settings.MEDIA_ROOT"),
    ]


def test_what_the_app_writes_into__twin(stored, folder):
    stored(f"{folder}/db.sqlite3", str(folder))
    folder.chmod(0o777)
    with as_nobody():
        assert ids(files.LIVE, around({})) == []
    assert list(folder.iterdir()) == [], "trying leaves nothing behind"


def test_a_folder_that_the_kernel_keeps_for_itself_takes_no_file_of_root_either(stored):
    stored("/proc/db.sqlite3")
    assert ids(files.LIVE, around({})) == ["hosting.unwritable"]


def test_uploads_need_a_folder_for_temporary_files(stored, folder, settings, monkeypatch):
    stored(":memory:")
    settings.FILE_UPLOAD_TEMP_DIR = "/proc"
    [found] = run(files.LIVE, around({}))
    assert (found.id, found.level) == ("hosting.unwritable", Level.WARNING)
    settings.FILE_UPLOAD_TEMP_DIR = str(folder)
    assert ids(files.LIVE, around({})) == []
    settings.FILE_UPLOAD_TEMP_DIR = None
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/proc"])
    [found] = run(files.LIVE, around({}))
    assert "no folder for temporary files" in found.summary


def test_a_cache_in_files_needs_its_folder(stored, settings, folder):
    stored(":memory:")
    backend = "django.core.cache.backends.filebased.FileBasedCache"
    settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": "/proc"}}
    [found] = run(files.LIVE, around({}))
    assert found.subject == "caches.default"
    settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": str(folder)}}
    assert ids(files.LIVE, around({})) == []
    assert ids([files.local_state], around(RAILWAY)) == [], "a cache may be lost"


# ── railway.json ────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def project(settings: Any, tmp_path: Path, stored: Any) -> Path:
    stored(":memory:")
    settings.BASE_DIR = tmp_path
    return tmp_path


@pytest.mark.parametrize("name", ["railway.json", "railway.toml"])
@pytest.mark.parametrize(
    ("environ", "today", "level", "words"),
    [
        ({}, date(2026, 11, 30), Level.WARNING, "stops reading"),
        (RAILWAY, date(2026, 11, 30), Level.WARNING, "on 2026-12-01"),
        (RAILWAY, date(2026, 12, 1), Level.ERROR, "without effect"),
        ({}, date(2027, 1, 1), Level.WARNING, "without effect"),
    ],
)
def test_a_retired_file_is_named_by_the_day(project, name, environ, today, level, words):
    (project / name).write_text("{}")
    [found] = run([files.config_retired], around(environ, today=today))
    assert (found.id, found.level, found.location) == (
        "hosting.config-retired",
        level,
        f"{name}:1",
    )
    assert words in found.summary
    assert "railway config migrate" in found.hint


def test_a_retired_file_beside_its_successor_is_to_be_deleted(project):
    (project / "railway.json").write_text("{}")
    write(project, ".railway/railway.py", "")
    [found] = run([files.config_retired], around({}))
    assert found.hint.startswith("Delete railway.json")


def test_a_retired_file__twin__there_is_none(project):
    write(project, ".railway/railway.py", "")
    assert ids([files.config_retired], around(RAILWAY, today=date(2027, 1, 1))) == []


@pytest.mark.parametrize("shape", [None, [], {"default": None}, {"default": 5}, {"default": {}}])
@pytest.mark.parametrize("name", ["DATABASES", "CACHES", "STORAGES"])
def test_settings_of_any_shape_are_somebody_elses_to_tell(stored, monkeypatch, name, shape):
    stored(":memory:", "/app/media")
    monkeypatch.setattr(django_settings, name, shape)
    subjects = {place.subject for place in files.places()}
    owner = {"DATABASES": "databases.default", "CACHES": "caches.default"}
    assert owner.get(name, "settings.MEDIA_ROOT") not in subjects


# ── settings and folders of odd shape ───────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["file:/app/geo.db?mode=ro", "file:/app/geo.db?a=b&immutable=1"])
def test_a_database_that_is_only_read_may_lie_in_the_image(stored, layer, name):
    stored(name)
    assert ids(files.STATIC, around(RAILWAY, layer)) == []


@pytest.mark.parametrize("name", ["file:/app/geo.db?mode=rw", "/app/mode=ro"])
def test_a_database_that_is_only_read__twin(stored, layer, name):
    stored(name)
    assert ids(files.STATIC, around(RAILWAY, layer)) == ["hosting.local-state"]


def test_spatialite_is_a_file_too(stored, layer, monkeypatch):
    engine = {"ENGINE": "django.contrib.gis.db.backends.spatialite", "NAME": "/app/db"}
    stored(":memory:")
    monkeypatch.setattr(django_settings, "DATABASES", {"default": engine})
    assert ids(files.STATIC, around(RAILWAY, layer)) == ["hosting.local-state"]


@pytest.mark.parametrize(
    ("location", "lost"), [("/app/uploads", True), ("/data/uploads", False), (None, True)]
)
def test_the_storages_own_location_wins_over_media_root(stored, layer, location, lost):
    backend = "django.core.files.storage.filesystem.FileSystemStorage"
    options = {"location": location} if location else {}
    storages = {**MEDIA, "default": {"BACKEND": backend, "OPTIONS": options}}
    stored(":memory:", "/data/media" if location else "/app/media", storages)
    found = ids(files.STATIC, around(RAILWAY, layer))
    assert found == (["hosting.local-state"] if lost else [])


def test_a_folder_behind_a_closed_one_takes_no_file(stored, folder):
    inner = folder / "inner"
    inner.mkdir()
    folder.chmod(0o700)
    stored(":memory:", str(inner))
    with as_nobody():
        found = ids([files.unwritable], around({}))
    assert found == ["hosting.unwritable"]
    assert ids([files.unwritable], around({})) == []


@pytest.mark.parametrize("name", ["x" * 5000, "/" + "y/" * 3000, "\0", "loop/db", "\udcff.db"])
def test_a_name_that_is_none_is_no_crash(stored, layer, name, monkeypatch):
    monkeypatch.chdir(layer)
    (layer / "loop").symlink_to("loop")
    stored(name, name)
    for each in run((*files.STATIC, *files.LIVE), around(RAILWAY, layer)):
        assert each.id.startswith("hosting.")


def test_a_current_folder_that_is_gone_is_no_crash(stored, layer, monkeypatch):
    gone = layer / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    stored("db.sqlite3")
    monkeypatch.setattr(django_settings, "BASE_DIR", None, raising=False)
    assert ids(files.STATIC, around(RAILWAY, layer)) == ["hosting.local-state"]


@pytest.mark.parametrize("odd", [None, "x", [], {"default": None}, {"default": {"OPTIONS": 5}}])
@pytest.mark.parametrize("name", ["DATABASES", "CACHES", "STORAGES"])
def test_settings_of_any_form_are_no_crash(layer, monkeypatch, name, odd):
    monkeypatch.setattr(django_settings, name, odd)
    for each in run((*files.STATIC, *files.LIVE), around(RAILWAY, layer)):
        assert each.id.startswith("hosting.")


def test_a_retired_file_in_a_folder_that_nobody_may_enter_is_none(folder, monkeypatch):
    write(folder, "railway.json", "{}")
    folder.chmod(0o700)
    monkeypatch.setattr(django_settings, "BASE_DIR", folder, raising=False)
    with as_nobody():
        assert ids([files.config_retired], around(RAILWAY)) == []
    assert ids([files.config_retired], around(RAILWAY)) == ["hosting.config-retired"]
