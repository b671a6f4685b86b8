"""What is said to whoever wrote a word wrongly."""

from __future__ import annotations

import pickle

import pytest

from resilience.errors import ComponentUnavailable, did_you_mean

KNOWN = ("railway", "render", "fly")


@pytest.mark.parametrize("word", ["Railway", "railwya", "rail"])
def test_the_nearest_word_is_named_alone(word):
    assert did_you_mean(word, KNOWN) == " Did you mean 'railway'?"


@pytest.mark.parametrize("word", ["xyz", "", "zzzzzzzzz"])
def test_the_nearest_word__twin__none_is_near(word):
    assert did_you_mean(word, KNOWN) == ""
    assert did_you_mean("railway", ()) == ""


def test_a_component_that_is_not_ready_says_its_status_and_the_fix():
    error = ComponentUnavailable("llm", "blocked", "KEY is not set", "Set KEY.")
    assert str(error) == "Component 'llm' is blocked: KEY is not set. Set KEY."
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert (str(copy), copy.state) == (str(error), "blocked")
