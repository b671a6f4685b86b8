"""What the pages say of a Health, and what they never do: ask a database, run a foreign script."""

from __future__ import annotations

import html
import re
import time
from dataclasses import replace

import pytest
from django.apps import apps
from django.test import RequestFactory, override_settings

from resilience.findings import Level
from resilience.health.states import Readiness
from resilience.page import answers, fleet, panels, policy, problems
from resilience.render import json
from tests.page import samples

REQUEST = RequestFactory().get("/readyz")


def page(of: object) -> str:
    return answers.token_page(REQUEST, of).content.decode()  # type: ignore[arg-type]


def test_the_token_page_asks_no_database_and_takes_no_time():
    """pytest-django refuses every query here: none is asked, whatever is installed."""
    large = samples.many(50)
    page(large)  # templates are read once
    began = time.perf_counter()
    text = page(large)
    assert time.perf_counter() - began < 1.0
    assert "this page asks no database" in text


def test_a_query_would_be_noticed__twin(monkeypatch):
    from django.contrib.auth.models import User

    monkeypatch.setattr(panels, "is_without_database", lambda _: User.objects.exists())
    with pytest.raises(RuntimeError, match="Database access not allowed"):
        page(samples.many(1))


@pytest.mark.parametrize(
    "settings", [{"TEMPLATES": []}, {"CACHES": {}}, {"STATIC_URL": None}, {"USE_TZ": False}]
)
def test_no_setting_of_the_project_keeps_it_from_rendering(settings):
    with override_settings(**settings):
        assert "ro-verdict" in page(samples.many(3))


def test_causes_come_first_with_what_follows_from_them():
    cause = samples.finding("redis.db", Level.ERROR)
    found = samples.health(
        [
            samples.state(samples.finding("caches.a", Level.ERROR, cause)),
            samples.state(samples.finding("deploy", Level.WARNING)),
            samples.state(cause),
            samples.state(samples.finding("tls", Level.INFO)),
        ],
        Readiness.DEGRADED,
    )
    first, second = problems.problems(found)
    assert (first.line.subject, [each.subject for each in first.so]) == ("redis.db", ["caches.a"])
    assert second.line.subject == "deploy"
    assert first.since is not None
    assert first.since.ago == "20 min ago"
    assert [each.line.subject for each in problems.notes(found)] == ["tls"]
    said = problems.verdict(found)
    assert said.counts == "1 root cause, 1 more error because of it, 1 warning"
    assert "nothing critical is down" in said.advice
    text = page(found)
    assert text.index("redis.db is error") < text.index("deploy is warning")


def test_what_is_critical_and_fails_is_not_called_harmless():
    """The thresholds against flapping hold readiness back, never the truth."""
    broken = samples.state(samples.finding("databases.default", Level.ERROR))
    found = samples.health([broken], Readiness.DEGRADED, critical="databases.default")
    assert "just begun to fail" in problems.verdict(found).advice
    assert panels.is_without_database(found)
    assert "Database unreachable; this process only." in page(found)


def test_a_probe_that_hangs_shows_since_when():
    hung = replace(samples.state(samples.finding("redis.db")), running_since=samples.NOW - 75)
    assert "running for 1 min" in page(samples.health([hung]))
    normal = replace(hung, running_since=samples.NOW - 2)
    assert "running for" not in page(samples.health([normal]))


def test_diagnostics_are_the_very_bytes_of_the_report():
    found = samples.many(7)
    held = re.search(r'<textarea id="ro-report".*?>(.*?)</textarea>', page(found), re.DOTALL)
    assert held is not None
    assert html.unescape(held[1]) == json.render(found.report)


def test_what_looks_like_html_is_text():
    nasty = '</textarea><script>alert(1)</script><img src=x onerror="alert(2)">&amp;'
    text = page(samples.health([samples.state(samples.finding(nasty, Level.ERROR))]))
    assert "<script>alert" not in text
    assert "<img src=x" not in text
    held = re.search(r'<textarea id="ro-report".*?>(.*?)</textarea>', text, re.DOTALL)
    assert held is not None
    assert '"subject": "&lt;/textarea>' in held[1]


def test_the_policy_allows_the_page_alone():
    response = answers.token_page(REQUEST, samples.many(1))
    rules = response["Content-Security-Policy"]
    text = response.content.decode()
    nonce = re.search(r"script-src 'nonce-([^']+)'", rules)
    assert nonce is not None
    assert rules.startswith("default-src 'none'; ")
    assert "unsafe" not in rules
    assert "'self'" not in rules.split("connect-src")[0]
    assert response["Cache-Control"] == "no-store"
    assert text.count(f'nonce="{nonce[1]}"') == len(re.findall(r"<(?:style|script)\b", text)) == 2
    assert not re.search(r'\s(?:style|on\w+)="', text)
    assert not re.search(r'(?:src|href)="(?!#)', text)
    again = answers.token_page(REQUEST, samples.many(1))
    assert again["Content-Security-Policy"] != rules


@pytest.mark.parametrize(
    ("static_url", "allowed"),
    [
        ("/static/", "style-src 'nonce-x' 'self';"),
        ("https://cdn.example/s/", "style-src 'nonce-x' 'self' https://cdn.example;"),
        ("//cdn.example/s/", "style-src 'nonce-x' 'self' https://cdn.example;"),
    ],
)
def test_the_admins_own_style_is_allowed_from_where_it_is(static_url, allowed):
    from django.http import HttpResponse

    response = HttpResponse()
    policy.protect(response, "x", static_url=static_url)
    assert allowed in response["Content-Security-Policy"]


def test_the_form_says_whether_there_is_a_token_at_all():
    with override_settings(RESILIENCE={"STATUS_TOKEN": "x" * 20}):
        asked = answers.token_form(REQUEST, "not-ready").content.decode()
        refused = answers.token_form(REQUEST, "", refused=True).content.decode()
    closed = answers.token_form(REQUEST, "not-ready").content.decode()
    assert 'name="token"' in asked
    assert "<strong>not-ready</strong>" in asked
    assert "not the token" not in asked
    assert "not the token" in refused
    assert 'name="token"' not in closed
    assert "Set one of at least 16 characters" in closed


def test_without_the_history_app_the_page_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(apps, "is_installed", lambda _: False)
    assert "resilience.history" in fleet.read(samples.NOW).said
    assert fleet.read(samples.NOW).spans is None
