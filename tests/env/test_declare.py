"""A declaration gives a typed value, or says by name what is wrong; a doctor hears everything."""

from __future__ import annotations

import inspect
import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings, strategies as st

from resilience import env, places, redact
from resilience.errors import BrokenSource, InvalidVariable, MissingVariable
from tests.conftest import clean_process

CANARY = "c4n4ry"
NAME = "SHOP_VALUE"


class Kind(NamedTuple):
    """One type of declaration, and a text that it takes."""

    name: str
    declare: Callable[..., Any]
    text: str
    value: Any
    default: Any
    placeholder: Any


IN_MEMORY = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
NO_DATABASE = {"ENGINE": "django.db.backends.dummy", "NAME": f"missing.{NAME}.invalid"}
KINDS = [
    Kind("text", env.str, " x ", " x ", "", f"missing.{NAME}.invalid"),
    Kind("secret", env.secret, "hunter22", "hunter22", "", f"missing.{NAME}.invalid"),
    Kind("true or false", env.bool, "on", True, False, False),
    Kind("whole number", env.int, "7", 7, 1, 0),
    Kind("number", env.float, "0.5", 0.5, 1.5, 0.0),
    Kind("comma-separated list", env.list, "a, b", ["a", "b"], ["c"], []),
    Kind("URL", env.url, "https://h/x", "https://h/x", "", f"https://missing.{NAME}.invalid"),
    Kind("database URL", env.db, "sqlite://:memory:", IN_MEMORY, "sqlite://:memory:", NO_DATABASE),
]
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
STRICT = (env.bool, env.int, env.float, env.url, env.db)


def line() -> int:
    frame = inspect.currentframe()
    assert frame is not None
    assert frame.f_back is not None
    return frame.f_back.f_lineno


def here(line: int) -> str:
    return f"{places.shorten(__file__)}:{line}"


# ── one declaration ─────────────────────────────────────────────────────────────────────────────


@every_kind
def test_a_set_variable_is_typed(kind):
    os.environ[NAME] = kind.text
    for options in ({}, {"default": kind.default}):
        found = kind.declare(NAME, **options)
        assert (found, type(found)) == (kind.value, type(kind.value))
        (declared,) = env.declared()
        assert (declared.name, declared.origin) == (NAME, "environment")
        assert declared.problem is None


@every_kind
def test_a_default_makes_it_optional(kind):
    # Only env.db takes its default as text: that is how everybody writes a database.
    expected = kind.value if kind.declare is env.db else kind.default
    assert kind.declare(NAME, default=kind.default) == expected
    (declared,) = env.declared()
    assert (declared.origin, declared.problem) == ("default", None)


@every_kind
def test_a_missing_variable_is_named(kind):
    with pytest.raises(MissingVariable) as caught:
        kind.declare(NAME)
    error, at = caught.value, here(line() - 1)
    assert error.problem == f"{NAME} is not set ({kind.name}, no default)"
    assert (error.id, error.subject, error.location) == ("env.missing", NAME, at)
    assert error.hint.startswith(f"Set {NAME} in the environment")
    assert error.hint.endswith("`python -m resilience checkdeploy env` names all that is missing.")
    (declared,) = env.declared()
    assert isinstance(declared.problem, MissingVariable)
    assert (declared.problem.problem, declared.problem.location) == (error.problem, at)
    assert (declared.location, declared.origin) == (at, None)


@pytest.mark.parametrize("declare", STRICT)
def test_a_wrong_value_is_named_and_not_repeated(declare):
    os.environ[NAME] = CANARY
    for options in ({}, {"default": "sqlite://"}):
        with pytest.raises(InvalidVariable, match=rf"^{NAME} \(from environment\) ") as caught:
            declare(NAME, **options)
        error, at = caught.value, here(line() - 1)
        assert (error.id, error.subject, error.location) == ("env.invalid", NAME, at)
        assert CANARY not in f"{error}{error!r}{vars(error)}{env.declared()}"
        assert error.__cause__ is None
        env.reset()


