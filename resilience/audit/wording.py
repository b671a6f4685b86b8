"""How the audit says what it saw: summaries, hints, places."""

from __future__ import annotations

from collections.abc import Sequence

from resilience import places
from resilience.audit.owners import OWN, owner
from resilience.audit.sightings import EVERYTHING, Place, Sighting
from resilience.audit.swallowed import MOCK
from resilience.findings import Fact, Finding, Level

_COMPONENT = (
    "Declare it as a component (RESILIENCE['COMPONENTS']) and use components[name] where it is "
    "needed: it is then built on first use."
)
_READ = (
    "Declare it in settings with resilience.env, or read it in the function that needs it; "
    "env.load() on line 1 of the project's __init__.py comes before both."
)
LOADED = "loaded"
"""The hint for a variable that ``env.load()`` did not find."""

HINTS = {
    "audit.import-read": _READ,
    "audit.import-read-unset": "Load the variables first: from resilience import env; env.load() "
    "on line 1 of the project's __init__.py. Then read it in settings or where it is needed.",
    LOADED: "Declare it in settings with resilience.env, or read it in the function that needs "
    "it. env.load() had run by then, so no file that it reads has the variable.",
    "audit.frozen-read": "Cache what is made of the variable, not the reading; or declare it in "
    "settings with resilience.env, once.",
    "audit.import-client": _COMPONENT,
    "audit.import-network": "Move the call into the function that needs its answer; for a client "
    "use a component, which is built on first use.",
    "audit.import-thread": "Start it on first use: a thread of the importing process is gone in "
    "every forked worker.",
    "audit.swallowed-import": "Let the import fail, or make it a component: it is then reported "
    "as blocked, with the reason, and nothing pretends to work.",
    "audit.unreadable": "Correct the file, or run the audit with the Python that the project "
    "runs on.",
}


def shown(place: Place) -> str:
    """``file:line``, below the working directory or below site-packages as short as that."""
    if owner(place.file) == OWN:
        return f"{places.shorten(place.file)}:{place.line}"
    for site in ("site-packages/", "dist-packages/"):
        if site in place.file:
            return f"{place.file.rpartition(site)[2]}:{place.line}"
    return f"{places.shorten(place.file)}:{place.line}"


def summary(identifier: str, head: Sighting, reads: Sequence[Sighting]) -> str:
    """One sentence about what a statement of the project does."""
    acts = {"import-client": "is built", "import-network": "goes to the network"}
    acts["import-thread"] = "is started"
    act = acts.get(identifier.removeprefix("audit."))
    if act:
        late = [one for one in reads if one.is_set is False and one.later is not None]
        when = f"when {_names(late)} {_were(late)} not set" if late else "before anybody needs it"
        return f"{head.name} {act} at import, {when}{_afterwards(late)}."
    if identifier == "audit.swallowed-import":
        kind = "a mock" if head.words == MOCK else "a stand-in"
        what = "block" if head.is_wide else "import"
        if head.took_over:
            return (
                f"This {what} failed in this run: {head.name} took its place, {kind} "
                f"(line {head.place.line}), and nobody was told."
            )
        return (
            f"If this {what} fails, {head.name} takes its place, {kind} "
            f"(line {head.place.line}), and nobody is told."
        )
    if identifier == "audit.unreadable":
        return f"Not examined: {head.name} {head.words}."
    return _of_reads(identifier, head, reads)


def _of_reads(identifier: str, head: Sighting, reads: Sequence[Sighting]) -> str:
    names = f"{_names(reads)} {_are(reads)}"
    if identifier == "audit.frozen-read":
        cache = head.by_cache
        return f"{names} read inside a cached function: what {cache} saw first, it keeps."
    if identifier == "audit.import-read-unset":
        unset = [one for one in reads if one.is_set is False]
        return (
            f"{_names(unset)} {_are(unset)} read at import, and {_were(unset)} not "
            f"set{_afterwards(unset)}."
        )
    first = next((one.later for one in reads if one.later is not None), None)
    if first is not None:
        return f"{names} read at import, before {shown(first)} loads the variables."
    return f"{names} read at import: no later change is seen."


def others(package: str, group: Sequence[Sighting]) -> Finding:
    """What another package does at its import, in one finding."""
    by_kind: dict[str, dict[str, Sighting]] = {}
    for one in group:
        by_kind.setdefault(one.id, {}).setdefault(one.name, one)
    facts: dict[str, Fact] = {
        key.removeprefix("audit."): ", ".join(
            f"{name or 'a computed name'} at {shown(one.place)}" for name, one in seen.items()
        )
        for key, seen in by_kind.items()
    }
    reads = [*by_kind.get("audit.import-read", {}).values()]
    reads += by_kind.get("audit.frozen-read", {}).values()
    via = next((one.via for one in group if one.via is not None), None)
    where = shown(via) if via is not None else shown(group[0].cause)
    if "audit.import-network" in by_kind:
        first = next(iter(by_kind["audit.import-network"]))
        return Finding(
            "audit.import-network",
            Level.WARNING,
            package,
            f"Importing {package} goes to the network: {first}.",
            "Import it in the function that needs it, or make it a component.",
            facts,
            where,
        )
    if "audit.import-thread" in by_kind:
        first = next(iter(by_kind["audit.import-thread"]))
        said = f"Importing {package} starts {first}."
        return Finding("audit.import-thread", Level.INFO, package, said, "", facts, where)
    unset = [one for one in reads if one.is_set is False]
    late = [one for one in unset if one.later is not None]
    if late:
        return Finding(
            "audit.import-read-unset",
            Level.ERROR,
            package,
            f"{_names(late)} {_are(late)} read when {package} is imported, and {_were(late)} not "
            f"set{_afterwards(late)}.",
            HINTS["audit.import-read-unset"],
            facts,
            where,
        )
    said = f"Importing {package} reads {_names(reads)}."
    identifier = "audit.import-read-unset" if len(unset) == len(reads) else "audit.import-read"
    return Finding(identifier, Level.INFO, package, said, "", facts, where)


def _are(reads: Sequence[Sighting]) -> str:
    return "is" if len({one.name for one in reads}) == 1 else "are"


def _were(reads: Sequence[Sighting]) -> str:
    return "was" if len({one.name for one in reads}) == 1 else "were"


def _names(reads: Sequence[Sighting]) -> str:
    known = {EVERYTHING: "the whole environment", "": "a variable with a computed name"}
    return listed([known.get(one.name, one.name) for one in reads])


def listed(every: Sequence[str]) -> str:
    """The first three of these names, each once, and how many more there are."""
    names = list(dict.fromkeys(every))
    most = 3
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _afterwards(reads: Sequence[Sighting]) -> str:
    place = next((one.later for one in reads if one.later is not None), None)
    return f"; {shown(place)} sets it only afterwards" if place else ""
