"""The ``.env`` dialect: every line is understood or named by its number, never by its text."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from dotenv import dotenv_values
from hypothesis import given, settings, strategies as st

from resilience.env import dotenv
from resilience.errors import BrokenSource

CANARY = "c4n4ry"
NOBODY = 65534


@contextmanager
def as_nobody() -> Iterator[None]:
    """Without root's right to read everything; no change for whoever is not root."""
    uid = os.geteuid()
    if uid == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(uid)


@contextmanager
def written(content: str | bytes) -> Iterator[Path]:
    """A .env in a folder that everybody may enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        path = folder / ".env"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        yield path


def read(content: str | bytes) -> tuple[dict[str, tuple[str, int]], list[BrokenSource]]:
    with written(content) as path:
        found, broken = dotenv.read(path)
    return {name: (entry.value, entry.line) for name, entry in found.items()}, broken


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", {}),
        ("A=1", {"A": ("1", 1)}),
        ("A=1\n", {"A": ("1", 1)}),
        ("A=\n", {"A": ("", 1)}),
        ("  A = 1  \n", {"A": ("1", 1)}),
        ("export A=1\n", {"A": ("1", 1)}),
        ("A=1\nA=2\n", {"A": ("2", 2)}),
        ("\n\n# A=0\n\nA=1\nB=2\n", {"A": ("1", 5), "B": ("2", 6)}),
        # comments
        ("A=1 # one\n", {"A": ("1", 1)}),
        ("A=pa#ss\n", {"A": ("pa#ss", 1)}),
        ("A='1' # one\n", {"A": ("1", 1)}),
        ("A='# no comment'\n", {"A": ("# no comment", 1)}),
        # quotes and escapes
        ("A=''\n", {"A": ("", 1)}),
        ("A=' 1 '\n", {"A": (" 1 ", 1)}),
        ('A="a\\nb"\n', {"A": ("a\nb", 1)}),
        ("A='a\\nb'\n", {"A": ("a\\nb", 1)}),
        ("A=a\\nb\n", {"A": ("a\\nb", 1)}),
        ("A='it\\'s'\n", {"A": ("it's", 1)}),
        ('A="say \\"x\\""\n', {"A": ('say "x"', 1)}),
        ("A=it's\n", {"A": ("it's", 1)}),
        ("A=a=b==\n", {"A": ("a=b==", 1)}),
        ("a.b-c_1=1\n_=2\n", {"a.b-c_1": ("1", 1), "_": ("2", 2)}),
        # several lines
        ("A='one\ntwo'\nB=1\n", {"A": ("one\ntwo", 1), "B": ("1", 3)}),
        ('# key\nA="one\n\n# two\n"\nB=1\n', {"A": ("one\n\n# two\n", 2), "B": ("1", 6)}),
        # $ is a character
        (
            "A=1\nB=$A\nC=${A}\nD='ab${cd}ef'\n",
            {"A": ("1", 1), "B": ("$A", 2), "C": ("${A}", 3), "D": ("ab${cd}ef", 4)},
        ),
        ("A=${{Redis.REDIS_URL}}\n", {"A": ("${{Redis.REDIS_URL}}", 1)}),
        ("A=\\$x\n", {"A": ("\\$x", 1)}),
        # editors on other systems
        (b"\xef\xbb\xbfA=1\n", {"A": ("1", 1)}),
        (b"\xef\xbb\xbf# c\nA=1\n", {"A": ("1", 2)}),
        ("A=1\r\nB='2'\r\n\r\n# c\r\nC=3", {"A": ("1", 1), "B": ("2", 2), "C": ("3", 5)}),
        ("A='one\r\ntwo'\r\nB=1\r\n", {"A": ("one\ntwo", 1), "B": ("1", 3)}),
        ("A=Grüße €\n", {"A": ("Grüße €", 1)}),
    ],
    ids=lambda _: "dialect",
)
def test_what_is_understood(content, expected):
    assert read(content) == (expected, [])


@pytest.mark.parametrize(
    ("content", "lines", "kept"),
    [
        (f"{CANARY}", [1], {}),
        (f"A {CANARY}", [1], {}),
        (f"A: {CANARY}", [1], {}),
        (f"={CANARY}", [1], {}),
        (f"A='{CANARY}", [1], {}),
        (f'A="{CANARY}', [1], {}),
        (f"A='x' {CANARY}", [1], {}),
        (f'A="x"{CANARY}', [1], {}),
        ("export A", [1], {}),
        # no name that any shell or orchestrator would take
        (f"{CANARY}+/x=1\nA=1", [1], {"A": 2}),
        (f"1{CANARY}=1", [1], {}),
        (f"$env:{CANARY} = 1", [1], {}),
        (f"'{CANARY} x'=1", [1], {}),
        (f"\n\n# c\nA=1\n\n{CANARY}\nB=2\n", [6], {"A": 4, "B": 7}),
        (f"A='one\ntwo'\n{CANARY}\nB=2\n", [3], {"A": 1, "B": 4}),
        (f"A=1\r\n={CANARY}\r\n\r\n={CANARY}\r\nB=2\r\n", [2, 4], {"A": 1, "B": 5}),
        (f"\ufeff{CANARY}\nA=1", [1], {"A": 2}),
        # The first half of a key that nobody closed is an error; so is all that looks like none.
        (f"K='-----BEGIN KEY-----\n{CANARY}\n-----END KEY-----\n", [1, 2, 3], {}),
    ],
    ids=lambda _: "broken",
)
def test_what_is_not_understood_is_named_by_its_line(content, lines, kept):
    found, broken = read(content)
    said = [error.problem.partition(": ")[0] for error in broken]
    assert said == [f"Line {line} of .env is not of the form NAME=value" for line in lines]
    assert [error.id for error in broken] == ["env.dotenv-syntax"] * len(lines)
    assert [(error.location or "").rpartition(":")[2] for error in broken] == [*map(str, lines)]
    assert {name: line for name, (_, line) in found.items()} == kept
    assert not [error for error in broken if CANARY in f"{error}{error!r}{vars(error)}"]


@pytest.mark.parametrize(
    ("line", "where"),
    [
        (f"SHOP_KEY='{CANARY}", ": column 10, SHOP_KEY"),
        (f"  export SHOP_KEY = '{CANARY}", ": column 21, SHOP_KEY"),
        (f"SHOP_KEY='x' {CANARY}", ": column 10, SHOP_KEY"),
        # What may be a part of a value is not shown: a line of a key, a word of a passphrase.
        (CANARY.upper(), ""),
        (f"{CANARY.upper()} is my", ""),
        (f"{CANARY}='x", ""),
        ("export SHOP_KEY", ""),
    ],
)
def test_a_broken_line_is_named_where_it_has_a_name(line, where):
    (error,) = read(f"A=1\n{line}\n")[1]
    assert error.problem == f"Line 2 of .env is not of the form NAME=value{where}"


NAMES = st.from_regex(r"[A-Z_][A-Z0-9_]{0,8}", fullmatch=True)
FINE = st.builds(
    "{}={}".format, NAMES, st.sampled_from(["", "1", "'a b'", '"a\nb"', "'x\n\ny' # c"])
)
IGNORED = st.sampled_from(["", "   ", "# comment", "  # A=1"])
BROKEN = st.sampled_from([CANARY, f"={CANARY}", f"A='x' {CANARY}", f"A {CANARY}", f"x y={CANARY}"])


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("fib"), FINE, IGNORED, BROKEN), max_size=12),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
)
def test_every_line_number_is_the_one_that_an_editor_shows(kinds, newline, bom):
    names, broken, lines, texts = {}, [], 1, []
    for kind, fine, ignored, wrong in kinds:
        texts.append({"f": fine, "i": ignored, "b": wrong}[kind])
        if kind == "f":
            names[fine.partition("=")[0]] = lines
        elif kind == "b":
            broken.append(lines)
        lines += 1 + texts[-1].count("\n")
    content = ("\ufeff" if bom else "") + "".join(f"{text}\n" for text in texts)
    found, problems = read(content.replace("\n", newline))
    assert {name: line for name, (_, line) in found.items()} == names
    assert [error.problem.split()[1] for error in problems] == [*map(str, broken)]
    assert not [error for error in problems if CANARY in f"{error}{error!r}"]


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r")))
def test_any_text_in_single_quotes_is_itself(value):
    quoted = value.replace("\\", "\\\\").replace("'", "\\'")
    assert read(f"A='{quoted}'\nB=1\n")[0]["A"] == (value, 1)


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("AB=#'\"\\$ {}\nx:") | st.characters(codec="ascii"), max_size=40))
def test_the_dialect_is_python_dotenvs_without_its_expansion(content):
    with written(content) as path:
        found, broken = dotenv.read(path)
        theirs = dotenv_values(path, interpolate=False)
    if not broken:
        assert {name: entry.value for name, entry in found.items()} == theirs


def test_an_absent_file_is_empty_and_fine(tmp_path):
    assert dotenv.read(tmp_path / ".env") == ({}, [])


def refused(path: Path) -> BrokenSource:
    found, (error,) = dotenv.read(path)
    assert found == {}
    assert (error.id, error.subject) == ("env.dotenv-unreadable", ".env")
    assert error.location == f"{path}:1"
    assert CANARY not in f"{error}{error!r}"
    return error


def test_a_folder_in_its_place_is_named(tmp_path):
    (tmp_path / ".env").mkdir()
    error = refused(tmp_path / ".env")
    assert error.problem == ".env is a directory, not a file"
    assert "container runtime" in error.hint


def test_another_encoding_is_named_by_the_byte():
    with written(f"A={CANARY}ü".encode("latin-1")) as path:
        assert refused(path).problem == f".env is not UTF-8 (byte {len(CANARY) + 2})"


def test_a_file_that_may_not_be_read_is_named_with_owner_and_mode():
    with written(f"A={CANARY}") as path:
        path.chmod(0o200)
        with as_nobody():
            error = refused(path)
            uid = os.geteuid()
        owner = path.stat().st_uid
        assert error.problem == (
            f".env may not be read by uid {uid} (owner uid {owner}, mode 0200)"
        )
        path.chmod(0o644)
        with as_nobody():
            assert "A" in dotenv.read(path)[0]


def test_a_file_in_a_folder_that_may_not_be_entered_is_named():
    with written(f"A={CANARY}") as path:
        path.parent.chmod(0o600)
        with as_nobody():
            error = refused(path)
        path.parent.chmod(0o700)
        assert error.problem == ".env is in a directory this user may not enter"
        assert error.hint == f"chmod the folder {path.parent}."


def test_any_other_reason_is_the_systems_own(tmp_path):
    (tmp_path / ".env").symlink_to(".env")
    assert refused(tmp_path / ".env").problem == (
        ".env cannot be read: Too many levels of symbolic links"
    )
