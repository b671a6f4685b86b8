"""A child reads anew what its parent had from files, and keeps what it was given on purpose."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from resilience import env
from resilience.env import handover, sources, state
from resilience.errors import BrokenSource
from tests.conftest import clean_process
from tests.processes import ROOT

CANARY = "c4n4ry-hunter22"
NAME = "SHOP_TOKEN"
CHILD = f"""
import json, os, subprocess, sys
sys.path.insert(0, {str(ROOT)!r})
from resilience import env
asked_before = sys.argv[1:2] == ["late"]
if not asked_before:
    env.load()
with env.collecting():
    value = env.str({NAME!r}, default="none")
if asked_before:
    env.load()
(declared,) = env.declared()
print(json.dumps({{
    "value": value,
    "environ": os.environ.get({NAME!r}),
    "origin": declared.origin,
    "problem": declared.problem and declared.problem.id,
    "chosen": os.environ.get("RESILIENCE_ENV"),
}}))
if sys.argv[1:2] == ["again"]:
    open(sys.argv[2], "w").write({NAME!r} + "=three\\n")
    sys.exit(subprocess.call([sys.executable, sys.argv[0]]))
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project whose ``child.py`` says what it sees."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "manage.py").touch()
    (folder / "child.py").write_text(CHILD)
    return folder


def write(folder: Path, value: str | None, name: str = ".env") -> None:
    (folder / name).write_text("" if value is None else f"{NAME}={value}\n")


