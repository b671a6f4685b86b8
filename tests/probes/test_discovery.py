"""Which TLS servers settings and words name."""

from __future__ import annotations

from contextlib import suppress

import pytest
from django.db import connections
from hypothesis import example, given, strategies as st

from resilience import env
from resilience.errors import UsageError
from resilience.probes import discovery, tls
from resilience.probes.base import Deadline
from resilience.probes.endpoints import Endpoint, parse
from resilience.probes.sightings import domain

NAMES = (
    "LANGSMITH_ENDPOINT LANGCHAIN_ENDPOINT LANGSMITH_TRACING LANGCHAIN_TRACING_V2 SENTRY_DSN "
    "LANGSMITH_API_KEY LANGCHAIN_API_KEY "
    "HTTPS_PROXY https_proxy ALL_PROXY all_proxy NO_PROXY no_proxy AWS_CA_BUNDLE "
    "PGSSLROOTCERT PGSSLMODE "
    "CELERY_BROKER_URL BROKER_URL CELERY_RESULT_BACKEND AWS_S3_ENDPOINT_URL AWS_S3_REGION_NAME"
).split()


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


# ── words ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("example.com", Endpoint("example.com", 443, "http")),
        ("example.com:443", Endpoint("example.com", 443, "http")),
        ("example.com:5432", Endpoint("example.com", 5432, "postgres", starttls=True)),
        ("mail:587", Endpoint("mail", 587, "smtp", starttls=True)),
        ("mail:465", Endpoint("mail", 465, "smtp")),
        ("cache:6380", Endpoint("cache", 6380, "redis")),
        ("10.0.0.1:8443", Endpoint("10.0.0.1", 8443)),
        ("[::1]:8443", Endpoint("::1", 8443)),
        ("https://example.com/path?x=1", Endpoint("example.com", 443, "http")),
        ("rediss://u:p@cache:6380/0", Endpoint("cache", 6380, "redis")),
        ("postgresql://u:p@db/name", Endpoint("db", 5432, "postgres", starttls=True)),
        ("smtp://mail", Endpoint("mail", 587, "smtp", starttls=True)),
        ("https://[fe80::1]:444", Endpoint("fe80::1", 444, "http")),
        ("https://bücher.example", Endpoint("xn--bcher-kva.example", 443, "http")),
        ("tls://example.com:5432", Endpoint("example.com", 5432)),
    ],
)
def test_a_word(word, expected):
    assert parse(word) == expected


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("", "A target is HOST:PORT or a URL"),
        ("a:b:c", "A target is HOST:PORT or a URL"),
        ("host:port", "A target is HOST:PORT or a URL"),
        ("host:0", "The port is not a number from 1 to 65535"),
        ("host:65536", "The port is not a number from 1 to 65535"),
        ("https://host:99999", "The port is not a number from 1 to 65535"),
        ("tls://host", "The port is not a number from 1 to 65535"),
        ("https://", "names no host"),
        ("https://[::1", "brackets"),
        ("https://a b", "neither a host name nor an address"),
        ("ho..st", "neither a host name nor an address"),
        ("http://host", "without TLS: write https://"),
        ("redis://:secret@host", "without TLS: write rediss://"),
        ("htps://host", "Did you mean 'https'?"),
    ],
)
def test_a_word_that_is_none(word, said):
    with pytest.raises(UsageError) as refused:
        parse(word)
    assert said in str(refused.value)
    assert "secret" not in str(refused.value)


@given(st.text())
@example("https://[v1.x]")
@example("https://\udcff")
def test_any_text_is_a_target_or_a_usage_error(word):
    with suppress(UsageError):
        assert 0 < parse(word).port < 65536


@pytest.mark.parametrize(
    ("host", "owner"),
    [
        ("api.smith.langchain.com", "langchain.com"),
        ("shop.example.co.uk", "example.co.uk"),
        ("example.com.", "example.com"),
        ("10.1.2.3", ""),
        ("::1", ""),
        ("localhost", ""),
        ("redis", ""),
        ("redis.railway.internal", ""),
        ("db.default.svc", ""),
    ],
)
def test_who_owns_a_name(host, owner):
    assert domain(host) == owner


# ── settings ────────────────────────────────────────────────────────────────────────────────────


def found(origin: str) -> Endpoint:
    (endpoint,) = (each for each in discovery.endpoints() if origin in each.origins)
    return endpoint


def test_nothing_is_named_by_the_settings_of_these_tests():
    assert discovery.endpoints() == []
    assert [probe.subject for probe in tls.probes()] == ["tls"]


def test_caches(settings):
    url = "rediss://cache.internal:6380/0"
    settings.CACHES = {
        "default": {"BACKEND": "resilience.cache.ResilientCache", "LOCATION": url},
        "other": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": "rediss://other.internal?ssl_ca_certs=/etc/ours.pem&ssl_cert_reqs=none",
        },
        "same": {"BACKEND": "resilience.cache.ResilientCache", "LOCATION": url[:-1] + "1"},
        "plain": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": "redis://plain"},
    }
    default = found("caches.default")
    assert (default.host, default.port, default.component) == ("cache.internal", 6380, "redis")
    assert default.stores == ()
    assert default.origins == ("caches.default", "caches.same")
    other = found("caches.other")
    assert (other.stores, other.ca, other.verifies) == (("system",), ("/etc/ours.pem",), False)
    assert len(discovery.endpoints()) == 2