def test_a_default_that_is_no_database_is_named_and_not_repeated():
    for setting in (None, "sqlite://:memory:"):
        os.environ.update({NAME: setting} if setting else {})
        with pytest.raises(InvalidVariable, match=rf"^{NAME} \(from its default\) ") as caught:
            env.db(NAME, default=f"sqlite://{CANARY}")
        error, at = caught.value, here(line() - 1)
        assert (error.subject, error.location) == (NAME, at)
        assert CANARY not in f"{error}{error!r}{vars(error)}{env.declared()}"
        assert error.__cause__ is error.__context__ is None
        assert error.__traceback__ is not None
        frames = error.__traceback__.tb_next  # below this test's own
        shown = traceback.TracebackException(type(error), error, frames, capture_locals=True)
        assert CANARY not in "".join(shown.format())
        env.reset()


def test_a_default_that_is_no_database__twin__under_a_doctor_and_a_right_one():
    with env.collecting():
        assert env.db(NAME, default="sqlite://x") == NO_DATABASE
    assert isinstance(env.declared()[0].problem, InvalidVariable)
    env.reset()
    assert env.db(NAME, default="sqlite:///x")["NAME"] == "x"
    assert env.declared()[0].problem is None


def test_the_hint_names_the_file_of_the_project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    env.load(tmp_path)
    with pytest.raises(MissingVariable, match=f"Set {NAME} in the environment or in .env."):
        env.str(NAME)


WAY_OUT = "`python -m resilience checkdeploy env` names all that is missing."


