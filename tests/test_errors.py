"""What is said to whoever wrote a word wrongly."""

from __future__ import annotations

import pytest

from resilience.errors import did_you_mean

KNOWN = ("railway", "render", "fly")


@pytest.mark.parametrize("word", ["Railway", "railwya", "rail"])
def test_the_nearest_word_is_named_alone(word):
    assert did_you_mean(word, KNOWN) == " Did you mean 'railway'?"


@pytest.mark.parametrize("word", ["xyz", "", "zzzzzzzzz"])
def test_the_nearest_word__twin__none_is_near(word):
    assert did_you_mean(word, KNOWN) == ""
    assert did_you_mean("railway", ()) == ""
