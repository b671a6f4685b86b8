"""A place is the user's own code, and a trace holds places only."""

from __future__ import annotations

import os
import re
import sys

import pytest

from resilience import places


def raised(source: str, filename: str) -> Exception:
    """The exception of this code, as if it stood in that file; without the frame of this test."""
    try:
        exec(compile(source, filename, "exec"), {"re": re})  # noqa: S102 - gives frames of any file
    except Exception as error:  # noqa: BLE001
        return error
    raise AssertionError


def test_a_trace_holds_places_only_innermost_first():
    error = raised("\nlocal = 'hunter22'\nraise ValueError('hunter22')", "/srv/shop.py")
    innermost, outermost = places.trace(error).split(" < ")
    assert innermost == "/srv/shop.py:3 in <module>"
    assert re.fullmatch(rf"{re.escape(__file__)}:\d+ in raised", outermost)


def test_the_trace_of_a_recursion_is_short():
    error = raised("def deeper():\n    deeper()\ndeeper()", "/srv/shop.py")
    assert places.trace(error).split(" < ") == ["/srv/shop.py:2 in deeper"] * 30


def test_the_place_of_an_error_is_the_users_own_code():
    """Even when the error was raised deeper, in the standard library."""
    assert places.of_error(raised("\nre.compile('(')", "/srv/shop.py")) == "/srv/shop.py:2"


@pytest.mark.parametrize(
    "foreign",
    [
        "/srv/lib/site-packages/x.py",
        "/usr/lib/python3/dist-packages/x.py",
        "<frozen importlib._bootstrap>",
        os.__file__,
        places.__file__,
    ],
)
def test_foreign_code_is_no_place(foreign, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    error = raised("\nraise ValueError", foreign)
    assert (places.of_error(error) or "").startswith(f"{__file__}:")
    assert error.__traceback__ is not None
    assert places.of_error(error.with_traceback(error.__traceback__.tb_next)) is None


def test_the_place_of_a_syntax_error_is_where_the_syntax_is_wrong():
    assert places.of_error(raised("x = 1\ny = (", "/srv/shop.py")) == "/srv/shop.py:2"
    assert places.of_error(raised("\nraise SyntaxError", "/srv/shop.py")) == "/srv/shop.py:2"


def test_what_was_never_raised_has_no_place():
    assert places.of_error(ValueError()) is None


def test_a_path_is_shortened_below_the_working_directory_only(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert places.shorten(str(tmp_path / "shop" / "settings.py")) == "shop/settings.py"
    assert places.shorten(sys.executable) == sys.executable