def test_databases(monkeypatch):
    postgres = "django.db.backends.postgresql"
    databases = {
        "default": {"ENGINE": postgres, "HOST": "db", "OPTIONS": {"sslmode": "require"}},
        "strict": {
            "ENGINE": postgres,
            "HOST": "strict",
            "PORT": "6432",
            "OPTIONS": {"sslmode": "verify-full", "sslrootcert": "/etc/db.pem"},
        },
        "usual": {"ENGINE": postgres, "HOST": "usual"},
        "socket": {"ENGINE": postgres, "HOST": "/run", "OPTIONS": {"sslmode": "require"}},
        "lite": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"},
    }
    monkeypatch.setattr(connections, "settings", connections.configure_settings(databases))
    default, strict = found("databases.default"), found("databases.strict")
    assert (default.port, default.starttls, default.verifies) == (5432, True, False)
    assert (strict.port, strict.verifies, strict.only_ca) == (6432, True, "/etc/db.pem")
    assert len(discovery.endpoints()) == 2


def test_mysql_is_said_to_be_not_examined(monkeypatch):
    mysql = {"ENGINE": "django.db.backends.mysql", "HOST": "db"}
    databases = {
        "default": {**mysql, "OPTIONS": {"ssl_mode": "VERIFY_IDENTITY"}},
        "plain": mysql,
    }
    monkeypatch.setattr(connections, "settings", connections.configure_settings(databases))
    assert discovery.endpoints() == []
    _, said = tls.probes()
    (finding,) = said.run(Deadline(1))
    assert (finding.id, finding.subject) == ("tls.not-examined", "tls.databases.default")
    assert finding.skipped
    databases.pop("default")
    monkeypatch.setattr(
        connections, "settings", connections.configure_settings({"default": databases["plain"]})
    )
    assert [probe.subject for probe in tls.probes()] == ["tls"]


@pytest.mark.filterwarnings("ignore:.*EMAIL_")  # deprecated in Django 6.1, and still used
def test_mail(settings):
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "mail.internal", 587
    assert discovery.endpoints() == [], "without TLS there is nothing to check"
    settings.EMAIL_USE_TLS = True
    mail = found("email")
    assert (mail.where, mail.starttls, mail.stores) == ("mail.internal:587", True, ("system",))
    settings.EMAIL_USE_TLS, settings.EMAIL_USE_SSL, settings.EMAIL_PORT = False, True, 465
    assert found("email").starttls is False


def test_mailers(settings):
    options = {"host": "new.internal", "port": 587, "use_tls": True}
    settings.MAILERS = {"default": {"OPTIONS": options}}
    assert found("mailers.default").host == "new.internal"


def test_what_talks_https(settings, monkeypatch):
    settings.SENTRY_DSN = "https://key@o1.ingest.sentry.io/1"
    assert found("SENTRY_DSN").stores == ("requests",)
    assert "key" not in repr(discovery.endpoints())
    monkeypatch.setenv("LANGSMITH_TRACING", "true")
    assert found("langsmith").host == "api.smith.langchain.com"
    monkeypatch.setenv("LANGSMITH_ENDPOINT", '"https://eu.api.smith.langchain.com"')
    assert found("langsmith").host == "eu.api.smith.langchain.com"
    monkeypatch.setenv("LANGSMITH_ENDPOINT", "not a url")
    assert [each.origins for each in discovery.endpoints()] == [("SENTRY_DSN",)]
    s3 = {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": {"region_name": "eu-west-1"}}
    settings.STORAGES = {"default": s3, "staticfiles": {"BACKEND": "x"}}
    assert found("storages.default").host == "s3.eu-west-1.amazonaws.com"


def test_brokers(settings, monkeypatch):
    settings.CELERY_BROKER_URL = "amqps://user:geheim@mq.internal//"
    settings.CELERY_RESULT_BACKEND = "redis://plain"
    assert found("CELERY_BROKER_URL").where == "mq.internal:5671"
    assert len(discovery.endpoints()) == 1
    monkeypatch.setenv("BROKER_URL", "rediss://mq2.internal")
    assert found("BROKER_URL").where == "mq2.internal:6379"


def test_the_proxy_of_the_usual_clients(settings, monkeypatch):
    settings.SENTRY_DSN = "https://key@o1.ingest.sentry.io/1"
    settings.CELERY_BROKER_URL = "rediss://mq.internal"
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.internal:3128")
    assert found("SENTRY_DSN").proxy == "http://proxy.internal:3128"
    assert found("CELERY_BROKER_URL").proxy == "", "only HTTP goes through it"
    monkeypatch.setenv("NO_PROXY", ".sentry.io")
    assert found("SENTRY_DSN").proxy == ""
    monkeypatch.delenv("HTTPS_PROXY")
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.setenv("ALL_PROXY", "socks5://proxy.internal:1080")
    assert found("SENTRY_DSN").proxy == "socks5://proxy.internal:1080"


def test_a_missing_variable_is_nobodys_server(settings):
    with env.collecting():
        settings.SENTRY_DSN = env.str("SENTRY_DSN")
        settings.CELERY_BROKER_URL = f"rediss://{env.str('BROKER_HOST')}:6379"
        assert discovery.endpoints() == []
    settings.CELERY_BROKER_URL = "rediss://mq:6379"
    assert [each.host for each in discovery.endpoints()] == ["mq"]


def test_settings_of_any_shape_do_not_stop_the_rest(settings):
    settings.CACHES = {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": ":"}}
    settings.STORAGES = {}
    settings.CELERY_BROKER_URL = "rediss://[::1"
    settings.SENTRY_DSN = "https://o1.ingest.sentry.io/1"
    assert [each.host for each in discovery.endpoints()] == ["o1.ingest.sentry.io"]
