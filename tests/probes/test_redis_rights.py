"""What a user of Redis may not do: one finding, its price, and the line that grants it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from resilience.findings import Finding, Level
from resilience.probes import redis, rights, targets
from resilience.probes.areas import probes_of
from resilience.probes.base import Deadline
from resilience.probes.examine import examine
from resilience.simulation.fake_redis import FakeRedis
from tests.servers import RedisServer, redis_server

PASSWORD = "correct-horse/battery@staple"
OURS = "resilience.cache.ResilientCache"
DJANGO = "django.core.cache.backends.redis.RedisCache"
DJANGO_REDIS = "django_redis.cache.RedisCache"
NEEDED = "GET MGET PTTL EXISTS SET DEL PERSIST PEXPIRE EVAL SCAN UNLINK".split()
REQUIRED = {"GET", "MGET", "EXISTS", "SET", "DEL"}
ALL = " ".join(f"+{name.lower()}" for name in [*NEEDED, "PING", "INFO", "SELECT"])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    directory: Path = tmp_path_factory.mktemp("rights")
    with redis_server(directory=directory, acl="user default on nopass ~* &* +@all\n") as running:
        yield running


@pytest.fixture
def allowed(server, settings):
    """What is found with these rights, through this backend, under the prefix shop.

    Without rights the user keeps those that it has.
    """

    def found(rules: str = "", backend: str = OURS, path: str = "/0") -> list[Finding]:
        if rules:
            server.command(*f"ACL SETUSER web reset on >{PASSWORD} {rules}".split())
        location = server.url(path, username="web", password=PASSWORD)
        cache = {"BACKEND": backend, "LOCATION": location, "KEY_PREFIX": "shop"}
        settings.CACHES = {"default": cache}
        report = examine(probes_of(["redis"]), Deadline(10))
        assert server.command("DBSIZE") == 0, "nothing is left behind"
        return list(report.findings)

    return found


def grant(server: RedisServer, finding: Finding) -> None:
    """Run the line of the hint, as it is."""
    line = re.search("ACL SETUSER .*", finding.hint)
    assert line
    server.command(*line[0].split())


@pytest.mark.parametrize("asks", ["", " +acl|whoami +acl|dryrun"], ids=["tried", "dry-run"])
@pytest.mark.parametrize("name", NEEDED)
def test_each_right_that_is_missing_is_named_and_granted_by_the_hint(name, asks, server, allowed):
    found = allowed(f"~shop:1:* {ALL} -{name.lower()}{asks}")
    finding = found[0]
    assert finding.id == "redis.permission"
    assert finding.level is (Level.ERROR if name in REQUIRED else Level.WARNING)
    assert finding.summary.startswith(f"The user web may not use {name} (")
    assert finding.facts["missing"] == name
    assert finding.hint.endswith(f"ACL SETUSER web +{name.lower()}")
    assert [f.id for f in found[1:]] == ([] if name in REQUIRED else ["redis.ok"])
    grant(server, finding)
    assert [f.id for f in allowed()] == ["redis.ok"]


@pytest.mark.parametrize("asks", ["", " +acl|whoami +acl|dryrun"], ids=["tried", "dry-run"])
def test_several_are_one_finding(asks, server, allowed):
    found = allowed(f"~shop:1:* {ALL} -eval -scan -set{asks}")
    [finding] = found
    assert finding.facts["missing"] == "SET EVAL SCAN"
    assert finding.hint.endswith("ACL SETUSER web +set +eval +scan")
    grant(server, finding)
    assert [f.id for f in allowed()] == ["redis.ok"]


@pytest.mark.parametrize("asks", ["", " +acl|whoami +acl|dryrun"], ids=["tried", "dry-run"])
@pytest.mark.parametrize("keys", ["~other:*", "%R~shop:*"])
def test_keys_that_are_forbidden_are_granted_as_keys(keys, asks, server, allowed):
    [finding] = allowed(f"{keys} {ALL}{asks}")
    assert (finding.id, finding.level) == ("redis.permission", Level.ERROR)
    assert finding.summary.startswith("The user web may not use the keys shop:1:*")
    assert finding.hint.endswith("ACL SETUSER web ~shop:1:*")
    grant(server, finding)
    assert [f.id for f in allowed()] == ["redis.ok"]


def test_who_may_use_every_key_is_granted_commands_alone(server, allowed):
    """Redis refuses a pattern behind ~*, and the whole line with it."""
    [finding] = allowed("~* -@all +ping")
    assert set(str(finding.facts["missing"]).split()) == set(NEEDED)
    assert "~" not in finding.hint
    grant(server, finding)
    assert [f.id for f in allowed()] == ["redis.ok"]


def test_who_lacks_commands_and_keys_is_told_in_two_steps(server, allowed):
    """Redis judges the command first, and says no more than that."""
    [first] = allowed("-@all +ping")
    grant(server, first)
    [second] = allowed()
    assert second.hint.endswith("ACL SETUSER web ~shop:1:*")
    grant(server, second)
    assert [f.id for f in allowed()] == ["redis.ok"]


def test_the_database_of_the_url(server, allowed):
    [finding] = allowed(f"~shop:1:* {ALL} -select", path="/1")
    assert finding.summary == (
        "The user web may not use SELECT (the database of the URL is out of reach)."
    )
    grant(server, finding)
    assert [f.id for f in allowed(path="/1")] == ["redis.ok"]
    assert [f.id for f in allowed(f"~shop:1:* {ALL} -select")] == ["redis.ok"]


@pytest.mark.parametrize(
    ("backend", "unused"), [(DJANGO, "PTTL PEXPIRE EVAL SCAN UNLINK"), (DJANGO_REDIS, "UNLINK")]
)
def test_another_backend_needs_only_what_it_uses(backend, unused, allowed):
    without = " ".join(f"-{name.lower()}" for name in unused.split())
    assert [f.id for f in allowed(f"~shop:1:* {ALL} {without}", backend)] == ["redis.ok"]
    found = allowed(f"~shop:1:* {ALL} {without} -persist", backend)
    assert (found[0].id, found[0].facts["missing"]) == ("redis.permission", "PERSIST")
    assert "touch(key, None) fails" in found[0].summary


def test_a_replica_is_only_asked_to_read(server, settings):
    server.command(*f"ACL SETUSER web reset on >{PASSWORD} ~shop:* {ALL} -set -del -eval".split())
    user = {"username": "web", "password": PASSWORD}
    place = {"BACKEND": OURS, "KEY_PREFIX": "shop"}
    settings.CACHES = {
        "default": place | {"LOCATION": [server.url("/1"), server.url(**user)]},
    }
    report = examine(probes_of(["redis"]), Deadline(10))
    assert {f.id for f in report.findings} == {"redis.ok"}
    settings.CACHES = {"default": place | {"LOCATION": [server.url(**user), server.url("/1")]}}
    report = examine(probes_of(["redis"]), Deadline(10))
    assert [f.id for f in report.findings if f.is_root_cause] == ["redis.permission"]


def test_a_url_that_nobody_configured_has_no_keys_of_its_own(server):
    server.command(*f"ACL SETUSER web reset on >{PASSWORD} ~shop:* {ALL}".split())
    place = targets.parse(server.url(username="web", password=PASSWORD), origin="argument")
    [finding] = redis.probe_of(place).run(Deadline(10))
    assert finding.id == "redis.permission"
    assert finding.hint.startswith("Name the alias instead of its URL")
    grant(server, finding)
    assert [f.id for f in redis.probe_of(place).run(Deadline(10))] == ["redis.ok"]
    rights_now = server.command("ACL GETUSER", "web")
    assert "~*" not in str(rights_now), "nobody is advised to open every key"


@pytest.mark.parametrize("name", ["EVAL", "UNLINK", "EXISTS"])
def test_a_command_that_a_provider_took_away(name):
    """No ACL grants it, so nobody is sent to the ACL."""
    refusal = {name: f"ERR unknown command '{name}', with args beginning with: 'x'"}
    with FakeRedis({"EVAL": 1}, errors=refusal) as fake:
        found = examined(fake)
    assert found[0].id == "redis.error"
    assert found[0].level is (Level.ERROR if name in REQUIRED else Level.WARNING)
    assert [f.id for f in found[1:]] == ([] if name in REQUIRED else ["redis.ok"])
    with FakeRedis({"EVAL": 1}) as fake:
        assert [f.id for f in examined(fake)] == ["redis.ok"]


FOREIGN = {
    "Dragonfly, which takes no arguments": {"ACL DRYRUN": "ERR syntax error"},
    "Redis Software and users of a directory": {"ACL DRYRUN": "ERR unknown user"},
    "no ACL at all": {"ACL": "ERR unknown command 'ACL'"},
}


@pytest.mark.parametrize("errors", FOREIGN.values(), ids=FOREIGN)
def test_where_a_dry_run_cannot_be_had_it_is_tried(errors):
    with FakeRedis({"EVAL": 1, "ACL WHOAMI": b"web"}, errors=errors) as fake:
        assert [f.id for f in examined(fake)] == ["redis.ok"]
        assert fake.commands[-11:] == list(rights.commands("k", "v", kind=OURS, writes=True))
    errors = errors | {"SET": "NOPERM No permissions to access a key"}
    with FakeRedis({"EVAL": 1, "ACL WHOAMI": b"web"}, errors=errors) as fake:
        assert [f.id for f in examined(fake)] == ["redis.permission"]


def test_what_a_dry_run_allows_is_not_tried():
    with FakeRedis({"ACL WHOAMI": b"web", "ACL DRYRUN": "OK"}) as fake:
        assert [f.id for f in examined(fake)] == ["redis.ok"]
        assert fake.commands[-5:] == ["SET", "GET", "MGET", "UNLINK", "DEL"]


SAID = st.sampled_from(
    [b"OK", b"no permissions to run", b"\xff", 1, None, "ERR", "ERR Command 'x' not found"]
)


@given(st.dictionaries(st.sampled_from(NEEDED), SAID))
def test_a_dry_run_that_is_not_understood_decides_nothing(answers):
    found = rights.foretold(answers)
    assert found is None or set(found) <= set(answers)


def test_only_keys_of_the_probe_itself_are_ever_named():
    for name, words in rights.commands("p:k", "v", kind=OURS, writes=True).items():
        named = {word for word in words[1:] if word.startswith("p:")}
        assert named, name
        assert all(word.startswith("p:k") for word in named)
    assert set(rights.commands("p:k", "v", kind=OURS, writes=True)) == set(NEEDED)


def examined(fake: FakeRedis) -> list[Finding]:
    place = targets.parse(fake.url, origin="argument")
    return list(redis.probe_of(place).run(Deadline(10)))
