"""Django's own deployment checks, with Django's own ids, and louder where it matters."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core import checks
from django.core.checks.registry import registry
from django.utils.translation import gettext_lazy

from resilience.findings import Finding, Level
from resilience.probes import areas, deploy
from resilience.probes.base import Deadline

WEAK = "x" * 10
STRONG = "correct-horse-battery-staple-0123456789-abcdefghijklmnopqrstuvwxyz"


def run() -> list[Finding]:
    return [found for probe in deploy.probes() for found in probe.run(Deadline(1.0))]


def ids() -> list[str]:
    return [found.id for found in run()]


def levels() -> dict[str, Level]:
    return {found.id: found.level for found in run()}


Saying = Callable[..., None]


@pytest.fixture
def saying(monkeypatch) -> Saying:
    """Put checks that say these messages, one check each, in the place of every other check."""

    def say(*messages: checks.CheckMessage) -> None:
        # A list, where Django has a set: so that a test may choose the order.
        monkeypatch.setattr(registry, "registered_checks", [])
        monkeypatch.setattr(registry, "deployment_checks", [_check(each) for each in messages])

    return say


def _check(message: checks.CheckMessage) -> Any:
    def check(**_: Any) -> list[checks.CheckMessage]:
        return [message]

    check.tags = ("test",)  # type: ignore[attr-defined]
    return check


# ── what Django says ────────────────────────────────────────────────────────────────────────────


def test_every_message_of_django_keeps_its_id(settings, hosted):
    hosted("none")
    settings.DEBUG, settings.SECRET_KEY = True, WEAK
    said = {str(each.id) for each in checks.run_checks(include_deployment_checks=True)}
    assert {"security.W009", "security.W018"} <= set(ids())
    assert set(ids()) == {each for each in said if not each.startswith("resilience.")}


def test_every_message_of_django__twin__a_strong_key_is_none(settings):
    settings.DEBUG, settings.SECRET_KEY = False, STRONG
    assert not {"security.W009", "security.W018"} & set(ids())


def test_every_finding_tells_what_to_do(settings):
    settings.DEBUG, settings.SECRET_KEY = True, WEAK
    assert all(found.hint for found in run())
    assert WEAK not in repr(run())


def test_silenced_ones_are_gone(settings):
    settings.DEBUG = True
    settings.SILENCED_SYSTEM_CHECKS = ["security.W018"]
    assert "security.W018" not in ids()
    settings.SILENCED_SYSTEM_CHECKS = []
    assert "security.W018" in ids()


@pytest.mark.parametrize("platform", ["railway", "kubernetes", "lambda"])
def test_on_a_platform_a_weak_key_and_debug_are_errors(settings, hosted, platform):
    hosted(platform)
    settings.DEBUG, settings.SECRET_KEY = True, WEAK
    loud = {id for id, level in levels().items() if level is Level.ERROR}
    assert loud == {"security.W009", "security.W018"}


def test_on_a_platform__twin__on_a_laptop_they_are_warnings(settings, hosted):
    hosted("none")
    settings.DEBUG, settings.SECRET_KEY = True, WEAK
    assert set(levels().values()) == {Level.WARNING}


def test_our_own_checks_are_not_repeated(settings, hosted):
    hosted("railway", processes=4)
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.cache"
    said = {str(each.id) for each in checks.run_checks(include_deployment_checks=True)}
    assert "resilience.cache.local-only" in said  # the twin: they are there to be left out
    assert not any(id.startswith(("resilience.", "cache.")) for id in ids())


# ── on a laptop, unless asked for ───────────────────────────────────────────────────────────────

SOMETHING_ELSE = checks.Warning("Else.", id="app.W1")
ADVICE = (
    checks.Warning("Cookies.", id="security.W012"),
    checks.Warning("HTTPS.", id="security.W008"),
    SOMETHING_ELSE,
    checks.Error("Broken.", id="security.E100"),
)


def report(*named: str) -> list[Finding]:
    probes = [probe for probe in areas.probes_of(named) if isinstance(probe, deploy.DjangoChecks)]
    return [found for probe in probes for found in probe.run(Deadline(1.0))]


def test_with_debug_on_a_laptop_djangos_advice_is_one_line(settings, hosted, saying):
    hosted("none")
    saying(*ADVICE)
    settings.DEBUG = True
    error, other, brief = report()
    assert (error.id, other.id) == ("security.E100", "app.W1")
    assert (brief.id, brief.level) == ("deploy.debug-settings", Level.INFO)
    assert "security.W008, security.W012." in brief.summary
    assert "checkdeploy deploy" in brief.hint


@pytest.mark.parametrize(
    ("named", "platform", "debug"),
    [(["deploy"], "none", True), ([], "railway", True), ([], "none", False)],
    ids=["asked for", "on a platform", "without DEBUG"],
)
def test_djangos_advice__twin__elsewhere_each_is_told(
    settings, hosted, saying, named, platform, debug
):
    hosted(platform)
    saying(*ADVICE)
    settings.DEBUG = debug
    assert {found.id for found in report(*named)} == {str(message.id) for message in ADVICE}


def test_where_django_advises_nothing_there_is_no_line(settings, hosted, saying):
    hosted("none")
    saying(SOMETHING_ELSE)
    settings.DEBUG = True
    assert [found.id for found in report()] == ["app.W1"]


# ── a check that stops ──────────────────────────────────────────────────────────────────────────


def test_urls_that_do_not_import_are_named_by_their_line(settings, tmp_path, monkeypatch):
    (tmp_path / "shop_urls.py").write_text("urlpatterns = []\nimport no_such_module\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    settings.ROOT_URLCONF = "shop_urls"
    [found] = run()
    assert (found.id, found.level) == ("deploy.checks-failed", Level.ERROR)
    assert found.location == "shop_urls.py:2"
    assert "ModuleNotFoundError: No module named 'no_such_module'" in found.summary
    assert "shop_urls.py:2 in <module>" in str(found.facts["traceback"])


def test_urls_that_do_not_import__twin__they_do(settings, tmp_path, monkeypatch):
    (tmp_path / "sound_urls.py").write_text("urlpatterns = []\n")
    monkeypatch.syspath_prepend(tmp_path)
    settings.ROOT_URLCONF = "sound_urls"
    assert "deploy.checks-failed" not in ids()


def test_a_check_that_raises_is_named_and_quotes_no_secret(saying, monkeypatch):
    def check(**_: Any) -> list[checks.CheckMessage]:
        raise ValueError("bad 'hunter2hunter2'")

    check.tags = ("test",)  # type: ignore[attr-defined]
    saying()
    assert ids() == ["deploy.ok"]
    monkeypatch.setattr(registry, "registered_checks", [check])
    [found] = run()
    assert found.id == "deploy.checks-failed"
    assert (found.location or "").startswith("tests/probes/test_deploy.py:")
    assert "hunter2" not in repr(found)


# ── what any check may say ──────────────────────────────────────────────────────────────────────


def test_nothing_said_is_fine(saying):
    saying()
    assert [(found.id, found.level) for found in run()] == [("deploy.ok", Level.OK)]


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        (checks.DEBUG, {"app.X1": Level.INFO, "deploy.ok": Level.OK}),
        (checks.INFO, {"app.X1": Level.INFO, "deploy.ok": Level.OK}),
        (checks.WARNING, {"app.X1": Level.WARNING}),
        (checks.ERROR, {"app.X1": Level.ERROR}),
        (checks.CRITICAL, {"app.X1": Level.ERROR}),
    ],
)
def test_levels_are_djangos(saying, level, expected):
    saying(checks.CheckMessage(level, "So.", id="app.X1"))
    assert levels() == expected


def test_the_subject_is_what_the_check_names(saying):
    name = User._meta.get_field("username")
    saying(
        checks.Warning("a", obj=User, id="a.W1"),
        checks.Warning("b", obj=name, id="a.W2"),
        checks.Warning("c", obj="a word", id="a.W3"),
        checks.Warning("d", id="a.W4"),
    )
    assert [found.subject for found in run()] == [
        "auth.User",
        "auth.User.username",
        "a word",
        "deploy",
    ]


def test_texts_may_be_lazy_and_of_many_lines(saying):
    said: dict[str, Any] = {"msg": gettext_lazy("One\n   two."), "hint": gettext_lazy("Do.")}
    saying(checks.Warning(**said, id="a.W1"))
    [found] = run()
    assert (found.summary, found.hint) == ("One two.", "Do.")
    assert type(found.summary) is type(found.hint) is str


def test_a_check_without_a_hint_has_djangos_reference(saying):
    saying(checks.Warning("So.", id="security.W1"))
    assert "https://docs.djangoproject.com/" in run()[0].hint


def test_a_check_without_a_hint__twin__another_packages_is_not_in_it(saying):
    saying(checks.Warning("So.", id="drf_spectacular.W002"))
    [found] = run()
    assert "djangoproject" not in found.hint
    assert "SILENCED_SYSTEM_CHECKS" in found.hint


@pytest.mark.parametrize("count", [3, 4, 60])
def test_what_is_said_of_many_things_is_told_three_times(saying, count):
    saying(*(checks.Warning(f"{n}", id="models.W042") for n in range(count)))
    found = run()
    assert [each.id for each in found[:3]] == ["models.W042"] * 3
    more = [(each.id, each.level, each.summary.split()[3]) for each in found[3:]]
    expected = ("deploy.more-like-this", Level.WARNING, str(count - 3))
    assert more == ([expected] if count > 3 else [])


@pytest.mark.parametrize(
    "said", [checks.Error("So.", id="models.E001"), checks.Warning("So.", id="no id")]
)
def test_what_is_said_of_many_things__twin__errors_and_unnamed_ones_are_all_told(saying, said):
    saying(*[said] * 5)
    assert [each.summary[-3:] for each in run()] == ["So."] * 5


@pytest.mark.parametrize("id", [None, "", "W001", "my-app.W001", "my app"])
def test_an_id_of_another_form_stops_nobody(saying, id):
    """Django lets it be anything: ours could not be explained, so the text says it."""
    saying(checks.Warning("So.", id=id), checks.Error("And so.", id="a.E1"))
    error, unnamed = run()
    assert (error.id, unnamed.id) == ("a.E1", "deploy.unnamed")
    assert unnamed.summary == (f"{id}: So." if id else "So.")


def test_an_id_of_another_form__twin(saying):
    saying(checks.Warning("So.", id="my_app.W001"))
    assert [(found.id, found.summary) for found in run()] == [("my_app.W001", "So.")]


def test_the_order_is_always_the_same(saying):
    messages = [
        checks.Warning("1", id="b.W1"),
        checks.Warning("2", id="a.W1", obj="y"),
        checks.Warning("3", id="a.W1", obj="x"),
        checks.Error("4", id="c.E1"),
    ]
    orders = set()
    for order in itertools.permutations(messages):
        saying(*order)
        orders.add(tuple(found.summary for found in run()))
    assert orders == {("4", "3", "2", "1")}
