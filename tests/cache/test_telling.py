"""Log lines: one per change, few when everything changes all the time, none per call."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest

from resilience.cache.telling import CHANGES, MINUTE, REFUSALS, SUMMARY_SECONDS, Telling


@pytest.fixture
def clock() -> SimpleNamespace:
    return SimpleNamespace(now=1000.0)


@pytest.fixture
def telling(clock) -> Telling:
    return Telling("shop", lambda: clock.now)


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.DEBUG, "resilience.cache")
    return lambda: caplog.messages


def test_every_change_has_a_line(telling, clock, lines):
    for number in range(3 * CHANGES):
        telling.change(logging.ERROR, f"change {number}")
        clock.now += MINUTE / CHANGES
    assert lines() == [f"cache shop: change {number}" for number in range(3 * CHANGES)]


def test_a_circuit_that_flaps_has_few_and_what_was_left_out_is_counted(telling, clock, lines):
    for _ in range(100):
        telling.change(logging.ERROR, "open")
        clock.now += 0.1
    assert lines()[:CHANGES] == ["cache shop: open"] * CHANGES
    assert len(lines()) == CHANGES + 1
    assert "falls back and returns all the time" in lines()[-1]
    clock.now += MINUTE
    telling.change(logging.WARNING, "back")
    assert lines()[-1] == f"cache shop: back ({100 - CHANGES} changes were not told)"
    clock.now += MINUTE
    telling.change(logging.ERROR, "open")
    assert lines()[-1] == "cache shop: open"


def test_an_hour_of_flapping_is_bounded(telling, clock, lines):
    for _ in range(3600):
        telling.change(logging.ERROR, "open")
        clock.now += 1
    assert len(lines()) <= 60 * (CHANGES + 1)


def test_each_refusal_once_a_minute(telling, clock, lines):
    for _ in range(100):
        telling.refusal("no GET")
        telling.refusal("no SET")
    assert len(lines()) == 2
    assert all("redis.permission" in line for line in lines())
    clock.now += MINUTE
    telling.refusal("no GET")
    assert len(lines()) == 3


def test_refusals_are_not_remembered_without_end(telling):
    for number in range(10 * REFUSALS):
        telling.refusal(f"no {number}")
    assert len(telling._refusals) == REFUSALS


def test_one_summary_in_ten_seconds(telling, clock, lines):
    for count in range(1, 801):
        telling.fallback(count, "refused")
        clock.now += 0.125
    assert len(lines()) == 9  # the first call alone is no news
    assert lines()[-1] == "cache shop: 721 reads answered without Redis so far: refused"


def test_twin__without_fallbacks_there_is_none(telling, clock, lines):
    telling.fallback(1, "")
    clock.now += 10 * SUMMARY_SECONDS
    telling.fallback(2, "")
    assert lines() == []
