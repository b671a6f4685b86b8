"""A finding is silenced for a reason and a while, and what is silenced wrongly is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from django.core import checks
from hypothesis import given, settings as hypothesis_settings, strategies as st

from resilience import conf
from resilience.checks import check_static
from resilience.errors import UsageError
from resilience.findings import Finding, Level, Report
from resilience.probes import silencing
from resilience.probes.base import Deadline, Probe
from resilience.probes.examine import examine
from resilience.render import github, json as render_json, junit, text
from resilience.silence import read_all

LATER = {"reason": "moves in May", "until": "2099-12-31"}
OVER = {"reason": "moved in May", "until": "2026-05-31"}
TODAY = date(2026, 11, 24)

SLOW = Finding("redis.slow", Level.ERROR, "redis.a:6379/0", "Slow.", "Look.", area="redis")
OTHER = Finding("redis.slow", Level.ERROR, "redis.b:6379/0", "Slow.", "Look.", area="redis")
EFFECT = Finding("cache.failed", Level.ERROR, "caches.a", "Fails.", "Look.", cause=SLOW)


@dataclass(frozen=True)
class Finds(Probe):
    area = "redis"
    found: tuple[Finding, ...] = ()

    def run(self, deadline: Deadline) -> Iterator[Finding]:  # noqa: ARG002 - a probe's signature
        yield from self.found


@pytest.fixture(autouse=True)
def day(monkeypatch) -> None:
    monkeypatch.setattr(silencing, "today", lambda: TODAY)


@pytest.fixture
def silence(settings: Any) -> Any:
    def choose(**entries: dict[str, Any]) -> None:
        named = {key.replace("__", "."): value for key, value in entries.items()}
        settings.RESILIENCE = {"SILENCE": named, "PLATFORM": "railway"}
        conf.reset()

    return choose


def report(*findings: Finding) -> Report:
    return examine([Finds("redis", found=findings)], Deadline(5), app=False)


def test_what_is_silenced_does_not_count(silence):
    silence(redis__slow=LATER)
    found = report(SLOW, OTHER)
    assert (found.findings, found.exit_code) == ((), 0)
    assert [each.subject for each in found.silenced] == [SLOW.subject, OTHER.subject]
    assert found.silenced[0].facts == {"reason": "moves in May", "until": "2099-12-31"}


def test_what_is_silenced__twin__nothing_is(silence):
    silence()
    found = report(SLOW, OTHER)
    assert (len(found.findings), found.exit_code, found.silenced) == (2, 1, ())


def test_one_subject_alone(silence):
    silence(**{f"redis.slow:{SLOW.subject}": LATER})
    found = report(SLOW, OTHER)
    assert [each.subject for each in found.findings] == [OTHER.subject]
    assert [each.subject for each in found.silenced] == [SLOW.subject]
    assert found.exit_code == 1


@pytest.mark.parametrize("key", ["redis.slow:", "redis.slow: "])
def test_one_subject_that_is_empty_is_not_all_of_them(key):
    with pytest.raises(UsageError, match="names no subject"):
        read_all({key: LATER})


def test_one_subject__twin__with_a_blank_before_it(silence):
    silence(**{f"redis.slow: {SLOW.subject}": LATER})
    assert [each.subject for each in report(SLOW, OTHER).findings] == [OTHER.subject]


def test_settings_that_are_wrong_are_heard_in_every_area(silence):
    """``conf.invalid`` is also found by the probe of components."""
    wrong = Finding("conf.invalid", Level.ERROR, "components", "No.", "Mend it.", area="redis")
    silence(conf__invalid=LATER, redis__slow=LATER)
    assert [each.id for each in report(wrong, SLOW).findings] == ["conf.invalid"]


def test_what_follows_from_it_is_silenced_with_it(silence):
    silence(redis__slow=LATER)
    assert report(SLOW, EFFECT).exit_code == 0
    silence(cache__failed=LATER)
    assert [each.id for each in report(SLOW, EFFECT).findings] == ["redis.slow"]


@pytest.mark.parametrize(("until", "counts"), [(TODAY, False), (TODAY - timedelta(days=1), True)])
def test_the_last_day_is_silent_still(silence, until, counts):
    silence(redis__slow={"reason": "x", "until": until})
    found = report(SLOW)
    assert ("redis.slow" in {each.id for each in found.findings}) is counts
    assert ("conf.silence-expired" in {each.id for each in found.findings}) is counts


def test_an_entry_whose_time_is_over_is_told(silence):
    silence(redis__slow=OVER)
    expired, slow = report(SLOW).findings
    assert (expired.id, expired.level, expired.area) == (
        "conf.silence-expired",
        Level.WARNING,
        "conf",
    )
    assert "'redis.slow' was silenced until 2026-05-31 (moved in May)" in expired.summary
    assert slow.id == "redis.slow"


@pytest.mark.parametrize("key", ["redis.slwo", "redis.slwo:redis.a:6379/0", "redis.W1x", "shop.x"])
def test_an_entry_of_no_finding_is_told_with_the_nearest(silence, key):
    silence(**{key: LATER})
    [found] = report().findings
    assert (found.id, found.level) == ("conf.silence-unknown", Level.WARNING)
    assert ("Did you mean 'redis.slow'?" in found.hint) is ("slwo" in key)


@pytest.mark.parametrize("key", ["redis.slow", "resilience.redis.slow", "security.W009", "a.E1"])
def test_an_entry_of_no_finding__twin(silence, key):
    silence(**{key: LATER})
    assert report().findings == ()


def test_an_entry_cannot_silence_what_is_told_of_entries(silence):
    silence(conf__silence_expired=LATER, redis__slow=OVER)
    silence(**{"conf.silence-expired": LATER, "redis.slow": OVER})
    assert [each.id for each in report().findings] == ["conf.silence-expired"]


def test_djangos_own_setting_leaves_no_trace(silence, settings):
    silence(redis__slow=LATER)
    settings.SILENCED_SYSTEM_CHECKS = ["resilience.redis.slow"]
    found = report(SLOW, EFFECT)
    assert (found.findings, found.silenced) == ((), ())
    assert silencing.is_silenced(SLOW)
    assert silencing.is_silenced(EFFECT)
    settings.SILENCED_SYSTEM_CHECKS = []
    assert silencing.is_silenced(SLOW)
    silence()
    assert not silencing.is_silenced(SLOW)


def test_djangos_checks_keep_the_same_silence(silence, settings):
    dummy = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
    settings.CACHES = dummy

    def said() -> set[str]:
        found: list[checks.CheckMessage] = check_static()
        return {str(each.id) for each in found}

    silence()
    assert "resilience.cache.dummy" in said()
    silence(cache__dummy=LATER)
    assert "resilience.cache.dummy" not in said()
    silence(cache__dummy=OVER)
    assert {"resilience.cache.dummy", "resilience.conf.silence-expired"} <= said()


# ── how it is shown ─────────────────────────────────────────────────────────────────────────────


def test_it_is_shown_to_who_asks_for_everything(silence):
    silence(redis__slow=LATER)
    found = report(SLOW)
    line = "i silenced until 2099-12-31: redis.a:6379/0 (redis.slow) Slow. Reason: moves in\n"
    assert line in text.render(found, verbosity=2)
    assert "silenced" not in text.render(found)
    assert text.render(found).startswith("PASS: ")


def test_it_is_shown_in_every_format(silence):
    silence(redis__slow=LATER)
    found = report(SLOW)
    document = json.loads(render_json.render(found))
    assert document["findings"] == []
    assert [each["id"] for each in document["silenced"]] == ["redis.slow"]
    said = junit.render(found)
    assert '<skipped message="silenced until 2099-12-31: moves in May" />' in said
    assert 'failures="0"' in said.splitlines()[1]
    assert "::error" not in github.render(found)


# ── the setting ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("until", ["2027-01-31", date(2027, 1, 31), datetime(2027, 1, 31, 5)])  # noqa: DTZ001
def test_a_day_is_a_date_or_its_text(until):
    [entry] = read_all({"redis.slow": {"reason": " x ", "until": until}}).values()
    assert (entry.until, entry.reason, entry.subject) == (date(2027, 1, 31), "x", "")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ([], "must be a dictionary"),
        ({"redis": LATER}, "'redis' is not a finding id"),
        ({1: LATER}, "1 is not a finding id"),
        ({"redis.slow": "always"}, "must be"),
        ({"redis.slow": {"reason": "x"}}, "must be"),
        ({"redis.slow": {"reason": " ", "until": "2027-01-31"}}, "gives no reason"),
        ({"redis.slow": {"reason": "x", "until": "soon"}}, "the date of 'redis.slow'"),
        ({"redis.slow": {"reason": "x", "until": None}}, "the date of 'redis.slow'"),
    ],
)
def test_an_entry_of_another_form_is_refused(wrong, words, settings):
    with pytest.raises(UsageError) as caught:
        read_all(wrong)
    assert words in str(caught.value)
    settings.RESILIENCE = {"SILENCE": wrong}
    conf.reset()
    [problem] = conf.problems()
    assert problem.id == "conf.invalid"
    assert conf.get().SILENCE == {}


KEYS = st.sampled_from(["redis.slow", "redis.slow:redis.a:6379/0", "cache.failed", "env.ok"])


@hypothesis_settings(max_examples=60, deadline=None)
@given(st.dictionaries(KEYS, st.dates(date(2026, 1, 1), date(2027, 12, 31))))
def test_every_finding_is_in_one_of_both(entries):
    given_ = {key: {"reason": "x", "until": until} for key, until in entries.items()}
    read = read_all(given_)
    known = conf.Conf(SILENCE=read)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conf, "get", lambda: known)
        patch.setattr(silencing, "today", lambda: TODAY)
        counted, silenced = silencing.split((SLOW, OTHER, EFFECT))
    assert len(counted) + len(silenced) == 3
    holds = {key for key, until in entries.items() if until >= TODAY}
    of_slow = bool(holds & {"redis.slow", "redis.slow:redis.a:6379/0"})
    assert (SLOW in counted) is not of_slow
    assert (EFFECT in counted) is not (of_slow or "cache.failed" in holds)
    assert (OTHER in counted) is ("redis.slow" not in holds)
