"""Each criterion by itself: met, and broken by one figure."""

from __future__ import annotations

from dataclasses import replace

import pytest

from resilience.findings import Level, Report
from resilience.hosting import Hosting
from resilience.rehearse import remedies, table, verdict
from resilience.rehearse.diagnosis import Diagnosis, Said
from resilience.rehearse.load import Measured
from resilience.rehearse.missing_secret import MissingSecret
from resilience.rehearse.redis_refused import RedisRefused
from resilience.rehearse.scenarios import HEALTHY
from resilience.rehearse.survey import Survey
from resilience.rehearse.verdict import Played, Standard

SURVEY = Survey(caches={"default": "django_redis.cache.RedisCache"}, secrets=("KEY",))


def said(id: str, level: str = "error", *, is_root: bool = True, subject: str = "s") -> Said:
    return Said(id, level, subject, "summary.", "hint.", "shop/x.py:1", is_root)


REFUSED = said("tcp.refused", subject="redis.127.0.0.1:4711/0")
FINE = Played(
    RedisRefused(),
    900.0,
    20.0,
    Measured((5.0, 7.0, 1999.0), {200: 2, 404: 1}),
    Diagnosis((REFUSED,)),
    seconds=4.2,
)
STANDARD = Standard(SURVEY, frozenset({("security.W004", "deploy")}))


def ids(played: Played, standard: Standard = STANDARD) -> list[str]:
    return [finding.id for finding in verdict.judge(played, standard)]


def test_all_is_well():
    (finding,) = verdict.judge(FINE, STANDARD)
    assert finding.id == "rehearse.ok"
    assert finding.level is Level.OK
    assert finding.summary == (
        "Redis refuses connections → booted in 0.9 s, 3 requests, none failed, p99 1999 ms → "
        "tcp.refused."
    )
    assert finding.facts["max_ms"] == 1999.0
    assert finding.facts["p50_ms"] == 7.0


@pytest.mark.parametrize(
    ("broken", "id"),
    [
        ({"boot_ms": None}, "rehearse.no-boot"),
        ({"measured": Measured((5.0,), {500: 1})}, "rehearse.server-errors"),
        ({"measured": Measured((5.0,), {}, 1)}, "rehearse.server-errors"),
        ({"measured": Measured((2001.0,), {200: 1})}, "rehearse.slow-requests"),
        ({"diagnosis": Diagnosis()}, "rehearse.not-named"),
        ({"diagnosis": Diagnosis((REFUSED, said("cache.mismatch")))}, "rehearse.not-named"),
        ({"diagnosis": Diagnosis((replace(REFUSED, is_root=False),))}, "rehearse.not-named"),
        ({"diagnosis": Diagnosis(problem="no report")}, "rehearse.not-named"),
    ],
)
def test_each_criterion__twin(broken, id):
    assert id in ids(replace(FINE, **broken))


SLOW = Measured((2001.0,), {500: 1})


@pytest.mark.parametrize("healthy", [Measured(), SLOW])
def test_what_is_so_without_a_fault_is_to_be_mended_first(healthy):
    found = verdict.judge(replace(FINE, measured=SLOW), replace(STANDARD, measured=healthy))
    assert [finding.id for finding in found] == ["rehearse.server-errors", "rehearse.slow-requests"]
    hints = {"without any fault" in finding.hint for finding in found}
    assert hints == {healthy is SLOW}


@pytest.mark.parametrize("scenario", [HEALTHY, RedisRefused()])
def test_no_service_is_blamed_where_nothing_is_broken(scenario):
    slow = replace(FINE, scenario=scenario, measured=Measured((2001.0,), {200: 1}))
    found = {each.id: each.hint for each in verdict.judge(slow, STANDARD)}
    hint = found["rehearse.slow-requests"]
    assert ("Nothing is broken" in hint) is (scenario is HEALTHY)


def test_what_was_there_before_does_not_count():
    old = said("security.W004", "warning", subject="deploy")
    assert ids(replace(FINE, diagnosis=Diagnosis((REFUSED, old)))) == ["rehearse.ok"]
    known = Standard(SURVEY, frozenset({REFUSED.key}))
    assert ids(FINE, known) == ["rehearse.not-named"]


def test_ports_are_not_compared():
    other = replace(REFUSED, subject="redis.127.0.0.1:5000/0")
    assert other.key == REFUSED.key
    assert replace(REFUSED, subject="redis.127.0.0.1:5000/1").key != REFUSED.key


@pytest.mark.parametrize(("secrets", "ends"), [((), "rehearse.ok"), (("KEY",), "rehearse.no-boot")])
def test_refusing_to_boot_is_right_only_without_a_component_to_blame(secrets, ends):
    played = replace(
        FINE,
        scenario=MissingSecret(),
        boot_ms=None,
        measured=Measured(),
        diagnosis=Diagnosis((said("env.missing", subject="SECRET_KEY"),)),
    )
    assert ids(played, Standard(replace(SURVEY, secrets=secrets))) == [ends]
    unnamed = replace(played, diagnosis=Diagnosis())
    assert "rehearse.ok" not in ids(unnamed, Standard(replace(SURVEY, secrets=secrets)))


def test_a_remedy_names_backend_and_place():
    audit = (
        replace(said("audit.import-client", "warning"), summary="a redis client"),
        replace(said("audit.import-client", "warning", subject="t"), summary="an openai client"),
    )
    hint = remedies.of_requests(RedisRefused(), SURVEY, audit, [])
    assert 'CACHES["default"]["BACKEND"] = "resilience.cache.ResilientCache"' in hint
    assert hint.count("shop/x.py:1") == 1
    ours = replace(SURVEY, caches={"default": "resilience.cache.ResilientCache"})
    errors = [{"name": "redis.exceptions.ConnectionError", "at": "shop/views.py:9"}]
    hint = remedies.of_requests(RedisRefused(), ours, (), errors)
    assert "redis.exceptions.ConnectionError at shop/views.py:9" in hint
    assert remedies.of_requests(RedisRefused(), ours, (), [])


@pytest.mark.parametrize("unicode", [True, False])
def test_the_table_fits_and_tells_all_three(unicode):
    failed = replace(FINE, measured=Measured((2500.0,), {}))
    findings = (*verdict.judge(FINE, STANDARD), *verdict.judge(failed, STANDARD))
    report = Report(findings[:1], Hosting(), 1.0)
    rendered = table.render(report, unicode=unicode)
    assert max(map(len, rendered.splitlines())) <= 80
    assert all(word in rendered for word in ("redis-refused", "tcp.refused", "requests"))
    assert rendered.splitlines()[-1].startswith("PASS: 0 errors")
    rendered = table.render(Report(findings[1:], Hosting(), 1.0), unicode=unicode)
    assert "rehearse.slow-requests" in rendered
    assert rendered.splitlines()[-1].startswith("FAIL: 1 error")
    if not unicode:
        assert rendered.isascii()
