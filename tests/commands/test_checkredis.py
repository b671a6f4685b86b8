"""``manage.py checkredis``: configured servers, an alias, or any URL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import Ended, doctor, manage, write_project
from tests.servers import (
    RedisServer,
    redis_server,
    redis_with_limited_user,
    redis_with_password,
)

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


def test_nothing_is_configured():
    """Zero servers that all answer is no good news for whoever asked."""
    ended = manage("checkredis")
    assert (ended.code, ended.out) == (2, "")
    assert "No alias of CACHES uses Redis" in ended.err
    assert len(ended.err.splitlines()) == 1


def test_a_url_is_examined_whatever_the_app_lacks(guarded):
    url = guarded.url(password=PASSWORD)
    assert checked(url, SECRET_KEY=None).code == 0
    configured = checked("default", SECRET_KEY=None, REDIS_URL=url)
    assert (configured.code, configured.roots) == (1, [("env.missing", "SECRET_KEY")])


def test_a_url_is_examined_with_the_keys_that_its_user_may_use(tmp_path):
    """The example project's prefix is opsproject; the user of this server may use no other."""
    rules = "~opsproject:* -@all +@read +@write +@keyspace +@connection +@scripting"
    limited = redis_with_limited_user(tmp_path, username="web", password=PASSWORD, rules=rules)
    with limited as server:
        url = server.url(username="web", password=PASSWORD)
        assert checked(url, REDIS_URL=url).ids == {"redis.ok"}
        stranger = checked(url)
    assert (stranger.code, stranger.ids) == (1, {"redis.permission"})


def test_several_targets_in_one_report(guarded):
    ended = checked(guarded.url(password=PASSWORD), guarded.url(password="wrong-one"))
    assert (ended.code, ended.ids) == (1, {"redis.ok", "redis.auth-wrong"})


@pytest.mark.parametrize(("database", "lines"), [(0, 1), (1, 2)])
def test_aliases_of_one_redis_are_one_line(guarded, tmp_path, database, lines):
    caches = {
        name: {
            "BACKEND": "resilience.cache.ResilientCache",
            "LOCATION": guarded.url(f"/{number}", password=PASSWORD),
        }
        for name, number in (("default", 0), ("pages", database))
    }
    settings = f"SECRET_KEY = 'x' * 50\nINSTALLED_APPS = ['resilience']\nCACHES = {caches!r}\n"
    ended = doctor(write_project(tmp_path, settings), "checkredis")
    assert (ended.code, ended.out.count("Writes and reads")) == (0, lines)


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("redis://:pa/ss@localhost", "percent-encode"),
        ("redis://:p@pa/ss@localhost:6391/0", "percent-encode"),
        ("postgress://localhost", "scheme is one of redis, rediss, unix."),
        ("reddis://localhost", "(did you mean redis?)"),
        ("redis://localhost:99999", "port"),
        ("redis://localhost/zero", "database number"),
        ("http://localhost", "scheme is one of redis, rediss, unix"),
        ("redis://localhost?family=0", "ioredis"),
        ("redis://", "names no host"),
        ("redis://localhost?foo=1", "option 'foo'"),
        (" redis://localhost", "white space"),
    ],
)
def test_a_url_that_does_not_parse_is_usage_even_without_settings(argument, words, tmp_path):
    project = write_project(tmp_path, "raise RuntimeError('settings')")
    ended = doctor(project, "checkredis", argument)
    assert ended.code == 2
    assert words in ended.err
    assert "pa/ss" not in ended.err
    assert "Traceback" not in ended.err


def test_a_host_and_port_become_a_url():
    ended = manage("checkredis", "localhost:6379")
    assert (ended.code, "write redis://localhost:6379/0" in ended.err) == (2, True)


@pytest.mark.parametrize("word", ["localhost:", "localhost:x", "localhost:6379/0"])
def test_a_host_and_port__twin__another_word_is_not_repeated(word):
    ended = manage("checkredis", word)
    assert (ended.code, word in ended.err, "redis://…" in ended.err) == (2, False, True)


def test_an_unknown_alias_names_those_there_are(guarded):
    ended = manage("checkredis", "defualt", REDIS_URL=guarded.url(password=PASSWORD))
    assert ended.code == 2
    assert "Did you mean 'default'?" in ended.err
    local = manage("checkredis", "default")
    assert (local.code, "does not use Redis" in local.err) == (2, True)


def test_what_a_loading_redis_says_is_how_long_to_wait(tmp_path):
    """The hint, executed: ``--wait`` ends as soon as Redis answers."""
    with redis_server(directory=tmp_path) as server:
        home = Path(server.command("CONFIG GET", "dir")["dir"])
        for number in range(400):
            server.command("SET", f"key:{number}", b"x" * 20)
        server.command("SAVE")
        (tmp_path / "dump.rdb").write_bytes((home / "dump.rdb").read_bytes())
    # Redis's own option for such tests: microseconds for each key.
    slow = ("--key-load-delay", "8000", "--loading-process-events-interval-bytes", "1024")
    with redis_server("--dir", str(tmp_path), *slow, directory=tmp_path) as server:
        at_once = checked(server.url())
        assert (at_once.code, at_once.ids) == (1, {"redis.loading"})
        waited = checked(server.url(), "--wait", "20")
        assert (waited.code, waited.ids) == (0, {"redis.ok"})
