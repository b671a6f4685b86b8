"""A subject counts as failing only after two runs in a row, and as well after two more."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from resilience.health.thresholds import Threshold


def counts(runs: list[bool], failures: int = 2, successes: int = 2) -> list[bool]:
    """What holds after each run, told without a state: the last runs that all said the same."""
    held: list[bool] = []
    for number, failed in enumerate(runs, 1):
        wanted = failures if failed else successes
        last = runs[max(0, number - wanted) : number]
        agreed = len(last) == wanted and all(one is failed for one in last)
        held.append(failed if agreed or not held else held[-1])
    return held


def noted(runs: list[bool], **thresholds: int) -> list[bool | None]:
    threshold = Threshold(**thresholds)
    seen = []
    for at, failed in enumerate(runs):
        threshold.note(failed=failed, at=float(at))
        seen.append(threshold.failing)
    return seen


@given(st.lists(st.booleans(), max_size=40), st.integers(1, 4), st.integers(1, 4))
def test_it_is_what_the_last_runs_agree_on(runs, failures, successes):
    expected = counts(runs, failures, successes)
    assert noted(runs, failures=failures, successes=successes) == expected


@pytest.mark.parametrize("first", [True, False])
def test_the_first_run_counts_at_once(first):
    assert noted([first]) == [first]
    assert noted([]) == []


def test_a_single_run_changes_nothing_and_two_do():
    assert noted([False, True, False, True, False]) == [False] * 5
    assert noted([False, True, True, False, False]) == [False, False, True, True, False]


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_since_is_the_run_that_turned_it(runs):
    threshold, held, since = Threshold(), None, None
    for at, failed in enumerate(runs):
        threshold.note(failed=failed, at=float(at))
        if threshold.failing is not held:
            held, since = threshold.failing, float(at)
        assert threshold.since == since


@pytest.mark.parametrize("wrong", [{"failures": 0}, {"successes": -1}])
def test_a_threshold_below_one_is_refused(wrong):
    with pytest.raises(ValueError, match="at least 1"):
        Threshold(**wrong)