def child(
    folder: Path, *arguments: str, given: Mapping[str, str] | None = None, told: bool = True
) -> dict[str, Any]:
    """What the last process says that started from this one (``told`` False: without a word)."""
    variables = {**os.environ, **(given or {})}
    if not told:
        del variables[handover.VARIABLE]
    done = subprocess.run(
        [sys.executable, str(folder / "child.py"), *arguments],
        env=variables,
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_an_edited_file_counts(root):
    write(root, "one")
    env.load(root)
    write(root, "two")
    seen = child(root)
    assert (seen["value"], seen["environ"], seen["origin"]) == ("two", "two", ".env:1")
    assert os.environ[NAME] == "one", "this process has what it read"


def test_an_edited_file__twin__a_child_that_is_not_told(root):
    write(root, "one")
    env.load(root)
    write(root, "two")
    assert child(root, told=False)["value"] == "one"


def test_a_removed_line_is_gone(root):
    write(root, "one")
    env.load(root)
    write(root, None)
    seen = child(root)
    assert (seen["value"], seen["environ"], seen["origin"]) == ("none", None, "default")


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_real_value_still_wins(root, when):
    write(root, "one")
    if when == "before":
        os.environ[NAME] = "real"
    env.load(root)
    os.environ[NAME] = "real"  # by the program itself, if it is after
    write(root, "two")
    seen = child(root)
    assert (seen["value"], seen["origin"]) == ("real", "environment")


def test_so_does_one_that_is_given_to_a_child_on_purpose(root):
    write(root, "one")
    env.load(root)
    write(root, "two")
    seen = child(root, given={NAME: "given"})
    assert (seen["value"], seen["origin"]) == ("given", "environment")


def test_a_file_of_higher_precedence_that_appears_counts(root):
    write(root, "one")
    env.load(root)
    write(root, "local", ".env.local")
    assert child(root)["origin"] == ".env.local:1"


def test_the_choice_of_a_file_is_no_choice_for_the_child(root):
    """Only the process itself chooses, and ``.env`` is not the process."""
    (root / ".env").write_text("RESILIENCE_ENV=staging\n")
    write(root, "staging", ".env.staging")
    env.load(root)
    seen = child(root)
    assert (seen["value"], seen["chosen"]) == ("none", "staging")
    assert child(root, told=False)["value"] == "staging"


def test_a_secret_file_is_read_again(root):
    (root / "pointed").write_text("one")
    os.environ[f"{NAME}_FILE"] = str(root / "pointed")
    env.load(root)
    assert env.str(NAME) == "one"
    (root / "pointed").write_text("two")
    for arguments in ([], ["late"]):
        seen = child(root, *arguments)
        assert (seen["value"], seen["environ"]) == ("two", "two")
        assert seen["origin"] == f"{NAME}_FILE → {root / 'pointed'}"
    assert child(root, told=False)["problem"] == "env.file-and-value"


def test_a_secret_directory_is_read_again(root):
    os.environ["CREDENTIALS_DIRECTORY"] = str(root)
    (root / NAME).write_text("one")
    assert env.str(NAME) == "one", "nobody called load()"
    (root / NAME).write_text("two")
    assert child(root)["value"] == "two"
    assert child(root, told=False)["value"] == "one"


def test_the_child_of_a_child(root):
    write(root, "one")
    env.load(root)
    write(root, "two")
    assert child(root, "again", str(root / ".env"))["value"] == "three"


def test_who_asks_before_load_gets_what_the_parent_had(root):
    """And the child reports the late load, as its parent did."""
    write(root, "one")
    env.load(root)
    write(root, "two")
    seen = child(root, "late")
    assert (seen["value"], seen["environ"], seen["origin"]) == ("one", "two", ".env:1")


def test_another_project_has_them_from_its_environment(root, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "manage.py").touch()
    (other / "child.py").write_text(CHILD)
    write(root, "one")
    write(other, "theirs")
    env.load(root)
    seen = child(other)
    assert (seen["value"], seen["origin"]) == ("one", "environment")
    (root / "pointed").write_text("one")
    env.reset()
    (root / ".env").unlink()
    os.environ[f"{NAME}_FILE"] = str(root / "pointed")
    env.load(root)
    env.str(NAME)
    seen = child(other)
    assert (seen["value"], seen["problem"]) == ("one", None), "it has the pointer too"


def test_who_has_no_folder_is_nobodys_child(tmp_path):
    """Two consoles are no project: what one had from a secret file the other keeps."""
    (tmp_path / "pointed").write_text("one")
    os.environ[f"{NAME}_FILE"] = str(tmp_path / "pointed")
    exec(compile("env.load()", "<string>", "exec"), {"env": env})  # noqa: S102 - as a console does
    assert env.str(NAME) == "one"
    code = f"import os\nfrom resilience import env\nenv.load()\nprint(os.environ[{NAME!r}])"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "one\n"


# ── the one variable ────────────────────────────────────────────────────────────────────────────


def test_it_holds_names_and_places_and_no_value(root):
    (root / ".env").write_text(f"{NAME}={CANARY}\nSHOP_PIN=1234\n")
    digests = set()
    for _ in range(3):
        env.load(root)
        told = os.environ[handover.VARIABLE]
        assert NAME in told
        assert ".env:1" in told
        assert CANARY not in told
        assert "1234" not in set(json.loads(told)[2]["SHOP_PIN"])
        digests.add(json.loads(told)[2]["SHOP_PIN"][1])
        env.reset()
        assert handover.VARIABLE not in os.environ
    assert len(digests) == 3, "every process has its own salt"


def test_the_pages_of_django_mask_it():
    from django.views.debug import SafeExceptionReporterFilter

    masked = SafeExceptionReporterFilter().cleanse_setting(handover.VARIABLE, "x")
    assert masked == SafeExceptionReporterFilter.cleansed_substitute


def test_a_process_that_has_nothing_from_files_says_nothing(root):
    os.environ[handover.VARIABLE] = "left behind"
    os.environ[NAME] = "real"
    env.load(root)
    env.str(NAME)
    assert handover.VARIABLE not in os.environ


def many(root: Path, value: str) -> None:
    others = "".join(f"SHOP_{number}=1\n" for number in range(3000))
    (root / ".env").write_text(f"{others}{NAME}={value}\n")


def test_what_one_variable_cannot_hold_is_handed_over_in_parts(root):
    many(root, "one")
    env.load(root)
    assert len(os.environ[handover.VARIABLE]) == 100_000
    assert f"{handover.VARIABLE}_2" in os.environ
    many(root, "two")
    seen = child(root)
    assert (seen["value"], seen["environ"], seen["origin"]) == ("two", "two", ".env:3001")
    env.reset()
    assert not [name for name in os.environ if name.startswith(handover.VARIABLE)]


def test_what_one_variable_cannot_hold__twin__without_a_part(root):
    many(root, "one")
    env.load(root)
    many(root, "two")
    del os.environ[f"{handover.VARIABLE}_2"]
    assert child(root)["value"] == "one"


def test_a_child_that_has_less_leaves_no_part_behind(root):
    many(root, "one")
    env.load(root)
    write(root, "two")
    state._state = state.State()  # what a child starts with
    env.load(root)
    assert f"{handover.VARIABLE}_2" not in os.environ
    assert list(json.loads(os.environ[handover.VARIABLE])[2]) == [NAME]


@pytest.mark.parametrize("size", [100_001, 300_000])
@pytest.mark.parametrize("source", ["dotenv", "pointer"])
def test_a_value_that_no_child_could_start_with_is_kept_from_it(root, size, source):
    """And from SDKs; whoever declares it has it, and so has the child that declares it."""
    value = "x" * size
    if source == "dotenv":
        write(root, value)
    else:
        (root / "pointed").write_text(value)
        (root / ".env").write_text(f"{NAME}_FILE=pointed\n")
    env.load(root)
    assert env.str(NAME) == value
    assert NAME not in os.environ
    seen = child(root)
    assert (seen["value"], seen["environ"]) == (value, None)
    assert env.declared()[0].origin == seen["origin"]


def test_a_value_that_no_child_could_start_with__twin__a_shorter_one(root):
    write(root, "x" * 90_000)
    env.load(root)
    assert env.str(NAME) == os.environ[NAME] == child(root)["environ"]
    os.environ[NAME] = "x" * 140_000
    with pytest.raises(OSError, match="Argument list too long"):
        child(root)


def test_a_long_value_has_the_place_of_its_file(root):
    write(root, "x" * 200_000, ".env.local")
    write(root, "short")
    env.load(root)
    assert NAME not in os.environ
    assert len(env.str(NAME)) == 200_000
    assert env.declared()[0].origin == ".env.local:1"


def test_a_pointed_value_that_grew_leaves_no_old_one_behind(root):
    os.environ[f"{NAME}_FILE"] = str(root / "pointed")
    (root / "pointed").write_text("one")
    env.load(root)
    assert env.str(NAME) == os.environ[NAME] == "one"
    (root / "pointed").write_text("x" * 200_000)
    assert len(env.str(NAME)) == 200_000
    assert NAME not in os.environ
    assert handover.VARIABLE not in os.environ


def test_a_long_value_with_a_nul_byte_is_as_wrong_as_a_short_one(root):
    (root / ".env").write_text(f"{NAME}={'x' * 200_000}\0\n")
    with pytest.raises(BrokenSource, match="holds what no variable can"):
        env.load(root)


SURROGATES = [("\\ud800", NAME, ""), ("/", "A\\ud800", ""), ("/", NAME, "\\ud800")]


@pytest.mark.parametrize(
    "junk",
    [
        *("x", "{}", "[]", "[1,2,3]", "null", "[" * 5000),
        '["/", "zz", {}]',
        '["/", "00", {"A": 1}]',
        '["/", "00", {"A": ["x"]}]',
        '["/", 7, {}]',
        f'["/", "{"00" * 99}", {{"{NAME}": ["", ""]}}]',
        *(f'["{a}", "{"00" * 16}", {{"{b}": ["{c}", ""]}}]' for a, b, c in SURROGATES),
    ],
)
def test_whatever_else_stands_there_is_no_word_of_ours(root, junk):
    write(root, "one")
    os.environ[handover.VARIABLE] = junk
    os.environ[NAME] = "real"
    env.load(root)
    assert sources.lookup(NAME) == ("real", "environment")


def test_a_fork_while_another_thread_reads_does_not_hang(root):
    """The child's copy of the lock would be held by a thread that is not there."""
    taken, done = threading.Event(), threading.Event()

    def hold() -> None:
        with state.lock:
            taken.set()
            done.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    taken.wait(10)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside a thread
        pid = os.fork()
    if pid == 0:
        os._exit(7 if state.lock.acquire(timeout=5) else 1)
    try:
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    finally:
        done.set()
        thread.join()


# ── the rule ────────────────────────────────────────────────────────────────────────────────────

TEXTS = st.none() | st.sampled_from(["", "a", "b", "c$", "ü"])


@settings(max_examples=200, deadline=None)
@given(real=TEXTS, before=TEXTS, after=TEXTS, purpose=TEXTS)
def test_the_first_of_gift_environment_and_edited_file(real, before, after, purpose):
    with tempfile.TemporaryDirectory() as name, clean_process():
        folder = Path(name)
        if real is not None:
            os.environ[NAME] = real
        write(folder, before)
        env.load(folder)
        write(folder, after)
        if purpose is not None:
            os.environ[NAME] = purpose
        state._state = state.State()  # what a child starts with
        env.load(folder)
        expected = after
        if real is not None:
            expected = real
        # A gift that is what the file had cannot be told from no gift.
        if purpose is not None and (real is not None or purpose != before):
            expected = purpose
        assert os.environ.get(NAME) == expected
