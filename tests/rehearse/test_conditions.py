"""What a system allows and what it has: user, trust, redis-server; and the formats for machines."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import xmlschema

from resilience.simulation import mounts
from tests.processes import ROOT, Ended, run
from tests.rehearse import naive

SCHEMA = Path(__file__).parent.parent / "render" / "junit.xsd"
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes nobody")


def open_to_all(path: Path) -> None:
    """With the folders of pytest and of its processes above it."""
    for folder in (path, *path.parents):
        if folder == Path(tempfile.gettempdir()):
            return
        folder.chmod(0o755)


def rehearse(folder: Path, *arguments: str, **variables: str) -> Ended:
    return run(
        *(sys.executable, "-m", "resilience", "rehearse", "--duration", "0.5", *arguments),
        cwd=folder,
        variables={**naive.VARIABLES, **variables},
        limit=100.0,
    )


@pytest.fixture(scope="module")
def without_redis(tmp_path_factory) -> Ended:
    """The mended project where no redis-server is installed, as JUnit."""
    folder = naive.write(tmp_path_factory.mktemp("shops") / "mended", naive.MENDED)
    empty = tmp_path_factory.mktemp("bin")
    return rehearse(
        *(folder, "--format", "junit", "--scenario", "redis-readonly", "--scenario", "redis-oom"),
        PATH=str(empty),
    )


def cases(ended: Ended) -> dict[str, ET.Element]:
    root = ET.fromstring(ended.out)  # noqa: S314 - our own
    return {f"{each.get('classname')} {each.get('name')}": each for each in root.iter("testcase")}


def test_the_fake_plays_redis_where_none_is_installed(without_redis):
    assert without_redis.code == 0, without_redis.out + without_redis.err
    found = cases(without_redis)
    for name in ("healthy", "redis-readonly", "redis-oom"):
        assert f"rehearse.{name} rehearse.ok" in found
    said = found["rehearse.system rehearse.conditions"].findtext("system-out", "")
    assert "a fake Redis (no redis-server on PATH)" in said
    assert "rehearse.load rehearse.idle" not in found, "and the project used it"


def test_junit_is_valid(without_redis):
    schema = xmlschema.XMLSchema(SCHEMA)
    schema.validate(without_redis.out)
    with pytest.raises(xmlschema.XMLSchemaValidationError):
        schema.validate(without_redis.out.replace(' classname="', ' class="'))
    root = ET.fromstring(without_redis.out)  # noqa: S314 - our own
    assert root.get("failures") == "0"
    assert int(root.get("tests", "")) == len(cases(without_redis)) >= 5


SYSTEM_TRUST = {
    **naive.MENDED,
    "shop/views.py": """
import os, sys
from urllib.error import URLError
from urllib.request import urlopen
from django.http import HttpResponse

def home(request):
    assert os.getuid() != 0, "root"
    assert not os.environ["DEBUG"] == "True", "DEBUG"
    place = os.environ["OPENAI_BASE_URL"]
    assert place.startswith("https://"), place
    try:
        urlopen(place + "/models", timeout=1)  # ssl's default: the store of the system
    except URLError as error:
        if getattr(error, "code", None) != 401:
            raise
    return HttpResponse("home")
""",
}


@pytest.fixture(scope="module")
def on_github(tmp_path_factory) -> Ended:
    """A project that trusts the system's store alone, in folders that only root may enter."""
    outer = tmp_path_factory.mktemp("shops")
    folder = naive.write(outer / "shop-project", SYSTEM_TRUST, f"{naive.ENV}DEBUG=True\n")
    assert mounts.closed(str(folder)), "pytest's folders are for their owner"
    if not _allows_mounts():
        pytest.skip("this system allows no mounts of one's own")
    return rehearse(folder, "--format", "github", "--scenario", "empty-ca-store")


@AS_ROOT
def test_root_becomes_nobody_where_the_project_lies_in_its_home(on_github):
    """Below a folder of mode 700; the view would raise as root, or with DEBUG."""
    assert re.search(r"::notice .*::The project ran as nobody; with a redis-server", on_github.out)
    assert "DEBUG of .env is for this machine, and was switched off" in on_github.out


def test_an_empty_store_breaks_https_that_trusts_it(on_github):
    """And https works in ``healthy``: it is the store that fails, no certificate."""
    assert on_github.code == 1, on_github.out + on_github.err
    errors = [line for line in on_github.out.splitlines() if line.startswith("::error ")]
    assert len(errors) == 1, on_github.out
    assert "title=rehearse.empty-ca-store rehearse.server-errors" in errors[0]
    assert "URLError" in errors[0]
    assert "rehearse.not-ready" not in on_github.out


def test_github_gets_commands_then_the_text(on_github):
    lines = on_github.out.splitlines()
    group = lines.index("::group::Report")
    assert all(line.startswith("::") for line in lines[:group])
    token = lines[group + 1].removeprefix("::stop-commands::")
    assert lines.index(f"::{token}::") + 1 == lines.index("::endgroup::")
    assert lines[-1].startswith("FAIL: 1 error")


FOUND = """
import sys
from resilience.rehearse import confinement
from resilience.rehearse.request import Request
made = Request(root=sys.argv[1], settings="s", environ={}, hidden=(), folder=sys.argv[1],
               platform=sys.argv[2], scenarios=(), paths=(), duration=1.0, mentioned=())
sys.path[:] = [each for each in sys.path if "/root/" not in each]
print(confinement.found(made, isolated=False).who)
"""
ELSEWHERE = "/usr/bin/python3"


def who(folder: Path, platform: str, python: str) -> str:
    site = Path(sys.modules["certifi"].__file__ or "").parent.parent
    ended = subprocess.run(
        [python, "-B", "-c", FOUND, str(folder), platform],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}:{site}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


@AS_ROOT
def test_without_mounts_the_reason_for_root_is_told(tmp_path):
    open_to_all(tmp_path)
    shut = tmp_path / "shut"
    shut.mkdir(mode=0o700)
    kept = who(shut, "railway", sys.executable)
    assert kept.startswith("as root without capabilities, because /")
    assert kept.endswith("is closed to nobody")
    assert who(shut, "none", sys.executable) == "as uid 0"


@AS_ROOT
def test_without_mounts_a_python_that_all_may_read_runs_as_nobody__twin(tmp_path):
    import certifi

    if mounts.closed(certifi.where()) or mounts.closed(str(ROOT / "manage.py")):
        pytest.skip("packages lie where nobody may read them")
    check = [ELSEWHERE, "-c", "import sys; assert sys.version_info[:2] == (3, 11)"]
    if sys.version_info[:2] != (3, 11) or subprocess.run(check, check=False).returncode:
        pytest.skip("no other Python of this version")
    open_to_all(tmp_path)
    assert who(tmp_path, "railway", ELSEWHERE) == "as nobody"


def _allows_mounts() -> bool:
    code = "from resilience.simulation.mounts import View; print(View(emptied=('/srv',)).works())"
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return ended.stdout.strip() == "True"
