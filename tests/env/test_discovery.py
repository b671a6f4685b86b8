"""Which folder a project's files are in, asked by programs as they are really started."""

from __future__ import annotations

import os
import subprocess
import sys
import zipapp
from pathlib import Path

import pytest

from resilience import env
from resilience.env import discovery
from resilience.errors import BrokenSource
from tests.processes import ROOT

NAME = "SHOP_WHERE"
SAY = f"""
import os
from resilience import env
loaded = env.snapshot()
print("root:", loaded.root)
print("value:", os.environ.get({NAME!r}))
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """``project/shop``, whose ``.env`` and whose neighbours' all have the variable."""
    folder = tmp_path / "project"
    (folder / "shop").mkdir(parents=True)
    (folder / "manage.py").write_text(f"import shop\n{SAY}")
    (folder / "shop" / "__init__.py").write_text("from resilience import env\nenv.load()\n")
    (folder / "shop" / "__main__.py").write_text(SAY)
    (tmp_path / "elsewhere").mkdir()
    for where in (tmp_path, folder, folder / "shop", tmp_path / "elsewhere"):
        (where / ".env").write_text(f"{NAME}={where.name}\n")
    return folder


def start(project: Path, *arguments: str, path: Path | None = None, said: str = "") -> list[str]:
    """The two lines that a program prints, started in a folder that is not its own."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=project.parent / "elsewhere",
        env={**os.environ, "PYTHONPATH": f"{path or project}{os.pathsep}{ROOT}"},
        input=said,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [line for line in done.stdout.splitlines() if line.startswith(("root:", "value:"))]


def found(project: Path) -> list[str]:
    return [f"root: {project}", "value: project"]


NOTHING = ["root: None", "value: None"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["manage.py"],
        ["-m", "shop"],
        ["-c", f"import shop\n{SAY}"],
        ["-m", "pdb", "-c", "continue", "-c", "quit", "manage.py"],
        ["-m", "cProfile", "manage.py"],
        ["-X", "frozen_modules=off", "manage.py"],
        ["-I", "manage.py"],
    ],
    ids=["script", "-m", "-c imports it", "pdb", "profiler", "no frozen stdlib", "isolated"],
)
def test_every_way_to_start_it_finds_the_projects_folder(project, arguments):
    if "-I" in arguments:  # which ignores PYTHONPATH
        text = (project / "manage.py").read_text()
        text = f"import sys; sys.path[:0] = [{str(project)!r}, {str(ROOT)!r}]\n{text}"
        (project / "manage.py").write_text(text)
    arguments = [str(project / part) if part == "manage.py" else part for part in arguments]
    assert start(project, *arguments) == found(project)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-c", f"from resilience import env; env.load(){SAY}"], ""),
        (["-"], f"from resilience import env; env.load(){SAY}"),
        (["-i", "-q"], f"from resilience import env; env.load(){SAY}"),
        (["-c", "exec('from resilience import env; env.load()')" + SAY], ""),
    ],
    ids=["-c", "standard input", "console", "exec"],
)
def test_what_was_typed_belongs_to_no_project(project, arguments, said):
    """Not even the working directory is guessed; the report says so."""
    assert start(project, *arguments, said=said) == NOTHING


@pytest.mark.parametrize("arguments", [["-c"], ["-i", "-q"]], ids=["-c", "console"])
def test_what_was_typed__twin__names_the_folder(project, arguments):
    code = f"from resilience import env; env.load({str(project)!r}){SAY}"
    given = [*arguments, code] if arguments == ["-c"] else arguments
    assert start(project, *given, said=code) == found(project)


def test_a_zipped_program_has_no_folder(project):
    archive = project.parent / "shop.pyz"
    (project / "__main__.py").write_text(f"import shop\n{SAY}")
    zipapp.create_archive(project, archive)
    assert start(project, str(archive), path=ROOT) == NOTHING
    (project / "shop" / "__init__.py").write_text(
        f"from resilience import env\nenv.load({str(project)!r})\n"
    )
    zipapp.create_archive(project, archive)
    assert start(project, str(archive), path=ROOT) == found(project)


FREEZER = """
import importlib.abc, importlib.util, sys

