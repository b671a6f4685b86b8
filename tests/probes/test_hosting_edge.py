"""What an edge and a health check send, and the settings that take it or do not."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from resilience.findings import Finding, Level
from resilience.probes import hosting_edge as edge
from resilience.probes.surroundings import HEALTH, Surroundings
from tests.probes.hosting_parts import (
    FLY,
    HEROKU,
    KUBERNETES,
    RAILWAY,
    RENDER,
    around,
    ids,
    run,
    write,
)

SECURITY = "django.middleware.security.SecurityMiddleware"
CSRF = "django.middleware.csrf.CsrfViewMiddleware"
PROXY = ("HTTP_X_FORWARDED_PROTO", "https")


@pytest.fixture(autouse=True)
def sound(settings: Any) -> None:
    """Settings that are right on Railway; each test breaks one of them."""
    settings.MIDDLEWARE = [SECURITY, CSRF]
    settings.ALLOWED_HOSTS = ["shop.up.railway.app", "healthcheck.railway.app"]
    settings.SECURE_PROXY_SSL_HEADER = PROXY
    settings.SECURE_SSL_REDIRECT = False
    settings.CSRF_TRUSTED_ORIGINS = []
    settings.DEBUG = False


def one(surroundings: Surroundings) -> Finding:
    [found] = run(edge.RULES, surroundings)
    return found


def test_sound_settings_have_nothing_to_hear():
    assert ids(edge.RULES, around(RAILWAY)) == []


def test_nothing_is_asked_of_a_laptop(settings):
    settings.ALLOWED_HOSTS, settings.SECURE_SSL_REDIRECT = ["*"], True
    settings.SECURE_PROXY_SSL_HEADER = None
    assert ids(edge.RULES, around({})) == []


# ── the Host of the health check ────────────────────────────────────────────────────────────────


def test_railways_health_check_needs_its_host(settings):
    settings.ALLOWED_HOSTS = ["shop.up.railway.app"]
    found = one(around(RAILWAY))
    assert (found.id, found.level) == ("hosting.healthcheck-host", Level.WARNING)
    assert 'add "healthcheck.railway.app" to ALLOWED_HOSTS' in found.hint


@pytest.mark.parametrize("host", ["healthcheck.railway.app", ".railway.app"])
def test_railways_health_check__twin__its_host_is_allowed(settings, host):
    settings.ALLOWED_HOSTS = ["shop.up.railway.app", host]
    assert ids([edge.healthcheck_host], around(RAILWAY)) == []


@pytest.mark.parametrize("environ", [RAILWAY, KUBERNETES | {"POD_IP": "10.1.2.3"}])
def test_railways_health_check__twin__our_middleware_answers(settings, environ):
    settings.ALLOWED_HOSTS = ["shop.example"]
    assert ids([edge.healthcheck_host], around(environ)) == ["hosting.healthcheck-host"]
    settings.MIDDLEWARE = [HEALTH, SECURITY]
    assert ids([edge.healthcheck_host], around(environ)) == []
    settings.MIDDLEWARE = [SECURITY, HEALTH]  # behind another it may be too late
    assert ids([edge.healthcheck_host], around(environ)) == ["hosting.healthcheck-host"]


@pytest.mark.parametrize(("given", "host"), [("10.1.2.3", "10.1.2.3"), ("fd00::7", "[fd00::7]")])
def test_a_pod_is_probed_by_its_address(settings, given, host):
    environ = KUBERNETES | {"POD_IP": given}
    found = one(around(environ))
    assert found.id == "hosting.healthcheck-host"
    assert "httpHeaders" in found.hint
    settings.ALLOWED_HOSTS = ["shop.example", host]
    assert ids(edge.RULES, around(environ)) == []


def test_the_address_of_a_pod_stands_in_its_hosts_file(settings, tmp_path):
    settings.ALLOWED_HOSTS = ["shop.example"]
    name = socket.gethostname()
    write(tmp_path, "etc/hosts", f"127.0.0.1 localhost\n10.1.2.3\t{name}.svc {name} # the pod\n")
    assert ids(edge.RULES, around(KUBERNETES, tmp_path)) == ["hosting.healthcheck-host"]
    write(tmp_path, "etc/hosts", f"127.0.1.1 {name}\n")
    assert ids(edge.RULES, around(KUBERNETES, tmp_path)) == []
    assert ids(edge.RULES, around(KUBERNETES, Path("/nonexistent"))) == []


# ── redirects ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("environ", [RAILWAY, KUBERNETES])
def test_a_health_check_is_redirected(settings, environ):
    settings.SECURE_SSL_REDIRECT = True
    found = one(around(environ))
    assert (found.id, found.level) == ("hosting.ssl-redirect", Level.WARNING)
    assert "SECURE_REDIRECT_EXEMPT" in found.hint


@pytest.mark.parametrize(
    "mended",
    [
        {"SECURE_REDIRECT_EXEMPT": ["^healthz/?$"]},
        {"MIDDLEWARE": [HEALTH, SECURITY, CSRF]},
        {"MIDDLEWARE": [CSRF]},  # nobody redirects
        {"SECURE_SSL_REDIRECT": False},
    ],
)
def test_a_health_check_is_redirected__twin(settings, mended):
    for name, value in ({"SECURE_SSL_REDIRECT": True} | mended).items():
        setattr(settings, name, value)
    assert ids(edge.RULES, around(RAILWAY)) == []


@pytest.mark.parametrize(
    ("environ", "host"),
    [
        (RAILWAY, "shop.up.railway.app"),
        (HEROKU, "shop-1.herokuapp.com"),
        (RENDER, "shop.onrender.com"),
        (FLY, "shop.fly.dev"),
    ],
)
def test_https_ends_at_the_edge(settings, environ, host):
    settings.ALLOWED_HOSTS = [host, "healthcheck.railway.app"]
    settings.SECURE_PROXY_SSL_HEADER = None
    settings.MIDDLEWARE = [SECURITY]
    assert one(around(environ)).id == "hosting.proxy-header"
    settings.SECURE_PROXY_SSL_HEADER = PROXY
    assert ids(edge.RULES, around(environ)) == []


def test_without_the_header_a_redirect_has_no_end(settings):
    settings.SECURE_PROXY_SSL_HEADER, settings.SECURE_SSL_REDIRECT = None, True
    settings.MIDDLEWARE = [HEALTH, SECURITY]
    found = one(around(RAILWAY))
    assert (found.id, found.level) == ("hosting.proxy-header", Level.ERROR)
    assert "redirects to itself" in found.summary


def test_a_header_that_meta_does_not_know_is_none(settings):
    settings.SECURE_PROXY_SSL_HEADER = ("X-Forwarded-Proto", "https")
    settings.MIDDLEWARE = [SECURITY]
    found = one(around(RAILWAY))
    assert "'X-Forwarded-Proto', which is no key" in found.summary
    assert "HTTP_X_FORWARDED_PROTO" in found.hint


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (("HTTP_X_FORWARDED_PROTO", "HTTPS"), "another value"),
        (("HTTP_X_FORWARDED_PROTO", "http"), "another value"),
        (("HTTP_X_FORWARDED_PROTO",), "no pair"),
        ("HTTP_X_FORWARDED_PROTO", "no pair"),
        ((None, "https"), "no key"),
    ],
)
def test_a_header_that_never_says_https_is_none(settings, header, words):
    settings.SECURE_PROXY_SSL_HEADER, settings.MIDDLEWARE = header, [SECURITY]
    assert words in one(around(RAILWAY)).summary


@pytest.mark.parametrize(
    "header", [["HTTP_X_FORWARDED_PROTO", "https"], ("HTTP_CF_VISITOR", '{"scheme":"https"}')]
)
def test_a_header_that_never_says_https__twin(settings, header):
    settings.SECURE_PROXY_SSL_HEADER, settings.MIDDLEWARE = header, [SECURITY]
    assert ids(edge.RULES, around(RAILWAY)) == []


@pytest.mark.parametrize("odd", [None, 5, "x", object(), {"a": 1}, [None, 5], []])
@pytest.mark.parametrize(
    "name",
    ["MIDDLEWARE", "ALLOWED_HOSTS", "CSRF_TRUSTED_ORIGINS", "SECURE_PROXY_SSL_HEADER"],
)
@pytest.mark.parametrize("environ", [RAILWAY, KUBERNETES | {"POD_IP": "10.0.0.7"}])
def test_settings_of_any_form_are_no_crash(settings, environ, name, odd):
    setattr(settings, name, odd)
    for each in run(edge.RULES, around(environ)):
        assert each.id.startswith("hosting.")


# ── forms ───────────────────────────────────────────────────────────────────────────────────────


def test_a_form_is_refused_where_https_is_taken_for_http(settings):
    settings.SECURE_PROXY_SSL_HEADER = None
    header, csrf = run(edge.RULES, around(RAILWAY))
    assert (header.id, header.level) == ("hosting.proxy-header", Level.WARNING)
    assert (csrf.id, csrf.level) == ("hosting.csrf-origin", Level.ERROR)
    assert '"https://shop.up.railway.app"' in csrf.hint


def test_a_form_is_refused_because_of_a_redirect_without_end(settings):
    settings.SECURE_PROXY_SSL_HEADER, settings.SECURE_SSL_REDIRECT = None, True
    found = run([edge.proxy_header, edge.csrf_origin], around(RAILWAY))
    assert [each.is_root_cause for each in found] == [True, False]
    assert found[1].cause == found[0]


@pytest.mark.parametrize(
    ("origin", "covered"),
    [
        ("https://shop.up.railway.app", True),
        ("https://*.up.railway.app", True),
        ("http://shop.up.railway.app", False),
        ("https://shop.example", False),
    ],
)
def test_a_form_is_refused__twin__its_origin_is_trusted(settings, origin, covered):
    settings.SECURE_PROXY_SSL_HEADER = None
    settings.CSRF_TRUSTED_ORIGINS = [origin]
    found = [each.level for each in edge.csrf_origin(around(RAILWAY))]
    assert found == ([] if covered else [Level.WARNING])


def test_django_itself_refuses_such_a_form_and_takes_it_with_the_header(settings, rf):
    """The claim of the rule, asked of Django."""
    from django.http import HttpResponse
    from django.middleware.csrf import CsrfViewMiddleware

    settings.ALLOWED_HOSTS = ["shop.up.railway.app"]
    request = rf.post(
        "/",
        headers={
            "host": "shop.up.railway.app",
            "origin": "https://shop.up.railway.app",
            "x-forwarded-proto": "https",
        },
    )
    middleware: Any = CsrfViewMiddleware(lambda _: HttpResponse())
    verified = middleware._origin_verified
    settings.SECURE_PROXY_SSL_HEADER = None
    assert not verified(request)
    settings.SECURE_PROXY_SSL_HEADER = PROXY
    assert verified(request)


# ── ALLOWED_HOSTS ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("environ", [RAILWAY, KUBERNETES, RENDER])
def test_every_host_is_too_many(settings, environ):
    settings.ALLOWED_HOSTS = ["*"]
    found = one(around(environ))
    assert (found.id, found.level) == ("hosting.any-host", Level.WARNING)


@pytest.mark.parametrize(
    ("hosts", "level"),
    [
        ([], Level.ERROR),
        (["localhost", "127.0.0.1", "[::1]"], Level.ERROR),
        (["shop.example"], Level.WARNING),  # its own domain is all that visitors know
    ],
)
def test_the_hosts_own_name_is_missing(settings, hosts, level):
    settings.ALLOWED_HOSTS = hosts
    found = one(around(RENDER))
    assert (found.id, found.level) == ("hosting.public-host", level)
    assert found.hint == 'Add "shop.onrender.com" to ALLOWED_HOSTS.'


@pytest.mark.parametrize("host", ["shop.onrender.com", ".onrender.com", "SHOP.onrender.com"])
def test_the_hosts_own_name_is_missing__twin(settings, host):
    settings.ALLOWED_HOSTS = [host]
    assert ids(edge.RULES, around(RENDER)) == []
