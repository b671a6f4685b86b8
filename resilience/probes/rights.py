"""Which commands the cache needs, which of them this user may not use, and what that costs.

Every command is asked about a key of the probe's own, so that trying it harms nobody.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from resilience.findings import Finding, Level
from resilience.probes import targets
from resilience.probes.wire import Command

KEY_MS = 10_000  # then the probe's key is gone, whatever happened
ALWAYS_TRIED = ("SET", "GET", "MGET", "UNLINK", "DEL")
"""What is done even where its right is known: it may fail for another reason."""

_REQUIRED = frozenset({"SET", "GET", "MGET", "EXISTS", "DEL", "SELECT"})
_HERE = "is answered by this process alone"


class Right(NamedTuple):
    """What it costs to be without a command: our cache, django-redis, Django's (None: unused)."""

    ours: str
    django_redis: str | None
    django: str | None
    writes: bool = False


# In the order in which they are tried: the key is written first and deleted last.
_RIGHTS = {
    "SET": Right("no write reaches Redis", "set() fails", "set() fails", writes=True),
    "GET": Right(f"every read {_HERE}", "get() fails", "get() fails"),
    "MGET": Right(f"get_many() {_HERE}", "get_many() fails", "get_many() fails"),
    "EXISTS": Right(f"has_key() {_HERE}", "has_key() fails", "has_key(), incr() fail"),
    "PTTL": Right("nothing that is read is kept for an outage", "pttl() fails", None),
    "PEXPIRE": Right("touch() deletes the key", "touch() fails", None, writes=True),
    "PERSIST": Right(
        "touch(key, None) deletes the key",
        "touch(key, None) fails",
        "touch(key, None) fails",
        writes=True,
    ),
    "EVAL": Right(
        "incr() takes two steps, lock() cannot be released",
        "incr() fails, lock() cannot be released",
        None,
        writes=True,
    ),
    "SCAN": Right(
        "clear(), keys(), delete_pattern() do not work", "keys(), delete_pattern() fail", None
    ),
    "UNLINK": Right("DEL takes its place, which holds Redis up", None, None, writes=True),
    "DEL": Right("no delete() reaches Redis", "delete() fails", "delete() fails", writes=True),
}

Commands = dict[str, Command]
Refused = Mapping[str, str]


def commands(key: str, value: str, *, kind: str, writes: bool) -> Commands:
    """The commands that a backend needs, on ``key`` and on another one that does not exist."""
    other = f"{key}:2"
    words: Commands = {
        "SET": ("SET", key, value, "PX", str(KEY_MS)),
        "GET": ("GET", key),
        "MGET": ("MGET", key, other),  # two keys: a cluster refuses those of two slots
        "EXISTS": ("EXISTS", key),
        "PTTL": ("PTTL", key),
        "PEXPIRE": ("PEXPIRE", key, str(KEY_MS)),
        "PERSIST": ("PERSIST", other),  # the probe's own key must stay one that expires
        "EVAL": ("EVAL", "return 1", "1", key),
        "SCAN": ("SCAN", "0", "MATCH", key, "COUNT", "1"),
        "UNLINK": ("UNLINK", key),  # who may not DEL leaves nothing behind either
        "DEL": ("DEL", key),
    }
    return {
        name: words[name]
        for name, right in _RIGHTS.items()
        if _cost(name, kind) is not None and (writes or not right.writes)
    }


def refused(answers: Mapping[str, object]) -> dict[str, str]:
    """The refusals among the replies: by the ACL, or of a command that is not needed."""
    return {
        name: reply
        for name, reply in answers.items()
        if isinstance(reply, str)
        and (reply.startswith("NOPERM") or (_is_unknown(reply) and name not in _REQUIRED))
    }


def foretold(answers: Mapping[str, object]) -> dict[str, str] | None:
    """The refusals among the replies of ACL DRYRUN; None if they are not those of Redis 7.

    Dragonfly's knows no arguments, Redis Software's no users of a directory: then try instead.
    """
    found: dict[str, str] = {}
    for name, reply in answers.items():
        if reply == b"OK":
            continue
        if isinstance(reply, str) and re.match("ERR Command .* not found", reply):
            found[name] = "ERR unknown command"
        elif isinstance(reply, bytes) and b"ermissions to " in reply:
            found[name] = f"NOPERM {reply.decode(errors='replace')}"
        else:
            return None
    # A command that is needed and unknown is tried, and says so in the server's words.
    return {name: said for name, said in found.items() if name in refused({name: said})}


def findings(
    subject: str, target: targets.Target, missing: Refused, asked: Commands
) -> Iterator[Finding]:
    """One finding about what the ACL refuses, one about what the server does not know."""
    denied = {name: said for name, said in missing.items() if not _is_unknown(said)}
    if denied:
        yield _denied(subject, target, denied, asked)
    unknown = [name for name in missing if name not in denied]
    if unknown:
        yield Finding(
            "redis.error",
            Level.WARNING,
            subject,
            f"This server does not know {_with_costs(unknown, target.kind)}.",
            "Have the provider switch it on, or use a server that has it; the rest works.",
            {"missing": " ".join(unknown)},
        )


def _denied(subject: str, target: targets.Target, denied: Refused, asked: Commands) -> Finding:
    # Without an alias nobody knows the app's own keys, and ~* would give away all there are.
    start = target.key if target.is_named_by_url else target.key.removesuffix(targets.PROBE_KEY)
    keys = f"{start}*"
    user = str(target.options.get("username") or "default")
    # The command is judged before its keys: a user may lack both, and be told of one.
    by_key = [name for name, said in denied.items() if not re.search(r"to run the", said)]
    by_name = [name for name in denied if name not in by_key]
    without = [_with_costs(by_name, target.kind)] if by_name else []
    if by_key:
        of = "" if len(denied) == len(asked) else f" with {' '.join(by_key)}"
        without.insert(0, f"the keys {keys}{of}")
    granted = [f"+{name.lower()}" for name in by_name] + ([f"~{keys}"] if by_key else [])
    hint = f"Grant it: ACL SETUSER {user} {' '.join(granted)}"
    if by_key and target.is_named_by_url:
        hint = (
            "Name the alias instead of its URL, so that its own keys are tried. For this probe's "
            f"keys, grant it: ACL SETUSER {user} {' '.join(granted)}"
        )
    bad = any(name in _REQUIRED for name in denied)
    return Finding(
        "redis.permission",
        Level.ERROR if bad else Level.WARNING,
        subject,
        f"The user {user} may not use {'; nor '.join(without)}.",
        hint,
        {"missing": " ".join(denied)},
    )


def _with_costs(names: list[str], kind: str) -> str:
    return ", ".join(f"{name} ({_cost(name, kind)})" for name in names)


def _cost(name: str, kind: str) -> str | None:
    if name == "SELECT":
        return "the database of the URL is out of reach"
    right = _RIGHTS[name]
    if kind == targets.DJANGO:
        return right.django
    return right.django_redis if kind == targets.DJANGO_REDIS else right.ours


def _is_unknown(reply: str) -> bool:
    return reply.lower().startswith("err unknown command")