def test_whoever_misses_a_variable_is_told_of_the_doctor(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    env.load(tmp_path)
    with pytest.raises(MissingVariable) as caught:
        env.str(NAME)
    assert str(caught.value).endswith(f"Set {NAME} in the environment or in .env. {WAY_OUT}")
    assert len(str(caught.value)) < 250


def test_whoever_misses_a_variable__twin__the_doctor_says_no_word_about_itself():
    with env.collecting():
        env.str(NAME)
    (declared,) = env.declared()
    assert declared.problem is not None
    assert WAY_OUT not in str(declared.problem)
    os.environ[NAME] = CANARY
    with pytest.raises(InvalidVariable) as caught:
        env.int(NAME)
    assert WAY_OUT not in str(caught.value), "one thing is wrong, and it is named"


def test_files_that_are_switched_off_are_no_place_for_it(tmp_path, monkeypatch):
    monkeypatch.setenv("RESILIENCE_DOTENV", "off")
    env.load(tmp_path)
    said = rf"Set {NAME} in the environment; RESILIENCE_DOTENV switches \.env files off\."
    with pytest.raises(MissingVariable, match=said):
        env.str(NAME)


PLACES = [
    ("shop/settings.py", ["shop/__init__.py"], "line 1 of shop/__init__.py"),
    ("src/shop/config/base.py", ["src/shop/__init__.py", "src/shop/config/__init__.py"],
     "line 1 of shop/__init__.py"),
    ("settings.py", [], "above this line"),
]  # fmt: skip


@pytest.mark.parametrize("dotenv", [True, False])
@pytest.mark.parametrize(("settings", "packages", "line"), PLACES)
def test_a_file_that_nobody_loads_is_offered(tmp_path, settings, packages, line, dotenv):
    """The twin: without a file there is nothing to load."""
    for name in ("manage.py", settings, *packages, *([".env"] if dotenv else [])):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    code = compile(f"from resilience import env; env.str({NAME!r})", tmp_path / settings, "exec")
    with pytest.raises(MissingVariable) as caught:
        exec(code, {})  # noqa: S102 - a settings file
    offered = f"Set {NAME} in the environment, or load .env: env.load() "
    assert caught.value.hint.startswith(offered) is dotenv
    assert (line in caught.value.hint) is dotenv


@pytest.mark.parametrize(
    ("declare", "said"),
    [
        (env.int, "is empty, and must be a whole number"),
        (env.bool, "is empty, and must be one of true"),
        (env.url, "is empty, and must be a URL"),
    ],
)
def test_an_empty_value_is_called_empty(declare, said):
    os.environ[NAME] = ""
    with pytest.raises(InvalidVariable, match=rf"^{NAME} \(from environment\) {said}"):
        declare(NAME)
    os.environ[NAME] = "x"
    with pytest.raises(InvalidVariable, match=rf"^{NAME} \(from environment\) must be "):
        declare(NAME)


def test_a_wrong_value_is_named_with_the_line_it_stands_on(tmp_path):
    (tmp_path / ".env").write_text(f"A=1\n{NAME}={CANARY}\n")
    env.load(tmp_path)
    with pytest.raises(InvalidVariable, match=rf"^{NAME} \(from \.env:2\) must be a whole number"):
        env.int(NAME)


@pytest.mark.parametrize("empty", ["", "  "])
def test_an_empty_secret_counts_as_missing(empty):
    os.environ[NAME] = empty
    with pytest.raises(MissingVariable, match=rf"{NAME} is empty \(secret, no default\)"):
        env.secret(NAME)
    env.reset()
    assert env.secret(NAME, default="other") == "other"
    assert env.declared()[0].origin == "default"
    assert env.str(NAME) == empty


def test_a_secret_is_masked_from_then_on():
    name = "SHOP_GREETING"  # a name that sounds like no secret
    os.environ[name] = "hunter22"
    env.str(name)
    assert redact.text("hunter22") == "hunter22"
    env.secret(name)
    assert redact.text("hunter22") == "***"


def test_a_url_of_another_scheme_is_refused():
    os.environ[NAME] = "http://h"
    assert env.url(NAME, schemes=("http", "https")) == "http://h"
    with pytest.raises(InvalidVariable, match="whose scheme is one of redis, rediss"):
        env.url(NAME, schemes=("redis", "rediss"))
    del os.environ[NAME]
    with env.collecting():
        placeholder = env.url(NAME, schemes=("redis", "rediss"))
    assert placeholder == f"redis://missing.{NAME}.invalid"


def test_a_database_file_is_in_the_project(tmp_path):
    env.load(tmp_path)
    os.environ[NAME] = "sqlite:///set.db"
    assert env.db(NAME)["NAME"] == str(tmp_path / "set.db")
    assert env.db("SHOP_OTHER", default="sqlite:///db")["NAME"] == str(tmp_path / "db")


def test_a_default_list_is_not_shared():
    default = ["a"]
    env.list(NAME, default=default).append("b")
    assert env.list(NAME, default=default) == ["a"]


def test_declarations_are_kept_in_order_and_forgotten_by_reset():
    for name in ("B", "A", "B"):
        env.str(f"SHOP_{name}", default="")
    assert [declared.name for declared in env.declared()] == ["SHOP_B", "SHOP_A"]
    env.reset()
    assert env.declared() == []


@pytest.mark.parametrize(
    ("declare", "text"),
    [
        (env.str, "${{Redis.REDIS_URL}}"),
        (env.str, "$REDIS_URL"),
        (env.list, "${HOSTS}"),
        (env.url, "https://${HOST}/x"),
        (env.db, "${{Postgres.DATABASE_URL}}"),
        (env.int, "$PORT"),
        (env.secret, "${{shared.SECRET_KEY}}"),
    ],
)
def test_an_unresolved_reference_is_a_problem_for_the_doctor(declare, text):
    os.environ[NAME] = text
    with env.collecting():
        value = declare(NAME)
        at = here(line() - 1)
    (declared,) = env.declared()
    assert isinstance(declared.problem, BrokenSource)
    assert (declared.problem.id, declared.problem.subject) == ("env.unresolved-reference", NAME)
    assert declared.problem.location == at
    assert text not in f"{declared.problem}"
    if declare not in (env.int, env.list):
        assert env.placeholder_in(value) == NAME


@pytest.mark.parametrize("text", ["${{Redis.REDIS_URL}}", "$REDIS_URL"])
def test_an_unresolved_reference__twin__elsewhere_it_is_literal(text):
    os.environ[NAME] = text
    assert env.str(NAME) == env.secret(NAME) == text
    assert env.declared()[0].problem is None


@pytest.mark.parametrize("text", ["$ecret-with-a-dollar", "$NAME", "${NAME}", "a ${b} c"])
def test_an_unresolved_reference__twin__a_dollar_in_a_secret(text):
    os.environ[NAME] = text
    with env.collecting():
        assert env.secret(NAME) == text
    assert env.declared()[0].problem is None


# ── the doctor ──────────────────────────────────────────────────────────────────────────────────


@every_kind
def test_a_doctor_gets_a_placeholder(kind):
    with env.collecting():
        value = kind.declare(NAME)
        # A secret's goes on: a short one would be reported as a weak one too.
        assert (
            value.startswith(kind.placeholder)
            if kind.name == "secret"
            else value == kind.placeholder
        )
    with pytest.raises(MissingVariable):
        kind.declare(NAME)


def test_a_doctor_hears_every_problem(tmp_path):
    os.environ |= {"SHOP_INT": CANARY, "SHOP_BOTH": CANARY, "SHOP_BOTH_FILE": "/dev/null"}
    os.environ["SHOP_GONE_FILE"] = str(tmp_path / "gone")
    with env.collecting():
        env.str("SHOP_MISSING")
        assert env.int("SHOP_INT", default=5) == 5
        env.secret("SHOP_BOTH")
        env.secret("SHOP_GONE", default="")
        env.str("SHOP_FINE", default="")
    problems = {declared.name: declared.problem for declared in env.declared()}
    assert {name: problem and problem.id for name, problem in problems.items()} == {
        "SHOP_MISSING": "env.missing",
        "SHOP_INT": "env.invalid",
        "SHOP_BOTH": "env.file-and-value",
        "SHOP_GONE": "env.file-missing",
        "SHOP_FINE": None,
    }
    assert CANARY not in repr(problems)


@pytest.mark.parametrize("kind", KINDS[:2] + KINDS[-2:], ids=lambda kind: kind.name)
def test_a_doctor_examines_nothing_with_the_default_of_a_broken_variable(kind):
    """The app never uses that default: it does not start."""
    os.environ |= {NAME: kind.text, f"{NAME}_FILE": "/dev/null"}
    with env.collecting():
        assert env.placeholder_in(kind.declare(NAME, default=kind.default)) == NAME


@pytest.mark.parametrize("kind", KINDS[:2] + KINDS[-2:], ids=lambda kind: kind.name)
def test_a_doctor_examines__twin__a_variable_that_is_merely_absent(kind):
    with env.collecting():
        assert env.placeholder_in(kind.declare(NAME, default=kind.default)) is None
    assert env.declared()[0].problem is None


def test_a_lenient_declaration_does_not_hide_that_a_strict_one_failed():
    with env.collecting():
        env.secret(NAME)
        first = line() - 1
        assert env.str(NAME, default="") == ""
    (declared,) = env.declared()
    assert declared.location == here(first)
    assert isinstance(declared.problem, MissingVariable)


def test_a_declaration_that_is_made_again_is_judged_again():
    for value in (None, "set"):
        if value:
            os.environ[NAME] = value
        with env.collecting():
            env.str(NAME)
        assert (env.declared()[0].problem is None) is bool(value)


def test_collecting_ends_with_its_outermost_block():
    with env.collecting():
        with env.collecting():
            pass
        env.str(NAME)
    with pytest.raises(MissingVariable):
        env.str(NAME)
    with pytest.raises(RuntimeError), env.collecting():
        raise RuntimeError
    with pytest.raises(MissingVariable):
        env.str(NAME)


def nested(leaf: object) -> st.SearchStrategy[Any]:
    """Settings that hold ``leaf`` somewhere."""
    noise = st.none() | st.integers() | st.text(max_size=3) | st.just("missing.invalid")

    def around(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        return st.builds(
            lambda key, value, others, kind: {
                "dict": {**dict.fromkeys(others), key: value},
                "list": [*others, value],
                "tuple": (*others, value),
                "set": {value} if isinstance(value, str) else [value],
            }[kind],
            st.sampled_from(["OPTIONS", "LOCATION"]),
            inner,
            st.lists(noise, max_size=2),
            st.sampled_from(["dict", "list", "tuple", "set"]),
        )

    return st.recursive(st.just(leaf), around, max_leaves=4)


@settings(max_examples=80, deadline=None)
@given(st.data(), st.from_regex(r"[A-Z_][A-Z0-9_]{0,10}", fullmatch=True))
def test_a_placeholder_is_recognised_in_every_setting_made_of_it(data, name):
    with clean_process(), env.collecting():
        os.environ.pop(name, None)
        declare = data.draw(st.sampled_from([env.str, env.secret, env.url, env.db]))
        placeholder = declare(name)
        made_of_it = [placeholder]
        if isinstance(placeholder, str):
            made_of_it += [
                f"redis://:{placeholder}@localhost/0",
                f"{placeholder}/1",
                f"prefix-{placeholder}",
                placeholder.partition("://")[2] or placeholder,
                Path("/srv") / placeholder,
            ]
        value = data.draw(nested(data.draw(st.sampled_from(made_of_it))))
        assert env.placeholder_in(value) == name


@pytest.mark.parametrize("declare", [env.str, env.url, env.secret])
def test_a_placeholder_is_recognised_in_lower_case(declare):
    """``urlsplit().hostname`` is, and settings may have taken their HOST from it."""
    with env.collecting():
        host = urlsplit(f"redis://{declare(NAME).rpartition('://')[2]}").hostname
    assert host is not None
    assert host == host.lower()
    assert env.placeholder_in({"HOST": host}) == NAME
    assert env.placeholder_in(f"missing.{NAME.lower()}x.invalid") == f"{NAME.lower()}x"


def test_two_names_that_differ_in_case_only_are_two():
    with env.collecting():
        upper, lower = env.str("SHOP_A"), env.str("shop_a")
    assert (env.placeholder_in(upper), env.placeholder_in(lower)) == ("SHOP_A", "shop_a")


@pytest.mark.parametrize(
    "value",
    [
        None,
        7,
        "",
        "missing.invalid",
        "missing..invalid",
        "missing.7.invalid",
        "the.invalid",
        "missing.SHOP.example",
        ["a", {"b": ("c", {"d"})}],
        {"missing.SHOP.invalid": "only a key"},
        Path("/srv"),
    ],
)
def test_no_placeholder_is_seen_where_none_is(value):
    assert env.placeholder_in(value) is None


def test_what_is_typed_leaves_no_placeholder():
    """0, False and [] are not recognisable: only the declaration itself has the problem."""
    with env.collecting():
        values = [env.bool("A_B"), env.int("A_I"), env.float("A_F"), env.list("A_L")]
    assert env.placeholder_in(values) is None
    assert all(isinstance(declared.problem, MissingVariable) for declared in env.declared())


# ── the errors themselves ───────────────────────────────────────────────────────────────────────


def test_an_error_says_what_where_and_what_next():
    error = BrokenSource("env.file-missing", "A", "A is gone", "Bring it back.", location="x.py:3")
    assert str(error) == "A is gone (x.py:3). Bring it back."
    assert (error.id, error.subject) == ("env.file-missing", "A")
    assert str(MissingVariable("A", "A is gone", "Set it.")) == "A is gone. Set it."
