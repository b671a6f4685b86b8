"""What a site may have in CACHES: honoured, superseded or refused, and never repeated."""

from __future__ import annotations

import math
from typing import Any

import pytest
from django.core.cache.backends.base import InvalidCacheBackendError, default_key_func
from django.test import override_settings
from redis.backoff import NoBackoff
from redis.connection import ConnectionPool, SSLConnection
from redis.retry import Retry

from resilience.cache.options import Options, parse, superseded

URL = "redis://127.0.0.1:6390/2"
CANARY = "canary-4711-password"
SENTINEL = {
    "CLIENT_CLASS": "django_redis.client.SentinelClient",
    "CONNECTION_FACTORY": "django_redis.pool.SentinelConnectionFactory",
    "SENTINELS": [("s2", 26379), ("s1", "26380")],
}


def shout(key: str, prefix: str, version: int) -> str:
    """A KEY_FUNCTION as a site may have one."""
    return f"{prefix}/{version}/{key}".upper()


def read(location: object = URL, *, own: object = None, **options: object) -> Options:
    if own is not None:
        options["RESILIENCE"] = own
    return parse("shop", {"LOCATION": location, "OPTIONS": options})


def refusal(location: object = URL, *, own: object = None, **options: object) -> str:
    with pytest.raises(InvalidCacheBackendError) as caught:
        read(location, own=own, **options)
    said = str(caught.value)
    assert said.startswith("CACHES['shop']: ")
    assert CANARY not in said
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    return said


# ── RESILIENCE ──────────────────────────────────────────────────────────────────────────────────


def test_the_defaults():
    options = read()
    assert {
        "OPERATION_TIMEOUT": options.operation_timeout,
        "BULK_TIMEOUT": options.bulk_timeout,
        "CONNECT_TIMEOUT": options.connect_timeout,
        "MAX_STALE": options.max_stale,
        "L1_MAX_BYTES": options.l1_max_bytes,
        "MAX_CONNECTIONS": options.max_connections,
        "STRICT": list(options.strict),
        "CLEAR_PATTERN": options.clear_pattern,
        "HOT": list(options.hot),
    } == {
        "OPERATION_TIMEOUT": 0.25,
        "BULK_TIMEOUT": 30.0,
        "CONNECT_TIMEOUT": 2.0,
        "MAX_STALE": 60,
        "L1_MAX_BYTES": 16777216,
        "MAX_CONNECTIONS": 16,
        "STRICT": [],
        "CLEAR_PATTERN": None,
        "HOT": [],
    }


@pytest.mark.parametrize(
    ("key", "value", "found"),
    [
        ("OPERATION_TIMEOUT", 1, 1.0),
        ("BULK_TIMEOUT", 0.5, 0.5),
        ("CONNECT_TIMEOUT", 10, 10.0),
        ("MAX_STALE", 0, 0.0),
        ("L1_MAX_BYTES", 0, 0),
        ("MAX_CONNECTIONS", 1, 1),
        ("STRICT", ["ratelimit:*", "lock?"], ("ratelimit:*", "lock?")),
        ("STRICT", (), ()),
        ("CLEAR_PATTERN", "SHOP/*", "SHOP/*"),
        ("HOT", [], ()),
    ],
)
def test_every_key_is_read(key, value, found):
    assert getattr(read(own={key: value}), key.lower()) == found


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"OPERATION_TIMEOUT": "0.25"}, "must be a number of seconds such as 0.25, not a value of"),
        ({"OPERATION_TIMEOUT": True}, "must be a number of seconds"),
        ({"OPERATION_TIMEOUT": None}, "must be a number of seconds such as 0.25, not None"),
        ({"OPERATION_TIMEOUT": 0}, "must be more than 0 and at most 86400 seconds"),
        ({"OPERATION_TIMEOUT": 1e10}, "must be more than 0 and at most 86400 seconds"),
        ({"BULK_TIMEOUT": math.inf}, "must be a finite number"),
        ({"CONNECT_TIMEOUT": math.nan}, "must be a finite number"),
        ({"MAX_STALE": -1}, "must be a finite number of seconds and not negative"),
        ({"L1_MAX_BYTES": 1.5}, "must be a whole number"),
        ({"L1_MAX_BYTES": -1}, "must not be negative"),
        ({"MAX_CONNECTIONS": 0}, "must be at least 1"),
        ({"MAX_CONNECTIONS": True}, "must be a whole number"),
        ({"STRICT": "ratelimit:*"}, 'must be a list of patterns such as ["ratelimit:*"]'),
        ({"STRICT": [b"x"]}, "must hold nothing but non-empty text"),
        ({"STRICT": [""]}, "must hold nothing but non-empty text"),
        ({"CLEAR_PATTERN": ""}, "must be None or a Redis pattern"),
        ({"CLEAR_PATTERN": ["shop:*"]}, "must be None or a Redis pattern"),
        ({"HOT": ["*"]}, "needs BACKEND resilience.cache.HotCache"),
    ],
)
def test_a_wrong_value_is_refused(own, said):
    (key,) = own
    message = refusal(own=own)
    assert f"RESILIENCE['{key}'] {said}" in message


