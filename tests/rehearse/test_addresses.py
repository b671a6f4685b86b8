"""Whatever an address looks like, what takes its place is on the stage and holds no credential."""

from __future__ import annotations

from types import SimpleNamespace
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from hypothesis import given, strategies as st

from resilience.rehearse import addresses, substitutes

STAGE = {"host": "127.0.0.1", "port": 4711, "scheme": "redis", "ca": ""}
ORDERS = {
    "redis": STAGE,
    "database": "sqlite:////stage/default.sqlite3",
    "databases": {"folder": "/stage"},
    "mail": 2525,
    "token": "t" * 24,
}
WORDS = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=4, max_size=12)


@given(user=WORDS, password=WORDS, host=WORDS, database=st.integers(0, 15), tls=st.booleans())
def test_a_redis_address(user, password, host, database, tls):
    secret = quote(f"{password}/@:", safe="")
    url = f"redis{'s' if tls else ''}://{user}:{secret}@{host}.example.org:6380/{database}"
    made = urlsplit(addresses.redis(f"{url}?ssl_cert_reqs=none&protocol=3", STAGE))
    assert (made.scheme, made.netloc, made.path) == ("redis", "127.0.0.1:4711", f"/{database}")
    assert parse_qs(made.query) == {"protocol": ["3"]}


@pytest.mark.parametrize("url", ["redis://u:a/b@h:6379/0", "redis://[h/0", "rediss://", "redis://"])
def test_a_broken_redis_address_leaves_nothing_of_itself(url):
    assert addresses.redis(url, STAGE) == "redis://127.0.0.1:4711"


def test_with_tls_it_trusts_the_authority_of_the_stage():
    stage = {**STAGE, "scheme": "", "ca": "/stage/ca.pem"}
    made = addresses.redis("rediss://h:1/0?ssl_ca_certs=/real.pem", stage)
    assert made == "rediss://127.0.0.1:4711/0?ssl_ca_certs=%2Fstage%2Fca.pem"
    assert addresses.redis("redis://h:1/0", stage) == "redis://127.0.0.1:4711/0"


@pytest.mark.parametrize(
    ("value", "made"),
    [
        ("postgresql://u:p@db.example.org/shop", "sqlite:////stage/default.sqlite3"),
        ("mysql://u:p@db.example.org/shop", "sqlite:////stage/default.sqlite3"),
        ("sqlite:///db.sqlite3", "sqlite:////stage/default.sqlite3"),
        ("smtp+tls://u:p@mail.example.org:587", "smtp://127.0.0.1:2525"),
        ("https://example.org/redis://", "https://example.org/redis://"),
        ("redis", "redis"),
        ("postgres is up", "postgres is up"),
        ("", ""),
    ],
)
def test_a_variable(value, made):
    given = addresses.replaced(value, ORDERS)
    assert given == (made if value != "redis" else addresses.replaced("redis", ORDERS))
    assert "example.org" not in given or value.startswith("https")


def test_everywhere_in_settings():
    settings = {"CONFIG": {"hosts": [("redis://a/0", {"x": "redis://b/1"})]}, "n": 3}
    assert addresses.everywhere(settings, ORDERS) == {
        "CONFIG": {
            "hosts": [("redis://127.0.0.1:4711/0", {"x": "redis://127.0.0.1:4711/1"})],
        },
        "n": 3,
    }


def a_project(**more: object) -> SimpleNamespace:
    return SimpleNamespace(
        **{
            "CACHES": {
                "default": {
                    "BACKEND": "django_redis.cache.RedisCache",
                    "LOCATION": ["rediss://:x@one:1/0", "rediss://:x@two:1/0"],
                    "OPTIONS": {
                        "PASSWORD": "hunter22",
                        "SERIALIZER": "kept",
                        "CONNECTION_POOL_KWARGS": {"ssl_cert_reqs": None, "max_connections": 7},
                    },
                },
                "local": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
            },
            "DATABASES": {
                "default": {
                    "ENGINE": "django.db.backends.postgresql",
                    "HOST": "db.example.org",
                    "PASSWORD": "hunter22",
                    "CONN_MAX_AGE": 60,
                }
            },
            "EMAIL_HOST": "mail.example.org",
            "EMAIL_HOST_PASSWORD": "hunter22",
            "CELERY_BROKER_URL": "redis://:hunter22@queue.example.org/0",
            "MIDDLEWARE": [],
            **more,
        }
    )


def test_settings_lead_to_the_stage_and_keep_their_options():
    settings = a_project()
    substitutes.apply(settings, ORDERS)
    assert settings.CACHES["default"]["LOCATION"] == ["redis://127.0.0.1:4711/0"] * 2
    assert settings.CACHES["default"]["OPTIONS"] == {
        "SERIALIZER": "kept",
        "CONNECTION_POOL_KWARGS": {"max_connections": 7},
    }
    assert settings.CACHES["local"] == {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
    assert settings.DATABASES["default"] == {
        "CONN_MAX_AGE": 60,
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": "/stage/default.sqlite3",
    }
    assert (settings.EMAIL_HOST, settings.EMAIL_PORT) == ("127.0.0.1", 2525)
    assert "hunter22" not in repr(settings)
    assert "example.org" not in repr(settings)


def test_django_6_1_has_mailers():
    smtp = {"BACKEND": "django.core.mail.backends.smtp.EmailBackend", "OPTIONS": {"host": "m"}}
    other = {"BACKEND": "django.core.mail.backends.console.EmailBackend"}
    settings = a_project(MAILERS={"default": smtp, "quiet": other})
    substitutes.apply(settings, ORDERS)
    assert settings.MAILERS["default"]["OPTIONS"]["host"] == "127.0.0.1"
    assert settings.MAILERS["quiet"] == other


@pytest.mark.parametrize(
    ("middleware", "given", "token"),
    [
        ([substitutes.MIDDLEWARE], {}, "t" * 24),
        ([substitutes.MIDDLEWARE], {"STATUS_TOKEN": "own"}, "own"),
        ([], {}, None),
    ],
)
def test_the_status_page_opens_where_it_is_installed(middleware, given, token):
    settings = a_project(MIDDLEWARE=middleware, RESILIENCE=given)
    substitutes.apply(settings, ORDERS)
    assert settings.RESILIENCE.get("STATUS_TOKEN") == token
