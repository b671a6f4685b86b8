"""The token, the cookie that stands for it, and who guesses."""

from __future__ import annotations

import pytest
from django.core.signing import TimestampSigner
from django.test import override_settings
from hypothesis import given, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from resilience.endpoints import guesses, token
from resilience.endpoints.guesses import CLIENTS, LONGEST_DELAY, QUIET, Guesses
from tests.clock import Clock

TOKEN = "correct-horse-battery-staple"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("Bearer abc", b"abc"),
        ("bearer  abc ", b"abc"),
        ("Bearer", b""),
        ("Bearer ", b""),
        ("Basic abc", None),
        ("", None),
        ("abc", None),
        ("Bearer a b", b"a b"),
        ("Bearer \xe9", b"\xe9"),
        ("Bearer \u20ac", b"?"),
    ],
)
def test_the_token_of_a_header(header, expected):
    assert token.of_header(header) == expected


def test_only_the_token_is_right():
    assert token.is_right(TOKEN.encode(), TOKEN)
    assert not token.is_right(TOKEN.encode()[:-1], TOKEN)
    assert not token.is_right(TOKEN.encode() + b"x", TOKEN)


@given(st.binary(max_size=30))
def test_without_a_token_nothing_is_right(given_):
    assert not token.is_right(given_, "")


def test_a_cookie_opens_as_long_as_its_token_holds():
    value = token.seal(TOKEN)
    assert TOKEN not in value
    assert token.is_sealed(value, TOKEN)
    assert not token.is_sealed(value, TOKEN + "2")
    assert not token.is_sealed(value, "")
    assert not token.is_sealed(token.seal(""), "")
    assert not token.is_sealed(value[:-1] + ("A" if value[-1] != "A" else "B"), TOKEN)
    with override_settings(SECRET_KEY="another" * 10):
        assert not token.is_sealed(value, TOKEN)
        with override_settings(SECRET_KEY_FALLBACKS=[_key_of_the_tests()]):
            assert token.is_sealed(value, TOKEN)


def _key_of_the_tests() -> str:
    from tests.settings import SECRET_KEY

    return SECRET_KEY


def test_a_cookie_ends_after_twelve_hours(monkeypatch):
    value = token.seal(TOKEN)
    now = float(TimestampSigner.timestamp.__globals__["time"].time())
    for seconds, holds in ((token.COOKIE_SECONDS - 60, True), (token.COOKIE_SECONDS + 60, False)):
        monkeypatch.setattr("django.core.signing.time.time", lambda at=now + seconds: at)
        assert token.is_sealed(value, TOKEN) is holds


@given(st.text(max_size=60))
def test_no_other_text_is_a_cookie(value):
    assert not token.is_sealed(value, TOKEN)


# ── guesses ─────────────────────────────────────────────────────────────────────────────────────


def test_the_time_to_wait_grows_up_to_a_bound():
    clock = Clock()
    known = Guesses(clock)
    delays = []
    for _ in range(8):
        known.count("192.0.2.1")
        delays.append(known.wait("192.0.2.1"))
        clock.now += delays[-1]
        assert known.wait("192.0.2.1") == 0
    assert delays == [1, 2, 4, 8, 16, LONGEST_DELAY, LONGEST_DELAY, LONGEST_DELAY]
    assert known.wait("192.0.2.2") == 0


def test_who_is_quiet_or_right_begins_anew():
    clock = Clock()
    known = Guesses(clock)
    for _ in range(5):
        known.count("192.0.2.1")
    clock.now += LONGEST_DELAY + QUIET
    known.count("192.0.2.1")
    assert known.wait("192.0.2.1") == 1
    known.forget("192.0.2.1")
    assert known.wait("192.0.2.1") == 0


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("192.0.2.1", "192.0.2.2", False),
        ("", "", True),
        ("unix", "x" * 1000, False),
    ],
)
def test_who_is_the_same_client(one, other, same):
    known = Guesses(Clock())
    known.count(one)
    assert (known.wait(other) > 0) is same


class Flood(RuleBasedStateMachine):
    """Whoever comes how often: what is remembered is bounded, and nobody waits too long."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.known = Guesses(self.clock)
        self.latest = ""

    @rule(first=st.integers(0, 255), many=st.integers(1, 600))
    def come(self, first: int, many: int) -> None:
        for number in range(many):
            self.latest = f"10.{first}.{number // 256}.{number % 256}"
            self.known.count(self.latest)

    @rule(seconds=st.floats(0, 2000))
    def pass_by(self, seconds: float) -> None:
        self.clock.now += seconds
        self.latest = ""

    @invariant()
    def bounded(self) -> None:
        assert self.known.snapshot()["clients"] <= CLIENTS
        if self.latest:
            assert 1 <= self.known.wait(self.latest) <= LONGEST_DELAY


TestFlood = Flood.TestCase
TestFlood.settings = settings(max_examples=30, stateful_step_count=15, deadline=None)


def test_the_state_of_the_process_can_be_forgotten():
    guesses.GUESSES.count("192.0.2.9")
    guesses.GUESSES.reset()
    assert guesses.GUESSES.snapshot() == {"clients": 0}
