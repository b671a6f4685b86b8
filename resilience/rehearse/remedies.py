"""Which change of the project mends what a scenario has shown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from resilience.rehearse.diagnosis import Said
from resilience.rehearse.scenario import LangSmithScenario, RedisScenario, Scenario
from resilience.rehearse.survey import Survey

OURS = "resilience.cache."
_AT_IMPORT = (
    "audit.swallowed-import audit.import-client audit.import-network audit.import-read-unset "
    "audit.frozen-read audit.import-read"
).split()


def of_requests(
    scenario: Scenario,
    survey: Survey,
    audit: Sequence[Said],
    errors: Sequence[dict[str, Any]],
) -> str:
    """For requests that fail or take long, and for an app that does not start."""
    found = [*(_caches(survey) if isinstance(scenario, RedisScenario) else ())]
    found += _imports(audit, _word(scenario))
    if not found and errors:
        first = errors[0]
        where = f" at {first['at']}" if first["at"] else ""
        found.append(f"The view raised {first['name']}{where}: have it answer without that service")
    return _sentences(found) or (
        "Bound every call of that service with a timeout, and have the page answer without it; "
        "start the project under this fault with --scenario to see it alone."
    )


def of_secrets(audit: Sequence[Said], name: str) -> str:
    """For a variable that is missed, and nothing says so."""
    declare = (
        f'Declare {name} in settings with resilience.env: env.secret("{name}") where the app '
        f'cannot start without it, env.ref("{name}") in the OPTIONS of a component otherwise'
    )
    return _sentences([declare, *_imports(audit, "")])


def _caches(survey: Survey) -> Iterator[str]:
    for alias, backend in survey.caches.items():
        if not backend.startswith(OURS):
            yield (
                f'Set CACHES["{alias}"]["BACKEND"] = "resilience.cache.ResilientCache" and leave '
                "the rest as it is"
            )


def _imports(audit: Sequence[Said], word: str) -> list[str]:
    """What happens at import and has to do with this, the place first."""
    mine = [
        each
        for each in audit
        if each.id in _AT_IMPORT and word in f"{each.summary} {each.subject}".lower()
    ]
    mine.sort(key=lambda each: _AT_IMPORT.index(each.id))
    return [f"{each.location or each.subject} ({each.id}): {each.hint[:-1]}" for each in mine]


def _word(scenario: Scenario) -> str:
    if isinstance(scenario, RedisScenario):
        return "redis"
    return "langsmith" if isinstance(scenario, LangSmithScenario) else ""


def _sentences(parts: Iterable[str]) -> str:
    return " ".join(f"{part}." for part in dict.fromkeys(parts))