class Frozen(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    # As PyInstaller does it: code without a file, compiled from relative names.
    def find_spec(self, name, path=None, target=None):
        if name == "shop":
            return importlib.util.spec_from_loader(name, self, is_package=True, origin={origin!r})
    def exec_module(self, module):
        if {origin!r}:
            module.__file__ = {origin!r}
        source = "from resilience import env\\nenv.load()\\n"
        exec(compile(source, {compiled!r}, "exec"), module.__dict__)

sys.frozen = True
sys.meta_path.insert(0, Frozen())
import shop
"""


@pytest.mark.parametrize("origin", [None, "/tmp/_MEI01/shop/__init__.pyc"])
@pytest.mark.parametrize("compiled", ["shop/__init__.py", "<frozen shop>", "__init__.py"])
def test_a_frozen_program_has_no_folder(project, compiled, origin):
    """Also where the working directory holds files of the same names."""
    here = project.parent / "elsewhere"
    (here / "shop").mkdir()
    for name in ("manage.py", "__init__.py", "shop/__init__.py"):
        (here / name).touch()
    code = FREEZER.format(compiled=compiled, origin=origin) + SAY
    assert start(project, "-c", code, path=ROOT) == NOTHING


def test_a_program_without_sources_has_its_folder(project):
    """As some images ship it; the names inside are those of the machine that compiled it."""
    import compileall
    import py_compile

    built = project.parent / "built"
    assert compileall.compile_dir(project, legacy=True, quiet=1, stripdir=str(project.parent))
    built.mkdir()
    (built / "shop").mkdir()
    (project / "shop" / "__init__.pyc").rename(built / "shop" / "__init__.pyc")
    py_compile.compile(str(project / "manage.py"), str(built / "main.pyc"))
    (built / ".env").write_text(f"{NAME}=built\n")
    (project / "shop" / "__init__.py").unlink()
    code = f"import shop{SAY}"
    assert start(project, "-c", code, path=built) == [f"root: {built}", "value: built"]


def test_a_command_line_that_runs_text_has_no_project(project):
    """``manage.py shell -c`` runs it among the globals of Django's own file."""
    code = "import django.core.management.commands.shell as shell\n"
    code += f"exec('from resilience import env; env.load()', vars(shell)){SAY}"
    assert start(project, "-c", code) == NOTHING


def test_the_files_that_were_looked_for_are_told(project, monkeypatch):
    env.load(project)
    assert env.snapshot().tried == (".env.local", ".env")
    env.reset()
    monkeypatch.setenv("RESILIENCE_ENV", "staging")
    env.load(project)
    assert env.snapshot().tried == (".env.local", ".env.staging", ".env")
    assert env.snapshot().files == (".env",)


@pytest.mark.parametrize("word", ["off", "0", "False", "no"])
def test_the_switch_leaves_every_file_alone(project, monkeypatch, word):
    monkeypatch.setenv("RESILIENCE_DOTENV", word)
    (project / ".env").write_text("broken\n")
    env.load(project)
    assert env.snapshot()[:6] == (project, True, False, (), (), ())
    assert env.snapshot().tried == ()


@pytest.mark.parametrize("word", ["on", "1", "true", ""])
def test_the_switch__twin(project, monkeypatch, word):
    monkeypatch.setenv("RESILIENCE_DOTENV", word)
    env.load(project)
    assert os.environ[NAME] == "project"


def test_the_switch_is_not_guessed_and_not_thrown_by_a_file(project, monkeypatch):
    (project / ".env.local").write_text("RESILIENCE_DOTENV=off\n")
    env.load(project)
    assert os.environ[NAME] == "project"
    env.reset()
    monkeypatch.setenv("RESILIENCE_DOTENV", "hunter22")
    with pytest.raises(BrokenSource) as caught:
        env.load(project)
    assert str(caught.value).startswith("RESILIENCE_DOTENV (from environment) must be one of true")
    assert "hunter22" not in str(caught.value)


def test_a_frame_without_a_file_is_the_name_it_was_compiled_from():
    frame = sys._getframe()
    assert discovery.file_of(frame) == __file__
    assert discovery.project_root(__file__) == ROOT
    assert discovery.project_root("shop/__init__.py") is None
