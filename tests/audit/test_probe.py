"""Which files and modules are the project's own, and what the probes say about them."""

from __future__ import annotations

from pathlib import Path

import pytest

from resilience.findings import Finding, Level
from resilience.probes import audit
from resilience.probes.base import Deadline, Probe


def found_by(probe: Probe) -> list[Finding]:
    return list(probe.run(Deadline(20.0)))


def package(folder: Path, *files: str) -> str:
    for name in ("__init__.py", *files):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("import os\n")
    return str(folder)


def test_installed_packages_and_this_one_are_not_the_projects_own():
    """The settings of these tests live in the package ``tests``; the apps are Django's and ours."""
    (only,) = audit.own_paths()
    assert Path(only) == Path(__file__).parent.parent


def test_migrations_and_main_modules_are_not_imported(tmp_path):
    folder = package(tmp_path / "shop", "views.py", "__main__.py", "migrations/0001_initial.py")
    (tmp_path / "shop" / "migrations" / "__init__.py").touch()
    assert audit.modules_in([folder]) == ("shop", "shop.views")


def test_without_settings_the_packages_beside_are_the_projects_own(tmp_path):
    package(tmp_path / "shop")
    (tmp_path / "scripts").mkdir()
    (tmp_path / "site_settings.py").touch()
    beside = (str(tmp_path / "shop"), str(tmp_path / "site_settings.py"))
    assert audit.paths_beside(tmp_path, "site_settings") == beside
    assert audit.paths_beside(tmp_path, "") == beside[:1]


def test_nothing_found_is_said_with_what_was_looked_at(tmp_path):
    (ok,) = found_by(audit.Source("audit", paths=(package(tmp_path / "shop", "views.py"),)))
    assert (ok.id, dict(ok.facts)) == ("audit.ok", {"files": 2})


def test_nothing_found__twin(tmp_path):
    folder = package(tmp_path / "shop")
    (tmp_path / "shop" / "llm.py").write_text("import httpx\nHTTP = httpx.Client()\n")
    assert [one.id for one in found_by(audit.Source("audit", paths=(folder,)))] == [
        "audit.import-client"
    ]


def test_what_could_not_be_read_in_time_is_said(tmp_path):
    """What was found until then stands in the report."""
    folder = package(tmp_path / "shop", "views.py")
    (tmp_path / "shop" / "__init__.py").write_text("import httpx\nHTTP = httpx.Client()\n")
    moments = iter([0.0, 0.0, 0.0, *[100.0] * 20])
    found = list(audit.Source("audit", paths=(folder,)).run(Deadline(10.0, lambda: next(moments))))
    assert [one.id for one in found] == ["audit.import-client", "audit.unfinished"]
    assert found[1].summary.startswith("1 of 2 files were read")
    assert found[1].level is Level.WARNING


def test_the_source_is_read_where_no_network_is_and_nothing_is_imported(tmp_path):
    """``live`` False is what lets it run while an image is built."""
    folder = package(tmp_path / "shop")
    (tmp_path / "shop" / "bad.py").write_text("raise SystemExit\n")
    probe = audit.Source("audit", paths=(folder,))
    assert not probe.live
    assert [one.id for one in found_by(probe)] == ["audit.ok"]
    assert audit.Imports("audit", modules=()).live


@pytest.mark.parametrize(("module", "expected"), [("site_config", []), ("other", ["read"])])
def test_settings_may_read_whatever_their_file_is_called(tmp_path, settings, module, expected):
    file = tmp_path / "site_config.py"
    file.write_text("import os\nDEBUG = os.environ.get('SHOP_DEBUG')\n")
    settings.SETTINGS_MODULE = module
    found = found_by(audit.Source("audit", paths=(str(file),)))
    assert [one.id.rpartition("-")[2] for one in found if one.level] == expected
