"""Text becomes what was declared or is refused, and no refusal repeats the text."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, example, given, settings, strategies as st

from resilience import redact
from resilience.env import casts
from resilience.env.casts import Refused
from tests.conftest import clean_process

ROOT = Path("/srv/shop")


def to_redis(text: str) -> str:
    return casts.to_url(text, ("redis", "rediss", "unix"))


def to_db(text: str) -> dict[str, Any]:
    return casts.to_db(text, ROOT)


def refusal(cast: Callable[[str], object], text: str) -> str:
    with pytest.raises(Refused) as caught:
        cast(text)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    return str(caught.value)


# ── numbers, words, lists ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("word", ["1", "true", "yes", "on", "TRUE", "Yes", " on ", "true\n"])
def test_true(word):
    assert casts.to_bool(word) is True


@pytest.mark.parametrize("word", ["0", "false", "no", "off", "FALSE", "No", " off ", "false\n"])
def test_false(word):
    assert casts.to_bool(word) is False


@given(st.text() | st.sampled_from(["enabled", "tru", "y", "t", "n", "f", "2", "", "none", "1.0"]))
def test_every_other_word_is_refused_and_not_false(word):
    assume(word.strip().lower() not in casts._TRUE | casts._FALSE)
    assert refusal(casts.to_bool, word) == "must be one of true, false, 1, 0, yes, no, on, off"


@given(st.integers(-(10**29), 10**29))
def test_whole_numbers(number):
    assert casts.to_int(str(number)) == number
    assert casts.to_int(f" {number:+d}\n") == number


@pytest.mark.parametrize(
    "text", ["", "12abc", "1.0", "1,000", "1_000", "0x1f", "1e3", "- 1", "--1", "٣", "1" * 31]
)
def test_what_is_no_whole_number(text):
    assert refusal(casts.to_int, text) == "must be a whole number"


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers(number):
    assert casts.to_float(repr(number)) == number


@pytest.mark.parametrize(
    ("text", "number"),
    [("1", 1.0), (".5", 0.5), ("5.", 5.0), ("1e-3", 0.001), ("1E3", 1000.0), (" -0.25 ", -0.25)],
)
def test_ways_to_write_a_number(text, number):
    assert casts.to_float(text) == number


@pytest.mark.parametrize(
    "text", ["", "12abc", "1,000", "1_0", "nan", "inf", "-Infinity", ".", "1e", "0x1p3", "٣", "5s"]
)
def test_what_is_no_number(text):
    assert refusal(casts.to_float, text) == "must be a number such as 0.25"


def test_a_number_too_large_to_be_one_is_refused():
    assert refusal(casts.to_float, "1e400") == "must be a finite number"
    assert casts.to_float("1e300") == 1e300


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("", []),
        (" , ", []),
        ("a", ["a"]),
        ("a,b", ["a", "b"]),
        (" a , b c ,,d,\n", ["a", "b c", "d"]),
    ],
)
def test_lists(text, items):
    assert casts.to_list(text) == items


def test_a_secret_is_masked_from_then_on():
    assert redact.text("hunter22") == "hunter22"
    assert casts.to_secret(" hunter22 ") == " hunter22 "
    assert redact.text("hunter22") == "***"


@pytest.mark.parametrize("text", ["", "  ", "\n"])
def test_an_empty_secret_is_refused(text):
    assert refusal(casts.to_secret, text) == "is empty"


# ── URLs ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "text",
    [
        "redis://localhost",
        "redis://localhost:6379/0",
        "REDISS://u:p%2F%40@h:6380/0?ssl_cert_reqs=required",
        "redis://:p@[::1]:6379",
        "redis://h:65535",
        "redis://u:p@w@h",
        "unix:///run/redis.sock?db=1",
    ],
)
def test_urls(text):
    assert to_redis(text) == text
    assert to_redis(f" {text}\n") == text


@pytest.mark.parametrize(
    "text",
    [
        "https://unpkg.com/htmx.org@2",
        "https://example.com/?to=ops@example.com",
        "https://u:p@example.com/@user",
    ],
)
def test_an_at_sign_in_a_path_is_no_user(text):
    assert casts.to_url(text) == text


UNENCODED = "has a / ? or # in its user or password: percent-encode it (/ is %2F)"
UNRESOLVED = "holds a reference to another variable that nobody resolved"
SCHEMES = "must be a URL whose scheme is one of redis, rediss, unix"
BROKEN = "has a port that is not a number from 0 to 65535, or a broken host"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "must be a URL that begins with scheme://"),
        ("localhost:6379", "must be a URL that begins with scheme://"),
        ("redis:localhost", "must be a URL that begins with scheme://"),
        ("://localhost", "must be a URL that begins with scheme://"),
        ('"redis://localhost"', "must be a URL that begins with scheme://"),
        ("re dis://localhost", "must be a URL that begins with scheme://"),
        ("reddis://h", f"{SCHEMES} (did you mean redis?)"),
        ("REDISS2://h", f"{SCHEMES} (did you mean rediss?)"),
        ("https://h", SCHEMES),
        ("redis://", "names no host after ://"),
        ("redis:///0", "names no host after ://"),
        ("redis://:p@/0", "names no host after ://"),
        ("redis://h:port", BROKEN),
        ("redis://h:65536", BROKEN),
        ("redis://h:-1", BROKEN),
        ("redis://[::1", BROKEN),
        ("redis://u:p/w@h", UNENCODED),
        ("redis://u:p#w@h", UNENCODED),
        ("redis://u:p?w@h", UNENCODED),
        ("redis://u:12/34@h:6379", UNENCODED),
        ("${{Redis.REDIS_URL}}", UNRESOLVED),
        ("redis://:${{ Redis.PASSWORD }}@h", UNRESOLVED),
        ("redis://:${PASSWORD}@h", UNRESOLVED),
        ("$REDIS_URL", UNRESOLVED),
    ],
)
def test_what_is_no_url_of_this_kind(text, said):
    assert refusal(to_redis, text) == said


def test_any_scheme_is_one_if_none_was_asked_for():
    assert casts.to_url("reddis://h") == "reddis://h"


def test_the_password_of_a_url_is_masked_from_then_on():
    assert redact.text("hunter22") == "hunter22"
    to_redis("redis://u:hunter22@h")
    assert redact.text("hunter22") == "***"


def test_the_password_of_a_refused_url_is_masked_too():
    assert refusal(to_redis, "redis://u:hunter22@h:port") == BROKEN
    assert redact.text("hunter22") == "***"


# ── databases ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "engine", "expected"),
    [
        (
            "postgres://shop:p%2F%40ss@db:5432/app?sslmode=require",
            "postgresql",
            {
                "NAME": "app",
                "USER": "shop",
                "PASSWORD": "p/@ss",
                "HOST": "db",
                "PORT": 5432,
                "OPTIONS": {"sslmode": "require"},
            },
        ),
        ("postgresql://db/app", "postgresql", {"NAME": "app", "USER": "", "HOST": "db"}),
        ("postgres:///app", "postgresql", {"NAME": "app", "HOST": ""}),  # its local socket
        ("postgres://u:$x@db/app", "postgresql", {"PASSWORD": "$x"}),
        ("mysql://u:p@db/app", "mysql", {"NAME": "app"}),
        ("sqlite:///db.sqlite3", "sqlite3", {"NAME": "/srv/shop/db.sqlite3"}),
        ("sqlite:////var/lib/db.sqlite3", "sqlite3", {"NAME": "/var/lib/db.sqlite3"}),
        ("sqlite:////var/a@b/db.sqlite3", "sqlite3", {"NAME": "/var/a@b/db.sqlite3"}),
        ("sqlite://", "sqlite3", {"NAME": ":memory:"}),
        ("sqlite://:memory:", "sqlite3", {"NAME": ":memory:"}),
        (" sqlite://:memory:\n", "sqlite3", {"NAME": ":memory:"}),
        ("spatialite:///geo.db", "spatialite", {"NAME": "/srv/shop/geo.db"}),
    ],
)
def test_databases(text, engine, expected):
    found = to_db(text)
    assert found["ENGINE"].rpartition(".")[2] == engine
    assert {key: found[key] for key in expected} == expected


def test_without_a_project_a_database_file_stays_relative():
    assert casts.to_db("sqlite:///db.sqlite3", None)["NAME"] == "db.sqlite3"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("postgress://u:p@db/app", "must be a URL whose scheme is one of postgres, postgresql, "),
        ("redis://localhost", "must be a URL whose scheme is one of postgres, postgresql, "),
        ("app", "must be a URL that begins with scheme://"),
        ("postgres://u:pa/ss@db/app", UNENCODED),
        ("postgres://u:pass@db:54x2/app", BROKEN),
        ("mysql:///app", "names no host after ://"),
        ("sqlite://db.sqlite3", "has a host after sqlite://: a file needs three slashes, "),
        ("SQLite://db.sqlite3", "has a host after sqlite://: a file needs three slashes, "),
    ],
)
def test_what_is_no_database(text, said):
    assert refusal(to_db, text).startswith(said)


def test_whatever_django_environ_says_is_not_repeated(monkeypatch):
    """It has the URL in it."""
    from environ import Env

    def fail(url: str) -> dict[str, str]:
        raise ValueError(url)

    monkeypatch.setattr(Env, "db_url_config", fail)
    said = refusal(to_db, "postgres://u:hunter22@db/app")
    assert said == "is not a database URL that django-environ understands"


# ── references ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "in_a_text", "in_a_secret"),
    [
        ("${{Redis.REDIS_URL}}", True, True),
        ("before ${{ shared.KEY }} after", True, True),
        ("$NAME", True, False),
        ("${NAME}", True, False),
        (" ${NAME}\n", True, False),
        ("redis://:${PASSWORD}@h/0", True, False),
    ],
)
def test_references(text, in_a_text, in_a_secret):
    assert casts.is_unresolved(text) is in_a_text
    assert casts.is_unresolved(text, secret=True) is in_a_secret


@pytest.mark.parametrize(
    "text", ["", "$", "costs $5.00", "pa$$word", "a ${NAME} b", "redis://:pa$word@h", "{{NAME}}"]
)
def test_references__twin__elsewhere_a_dollar_is_one(text):
    assert not casts.is_unresolved(text)
    assert not casts.is_unresolved(text, secret=True)


# ── every refusal ───────────────────────────────────────────────────────────────────────────────

CASTS = (casts.to_bool, casts.to_int, casts.to_float, casts.to_url, to_redis, to_db)
# No message holds "zq" by itself.
SECRETS = st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), max_size=9).map(
    "zq{}".format
)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["{}", "1{}", "redis://{}", "postgres://u:{}@h:{}/x", "postgres://{}/{}"])
    | st.sampled_from(["sqlite://{}", "postgres://u:p@{}/x", "redis://[{}]", "${{{{{}}}}}"]),
    SECRETS,
)
@example("sqlite://{}", "db.sqlite3")
def test_no_refusal_repeats_any_of_the_text(shape, secret):
    text = shape.format(secret, secret)
    with clean_process(), warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for cast in CASTS:
            try:
                cast(text)
            except Refused as refused:
                assert secret not in f"{refused}{refused!r}"  # noqa: PT017 - if it refuses at all
        assert not warned
