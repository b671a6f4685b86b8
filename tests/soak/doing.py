"""Does a step on a cache and records what came of it; what the contract forbids is told at once."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import time
import traceback
from fnmatch import fnmatchcase
from typing import Any

from django.core.cache import caches

from resilience.cache import status
from resilience.errors import CacheUnavailable
from tests.soak.steps import KINDS, STRICT, Call, Kind, Record, Step


class Doer:
    """Of a process with a name, which every value that it writes has in it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._numbers = itertools.count()

    def do(self, step: Step) -> Record:
        """One step, as code that waits does it."""
        call, tags, before = self._prepare(step)
        method, args, kwargs = call
        answer: Any = None
        raised: Exception | None = None
        began = time.monotonic()
        try:
            found = getattr(caches[step.alias], method)(*args, **kwargs)
            answer = _locked(found) if method == "lock" else found
        except Exception as error:  # noqa: BLE001 - judged below
            raised = error
        ended = time.monotonic()
        return self._record(step, tags, answer, raised, (began, ended, before))

    async def ado(self, step: Step) -> Record:
        """The same, in an event loop; what has no asynchronous name is done in a thread."""
        if not KINDS[step.name].is_asynchronous:
            return await asyncio.to_thread(self.do, step)
        (method, args, kwargs), tags, before = self._prepare(step)
        answer: Any = None
        raised: Exception | None = None
        began = time.monotonic()
        try:
            found = getattr(caches[step.alias], f"a{method}")(*args, **kwargs)
            assert inspect.isawaitable(found)
            answer = await found
        except Exception as error:  # noqa: BLE001 - judged below
            raised = error
        ended = time.monotonic()
        return self._record(step, tags, answer, raised, (began, ended, before))

    def _prepare(self, step: Step) -> tuple[Call, dict[str, str], dict[str, Any]]:
        """The call, the tags it writes, and how the alias does."""
        kind = KINDS[step.name]
        tags = {}
        if kind.effect in {"put", "offer"} or step.name == "set_gone":
            now = f"{time.monotonic():.4f}"
            for key in step.keys:
                tags[key] = f"{key}|{self._name}|{next(self._numbers)}|{now}"
        values = {key: _dress(tag) for key, tag in tags.items()}
        return kind.call(step, values), tags, status(step.alias)

    def _record(
        self,
        step: Step,
        tags: dict[str, str],
        answer: Any,
        raised: Exception | None,
        times: tuple[float, float, dict[str, Any]],
    ) -> Record:
        kind = KINDS[step.name]
        began, ended, before = times
        after = status(step.alias)
        journal = after["journal"]
        seen, broken = [], ""
        if raised is not None:
            broken = _forbidden(step, kind, raised)
        elif not kind.answers(answer):
            broken = f"answered {answer!r}"
        else:
            try:
                seen = _seen(step, answer)
            except (TypeError, KeyError, ValueError):
                broken = f"answered {answer!r}"
        return Record(
            name=step.name,
            keys=step.keys,
            tags=list(tags.values()),
            seen=seen,
            lasts=step.lasts,
            began=began,
            ended=ended,
            asked=time.monotonic(),
            raised=type(raised).__name__ if raised is not None else "",
            broken=broken,
            masked=bool(journal["keys"] or journal["patterns"]),
            again=bool(journal["again"]),
            local=after["fallbacks"] != before["fallbacks"],
            away=before["state"] != "closed" != after["state"],
        )


def _dress(tag: str) -> Any:
    """A value that holds a tag: now a text, now something that can be changed."""
    return {"tag": [tag]} if len(tag) % 3 == 0 else tag


def _tag(value: Any) -> str | None:
    found = value["tag"][0] if type(value) is dict else value
    if found is not None and type(found) is not str:
        raise TypeError(found)
    return found


def _seen(step: Step, answer: Any) -> list[str | None]:
    """By key what was read; None for nothing."""
    if step.name == "get_many":
        if not set(answer) <= set(step.keys) or None in answer.values():
            raise KeyError
        return [_tag(answer.get(key)) for key in step.keys]
    if step.name in {"get", "get_or_set"}:
        found = _tag(answer)
        if found is None and step.name == "get_or_set":
            raise ValueError
        return [found]
    return []


def _forbidden(step: Step, kind: Kind, raised: Exception) -> str:
    """What a call may not raise, in words; nothing if it may."""
    if isinstance(raised, kind.raises):
        return ""
    is_strict = any(fnmatchcase(key, STRICT) for key in step.keys)
    if is_strict and isinstance(raised, CacheUnavailable):
        return ""
    where = traceback.format_exception(raised)
    return f"raised {raised!r}: {''.join(where[-4:])}"


def _locked(lock: Any) -> bool:
    got: bool = lock.acquire(blocking=False)
    if got:
        lock.release()
    return got
