"""What a process does to a cache, and what each call may answer.

A value says who wrote it, so every read can be judged by itself. A key comes as its identity:
``key``, or ``key@2`` for another version than the first.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal, NamedTuple

from redis.exceptions import LockError

from resilience.errors import CacheUnavailable

# read: values. put: overwrites. offer: writes if there is nothing. erase: takes away. copy: takes
# away and puts what was there under the second key. none: neither.
Effect = Literal["read", "put", "offer", "erase", "copy", "none"]
Call = tuple[str, tuple[Any, ...], dict[str, Any]]  # method, arguments

STAY = 600  # seconds that a value stays, in general
BRIEF = 0.4  # seconds that a value stays where the name of its key says so

SESSION = "django.contrib.sessions.cache"
STRICT = "strict.*"


class Step(NamedTuple):
    """One call of the public API; ``lasts`` is its timeout in seconds, for those that have one."""

    name: str
    keys: Sequence[str] = ()
    lasts: float = STAY
    alias: str = "default"


class Record(NamedTuple):
    """What came of a step. Times are of the monotonic clock, which all processes share.

    ``tags`` were written and ``seen`` was read, one for each key. ``broken`` is what the contract
    forbids. At ``asked``, after the end: ``masked``, a key was, and ``again``, second UNLINKs were
    to come. ``local``: this process answered reads meanwhile. ``away``: reads fell back before and
    after.
    """

    name: str
    keys: Sequence[str]
    tags: Sequence[str]
    seen: Sequence[str | None]
    lasts: float
    began: float
    ended: float
    asked: float
    raised: str
    broken: str
    masked: bool
    again: bool
    local: bool
    away: bool


@dataclass(frozen=True)
class Kind:
    """How a step is done: its effect, its call and what that may answer or raise."""

    effect: Effect
    call: Callable[[Step, Mapping[str, Any]], Call]
    answers: Callable[[Any], bool]
    raises: tuple[type[Exception], ...] = ()
    is_asynchronous: bool = True  # whether there is a method of that name with an a before it
    after: float = 0.0  # seconds until it takes effect


def split(identity: str) -> dict[str, Any]:
    """The arguments that name a key."""
    key, at, version = identity.partition("@")
    return {"key": key, "version": int(version)} if at else {"key": key}


def _one(method: str, *, puts: bool = False, **more: Any) -> Callable[..., Call]:
    """A call about one key; ``more`` are further arguments, a callable is asked with the step."""

    def call(step: Step, values: Mapping[str, Any]) -> Call:
        (identity, *_) = step.keys
        given = {**split(identity), **more}
        if puts:
            given["value"] = values[identity]
        for name, each in given.items():
            given[name] = each(step) if callable(each) else each
        return method, (), given

    return call


def _lasts(step: Step) -> float:
    return step.lasts


def _is(*types: type) -> Callable[[Any], bool]:
    return lambda answer: type(answer) in types


def _offer(step: Step, values: Mapping[str, Any]) -> Call:
    (key,) = step.keys
    return "get_or_set", (key, values[key], step.lasts), {}


def _put_many(step: Step, values: Mapping[str, Any]) -> Call:
    return "set_many", (dict(values),), {"timeout": step.lasts}


def _many(method: str) -> Callable[[Step, Mapping[str, Any]], Call]:
    return lambda step, _: (method, (list(step.keys),), {})


def _pattern(method: str) -> Callable[[Step, Mapping[str, Any]], Call]:
    return lambda step, _: (method, (step.keys[0],), {})


def _copy(step: Step, _: Mapping[str, Any]) -> Call:
    return "incr_version", (), split(step.keys[0])


def _clear(*_: Any) -> Call:
    return "clear", (), {}


_MISSING = (ValueError,)
_AWAY = (CacheUnavailable,)
_BOOL, _NUMBER = _is(bool), _is(int)


def _is_true(answer: Any) -> bool:
    return answer is True


KINDS: dict[str, Kind] = {
    "get": Kind("read", _one("get"), lambda _: True),
    "get_many": Kind("read", _many("get_many"), _is(dict)),
    "has_key": Kind("none", _one("has_key"), _BOOL),
    "set": Kind("put", _one("set", puts=True, timeout=_lasts), _is_true),
    "set_many": Kind("put", _put_many, _is(list)),
    "add": Kind("offer", _one("add", puts=True, timeout=_lasts), _BOOL),
    "get_or_set": Kind("offer", _offer, lambda _: True),
    "delete": Kind("erase", _one("delete"), _BOOL),
    "set_gone": Kind("erase", _one("set", puts=True, timeout=0), _is_true),
    "touch_gone": Kind("erase", _one("touch", timeout=0), _BOOL),
    "delete_many": Kind("erase", _many("delete_many"), _is(type(None))),
    "delete_pattern": Kind("erase", _pattern("delete_pattern"), _NUMBER, is_asynchronous=False),
    "clear": Kind("erase", _clear, _is_true),
    "incr_version": Kind("copy", _copy, lambda answer: answer == 2, _MISSING),
    "touch": Kind("none", _one("touch", timeout=_lasts), _BOOL),
    "touch_brief": Kind("erase", _one("touch", timeout=BRIEF), _BOOL, after=BRIEF),
    "incr": Kind("none", _one("incr"), _NUMBER, _MISSING),
    "decr": Kind("none", _one("decr"), _NUMBER, _MISSING),
    "count": Kind("none", _one("set", value=1, timeout=STAY), _is_true),
    "expire": Kind("none", _one("expire", timeout=STAY), _BOOL, _AWAY, is_asynchronous=False),
    "persist": Kind("none", _one("persist"), _BOOL, _AWAY, is_asynchronous=False),
    "ttl": Kind("none", _one("ttl"), _is(int, type(None)), _AWAY, is_asynchronous=False),
    "keys": Kind("none", _pattern("keys"), _is(list), _AWAY, is_asynchronous=False),
    "lock": Kind("none", _one("lock"), _BOOL, (*_AWAY, LockError), is_asynchronous=False),
}

OWN = ("own", "touched")  # families that each process has for itself

VERSIONED = 6  # keys

# A pattern means these keys, as far as there are any of them here.
PATTERNS = tuple(f"pattern.{number}.*" for number in range(2))


def keys_of(slots: int, each: int = 24) -> dict[str, list[str]]:
    """Every key there is, by family; ``own.N`` are written by the process in place N alone."""
    return {
        **{
            f"{own}.{slot}": [f"{own}.{slot}.{number}" for number in range(each)]
            for own in OWN
            for slot in range(slots)
        },
        "all": [f"all.{number}" for number in range(each)],
        "pattern": [pattern.replace("*", part) for pattern in PATTERNS for part in "abcdef"],
        "version": [f"version.{number}{at}" for number in range(VERSIONED) for at in ("", "@2")],
        "brief": [f"brief.{number}" for number in range(4)],
        "session": [f"{SESSION}{number}" for number in range(2)],
        "strict": [f"strict.{number}" for number in range(2)],
        "count": [f"count.{number}" for number in range(2)],
        "lock": ["lock.0"],
    }


def means(pattern: str, identity: str) -> bool:
    """Whether a pattern of delete_pattern() means a key; it means those of the first version."""
    return "@" not in identity and fnmatchcase(identity, pattern)


# How often each step is chosen, and for which families; "own" is the chooser's.
_GENERAL = ("own", "own", "own", "all", "pattern", "version", "session")
_WEIGHTS: dict[str, tuple[float, tuple[str, ...]]] = {
    "get": (30, ("own", "own", *_GENERAL, "others", "brief", "touched", "strict")),
    "get_many": (6, ("own", "all", "others", "pattern")),
    "has_key": (2, ("own", "all")),
    "set": (16, (*_GENERAL, "brief", "touched", "strict")),
    "set_many": (3, ("own", "all", "pattern")),
    "add": (2, ("own", "all", "strict")),
    "get_or_set": (2, ("own", "all")),
    "delete": (8, (*_GENERAL, "strict")),
    "set_gone": (1, ("own", "all")),
    "touch_gone": (1, ("own", "all")),
    "delete_many": (2, ("own", "all", "pattern")),
    "delete_pattern": (1, ("pattern",)),
    "clear": (0.005, ("own",)),  # takes back what others would have to
    "incr_version": (2, ("version",)),
    "touch": (2, ("own", "all")),
    "touch_brief": (2, ("touched",)),
    "incr": (2, ("count",)),
    "decr": (1, ("count",)),
    "count": (1, ("count",)),
    "expire": (1, ("own", "all")),
    "persist": (1, ("own", "all")),
    "ttl": (1, ("own",)),
    "keys": (0.5, ("pattern",)),
    "lock": (1, ("lock",)),
}
_NAMES, _SHARES = list(_WEIGHTS), [weight for weight, _ in _WEIGHTS.values()]


def choose(
    chance: random.Random, slot: int, families: Mapping[str, list[str]], aliases: Sequence[str]
) -> Step:
    """The next step of the process in a place."""
    (name,) = chance.choices(_NAMES, _SHARES)
    family = chance.choice(_WEIGHTS[name][1])
    if family in OWN:
        family = f"{family}.{slot}"
    elif family == "others":
        family = chance.choice([each for each in families if each.startswith("own.")])
    keys = families[family]
    if name in {"delete_pattern", "keys"}:
        keys = [chance.choice(PATTERNS)]
    elif name == "clear":
        keys = []
    elif name == "incr_version":
        key = f"version.{chance.randrange(VERSIONED)}"
        keys = [key, f"{key}@2"]
    elif name not in {"get_many", "set_many", "delete_many"}:
        keys = [chance.choice(keys)]
    else:
        keys = chance.sample(keys, min(3, len(keys)))
    lasts = BRIEF if family == "brief" else STAY
    return Step(name, keys, lasts, chance.choice(aliases))
