"""A reference names a variable now and reads it later, live, and never shows it."""

from __future__ import annotations

import copy
import inspect
import os
import pickle

import pytest

from resilience import env, places, redact
from resilience.errors import (
    BrokenSource,
    EnvError,
    InvalidVariable,
    MissingVariable,
    UsageError,
)

CANARY = "c4n4ry-hunter22"
NAME = "SHOP_REFERRED"


def here(offset: int) -> str:
    frame = inspect.currentframe()
    assert frame is not None
    assert frame.f_back is not None
    return f"{places.shorten(__file__)}:{frame.f_back.f_lineno + offset}"


def test_it_reads_what_is_there_when_it_is_asked():
    reference = env.ref(NAME)
    for text in ("one", "two"):
        os.environ[NAME] = text
        assert reference.resolve() == text
    del os.environ[NAME]
    with pytest.raises(MissingVariable):
        reference.resolve()


def test_it_reads_what_load_brings_later(tmp_path):
    reference = env.ref(NAME)
    (tmp_path / ".env").write_text(f"{NAME}=1\n")
    assert env.declared()[0].origin is None
    env.load(tmp_path)
    assert reference.resolve() == "1"
    assert env.declared()[0].origin == ".env:1"
    assert env.snapshot().early == (NAME,), "a report had asked for it"


def test_a_missing_one_says_where_it_was_declared():
    reference, at = env.ref(NAME), here(0)
    with pytest.raises(MissingVariable) as caught:
        reference.resolve()
    error = caught.value
    assert (error.subject, error.problem, error.location) == (NAME, f"{NAME} is not set", at)
    assert reference.location == at
    (declared,) = env.declared()
    assert (declared.name, declared.location, declared.origin) == (NAME, at, None)
    assert declared.problem is None, "nobody has needed it yet"


@pytest.mark.parametrize("empty", ["", " \n"])
def test_an_empty_one_is_missing(empty):
    os.environ[NAME] = empty
    with pytest.raises(MissingVariable, match=f"{NAME} is empty"):
        env.ref(NAME).resolve()
    assert env.declared()[0].origin is None


def test_a_source_that_cannot_be_read_is_named():
    reference = env.ref(NAME)
    os.environ |= {NAME: CANARY, f"{NAME}_FILE": "/dev/null"}
    with pytest.raises(BrokenSource, match="are both set") as caught:
        reference.resolve()
    assert CANARY not in f"{caught.value}{caught.value!r}"
    problem = env.declared()[0].problem
    assert problem is not None
    assert problem.id == "env.file-and-value"
    del os.environ[NAME]
    os.environ[f"{NAME}_FILE"] = "/nowhere/at/all"
    with pytest.raises(BrokenSource, match="does not hold the path"):
        reference.resolve()


def test_what_it_gave_is_masked_from_then_on():
    os.environ[NAME] = CANARY
    reference = env.ref(NAME)
    assert redact.text(CANARY) == CANARY
    reference.resolve()
    assert redact.text(CANARY) == "***"


def test_of_a_url_only_the_password_is_masked():
    os.environ[NAME] = f"https://user:{CANARY}@api.example.com/v1"
    env.ref(NAME).resolve()
    assert redact.text(CANARY) == "***"
    assert redact.text("https://api.example.com/v1") == "https://api.example.com/v1"


HOOK = "https://hooks.example.com/services/T00000001/B0123456789/aB3dE5gH7jK9mN1pQ3sT5vW7"


@pytest.mark.parametrize("declare", [lambda: env.ref(NAME).resolve(), lambda: env.secret(NAME)])
def test_the_address_of_a_webhook_is_a_secret_wherever_it_is_repeated(declare):
    """As urllib3 says it: without scheme and host."""
    os.environ[NAME] = HOOK
    path = HOOK.partition(".com")[2]
    error = ConnectionError(f"Max retries exceeded with url: {path}")
    assert HOOK[-24:] in redact.exception(error), "the twin: nobody knows it yet"
    assert declare() == HOOK
    assert redact.exception(error).endswith("url: /services/T00000001/B0123456789/***")
    assert redact.text("hooks.example.com/services") == "hooks.example.com/services"


@pytest.mark.parametrize(
    "name",
    [
        None,
        7,
        b"SHOP_REFERRED",
        [NAME],
        "",
        " ",
        "\ud800",
        "A\0",
        "A=B",
        "A B",
        "../A",
        f"{NAME}\n",
    ],
    ids=ascii,
)
def test_what_is_no_name_is_refused_where_it_is_written(name):
    with pytest.raises(UsageError, match=r"^env\.ref\(\) takes the name of a variable") as caught:
        env.ref(name)
    assert here(-1) in str(caught.value)
    assert env.declared() == []


def test_what_is_no_name__twin__every_other_one():
    for name in (NAME, "shop.api-key", "3SCALE_TOKEN", "GRÖSSE"):
        assert env.ref(name).name == name
    assert [item.problem for item in env.declared()] == [None] * 4


def test_a_secret_in_the_place_of_a_name_is_not_repeated():
    with pytest.raises(UsageError) as caught:
        env.ref(f"{CANARY}+/=")
    assert CANARY not in f"{caught.value}{caught.value!r}"


def test_a_name_that_no_variable_can_have_is_missing():
    with pytest.raises(MissingVariable):
        env.str("SHOP_\ud800")
    assert env.str("SHOP_\ud800", default="x") == "x"


def test_it_is_immutable_comparable_and_shows_a_name_only():
    os.environ[NAME] = CANARY
    reference = env.ref(NAME)
    reference.resolve()
    assert f"{reference} {reference!r}" == f"env.ref({NAME!r}) env.ref({NAME!r})"
    assert CANARY not in repr(vars(reference))
    assert reference == env.ref(NAME) == pickle.loads(pickle.dumps(reference))  # noqa: S301 - ours
    assert copy.deepcopy(reference) == reference
    assert len({reference, env.ref(NAME), env.ref("SHOP_OTHER")}) == 2
    with pytest.raises(AttributeError):
        reference.name = "SHOP_OTHER"  # type: ignore[misc]


def test_a_typed_declaration_says_more_than_a_reference():
    env.ref(NAME)
    os.environ[NAME] = "7"
    assert env.int(NAME) == 7
    at = here(-1)
    env.ref(NAME)
    (declared,) = env.declared()
    assert (declared.location, declared.origin) == (at, "environment")
    os.environ[NAME] = "x"
    with pytest.raises(InvalidVariable):
        env.int(NAME)
    env.ref(NAME)
    assert isinstance(env.declared()[0].problem, InvalidVariable)


def test_it_is_judged_alike_under_a_doctor():
    with env.collecting():
        reference = env.ref(NAME)
        with pytest.raises(MissingVariable):
            reference.resolve()
    env.reset()
    assert env.declared() == []


ERRORS = [
    MissingVariable("A", "A is gone", "Set it."),
    InvalidVariable("A", "A is wrong", "Correct it.", location="x.py:3"),
    BrokenSource("env.file-missing", "A", "A is gone", "Bring it back.", location="x.py:3"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.id)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_an_error_reaches_another_process_whole(error, protocol):
    """``multiprocessing`` and ``concurrent.futures`` pickle what a worker raises."""
    received = pickle.loads(pickle.dumps(error, protocol))  # noqa: S301 - our own
    for other in (received, copy.copy(error)):
        assert isinstance(other, EnvError)
        assert type(other) is type(error)
        assert (vars(other), other.args, str(other)) == (vars(error), error.args, str(error))