def test_an_unknown_key_is_refused_with_the_nearest_one():
    said = refusal(own={"OPERATION_TIMOUT": 1})
    assert "unknown key 'OPERATION_TIMOUT'. Did you mean 'OPERATION_TIMEOUT'?" in said
    assert "Allowed: OPERATION_TIMEOUT, BULK_TIMEOUT, " in said
    assert "Did you mean 'MAX_STALE'?" in refusal(own={"max_stale": 1})


@pytest.mark.parametrize("own", [[], "x", 7, {1: 2}])
def test_resilience_is_a_dictionary(own):
    assert "RESILIENCE must be a dictionary" in refusal(own=own)


@pytest.mark.parametrize("key", ["RESILENCE", "resilience", "RESILIENT", "RESILIENCY"])
def test_a_misspelt_resilience_does_not_lose_the_whole_block(key):
    assert f"unknown key '{key}'. Did you mean 'RESILIENCE'?" in refusal(**{key: {}})


def test_other_options_may_have_any_name():
    """A serializer or compressor of the site's own may read its own."""
    given = {"SERIALIZER": "a.b", "REVERSE_KEY_FUNCTION": "c.d", "MY_LEVEL": 3, "PICKLE_VERSION": 2}
    assert read(**given).options == given


# ── LOCATION ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("location", ["", None, [], (), " ", ",", [""]])
def test_no_location_is_memory_only(location):
    options = read(location)
    assert options.locations == ()
    assert options.store_key == ("memory", "")


def test_no_location_at_all():
    assert parse("shop", {}).locations == ()
    assert parse("shop", {"OPTIONS": None}).store_key == ("memory", "")


@pytest.mark.parametrize(
    "location",
    [
        "redis://a/1,redis://b:7/1",
        " redis://a/1 , redis://b:7/1,",
        ["redis://a/1", "redis://b:7/1"],
    ],
)
def test_several_locations(location):
    options = read(location)
    assert [(each.host, each.port, each.db) for each in options.locations] == [
        ("a", 6379, 1),
        ("b", 7, 1),
    ]
    assert options.store_key == ("a", 6379, 1)


@pytest.mark.parametrize(
    ("location", "pool", "found"),
    [
        ("redis://h", {}, ("h", 6379, 0)),
        ("redis://h/", {"db": 4}, ("h", 6379, 4)),
        ("redis://h/5", {"db": 4}, ("h", 6379, 5)),
        ("redis://h/5?db=6", {}, ("h", 6379, 6)),
        ("rediss://u:p@H.Example:6380/1", {}, ("h.example", 6380, 1)),
        ("redis://[::1]:6380/1", {}, ("::1", 6380, 1)),
        ("unix:///run/redis.sock?db=3", {}, ("/run/redis.sock", 0, 3)),
        ("unix://user@/run/redis.sock", {}, ("/run/redis.sock", 0, 0)),
    ],
)
def test_the_store_is_where_redis_py_goes(location, pool, found):
    assert read(location, CONNECTION_POOL_KWARGS=pool).store_key == found
    kwargs = ConnectionPool.from_url(location, **pool).connection_kwargs
    host = kwargs.get("path") or kwargs["host"]
    port = 0 if "path" in kwargs else kwargs.get("port", 6379)
    assert (host, port, kwargs.get("db") or 0) == found


