"""A subject counts as failing only after two runs in a row, and as well after two more."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, strategies as st

from resilience.health.thresholds import Threshold


def counts(runs: list[bool]) -> list[bool]:
    """What holds after each run, told without a state: the last runs that all said the same."""
    held: list[bool] = []
    for before, failed in pairwise([None, *runs]):
        assert failed is not None
        held.append(failed if before is failed or not held else held[-1])
    return held


def noted(runs: list[bool]) -> list[bool | None]:
    threshold = Threshold()
    seen = []
    for failed in runs:
        threshold.note(failed=failed)
        seen.append(threshold.failing)
    return seen


@given(st.lists(st.booleans(), max_size=40))
def test_it_is_what_the_last_runs_agree_on(runs):
    assert noted(runs) == counts(runs)


@pytest.mark.parametrize("first", [True, False])
def test_the_first_run_counts_at_once(first):
    assert noted([first]) == [first]
    assert noted([]) == []


def test_a_single_run_changes_nothing_and_two_do():
    assert noted([False, True, False, True, False]) == [False] * 5
    assert noted([False, True, True, False, False]) == [False, False, True, True, False]
