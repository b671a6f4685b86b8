"""What the judge lets pass and what not: one story a time, in seconds of its clock."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.soak.judge import LIMIT, NEVER_JOURNALED, SLACK, Judge
from tests.soak.steps import BRIEF, SESSION, STAY, Record

MAX_STALE = 1.0
KEY, SECOND = "all.0", "version.0@2"


def tag(process: str, began: float, key: str = KEY) -> str:
    return f"{key}|{process}|0|{began:.4f}"


def step(name: str, began: float, key: str = KEY, **given: Any) -> Record:
    """It took a tenth of a second, and Redis acknowledged it unless ``given`` says otherwise."""
    ended = given.pop("ended", began + 0.1)
    found: dict[str, Any] = {
        "tags": [], "seen": [], "lasts": STAY, "raised": "", "broken": "", "masked": False,
        "again": False, "local": False, "away": False, **given,
    }  # fmt: skip
    return Record(name, [key], began=began, ended=ended, asked=ended, **found)


def put(process: str, began: float, key: str = KEY, **given: Any) -> tuple[str, Record]:
    return process, step("set", began, key, tags=[tag(process, began, key)], **given)


def read(process: str, began: float, seen: str | None, **given: Any) -> tuple[str, Record]:
    return process, step("get", began, seen=[seen], **given)


def verdict(*told: tuple[str, Record], judge: Judge | None = None) -> list[str]:
    judge = judge or Judge(MAX_STALE, [KEY, SECOND, "brief.0"])
    for process, record in told:
        judge.take(process, [record])
    return [each.kind for each in judge.judge()]


OLD, NEW = tag("a", 1), tag("a", 2)
DELETED = ("a", step("delete", 2))
UNACKNOWLEDGED: dict[str, Any] = {"masked": True, "again": True}


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        # what a process did itself
        ([put("a", 1), read("a", 3, OLD)], []),
        ([put("a", 1), put("a", 2), read("a", 3, NEW)], []),
        ([put("a", 1), put("a", 2), read("a", 3, None)], []),
        ([put("a", 1), put("a", 2), read("a", 3, OLD)], ["came back"]),
        ([put("a", 1), DELETED, read("a", 3, OLD)], ["came back"]),
        ([put("a", 1), ("a", step("clear", 2)), read("a", 3, OLD)], ["came back"]),
        ([put("a", 1), put("a", 2, **UNACKNOWLEDGED), read("a", 3, OLD)], ["came back"]),
        ([put("a", 1, **UNACKNOWLEDGED), put("a", 2), read("a", 1.9, OLD)], []),
        # what overlapped may have happened in any order
        ([put("a", 1, ended=1.9), put("a", 1.8), read("a", 3, OLD)], []),
        ([put("a", 1), put("a", 2, ended=2.9), read("a", 2.8, OLD)], []),
        # what did not overwrite
        ([put("a", 1), ("a", step("add", 2, tags=[NEW])), read("a", 3, OLD)], []),
        ([put("a", 1), ("a", step("touch", 2)), read("a", 3, OLD)], []),
        ([put("a", 1), put("a", 2, raised="CacheUnavailable"), read("a", 3, OLD)], []),
        # what another one did
        ([put("a", 1), put("b", 2), read("a", 3, OLD)], ["stale"]),
        ([put("a", 1), put("b", 2), read("a", 3, tag("b", 2))], []),
        ([put("b", 1), put("a", 2), read("a", 3, tag("b", 1))], ["came back"]),
        ([put("b", 1, **UNACKNOWLEDGED), put("a", 2), read("a", 3, tag("b", 1))], []),
        # not known to others before its journal is empty
        ([put("a", 1), put("b", 2, **UNACKNOWLEDGED), read("a", 3, OLD)], []),
        ([put("a", 1), put("b", 2, **UNACKNOWLEDGED), read("b", 3, None), read("a", 4, OLD)],
         ["stale"]),
        # without Redis: MAX_STALE, or what it wrote in the outage
        ([put("a", 1), put("b", 2), read("a", 2.5, OLD, local=True)], []),
        ([put("a", 1), put("b", 2), read("a", 4, OLD, local=True)], ["stale"]),
        ([put("a", 1, **UNACKNOWLEDGED), put("b", 2), read("a", 4, OLD, local=True)], []),
        ([put("a", 1, **UNACKNOWLEDGED), read("a", 2, None), put("b", 3),
          read("a", 5, OLD, local=True)], ["stale"]),
        # the rest of the contract
        ([("a", step("get", 1, broken="answered 1"))], ["contract"]),
        ([("a", step("get", 1, ended=2.1 + LIMIT, seen=[None]))], ["slow"]),
        ([read("a", 1, tag("b", 0.5))], ["unknown"]),
        ([read("a", 1, "no tag")], ["unknown"]),
    ],
)  # fmt: skip
def test_a_story(told, expected):
    assert verdict(*told) == expected


def test_a_value_has_its_time():
    key = "brief.0"
    written = put("a", 1, key, lasts=BRIEF)

    def seen_at(when: float) -> list[str]:
        return verdict(written, ("b", step("get", when, key, seen=[tag("a", 1, key)])))

    assert seen_at(1.1 + BRIEF) == []
    assert seen_at(1.2 + BRIEF + SLACK) == ["stale"]


def test_a_short_touch_ends_it_unless_there_is_another():
    touched = ("a", step("touch_brief", 2))
    late = read("a", 2.2 + BRIEF + SLACK, OLD)
    assert verdict(put("a", 1), touched, late) == ["came back"]
    assert verdict(put("a", 1), touched, ("b", step("touch_brief", 2.3)), late) == []


def test_a_copy_moves_whatever_was_there():
    copied = ("a", step("incr_version", 2)._replace(keys=["version.0", SECOND]))
    value = tag("a", 1, "version.0")
    judge = Judge(MAX_STALE, ["version.0", SECOND])
    first = put("a", 1, "version.0")
    assert verdict(first, copied, ("a", step("get", 3, SECOND, seen=[value])), judge=judge) == []
    assert verdict(("a", step("get", 4, "version.0", seen=[value])), judge=judge) == ["came back"]


def test_an_offer_of_unknown_outcome_may_come_late():
    offered = ("b", step("add", 1, tags=[tag("b", 1)]))
    seen = tag("b", 1)
    assert verdict(offered, put("a", 2), read("a", 3, seen)) == []
    assert verdict(
        offered, put("a", 2 + NEVER_JOURNALED), read("a", 3 + NEVER_JOURNALED, seen)
    ) == ["came back"]


def test_what_redis_lost_is_counted():
    judge = Judge(MAX_STALE, [KEY])
    judge.lose(1.5, 2.5)
    assert verdict(put("a", 1), DELETED, read("a", 3, OLD), judge=judge) == []
    assert judge.lost == {(KEY, OLD)}
    assert verdict(("a", step("delete", 4)), read("a", 5, OLD), judge=judge) == ["came back"]


def test_a_session_is_not_served_without_redis():
    key = f"{SESSION}0"
    judge = Judge(MAX_STALE, [key])
    served = ("a", step("get", 2, key, seen=[tag("a", 1, key)], away=True, local=True))
    assert verdict(put("a", 1, key), served, judge=judge) == ["session"]


def test_nobody_has_to_know_what_a_dead_process_did_not_take_back():
    judge = Judge(MAX_STALE, [KEY])
    told = [put("b", 1), put("a", 2, **UNACKNOWLEDGED)]
    judge.die("a")
    untold = f"{KEY}|a|7|2.5000"
    assert verdict(*told, read("b", 3, tag("b", 1)), read("b", 3, untold), judge=judge) == []
    judge.quiet(4)
    assert verdict(read("b", 5, tag("b", 1)), judge=judge) == []
    assert judge.left == {(KEY, tag("b", 1))}
    assert verdict(put("b", 6), read("b", 7, untold), judge=judge) == ["came back"]


def test_of_many_breaks_all_are_counted():
    judge = Judge(MAX_STALE, [KEY])
    told = [put("a", 1), DELETED, *(read("a", 3 + number, OLD) for number in range(50))]
    assert 0 < len(verdict(*told, judge=judge)) < 50
    assert Counter(judge.broken) == {"came back": 50}
    assert judge.resurrected == {KEY}
