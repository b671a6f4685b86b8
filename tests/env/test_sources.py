"""Where a value comes from: the first source that has it, said by name, and nowhere else."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings, strategies as st

from resilience import env
from resilience.env import early, regular, sources
from resilience.errors import BrokenSource
from tests.conftest import clean_process
from tests.env.test_dotenv import CANARY, as_nobody
from tests.processes import ROOT

NAME = "SHOP_TOKEN"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The folder of a project."""
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


@pytest.fixture
def credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A secret directory, as systemd gives one."""
    folder = tmp_path / "credentials"
    folder.mkdir()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    return folder


def write(folder: Path, **files: str) -> None:
    """``dotenv`` is ``.env``, ``dotenv_local`` is ``.env.local``."""
    for name, content in files.items():
        (folder / name.replace("dotenv", ".env").replace("_", ".")).write_text(content)


def refused(name: str = NAME) -> BrokenSource:
    with pytest.raises(BrokenSource) as caught:
        sources.lookup(name)
    assert CANARY not in f"{caught.value}{caught.value!r}"
    return caught.value


# ── precedence ──────────────────────────────────────────────────────────────────────────────────

# Best first.
SOURCES = ("process", "pointer", "directory", "local", "chosen", "dotenv")


def arrange(folder: Path, has: set[str], chosen: str | None) -> dict[str, str]:
    """Put the variable into each of these sources. Returns the origin that each will be named."""
    (folder / "secrets").mkdir()
    (folder / "root").mkdir()
    files = {"local": ".env.local", "chosen": ".env.staging", "dotenv": ".env"}
    if "process" in has:
        os.environ[NAME] = "value of process $x"
    if "pointer" in has:
        (folder / "pointed").write_text("value of pointer $x\n")
        os.environ[f"{NAME}_FILE"] = str(folder / "pointed")
    if "directory" in has:
        (folder / "secrets" / NAME).write_text("value of directory $x\n")
    for source in has & set(files):
        (folder / "root" / files[source]).write_text(f"# c\n{NAME}='value of {source} $x'\n")
    os.environ["CREDENTIALS_DIRECTORY"] = str(folder / "secrets")
    if chosen is not None:
        os.environ["RESILIENCE_ENV"] = chosen
    return {
        "process": "environment",
        "pointer": f"{NAME}_FILE → {folder / 'pointed'}",
        "directory": str(folder / "secrets" / NAME),
        **{source: f"{file}:2" for source, file in files.items()},
    }


@settings(max_examples=200, deadline=None)
@given(
    st.sets(st.sampled_from(SOURCES)),
    st.sampled_from([None, "", "staging", "production"]),
    st.booleans(),
)
def test_the_first_source_wins_and_is_named(has, chosen, asked_before):
    with tempfile.TemporaryDirectory() as name, clean_process():
        os.environ.pop("RESILIENCE_ENV", None)
        origins = arrange(Path(name), has, chosen)
        before = dict(os.environ)
        effective = has if chosen == "staging" else has - {"chosen"}
        contradiction = {"process", "pointer"} <= has
        if asked_before and not contradiction:
            sources.lookup(NAME)
        env.load(Path(name) / "root")
        for _ in range(2):  # the second answer is the first one
            if contradiction:
                assert refused().id == "env.file-and-value"
                continue
            value = env.str(NAME, default="value of default $x")
            (declared,) = env.declared()
            winner = next((source for source in SOURCES if source in effective), "default")
            assert value == f"value of {winner} $x"
            assert declared.origin == origins.get(winner, "default")
            # SDKs read os.environ: they see what the settings see.
            assert os.environ.get(NAME) == (None if winner == "default" else value)
        env.reset()
        assert dict(os.environ) == before


def test_the_process_environment_wins_also_when_empty(root):
    write(root, dotenv=f"{NAME}=file\nOTHER_TOKEN=file\n")
    os.environ[NAME] = ""
    env.load(root)
    assert sources.lookup(NAME) == ("", "environment")
    assert os.environ[NAME] == ""
    assert sources.lookup("OTHER_TOKEN") == ("file", ".env:2")


def test_the_process_environment_wins_also_when_set_later(root):
    write(root, dotenv=f"{NAME}=file\n")
    env.load(root)
    assert sources.lookup(NAME) == ("file", ".env:1")
    os.environ[NAME] = "later"
    assert sources.lookup(NAME) == ("later", "environment")
    env.reset()
    assert os.environ[NAME] == "later"


def test_the_last_of_two_lines_wins_in_one_file_and_the_first_file_of_two(root):
    write(root, dotenv_local=f"{NAME}=1\n{NAME}=2\n", dotenv=f"{NAME}=3\n")
    env.load(root)
    assert sources.lookup(NAME) == ("2", ".env.local:2")
    assert env.snapshot().files == (".env.local", ".env")


def test_a_file_of_the_chosen_environment_is_read_only_if_chosen_by_the_process(root):
    write(root, dotenv="RESILIENCE_ENV=staging\n", dotenv_staging=f"{NAME}=staging\n")
    write(root, dotenv_None=f"{NAME}=none\n", dotenv_=f"{NAME}=empty\n")
    env.load(root)
    assert sources.lookup(NAME) is None
    env.reset()
    os.environ["RESILIENCE_ENV"] = "staging"
    env.load(root)
    assert sources.lookup(NAME) == ("staging", ".env.staging:1")


@pytest.mark.parametrize("chosen", ["x/../../up", "../up", "a b", "/etc/passwd", ".\n"])
def test_what_is_chosen_is_a_word_and_no_path(root, chosen):
    (root / ".env.x").mkdir()
    write(root.parent, up=f"{NAME}=above\n")
    write(root, dotenv=f"{NAME}=file\n")
    os.environ["RESILIENCE_ENV"] = chosen
    with pytest.raises(
        BrokenSource, match=r"RESILIENCE_ENV \(from environment\) must be"
    ) as caught:
        env.load(root)
    assert (caught.value.id, caught.value.subject) == ("env.invalid", "RESILIENCE_ENV")
    assert chosen not in str(caught.value)
    with env.collecting():
        env.load(root)
    assert [problem.id for problem in env.snapshot().problems] == ["env.invalid"]
    assert sources.lookup(NAME) == ("file", ".env:1")


def test_what_is_chosen__twin__every_word(root):
    for chosen in ("eu-1.staging", "größe", "A_1"):
        (root / f".env.{chosen}").write_text(f"{NAME}={chosen}\n")
        os.environ["RESILIENCE_ENV"] = chosen
        env.load(root)
        assert sources.lookup(NAME) == (chosen, f".env.{chosen}:1")
        env.reset()


# ── load() ──────────────────────────────────────────────────────────────────────────────────────


def test_load_reads_once(root):
    write(root, dotenv=f"{NAME}=1\n")
    env.load(root)
    write(root, dotenv=f"{NAME}=2\n", dotenv_local=f"{NAME}=3\n")
    first = env.snapshot()
    env.load(root)
    env.load(root.parent)
    assert env.snapshot() == first
    assert os.environ[NAME] == "1"
    env.reset()
    env.load(root)
    assert os.environ[NAME] == "3"


def test_a_load_that_fails_does_not_count(root, monkeypatch):
    write(root, dotenv=f"{NAME}=1\n")
    before = dict(os.environ)
    with monkeypatch.context() as broken:
        broken.setattr(early, "imported", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            env.load(root)
    assert not env.snapshot().loaded
    assert dict(os.environ) == before
    env.load(root)
    assert os.environ[NAME] == "1"


def test_nothing_is_required(root):
    env.load(root)
    assert env.snapshot()[:6] == (root, True, False, (), (), ())
    assert env.snapshot()[6:] == ((".env.local", ".env"), (), ())


@pytest.mark.parametrize("late", [True, False])
def test_a_call_after_the_settings_is_remembered(root, late):
    assert not env.snapshot().late
    env.load(root, after=__file__ if late else None)
    assert (env.snapshot().late, env.snapshot().root) == (late, root)


def test_the_snapshot_holds_names_and_places_only(root):
    write(root, dotenv=f"{NAME}={CANARY}\n{CANARY}\n")
    with env.collecting():
        env.load(root)
    assert env.snapshot().exported == (NAME,)
    assert CANARY not in repr(env.snapshot())


def test_the_working_directory_is_never_read(root, tmp_path, monkeypatch):
    write(tmp_path, dotenv=f"{NAME}=cwd\n", dotenv_local=f"{NAME}=cwd\n")
    monkeypatch.chdir(tmp_path)
    env.load(root)
    assert sources.lookup(NAME) is None
    env.reset()
    env.load(tmp_path)
    assert sources.lookup(NAME) == ("cwd", ".env.local:1")


def call_from(filename: Path | str) -> Path | None:
    """Call ``env.load()`` as this file would. Returns the root that was found."""
    exec(compile("env.load()", str(filename), "exec"), {"env": env})  # noqa: S102 - any caller
    return env.snapshot().root


@pytest.fixture
def tree(tmp_path: Path) -> SimpleNamespace:
    """``outer/project/shop/__init__.py``, with a ``.env`` in every folder."""
    outer = tmp_path / "outer"
    package = outer / "project" / "shop"
    package.mkdir(parents=True)
    caller = package / "__init__.py"
    caller.touch()
    for folder in (outer, outer / "project", package):
        write(folder, dotenv=f"{NAME}={folder.name}\n")
    return SimpleNamespace(outer=outer, project=outer / "project", package=package, caller=caller)


@pytest.mark.parametrize("marker", ["manage.py", "pyproject.toml"])
def test_the_root_is_the_nearest_folder_with_a_marker_and_nothing_above_it_is_read(tree, marker):
    (tree.outer / marker).touch()
    (tree.project / marker).touch()
    assert call_from(tree.caller) == tree.project
    assert sources.lookup(NAME) == ("project", ".env:1")
    env.reset()
    (tree.project / marker).unlink()
    assert call_from(tree.caller) == tree.outer


def test_an_env_file_above_the_root_is_somebody_elses(tree):
    (tree.project / "manage.py").touch()
    (tree.project / ".env").unlink()
    call_from(tree.caller)
    assert sources.lookup(NAME) is None


def test_a_folder_is_no_marker(tree):
    (tree.project / "manage.py").mkdir()
    (tree.outer / "manage.py").touch()
    assert call_from(tree.caller) == tree.outer


def test_without_a_marker_the_root_is_the_folder_of_the_package_or_of_the_script(tree):
    assert call_from(tree.caller) == tree.project
    env.reset()
    script = tree.outer / "script.py"
    script.touch()
    assert call_from(script) == tree.outer


def test_the_settings_file_stands_for_the_caller(tree):
    (tree.project / "manage.py").touch()
    env.load(after=str(tree.caller))
    assert env.snapshot().root == tree.project
    assert env.snapshot().late


@pytest.mark.parametrize(
    "caller", ["<stdin>", "<string>", "/nonexistent/shop.zip/shop/__init__.py"]
)
def test_a_caller_that_is_no_file_has_no_project(caller, tree, monkeypatch):
    """A console, ``-c``, a zipped program: not even the working directory is guessed."""
    monkeypatch.chdir(tree.outer)
    assert call_from(caller) is None
    assert env.snapshot().loaded
    assert sources.lookup(NAME) is None


def test_a_relative_root_is_taken_as_it_is_given(root, monkeypatch):
    write(root, dotenv=f"{NAME}=1\n")
    monkeypatch.chdir(root.parent)
    env.load("project")
    assert env.snapshot().root == root
    assert sources.lookup(NAME) == ("1", ".env:1")


# ── broken files ────────────────────────────────────────────────────────────────────────────────


def test_a_broken_file_raises_and_leaves_nothing_half_loaded(root):
    write(root, dotenv=f"{NAME}=1\nOTHER_TOKEN {CANARY}\n")
    before = dict(os.environ)
    for _ in range(2):
        with pytest.raises(BrokenSource, match=r"Line 2 of \.env is not") as caught:
            env.load(root)
        assert CANARY not in f"{caught.value}{caught.value!r}"
        assert dict(os.environ) == before
        assert env.snapshot() == (None, False, False, *6 * ((),))
    write(root, dotenv=f"{NAME}=1\nOTHER_TOKEN={CANARY}\n")
    env.load(root)
    assert env.snapshot().exported == (NAME, "OTHER_TOKEN")


def test_a_doctor_collects_every_broken_file_and_reads_the_rest(root):
    write(root, dotenv=f"{NAME}=1\n{CANARY}\n\nx y z", dotenv_staging="A='")
    (root / ".env.local").mkdir()
    os.environ["RESILIENCE_ENV"] = "staging"
    with env.collecting():
        env.load(root)
    assert [problem.id for problem in env.snapshot().problems] == [
        "env.dotenv-unreadable",
        "env.dotenv-syntax",
        "env.dotenv-syntax",
        "env.dotenv-syntax",
    ]
    assert [Path(problem.location or "").name for problem in env.snapshot().problems] == [
        ".env.local:1",
        ".env.staging:1",
        ".env:2",
        ".env:4",
    ]
    assert sources.lookup(NAME) == ("1", ".env:1")


def test_a_folder_that_may_not_be_entered_is_a_broken_source():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, dotenv=f"{NAME}={CANARY}")
        folder.chmod(0o600)
        with as_nobody(), pytest.raises(BrokenSource, match="a directory this user may not enter"):
            env.load(folder)
        folder.chmod(0o755)
        with as_nobody():
            env.load(folder)
        assert os.environ[NAME] == CANARY


@pytest.mark.parametrize("character", ["\0", "a\0b"])
def test_a_nul_byte_is_named_by_its_line(root, character):
    write(root, dotenv=f"A_TOKEN=1\n{NAME}={CANARY}{character}\n")
    with pytest.raises(BrokenSource, match=r"Line 2 of \.env holds what no variable can") as caught:
        env.load(root)
    assert (caught.value.id, caught.value.subject) == ("env.dotenv-syntax", ".env")
    assert CANARY not in f"{caught.value}{caught.value!r}"


# ── NAME_FILE ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"one", "one"),
        (b"one\n", "one"),
        (b"one\r\n", "one"),
        (b"one\n\n", "one\n"),
        (b" one ", " one "),
        (b"one\ntwo\n", "one\ntwo"),
        ("größe".encode(), "größe"),
        (b"ab${cd}'\"#ef", "ab${cd}'\"#ef"),
        (b"", ""),
        (b"\n", ""),
    ],
)
def test_of_a_secret_file_one_newline_goes(content, value, tmp_path, credentials):
    (tmp_path / "pointed").write_bytes(content)
    (credentials / "OTHER_TOKEN").write_bytes(content)
    os.environ[f"{NAME}_FILE"] = str(tmp_path / "pointed")
    assert sources.lookup(NAME) == (value, f"{NAME}_FILE → {tmp_path / 'pointed'}")
    assert sources.lookup("OTHER_TOKEN") == (value, str(credentials / "OTHER_TOKEN"))


def test_a_name_and_its_file_are_not_both_set(root):
    (root / "pointed").write_text(CANARY)
    os.environ |= {NAME: CANARY, f"{NAME}_FILE": str(root / "pointed")}
    error = refused()
    assert (error.id, error.subject) == ("env.file-and-value", NAME)
    assert error.problem == f"{NAME} and {NAME}_FILE are both set"
    os.environ[f"{NAME}_FILE"] = ""
    assert sources.lookup(NAME) == (CANARY, "environment")
    os.environ[f"{NAME}_FILE"] = str(root / "pointed")
    del os.environ[NAME]
    assert sources.lookup(NAME) == (CANARY, f"{NAME}_FILE → {root / 'pointed'}")


def test_a_name_and_its_file_are_not_both_in_env_files(root):
    (root / "pointed").write_text(CANARY)
    write(root, dotenv=f"{NAME}=1\n{NAME}_FILE=pointed\n")
    env.load(root)
    assert refused().id == "env.file-and-value"


def test_the_process_environment_wins_over_a_pointer_in_an_env_file(root):
    (root / "pointed").write_text("pointed")
    write(root, dotenv=f"{NAME}_FILE=pointed\n")
    os.environ[NAME] = "process"
    env.load(root)
    assert sources.lookup(NAME) == ("process", "environment")
    del os.environ[NAME]
    assert sources.lookup(NAME) == ("pointed", f"{NAME}_FILE → {root / 'pointed'}")


@pytest.mark.parametrize("by_process", [True, False])
def test_an_edited_secret_file_is_read_again(root, by_process):
    (root / "pointed").write_text("1")
    if by_process:
        os.environ[f"{NAME}_FILE"] = "pointed"
    else:
        write(root, dotenv=f"{NAME}_FILE=pointed\n")
    env.load(root)
    assert sources.lookup(NAME) == ("1", f"{NAME}_FILE → {root / 'pointed'}")
    (root / "pointed").write_text("2")
    assert sources.lookup(NAME) == ("2", f"{NAME}_FILE → {root / 'pointed'}")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file or directory"),
        ("folder", "Is a directory"),
        (f"{CANARY}ü".encode("latin-1"), "not UTF-8 text"),
        (CANARY.encode("utf-16"), "not UTF-8 text"),
        (f"{CANARY}\0".encode(), "not UTF-8 text"),
    ],
)
def test_a_secret_file_that_cannot_be_read_is_named_with_its_variable(root, content, reason):
    path = root / "pointed"
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    os.environ[f"{NAME}_FILE"] = str(path)
    error = refused()
    assert (error.id, error.subject) == ("env.file-missing", NAME)
    assert error.problem == f"{NAME}_FILE points to {path}, which cannot be read: {reason}"


def test_what_is_no_regular_file_is_not_waited_for(root):
    os.mkfifo(root / "pointed")
    os.environ[f"{NAME}_FILE"] = str(root / "pointed")
    assert refused().problem.endswith("cannot be read: not a regular file")
    os.environ[f"{NAME}_FILE"] = "/dev/zero"
    assert refused().problem.endswith("cannot be read: not a regular file")


def test_a_file_without_an_end_is_no_secret(root):
    (root / "pointed").touch()
    os.truncate(root / "pointed", regular.LARGEST + 1)
    os.environ[f"{NAME}_FILE"] = str(root / "pointed")
    assert refused().problem.endswith("cannot be read: larger than 16 MiB")
    os.truncate(root / "pointed", regular.LARGEST)
    assert refused().problem.endswith("not UTF-8 text"), "the twin: it is read, and holds NUL"


def test_a_log_of_the_kernel_is_not_waited_for():
    """It has the mode of a regular file, and waits for its next line."""
    variables = {"PATH": os.environ["PATH"], f"{NAME}_FILE": "/proc/kmsg"}
    code = f"from resilience.env import sources\nsources.lookup({NAME!r})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**variables, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert (done.returncode, "BrokenSource" in done.stderr) in {(1, True), (0, False)}


@pytest.mark.parametrize("secret", [CANARY, f"{CANARY}/x", f"/{CANARY}/x"])
def test_a_secret_in_the_place_of_its_path_is_not_repeated(root, secret):
    env.load(root)
    os.environ[f"{NAME}_FILE"] = secret
    error = refused()
    assert error.id == "env.file-missing"
    assert error.problem == f"{NAME}_FILE does not hold the path of a file that is there"


def test_a_path_through_a_folder_that_may_not_be_entered_is_no_crash():
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o600)
        os.environ[f"{NAME}_FILE"] = f"{name}/folder/pointed"
        with as_nobody():
            assert refused().id == "env.file-missing"
        Path(name).chmod(0o700)


@pytest.mark.parametrize("pointer", ["pointed", "secrets/pointed", "../project/pointed"])
def test_a_relative_path_begins_at_the_root(root, tmp_path, monkeypatch, pointer):
    monkeypatch.chdir(tmp_path)
    (root / "secrets").mkdir()
    for folder in (root, root / "secrets"):
        (folder / "pointed").write_text("value")
    env.load(root)
    os.environ[f"{NAME}_FILE"] = pointer
    assert sources.lookup(NAME) == ("value", f"{NAME}_FILE → {root / pointer}")


# ── secret directories ──────────────────────────────────────────────────────────────────────────


def test_a_secret_may_be_named_in_lower_case(credentials):
    (credentials / NAME.lower()).write_text("lower")
    assert sources.lookup(NAME) == ("lower", str(credentials / NAME.lower()))
    (credentials / NAME).write_text("upper")
    assert sources.lookup(NAME) == ("upper", str(credentials / NAME))


def test_a_relative_secret_directory_begins_at_the_root(root, tmp_path, monkeypatch):
    for folder, value in ((root, "ours"), (tmp_path, "of the working directory")):
        (folder / "secrets").mkdir()
        (folder / "secrets" / NAME).write_text(value)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "secrets")
    assert sources.lookup(NAME) is None, "nobody knows the root yet"
    env.load(root)
    assert sources.lookup(NAME) == ("ours", str(root / "secrets" / NAME))


def test_only_what_is_declared_is_taken_from_a_secret_directory(root, credentials):
    (credentials / NAME).write_text("secret")
    env.load(root)
    assert NAME not in os.environ
    env.secret(NAME)
    assert os.environ[NAME] == "secret"


def test_a_secret_behind_links_is_found(credentials):
    """As Kubernetes mounts one: NAME → ..data/NAME → ..2026_11_23/NAME."""
    (credentials / "..2026_11_23").mkdir()
    (credentials / "..2026_11_23" / NAME).write_text("linked")
    (credentials / "..data").symlink_to("..2026_11_23")
    (credentials / NAME).symlink_to(f"..data/{NAME}")
    assert sources.lookup(NAME) == ("linked", str(credentials / NAME))


def test_a_folder_of_that_name_is_no_secret(credentials):
    (credentials / NAME).mkdir()
    assert sources.lookup(NAME) is None


def test_the_second_directory_is_where_containers_mount_secrets(credentials, tmp_path, monkeypatch):
    assert sources._SECRET_DIRECTORY == "/run/secrets"
    monkeypatch.setattr(sources, "_SECRET_DIRECTORY", str(tmp_path))
    (tmp_path / NAME).write_text("container")
    assert sources.lookup(NAME) == ("container", str(tmp_path / NAME))
    (credentials / NAME).write_text("systemd")
    assert sources.lookup(NAME) == ("systemd", str(credentials / NAME))


def test_a_directory_that_is_not_there_holds_nothing(credentials):
    credentials.rmdir()
    assert sources.lookup(NAME) is None


def test_a_secret_that_may_not_be_read_is_an_error_and_not_absent(root):
    """Else the app would run on the next source without anybody knowing."""
    write(root, dotenv=f"{NAME}=fallback\n")
    env.load(root)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / NAME).write_text(CANARY)
        (folder / NAME).chmod(0o200)
        os.environ["CREDENTIALS_DIRECTORY"] = name
        with as_nobody():
            error = refused()
        assert (error.id, error.subject) == ("env.file-missing", NAME)
        assert error.problem == (
            f"{NAME} is the secret file {folder / NAME}, which cannot be read: Permission denied"
        )
        folder.chmod(0o600)  # somebody else's directory: whether it has the name, nobody can say
        with as_nobody():
            assert sources.lookup(NAME) == ("fallback", ".env:1")
        folder.chmod(0o700)


# ── the price of the import ─────────────────────────────────────────────────────────────────────


def test_the_words_import_no_framework():
    """``<project>/__init__.py`` imports them before everything else."""
    code = (
        "import sys\n"
        "from resilience import env, errors, findings, hosting, redact\n"
        "env.bool('SHOP_DEBUG', default=False), env.url('SHOP_URL')\n"
        "print(*sorted({'django', 'environ', 'dotenv', 'redis'} & set(sys.modules)))"
    )
    variables = {**os.environ, "SHOP_URL": "https://example.com"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""
    code = code.replace("'SHOP_URL')", "'SHOP_URL'), env.db('X', default='sqlite://')")
    done = subprocess.run(
        [sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["django", "environ"]