@pytest.mark.parametrize(
    ("location", "said"),
    [
        (f"${{{{Redis.{CANARY}}}}}", "LOCATION holds a "),
        (f"redis://:${{{{X}}}}{CANARY}@h", "LOCATION holds a "),
        (CANARY, "must be a URL that begins with scheme://"),
        (f"http://:{CANARY}@h", "scheme is one of redis, rediss, unix"),
        (f"redis://:{CANARY}/x@h:1/0", "percent-encode it"),
        (f"redis://:{CANARY}@h:99999/0", "has a port that is not a number"),
        (f"redis://:{CANARY}@:6379/0", "names no host"),
        (f"redis://:{CANARY}@h/zero", "does not end with the number of a database"),
        (f"redis://:{CANARY}@a;redis://b", "does not end with the number of a database"),
        (f"redis://:{CANARY}@h/0?db={CANARY}", "has a value in ?db= that redis-py refuses"),
        (f"redis://:{CANARY}@h/0?family=0", "connection has no option 'family': remove it"),
        (f"redis://:{CANARY}@h/0?ssl_cert_reqs=none", "write rediss:// if the server speaks TLS"),
        ([URL, f"redis://:{CANARY}@h:x/0"], "has a port that is not a number"),
        (7, "LOCATION must be a URL or a list of URLs, not a value of type int"),
        ([URL, 7], "LOCATION must be a URL or a list of URLs"),
        ({"url": URL}, "LOCATION must be a URL or a list of URLs"),
    ],
)
def test_a_broken_location_is_refused_without_being_repeated(location, said):
    message = refusal(location)
    assert "LOCATION" in message or "connection has" in message
    assert said in message


# ── arguments for redis-py ──────────────────────────────────────────────────────────────────────


def test_the_clients_arguments():
    options = read(
        "rediss://h/1?client_name=web",
        USERNAME="app",
        PASSWORD=CANARY,
        CONNECTION_POOL_KWARGS={"username": "pool", "ssl_cert_reqs": None, "client_name": "x"},
    )
    assert options.client_kwargs == {
        "username": "pool",
        "password": CANARY,
        "ssl_cert_reqs": None,
        "client_name": "x",  # which the URL's beats, as for redis-py
    }
    assert CANARY not in repr(options)
    SSLConnection(**options.client_kwargs)


def test_time_is_superseded_and_named():
    pool = {"socket_timeout": 9, "retry_on_timeout": True, "retry": Retry(NoBackoff(), 3)}
    params = {
        "LOCATION": f"{URL}?socket_connect_timeout=5&health_check_interval=1",
        "OPTIONS": {
            "IGNORE_EXCEPTIONS": True,
            "SOCKET_TIMEOUT": 5,
            "SOCKET_CONNECT_TIMEOUT": 5,
            "CONNECTION_POOL_KWARGS": {**pool, "socket_keepalive": True},
        },
    }
    assert parse("shop", params).client_kwargs == {"socket_keepalive": True}
    with override_settings(DJANGO_REDIS_IGNORE_EXCEPTIONS=True):
        assert superseded("shop", params) == [
            "IGNORE_EXCEPTIONS",
            "SOCKET_TIMEOUT",
            "SOCKET_CONNECT_TIMEOUT",
            "CONNECTION_POOL_KWARGS.socket_timeout",
            "CONNECTION_POOL_KWARGS.retry_on_timeout",
            "CONNECTION_POOL_KWARGS.retry",
            "LOCATION ?socket_connect_timeout=",
            "LOCATION ?health_check_interval=",
            "DJANGO_REDIS_IGNORE_EXCEPTIONS",
        ]


def test_time_is_superseded__twin():
    assert superseded("shop", {"LOCATION": URL, "OPTIONS": {"USERNAME": "x"}}) == []
    assert superseded("shop", {"LOCATION": "redis://[broken"}) == []  # parse() refuses it
    with pytest.raises(InvalidCacheBackendError, match=r"CACHES\['shop'\]: LOCATION must be"):
        superseded("shop", {"LOCATION": 7})


@pytest.mark.parametrize(
    ("location", "pool", "own", "found"),
    [
        (URL, {"max_connections": 50}, {}, 50),
        (f"{URL}?max_connections=40", {"max_connections": 50}, {}, 40),
        (f"{URL}?max_connections=40", {}, {"MAX_CONNECTIONS": 3}, 3),
        (URL, {"max_connections": None}, {}, 16),
        (f"{URL},redis://b?max_connections=7", {}, {}, 7),
    ],
)
def test_an_inherited_max_connections(location, pool, own, found):
    options = read(location, own=own, CONNECTION_POOL_KWARGS=pool)
    assert options.max_connections == found
    assert "max_connections" not in options.client_kwargs


def test_an_inherited_max_connections_may_be_wrong():
    pool = {"max_connections": "fifty"}
    assert "max_connections must be a whole number" in refusal(CONNECTION_POOL_KWARGS=pool)


