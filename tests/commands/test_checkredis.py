"""``manage.py checkredis``: configured servers, an alias, or any URL."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.processes import Ended, doctor, manage, write_project
from tests.servers import RedisServer, redis_with_password

PASSWORD = "pw-with-special/characters"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_with_password(tmp_path_factory.mktemp("redis"), PASSWORD) as server:
        yield server


def checked(*arguments: str, **variables: str | None) -> Ended:
    return manage("checkredis", *arguments, "--format", "json", **variables)


def test_a_url_that_is_not_configured(guarded):
    fine = checked(guarded.url(password=PASSWORD))
    assert (fine.code, fine.ids) == (0, {"redis.ok"})
    missing = checked(guarded.url())
    assert (missing.code, missing.ids) == (1, {"redis.auth-missing"})


def test_an_alias_and_everything_that_is_configured(guarded):
    url = guarded.url(password=PASSWORD)
    assert checked("default", REDIS_URL=url).ids == {"redis.ok"}
    assert checked(REDIS_URL=url).ids == {"redis.ok"}
    nothing = checked()
    assert (nothing.code, nothing.report["findings"]) == (0, [])


def test_several_targets_in_one_report(guarded):
    ended = checked(guarded.url(password=PASSWORD), guarded.url(password="wrong-one"))
    assert (ended.code, ended.ids) == (1, {"redis.ok", "redis.auth-wrong"})


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("redis://:pa/ss@localhost", "percent-encode"),
        ("redis://localhost:99999", "port"),
        ("redis://localhost/zero", "database number"),
        ("http://localhost", "scheme is one of redis, rediss, unix"),
        ("redis://localhost?family=0", "ioredis"),
        ("redis://", "names no host"),
    ],
)
def test_a_url_that_does_not_parse_is_usage_even_without_settings(argument, words, tmp_path):
    project = write_project(tmp_path, "raise RuntimeError('settings')")
    ended = doctor(project, "checkredis", argument)
    assert ended.code == 2
    assert words in ended.err
    assert "pa/ss" not in ended.err
    assert "Traceback" not in ended.err


def test_an_unknown_alias_names_those_there_are(guarded):
    ended = manage("checkredis", "defualt", REDIS_URL=guarded.url(password=PASSWORD))
    assert ended.code == 2
    assert "Did you mean 'default'?" in ended.err
    local = manage("checkredis", "default")
    assert (local.code, "does not use Redis" in local.err) == (2, True)
