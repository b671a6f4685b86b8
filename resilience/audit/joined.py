"""Sightings to findings: one for each cause, the project's own before other packages'."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from resilience.audit.known import is_of_the_machine
from resilience.audit.owners import OURS, OWN, STANDARD, is_own, owner
from resilience.audit.sightings import EVERYTHING, Place, Sighting
from resilience.audit.statements import module_of, statement
from resilience.audit.swallowed import MOCK
from resilience.audit.wording import HINTS, LOADED, others, shown, summary
from resilience.findings import Fact, Finding, Level

# The worst thing that one statement does gives the finding its id; the others are its facts.
_ORDER = ("audit.import-network", "audit.import-client", "audit.import-thread", "audit.frozen-read")
_ALONE = ("audit.swallowed-import", "audit.unreadable")
_KEPT = "kept_by"  # the cache of another package: not what makes an import fail
_MANY = 5  # variables read on one line, from which on the line is a loop


def findings(
    sightings: Iterable[Sighting],
    settings: Collection[str] = (),
    mentioned: Container[str] | None = None,
    failing: Collection[Place] = (),
) -> list[Finding]:
    """One finding for each statement at fault. ``settings`` are files that may read variables.

    Any file that is called settings may, too: that is what settings are for, as long as nothing
    sets the variable only afterwards. ``mentioned`` are the variables that the project knows, None
    if that is not known; ``failing`` are statements that an import failed at.
    """
    own: dict[tuple[str, Place], list[Sighting]] = {}
    foreign: dict[str, list[Sighting]] = {}
    for one in sightings:
        if one.id == "audit.import-read" and is_of_the_machine(one.name):
            continue
        if one.traced and not is_own(one.cause.file):  # source is only read where asked to
            foreign.setdefault(owner(one.cause.file), []).append(one)
        elif not _is_allowed(one, settings):
            cause = statement(one.cause)
            if one.traced and one.by_cache and not is_own(one.place.file):
                # Another package's cache is not the project's to mend: here it is a read.
                one = replace(one, id="audit.import-read")  # noqa: PLW2901 - the same one
            by_itself = one.id in _ALONE or (one.by_cache and not one.traced)
            kind = one.id if by_itself else ""
            own.setdefault((kind, cause), []).append(replace(one, cause=cause))
    if mentioned is not None:
        quiet = [key for key, group in own.items() if _is_a_packages_own(group, mentioned)]
        for key in quiet:
            for one in () if key[1] in failing else own.pop(key):
                foreign.setdefault(owner(one.place.file), []).append(one)
    found = [_own(group) for _, group in sorted(own.items(), key=lambda item: item[0][1])]
    found.sort(key=lambda finding: -finding.level)
    return [*found, *(others(package, group) for package, group in sorted(foreign.items()))]


def _is_a_packages_own(group: Sequence[Sighting], mentioned: Container[str]) -> bool:
    """Nothing but variables which another package asks for by itself, and which nobody sets.

    The project's line happens to be the first that uses the package; there is nothing to mend.
    """
    return all(
        one.id == "audit.import-read"
        and one.traced
        and one.is_set is False
        and one.later is None
        and one.name not in ("", EVERYTHING)
        and owner(one.place.file) not in (OWN, OURS, STANDARD)
        and one.name not in mentioned
        for one in group
    )


def _is_allowed(one: Sighting, settings: Collection[str]) -> bool:
    if one.id != "audit.import-read" or one.later is not None:
        return False
    path = Path(one.cause.file)
    stem = path.stem
    return (
        one.cause.file in settings
        or stem == "settings"
        or stem.startswith("settings_")
        or stem.endswith("_settings")
        or path.parent.name == "settings"
    )


def _own(group: Sequence[Sighting]) -> Finding:
    seen = list(_without_doubles(group))
    reads = [one for one in seen if one.id in ("audit.import-read", "audit.frozen-read")]
    head = min(seen, key=_rank)
    by = sorted({"trace" if one.traced else "source" for one in group})
    return _finding(head, seen, reads, {"seen_in": " and ".join(by)})


def _rank(one: Sighting) -> tuple[int, int, int, int]:
    """The head of a group: the worst act, else a read that found nothing; as it was traced."""
    position = _ORDER.index(one.id) if one.id in _ORDER else len(_ORDER)
    return position, int(one.later is None), int(one.is_set is not False), int(not one.traced)


def _without_doubles(group: Sequence[Sighting]) -> Iterator[Sighting]:
    """What both saw once, as the trace saw it; a copy of the environment instead of each name."""
    whole = {one.place for one in group if one.name == EVERYTHING}
    names: dict[Place, set[str]] = {}
    for one in group:
        names.setdefault(one.place, set()).add(one.name)
    whole |= {place for place, every in names.items() if len(every) > _MANY}
    traced = {(_kind(one), one.name) for one in group if one.traced}
    traced_at = {one.place.line for one in group if one.traced}
    done = set()
    for one in group:
        name = EVERYTHING if one.place in whole and _kind(one) == "read" else one.name
        key = (_kind(one), name)
        if key in done or (not one.traced and key in traced):
            continue
        if not one.traced and not name and one.place.line in traced_at:
            continue
        done.add(key)
        yield replace(one, name=name)


def _kind(one: Sighting) -> str:
    return "read" if one.id in ("audit.import-read", "audit.frozen-read") else one.id


def _finding(
    head: Sighting, seen: Sequence[Sighting], reads: Sequence[Sighting], facts: dict[str, Fact]
) -> Finding:
    identifier: str = head.id
    unset = [one for one in reads if one.is_set is False]
    later = next((one for one in reads if one.later is not None), None)
    if head.id == "audit.import-read" and unset:
        identifier = "audit.import-read-unset"
    # Loading first is no advice where that has been done.
    is_loaded = later is None and all(one.is_loaded for one in unset)
    level = Level.WARNING
    if (later is not None and (unset or later.traced)) or (
        head.id == "audit.import-network" and head.traced
    ):
        level = Level.ERROR
    if head.id == "audit.swallowed-import" and head.words == MOCK:
        level = Level.ERROR
    module = module_of(head.cause.file)
    return Finding(
        identifier,
        level,
        module,
        summary(identifier, head, reads),
        HINTS[LOADED if is_loaded and identifier == "audit.import-read-unset" else identifier],
        facts | _facts(head, seen, reads),
        shown(head.cause),
    )


def _facts(head: Sighting, seen: Sequence[Sighting], reads: Sequence[Sighting]) -> dict[str, Fact]:
    facts: dict[str, Fact] = {}
    if head.place != head.cause:
        facts["happens_at"] = shown(head.place)
    if reads:
        facts["reads"] = ", ".join(
            f"{one.name or 'a computed name'} at {shown(one.place)}" for one in reads
        )
    if head.id == "audit.import-read" and all(one.by_cache for one in reads):
        facts[_KEPT] = head.by_cache
    missing = [one.name for one in reads if one.is_set is False and one.name != EVERYTHING]
    if missing:
        facts["not_set"] = ", ".join(missing)
    late = {one.name: one.later for one in reads if one.later is not None}
    if late:
        facts["set_later"] = ", ".join(f"{name} at {shown(place)}" for name, place in late.items())
    for one in seen:
        if one is not head and _kind(one) != "read":
            facts[one.id.removeprefix("audit.")] = f"{one.name} at {shown(one.place)}"
    return facts


def with_failures(
    found: Sequence[Finding], failures: Sequence[tuple[Finding, Sequence[Place]]]
) -> list[Finding]:
    """The failed imports too, each explained by the finding of a line that it came through.

    What makes an import fail is an error, whatever it is elsewhere.
    """
    result = list(found)
    for failure, came in failures:
        lines = [shown(statement(place)) for place in came]
        at = (one for line in lines for one in result if one.location == line)
        cause = next((one for one in at if _KEPT not in one.facts), None)
        if cause is not None:
            position = result.index(cause)
            hint = cause.hint or HINTS[cause.id]  # information about a package has none
            cause = replace(cause, level=Level.ERROR, hint=hint)
            result[position] = cause
            failure = replace(failure, cause=cause)  # noqa: PLW2901 - the same one, explained
        result.append(failure)
    return sorted(result, key=lambda finding: -finding.level)
