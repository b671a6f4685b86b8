"""``settings.RESILIENCE``: wrong entries are named, the defaults hold, changes are seen."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, replace

import pytest

from resilience import conf, hosting, redact
from resilience.cache.idle import CLOSER
from resilience.conf import Conf
from resilience.findings import Level

KEYS = tuple(field.name for field in fields(Conf))


@pytest.mark.parametrize("configured", [True, False])
def test_no_setting_and_an_empty_one_are_the_defaults(settings, configured):
    if configured:
        settings.RESILIENCE = {}
    else:
        del settings.RESILIENCE
    assert conf.get() == Conf()
    assert conf.get().CRITICAL == ("databases.default",)
    assert conf.get().PLATFORM is None
    assert conf.problems() == ()


def test_valid_entries_are_taken(settings):
    settings.RESILIENCE = {"CRITICAL": ["caches.default"], "PLATFORM": "fly"}
    assert conf.get() == replace(Conf(), CRITICAL=("caches.default",), PLATFORM="fly")
    assert conf.problems() == ()


def test_the_configuration_does_not_change(settings):
    with pytest.raises(FrozenInstanceError):
        conf.get().PLATFORM = "fly"  # type: ignore[misc]
    subjects = ["caches.default"]
    settings.RESILIENCE = {"CRITICAL": subjects}
    assert conf.get().CRITICAL == ("caches.default",)
    subjects.append("databases.default")
    assert conf.get().CRITICAL == ("caches.default",)


@pytest.mark.parametrize("key", KEYS)
def test_an_unknown_key_is_an_error_that_names_the_nearest_one(settings, key):
    for wrong in (key[:-1], key.lower(), key[0] + key, key.replace("A", "E")):
        if wrong == key:
            continue
        settings.RESILIENCE = {wrong: None}
        (problem,) = conf.problems()
        assert (problem.id, problem.level) == ("conf.invalid", Level.ERROR)
        assert problem.subject == "settings.RESILIENCE"
        assert problem.summary == f"RESILIENCE has an unknown key {wrong!r}"
        assert problem.hint.endswith(f"Did you mean {key!r}?")
        assert conf.get() == Conf()


@pytest.mark.parametrize("key", ["XYZ", 7, None])
def test_a_key_near_none_is_answered_with_all_of_them(settings, key):
    settings.RESILIENCE = {key: None}
    (problem,) = conf.problems()
    assert problem.hint == f"Use one of {', '.join(sorted(KEYS))}."


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("CRITICAL", "databases.default", "must be a list of subjects"),
        ("CRITICAL", None, "must be a list of subjects"),
        ("CRITICAL", ["databases.default", 1], "must be a list of subjects"),
        ("CRITICAL", {"databases.default"}, "must be a list of subjects"),
        ("PLATFORM", True, "must be None or the name of a platform"),
        ("PLATFORM", "", "there is no platform ''"),
        ("PLATFORM", "Railway", "there is no platform 'Railway'. Did you mean 'railway'?"),
        (
            "CRITICAL",
            ["databases.defualt"],
            "there is no 'databases.defualt'. Did you mean 'databases.default'?",
        ),
        ("CRITICAL", ["caches.default", "caches.xyz"], "there is no 'caches.xyz'."),
        ("CRITICAL", ["caches"], "there is no 'caches'."),
        ("CRITICAL", ["database.default"], "'database.default' is not a subject."),
        ("CRITICAL", [""], "'' is not a subject."),
        ("STATUS_TOKEN", None, "must be a text"),
        ("STATUS_TOKEN", "fifteen-letters", "must have at least 16 characters"),
        ("STATUS_TOKEN", "sixteen letters and more", "must have at least 16 characters"),
        ("STATUS_TOKEN", "sechzehn-Buchstäben", "must have at least 16 characters"),
        ("BACKGROUND", 0, "must be True or False"),
        ("BACKGROUND", "False", "must be True or False"),
    ],
)
def test_a_wrong_value_is_named_and_the_default_holds_for_it_alone(settings, key, value, said):
    valid = {"CRITICAL": ["caches.default"], "PLATFORM": "fly", "BACKGROUND": False}
    settings.RESILIENCE = {**valid, key: value}
    (problem,) = conf.problems()
    assert problem.id == "conf.invalid"
    assert problem.summary.startswith(f"RESILIENCE[{key!r}]: {said}")
    assert problem.hint
    for other in KEYS:
        expected = Conf() if other == key else conf._parse(valid)[0]
        assert getattr(conf.get(), other) == getattr(expected, other)


@pytest.mark.parametrize(
    "subject",
    ["databases.default", "caches.default", "redis.cache:6379/0", "env", "hosting", "deploy"],
)
def test_a_wrong_value__twin__every_kind_of_subject(settings, subject):
    settings.RESILIENCE = {"CRITICAL": [subject]}
    assert conf.problems() == ()
    assert list(conf.get().CRITICAL) == [subject]


def test_all_problems_are_told_at_once(settings):
    settings.RESILIENCE = {"CRITCAL": [], "CRITICAL": 1, "PLATFORM": 2}
    assert len(conf.problems()) == 3


@pytest.mark.parametrize("value", [None, [], "x", 1])
def test_anything_but_a_dictionary_is_one_problem(settings, value):
    settings.RESILIENCE = value
    (problem,) = conf.problems()
    assert problem.summary == "RESILIENCE must be a dictionary"
    assert conf.get() == Conf()


def test_settings_are_read_once_and_again_after_a_change(settings):
    first = conf.get()
    assert conf.get() is first
    settings.RESILIENCE = {"PLATFORM": "fly"}
    assert conf.get().PLATFORM == "fly"
    settings.RESILIENCE["PLATFORM"] = "heroku"  # which nobody is told
    assert conf.get().PLATFORM == "fly"
    conf.reset()
    assert conf.get().PLATFORM == "heroku"


@pytest.mark.parametrize("slug", hosting.CHOICES)
def test_a_forced_platform_decides_the_hosting(settings, slug):
    settings.RESILIENCE = {"PLATFORM": slug}
    found = conf.detect_hosting()
    assert (found.platform, found.forced) == (slug, True)
    assert conf.detect_hosting() is found
    settings.RESILIENCE = {}
    assert not conf.detect_hosting().forced


def test_the_secrets_of_all_settings_are_known_from_then_on(settings):
    settings.PAYMENT_TOKEN = "hunter22"
    settings.SHOP = {"upstream": ["https://shop:battery7@example.com"]}
    assert redact.text("hunter22 battery7") == "hunter22 battery7"
    conf.get()
    assert redact.text("hunter22 battery7") == "*** ***"


def test_a_secret_key_that_cannot_be_read_stops_nothing(settings):
    settings.SECRET_KEY = ""
    assert conf.get() == Conf()


# ── the token ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("token", ["", "s" * 16, "abcDEF123-_.~!s3cr3t"])
def test_a_token_is_taken(settings, token):
    settings.RESILIENCE = {"STATUS_TOKEN": token}
    assert conf.problems() == ()
    assert conf.get() == replace(Conf(), STATUS_TOKEN=token)


@pytest.mark.parametrize("token", ["a-token-of-24-characters", "short-one"])
def test_no_token_is_ever_shown(settings, token):
    settings.RESILIENCE = {"STATUS_TOKEN": token}
    assert token not in repr(conf.get())
    for problem in conf.problems():
        assert token not in repr(problem)
    assert redact.text(f"Bearer of {token}") == "Bearer of ***"


# ── what is handed down ─────────────────────────────────────────────────────────────────────────


def test_the_cache_is_told_whether_idle_means_silent(settings):
    wanted = [CLOSER.wanted]
    for background in (False, "False", False, True):  # the default holds for what is wrong
        settings.RESILIENCE = {"BACKGROUND": background}
        wanted.append(CLOSER.wanted)
    assert wanted == [False, True, False, True, False]
