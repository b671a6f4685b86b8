"""What the child's answers mean: sightings, and imports that failed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from resilience import redact
from resilience.audit import known
from resilience.audit.owners import OURS, is_own, owner
from resilience.audit.sightings import EVERYTHING, Id, Place, Sighting
from resilience.audit.statements import assignment, statement
from resilience.audit.wording import listed, shown
from resilience.findings import Finding, Level

_KINDS: dict[str, Id] = {
    "read": "audit.import-read",
    "network": "audit.import-network",
    "thread": "audit.import-thread",
}
PACKAGES = sorted({name.partition(".")[0] for name in known.CLIENT_NAMES})
"""The packages whose objects the child looks for."""

_NO_VARIABLE = ("ImportError", "ModuleNotFoundError", "SyntaxError")  # has anything to do with it
_NEEDS_SETUP = ("AppRegistryNotReady", "ImproperlyConfigured")

Failure = tuple[Finding, tuple[Place, ...]]
"""An import that failed, and the lines that it came through, from the inside out."""


@dataclass(frozen=True)
class Trace:
    """What one child process saw. ``isolated`` if it had a network namespace of its own."""

    sightings: tuple[Sighting, ...]
    failures: tuple[Failure, ...]
    files: tuple[str, ...]
    modules: int
    isolated: bool
    held: frozenset[tuple[str, str, str]] = frozenset()
    """File, name and class of what modules hold since their import."""
    unreached: tuple[str, ...] = ()
    """The modules that there was no time for."""


def read(answers: Sequence[dict[str, Any]], modules: Sequence[str], start: str) -> Trace:
    """The trace of ``modules``. ``start`` is what an answer without a module is about."""
    late = any("late" in answer for answer in answers)
    answers = [answer for answer in answers if "late" not in answer]
    seen: list[Sighting] = []
    held: set[tuple[str, str, str]] = set()
    failures: list[Failure] = []
    used: list[str] = []
    done: set[str] = set()
    for answer in answers:
        asked = {answer["module"], *modules} - {""}
        done |= {answer["module"], *answer["files"], *answer["there"]} & asked
        files = {
            file
            for name, file in answer["files"].items()
            if is_own(file) and (answer["module"] or _is_asked(name, asked))
        }
        used += sorted(files)
        happened = list(_sightings(answer["events"], asked, whole=bool(answer["module"])))
        seen += happened
        # A module that failed, and whose failure was swallowed, is in no list of modules.
        used += [one.via.file for one in happened if one.via is not None]
        seen += _held(answer["held"], files)
        held |= {(file, name, kind) for file, name, kind in answer["held"]}
        if answer["failed"]:
            failure = _failure(answer["module"] or start, answer["failed"], answer["events"])
            failures.append(failure)
            # A module that failed is no longer there to be asked for its file.
            used += [place.file for place in failures[-1][1] if is_own(place.file)]
    if not answers:
        failures.append(_unfinished(start))
    rest = [name for name in modules if name not in done]
    if answers and not failures and not late:
        failures += map(_unfinished, rest)
    return Trace(
        tuple(seen),
        tuple(_one_per_line(failures)),
        tuple(dict.fromkeys(used)),
        len(done),
        bool(answers) and bool(answers[0]["isolated"]),
        frozenset(held),
        tuple(rest) if late else (),
    )


def _is_asked(name: str, asked: Collection[str]) -> bool:
    return any(name == one or name.startswith(f"{one}.") for one in asked)


def _sightings(
    events: Sequence[dict[str, Any]], asked: Collection[str], *, whole: bool
) -> Iterator[Sighting]:
    """Of the ``whole`` import, or only what modules that were asked for made happen."""
    sets = [
        (position, event["name"], statement(_own_line(event) or Place(*event["at"])))
        for position, event in enumerate(events)
        if event["kind"] == "write"
    ]
    copies = {Place(*event["at"]) for event in events if event["name"] == EVERYTHING}
    for position, event in enumerate(events):
        bodies, name = event["bodies"], event["name"]
        at, own = Place(*event["at"]), _own_line(event)
        if event["kind"] not in _KINDS or owner(at.file) == OURS:
            continue
        if not bodies or not (whole or any(_is_asked(body[2], asked) for body in bodies)):
            continue
        is_read = event["kind"] == "read"
        here = {written for _, written, place in sets if own and place == statement(own)}
        if is_read and (name in here or (here and at in copies)):
            continue  # this line loads variables, and has looked which are there
        after = (place for when, written, place in sets if when > position and written == name)
        cached = event["cache"] if is_read else ""
        yield Sighting(
            "audit.frozen-read" if cached else _KINDS[event["kind"]],
            name,
            Place(*bodies[0][:2]),
            at,
            is_set=event["set"],
            traced=True,
            via=own,
            later=next(after, None) if is_read and not event["set"] else None,
            by_cache=cached,
            is_loaded=event["loaded"],
        )


def _own_line(event: dict[str, Any]) -> Place | None:
    """The innermost line of a module's body that is the project's own."""
    bodies = event["bodies"]
    return next((Place(*body[:2]) for body in bodies if is_own(body[0])), None)


def _held(held: Sequence[Sequence[str]], files: Collection[str]) -> Iterator[Sighting]:
    """Clients that the globals and class attributes of these files hold since the import."""
    for file, name, kind in held:
        client = client_of(kind)
        place = assignment(file, name) if client and file in files else None
        if client and place:
            yield Sighting("audit.import-client", client, place, place, traced=True)


def client_of(kind: str) -> str:
    """The client of the table that a class is, by the shortest of its names; ``""`` for none.

    A class is defined deeper in its package than it is imported from: package and last name decide,
    and whether it is the asynchronous one (``redis.client.Redis`` is not ``redis.asyncio.Redis``).
    """
    package, *_, last = parts = kind.split(".")
    names = (name for name in known.CLIENT_NAMES if name.split(".")[0] == package)
    fitting = [
        name
        for name in names
        if name.endswith(f".{last}") and ("asyncio" in name.split(".")) == ("asyncio" in parts)
    ]
    return min(fitting, key=lambda name: (len(name), name), default="")


def _failure(name: str, failed: dict[str, Any], events: Sequence[dict[str, Any]]) -> Failure:
    came = tuple(Place(*frame) for frame in failed["frames"])
    own = next((place for place in came if is_own(place.file)), None)
    missing: list[str] = []
    if not failed["type"]:
        said, hint = (
            "The import did not end in time; it was busy here.",
            "Move the work at this place out of import time, into the function that needs it.",
        )
    else:
        text = " ".join(redact.foreign(failed["text"]).split())
        said = f"The import fails: {failed['type']}{': ' if text else ''}{text}"
        if own is not None and failed["type"] not in _NO_VARIABLE:
            missing = _missing(statement(own), events)
        if missing:
            were = "was" if len(missing) == 1 else "were"
            said = f"{said.removesuffix('.')}; {listed(missing)} {were} read, and not set"
        hint = f"python -c 'import {name}' shows the whole traceback."
        if failed["type"] in _NEEDS_SETUP:
            hint = "If it needs django.setup(), give --after-setup; else correct this place."
    finding = Finding(
        "audit.import-failed",
        Level.ERROR,
        name,
        said if said.endswith(".") else f"{said}.",
        hint,
        {
            **({"not_set": ", ".join(missing)} if missing else {}),
            "came_through": " < ".join(shown(place) for place in came[:10]),
        },
        shown(statement(own)) if own else None,
    )
    return finding, came


def _missing(failing: Place, events: Sequence[dict[str, Any]]) -> list[str]:
    """What this statement read and did not find: keys first, then what was read last."""
    names = [
        event["name"]
        for event in reversed(events)
        if event["kind"] == "read"
        and event["set"] is False
        and not known.is_of_the_machine(event["name"])
        and (own := _own_line(event)) is not None
        and statement(own) == failing
    ]
    return sorted(dict.fromkeys(names), key=lambda name: not redact.is_secret_name(name))


def _unfinished(name: str) -> Failure:
    finding = Finding(
        "audit.import-failed",
        Level.ERROR,
        name,
        "The import ended its process, or there was no time left for it.",
        "Give it more time with --deadline; if that does not help, it calls os._exit or crashes: "
        f"python -X faulthandler -c 'import {name}'",
    )
    return finding, ()


def _one_per_line(failures: Sequence[Failure]) -> Iterator[Failure]:
    """Modules that fail at the same place for the same reason fail once."""
    groups: dict[tuple[str | None, str], list[Failure]] = {}
    for failure in failures:
        finding = failure[0]
        groups.setdefault((finding.location, finding.summary), []).append(failure)
    for (finding, came), *others in groups.values():
        names = ", ".join(other.subject for other, _ in others)
        facts = {**finding.facts, **({"also": names} if names else {})}
        yield replace(finding, facts=facts), came
