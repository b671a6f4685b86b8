"""What each error reply of Redis means. Each text was sent by Redis 7, Redis 8 or Valkey."""

from __future__ import annotations

import pytest

from resilience.findings import Level
from resilience.probes.replies import to_finding

MEANINGS = [
    ("NOAUTH Authentication required.", "auth-missing", "none was sent", "Put it into the URL"),
    (
        "WRONGPASS invalid username-password pair or user is disabled.",
        "auth-wrong",
        "rejected the user name and password",
        "Copy the current password",
    ),
    ("ERR invalid password", "auth-wrong", "rejected the user name", "percent-encode"),
    (
        "ERR AUTH <password> called without any password configured for the default user.",
        "auth-unneeded",
        "this Redis has none set",
        "Set requirepass",
    ),
    (
        "ERR Client sent AUTH, but no password is set",
        "auth-unneeded",
        "A password is sent",
        "remove the password here",
    ),
    (
        "NOPERM this user has no permissions to run the 'cluster|info' command",
        "permission",
        "may not use THE-COMMAND",
        "ACL SETUSER <user> +cluster",
    ),
    (
        "DENIED Redis is running in protected mode because protected mode is enabled",
        "protected-mode",
        "answers only to its own host",
        "CONFIG SET requirepass",
    ),
    (
        "ERR max number of clients reached",
        "max-clients",
        "maxclients is reached",
        "CLIENT LIST",
    ),
    (
        "max number of clients + cluster connections reached",
        "max-clients",
        "no connection",
        "Bound",
    ),
    ("LOADING Redis is loading the dataset in memory", "loading", "still loading", "Wait"),
    (
        "READONLY You can't write against a read only replica.",
        "readonly",
        "every write fails",
        "Use the primary's address",
    ),
    (
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "master-down",
        "lost its primary",
        "Bring the primary back",
    ),
    (
        "NOREPLICAS Not enough good replicas to write.",
        "no-replicas",
        "too few replicas",
        "CONFIG SET min-replicas-to-write 0",
    ),
    (
        "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist",
        "misconf",
        "cannot save its snapshot",
        "Free or enlarge the server's disk",
    ),
    (
        "OOM command not allowed when used memory > 'maxmemory'.",
        "oom",
        "Redis is full",
        "CONFIG SET maxmemory-policy allkeys-lru",
    ),
    ("BUSY Redis is busy running a script.", "busy", "busy with a script", "SCRIPT KILL"),
    ("CLUSTERDOWN Hash slot not served", "cluster-down", "all of its slots", "CLUSTER INFO"),
    (
        "ERR This instance has cluster support disabled",
        "cluster-client",
        "This is a single Redis",
        "Remove the cluster client",
    ),
    ("MOVED 12182 10.0.0.7:6379", "cluster-client", "This is a Redis cluster", "a single server"),
    ("ASK 12182 10.0.0.7:6379", "cluster-client", "This is a Redis cluster", "a single server"),
    (
        "CROSSSLOT Keys in request don't hash to the same slot",
        "cluster-client",
        "This is a Redis cluster",
        "a single server",
    ),
    (
        "ERR SELECT is not allowed in cluster mode",
        "cluster-client",
        "This is a Redis cluster",
        "database 0 only",
    ),
    ("ERR DB index is out of range", "db-index", "does not exist", "Use a lower number"),
    ("ERR invalid DB index", "db-index", "does not exist", "Use a lower number"),
    ("ERR Database out of range", "db-index", "does not exist", "Use a lower number"),
    ("ERR Databases out of range", "db-index", "does not exist", "Use a lower number"),
]


@pytest.mark.parametrize(("reply", "id", "summary", "hint"), MEANINGS, ids=lambda text: text[:30])
@pytest.mark.parametrize("as_sent", [str, str.lower])
def test_what_a_reply_means_and_what_to_do(reply, id, summary, hint, as_sent):
    found = to_finding("redis:here:6379", as_sent(reply), "THE-COMMAND")
    assert (found.id, found.subject) == (f"redis.{id}", "redis:here:6379")
    assert found.level is (Level.WARNING if id == "auth-unneeded" else Level.ERROR)
    assert summary in found.summary
    assert hint in found.hint
    assert found.facts == {"command": "THE-COMMAND"}


@pytest.mark.parametrize(
    "reply", ["ERR unknown command", "ERR it says OOM", "BUSYGROUP Consumer Group name exists"]
)
def test_what_a_reply_means__twin__one_without_a_name_is_quoted(reply):
    found = to_finding("redis:here:6379", reply, "GET")
    assert (found.id, found.level) == ("redis.error", Level.ERROR)
    assert found.summary == f"Redis refused GET: {reply}"
    assert "documentation of the server" in found.hint
    assert (found.subject, found.facts) == ("redis:here:6379", {"command": "GET"})


@pytest.mark.parametrize("comma", [",", ""])
def test_what_some_servers_repeat_is_not_quoted(comma):
    reply = f"ERR unknown command 'AUTH'{comma} with args beginning with: 'geheimnis' with args"
    found = to_finding("redis:here:6379", reply, "AUTH")
    assert found.summary == "Redis refused AUTH: ERR unknown command 'AUTH'"


def test_a_long_reply_is_cut(monkeypatch):
    """A server may send megabytes; and a secret in it is masked before the cut."""
    monkeypatch.setenv("REDIS_PASSWORD", "geheimnis")
    found = to_finding("redis:here:6379", "ERR geheimnis" + " x" * 1000, "GET")
    quoted = found.summary.removeprefix("Redis refused GET: ")
    assert (len(quoted), quoted[:9]) == (120, "ERR *** x")