@pytest.mark.parametrize(
    ("pool", "said"),
    [
        ({"socket_timout": 3}, "connection has no option 'socket_timout'"),
        ({"usernam": CANARY}, "no option 'usernam': remove it. Did you mean 'username'?"),
        ({f"x {CANARY}": 1}, "has no option of another form"),
        ({"db": CANARY}, "LOCATION has a value in its port or database"),
        ({"decode_responses": True}, "decode_responses must be False"),
        ({"connection_class": SSLConnection}, "connection_class is not supported"),
        ({"parser_class": object}, "parser_class is not supported"),
        ([1], "CONNECTION_POOL_KWARGS must be a dictionary"),
    ],
)
def test_what_redis_py_would_refuse_later(pool, said):
    assert said in refusal("redis://h", CONNECTION_POOL_KWARGS=pool)


def test_what_redis_py_would_refuse_later__in_the_url():
    assert "parser_class is not supported" in refusal(f"{URL}?parser_class=x")
    assert "decode_responses must be False" in refusal(f"{URL}?decode_responses=1")


# ── classes ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("CLIENT_CLASS", "django_redis.client.HerdClient"),
        ("CLIENT_CLASS", "django_redis.client.ShardClient"),
        ("CLIENT_CLASS", "django_redis.client.herd.HerdClient"),
        ("CLIENT_CLASS", "shop.redis.ClusterClient"),
        ("CONNECTION_FACTORY", "shop.redis.Factory"),
        ("CONNECTION_POOL_CLASS", "redis.BlockingConnectionPool"),
        ("REDIS_CLIENT_CLASS", "redis.cluster.RedisCluster"),
        ("PARSER_CLASS", "redis.connection.HiredisParser"),
    ],
)
def test_a_class_of_another_kind_is_refused_by_name(name, path):
    said = refusal("", **{name: path})  # without a Redis too: start on the laptop as in production
    assert f"{name} {path!r} cannot keep to OPERATION_TIMEOUT." in said
    assert "Allowed: " in said or name == "PARSER_CLASS"


def test_a_misspelt_class_gets_the_right_one():
    said = refusal(CLIENT_CLASS="django_redis.client.DefaultClent")
    assert "Did you mean 'django_redis.client.DefaultClient'?" in said
    assert "CLIENT_CLASS of another form" in refusal(CLIENT_CLASS=f"redis://:{CANARY}@h")


def test_the_factory_of_the_settings_counts():
    with override_settings(DJANGO_REDIS_CONNECTION_FACTORY="shop.redis.Factory"):
        assert "CONNECTION_FACTORY 'shop.redis.Factory' cannot keep" in refusal()
        read(CONNECTION_FACTORY="django_redis.pool.ConnectionFactory")


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("CLIENT_CLASS", "django_redis.client.DefaultClient"),
        ("CLIENT_CLASS", "django_redis.client.default.DefaultClient"),
        ("CONNECTION_FACTORY", "django_redis.pool.ConnectionFactory"),
        ("CONNECTION_POOL_CLASS", "redis.ConnectionPool"),
        ("REDIS_CLIENT_CLASS", "redis.Redis"),
        ("PARSER_CLASS", None),
    ],
)
def test_a_class_by_its_own_name__twin(name, path):
    assert read(**{name: path}).options[name] == path


def test_sentinel_with_one_location():
    options = read(
        "redis://mymaster/3?is_master=1&client_name=web",
        CONNECTION_POOL_KWARGS={"ssl": True},
        SENTINEL_KWARGS={"password": CANARY, "ssl": True, "socket_timeout": 1},
        **SENTINEL,
    )
    assert [(each.host, each.port, each.db, each.is_master) for each in options.locations] == [
        ("mymaster", 0, 3, True),
        ("mymaster", 0, 3, False),
    ]
    assert options.locations[0].url == "rediss://mymaster/3?client_name=web"
    assert options.client_kwargs == {}
    assert options.sentinels == (("s2", 26379), ("s1", 26380))
    assert options.sentinel_kwargs == {"password": CANARY, "ssl": True}
    assert options.store_key == ("mymaster@s1:26380,s2:26379", 0, 3)


def test_sentinel_with_a_location_per_role():
    roles = ["redis://mymaster/0", "redis://mymaster/0?is_master=0"]
    options = read(roles, **{**SENTINEL, "CLIENT_CLASS": "django_redis.client.DefaultClient"})
    assert [each.is_master for each in options.locations] == [True, False]


