"""Redis's own error replies, and what each of them means. Texts of Redis 7.0 and 8, and Valkey."""

from __future__ import annotations

import re
from typing import NamedTuple

from resilience import redact
from resilience.findings import Finding, Level


class Reply(NamedTuple):
    """An error reply (``pattern`` matches its beginning), its finding id and how to mend it."""

    pattern: re.Pattern[str]
    id: str
    summary: str
    hint: str


def _reply(pattern: str, id: str, summary: str, hint: str) -> Reply:
    return Reply(re.compile(pattern, re.IGNORECASE), id, summary, hint)


REPLIES = (
    _reply(
        "NOAUTH",
        "redis.auth-missing",
        "Redis asks for a password and none was sent.",
        "Put it into the URL: redis://:<password>@<host>:<port>/0, percent-encoded. Longer "
        "timeouts cannot help.",
    ),
    _reply(
        "WRONGPASS|ERR invalid password",
        "redis.auth-wrong",
        "Redis rejected the user name and password (or the user is switched off).",
        "Copy the current password from the service that runs Redis; percent-encode it in a URL. "
        "An administrator sees attempts with ACL LOG.",
    ),
    _reply(
        "ERR (AUTH <password> called without any|Client sent AUTH, but no)",
        "redis.auth-unneeded",
        "A password is sent, but this Redis has none set.",
        "Set requirepass on the server, or remove the password here.",
    ),
    _reply(  # of what only a cluster's client sends: rights.py has the rest
        "NOPERM",
        "redis.permission",
        "This user may not use {command}.",
        "Grant it to the user of the URL: ACL SETUSER <user> +cluster",
    ),
    _reply(
        "DENIED",
        "redis.protected-mode",
        "Redis runs in protected mode: without a password it answers only to its own host.",
        "On its own host: CONFIG SET requirepass <password> (and the same in redis.conf), then use "
        "it in the URL.",
    ),
    _reply(
        "(ERR )?max number of clients",
        "redis.max-clients",
        "Redis has no connection left: maxclients is reached.",
        "Bound the pools (max_connections x processes), look for leaks with CLIENT LIST, then "
        "raise the limit: CONFIG SET maxclients <number>.",
    ),
    _reply(
        "LOADING",
        "redis.loading",
        "Redis is still loading its data into memory.",
        "Wait; INFO persistence shows how long.",
    ),
    _reply(
        "READONLY",
        "redis.readonly",
        "This is a read-only replica: every write fails.",
        "Use the primary's address, or the one that follows a failover.",
    ),
    _reply(
        "MASTERDOWN",
        "redis.master-down",
        "This replica has lost its primary and refuses to serve old data.",
        "Bring the primary back, or use the address that follows a failover.",
    ),
    _reply(
        "NOREPLICAS",
        "redis.no-replicas",
        "Redis refuses writes because too few replicas are connected.",
        "Bring the replicas back; where none are wanted: CONFIG SET min-replicas-to-write 0.",
    ),
    _reply(
        "MISCONF",
        "redis.misconf",
        "Redis refuses writes because it cannot save its snapshot; reads still work.",
        "Free or enlarge the server's disk and check its permissions; INFO persistence names the "
        'last error. For a pure cache switch snapshots off: CONFIG SET save "".',
    ),
    _reply(
        "OOM",
        "redis.oom",
        "Redis is full: every write is refused, reads still work.",
        "Set maxmemory-policy to allkeys-lru (CONFIG SET maxmemory-policy allkeys-lru) if this is "
        "a pure cache, or raise maxmemory.",
    ),
    _reply(
        "BUSY ",
        "redis.busy",
        "Redis is busy with a script and answers nobody else.",
        "End it: SCRIPT KILL (of a function FUNCTION KILL), then bound the script.",
    ),
    _reply(
        "CLUSTERDOWN",
        "redis.cluster-down",
        "The Redis cluster does not serve all of its slots.",
        "Look at CLUSTER INFO and CLUSTER SHARDS; bring the missing primaries back. If you want a "
        "single server: cluster-enabled no, and restart it.",
    ),
    _reply(
        "(ERR )?This instance has cluster support disabled",
        "redis.cluster-client",
        "This is a single Redis, and the client is one for a cluster.",
        "Remove the cluster client (CLIENT_CLASS, REDIS_CLIENT_CLASS, CONNECTION_POOL_CLASS, "
        "CONNECTION_FACTORY) from OPTIONS.",
    ),
    _reply(
        "MOVED|ASK |CROSSSLOT|(ERR )?SELECT is not allowed in cluster mode",
        "redis.cluster-client",
        "This is a Redis cluster, and the client speaks to it as to a single server.",
        "Use the address of a single server or of a proxy; Django's cache backends have no "
        "cluster client. A cluster has database 0 only.",
    ),
    _reply(
        "(ERR )?(DB index is out of range|invalid DB index|Databases? out of range)",
        "redis.db-index",
        "The database number of the URL does not exist on this server.",
        "Use a lower number at the end of the URL (a stock Redis has 0 to 15, many managed ones "
        "only 0), or raise `databases`.",
    ),
)

_LEVELS = {"redis.auth-unneeded": Level.WARNING}


def to_finding(subject: str, reply: str, command: str) -> Finding:
    """The finding behind an error reply to ``command``; ``redis.error`` for one without a name."""
    for known in REPLIES:
        if known.pattern.match(reply):
            return Finding(
                known.id,
                _LEVELS.get(known.id, Level.ERROR),
                subject,
                known.summary.format(command=command),
                known.hint,
                {"command": command},
            )
    return Finding(
        "redis.error",
        Level.ERROR,
        subject,
        f"Redis refused {command}: {_quoted(reply)}",
        "Look the reply up in the documentation of the server or of its provider.",
        {"command": command},
    )


def _quoted(reply: str) -> str:
    """What the server said, without the arguments that some servers repeat (a password)."""
    return redact.foreign(re.split(r",? with args", reply)[0])[:120]