def test_sentinel_without_a_location_is_memory_only():
    """As on a laptop, where the variables of both are empty."""
    assert read("", **{**SENTINEL, "SENTINELS": []}).locations == ()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"SENTINELS": None}, "SENTINELS must be a list such as"),
        ({"SENTINELS": []}, "SENTINELS must be a list such as"),
        ({"SENTINELS": CANARY}, "SENTINELS must be a list such as"),
        ({"SENTINELS": [CANARY]}, "each of SENTINELS must be a pair"),
        ({"SENTINELS": [("s1", CANARY)]}, "each of SENTINELS must be a pair"),
        ({"SENTINEL_KWARGS": [1]}, "SENTINEL_KWARGS must be a dictionary"),
        ({"CONNECTION_FACTORY": None}, "SentinelClient needs CONNECTION_FACTORY 'django_redis.poo"),
    ],
)
def test_sentinel_that_is_not_configured(changed, said):
    assert said in refusal("redis://mymaster/0", **{**SENTINEL, **changed})


# ── keys ────────────────────────────────────────────────────────────────────────────────────────


def test_keys_are_djangos():
    params = {"LOCATION": URL, "KEY_PREFIX": "shop", "VERSION": 2, "TIMEOUT": None}
    options = parse("shop", params)
    assert options.key_prefix == "shop"
    assert options.key_func is default_key_func


@pytest.mark.parametrize("function", [shout, f"{__name__}.shout"])
def test_a_key_function_needs_a_pattern(function):
    params: dict[str, Any] = {"LOCATION": URL, "KEY_FUNCTION": function}
    with pytest.raises(InvalidCacheBackendError, match=r"needs RESILIENCE\['CLEAR_PATTERN'\]"):
        parse("shop", params)
    params["OPTIONS"] = {"RESILIENCE": {"CLEAR_PATTERN": "SHOP/*"}}
    options = parse("shop", params)
    assert options.key_func("a", "shop", 1) == "SHOP/1/A"
    assert options.clear_pattern == "SHOP/*"


def test_djangos_own_key_function_needs_none():
    path = "django.core.cache.backends.base.default_key_func"
    assert parse("shop", {"KEY_FUNCTION": path}).key_func is default_key_func


def test_a_key_function_that_is_none():
    with pytest.raises(InvalidCacheBackendError, match="KEY_FUNCTION must be a function"):
        parse("shop", {"KEY_FUNCTION": 7})


# ── fingerprint ─────────────────────────────────────────────────────────────────────────────────


def test_equal_connections_have_equal_fingerprints():
    retry = Retry(NoBackoff(), 1)
    pool = {"ssl_cert_reqs": None, "credential_provider": retry}
    one = read("rediss://h", CONNECTION_POOL_KWARGS=pool)
    two = read("rediss://h", CONNECTION_POOL_KWARGS=dict(reversed(pool.items())))
    assert one.fingerprint == two.fingerprint
    assert {one.fingerprint: 1}[two.fingerprint] == 1


@pytest.mark.parametrize(
    ("location", "options"),
    [
        ("redis://:other@h/1", {}),
        ("redis://h/1", {"PASSWORD": "other"}),
        ("redis://h/2", {}),
        ("redis://h:7/1", {}),
        ("rediss://h/1", {}),
        ("redis://h/1,redis://r/1", {}),
        ("redis://h/1?max_connections=3", {}),
        ("redis://h/1", {"own": {"OPERATION_TIMEOUT": 1}}),
        ("redis://h/1", {"own": {"CONNECT_TIMEOUT": 1}}),
        ("redis://h/1", {"CONNECTION_POOL_KWARGS": {"client_name": "x"}}),
        ("redis://h/1", {"CONNECTION_POOL_KWARGS": {"protocol": 3}}),
        ("redis://h/1", {"CONNECTION_POOL_KWARGS": {"protocol": "3"}}),
        ("redis://h/1", {"REPLICA_READ_ONLY": False}),
        ("redis://h/1", {"own": {"STRICT": ["x"]}}),
    ],
)
def test_other_connections_have_other_fingerprints(location, options):
    base = read("redis://h/1").fingerprint
    other = read(location, **options).fingerprint
    assert other != base
    assert "other" not in other


def test_a_fingerprint_is_of_this_process(monkeypatch):
    """Whoever reads it elsewhere cannot try passwords on it."""
    before = read(f"redis://:{CANARY}@h").fingerprint
    monkeypatch.setattr("resilience.cache.options._salt", lambda: b"another process")
    assert read(f"redis://:{CANARY}@h").fingerprint != before
