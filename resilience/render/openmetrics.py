"""Metrics of this process, as OpenMetrics 1.0; Prometheus's own text format reads the same bytes.

Only gauges: ``_total`` is the one thing that the two formats name differently. Labels hold no host
name: the subjects of servers are ``redis.`` or ``tls.`` and 8 digits of a hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from resilience.health.states import Health, SubjectState

CIRCUITS = ("closed", "half-open", "open", "memory")

# What comes before the first dot of subjects that the settings name, not the network.
_NAMED = frozenset({"caches", "components", "databases"})
_END = "# EOF\n"

_Samples = Sequence[tuple[Mapping[str, str], float]]


def render_word(*, serving: bool) -> str:
    """For everybody: whether this process should be sent requests."""
    return "".join(_ready(serving=serving)) + _END


def render(health: Health, caches: Mapping[str, Mapping[str, Any]], *, serving: bool) -> str:
    """Everything. ``caches`` is ``resilience.cache.status()`` by alias."""
    lines = [*_ready(serving=serving), *_of_subjects(health)]
    if caches:
        lines += _of_caches(caches)
    return "".join(lines) + _END


def label_of(state: SubjectState) -> str:
    """The subject, or in place of a server's address a hash that is the same everywhere."""
    subject = state.subject
    if "." not in subject or subject.partition(".")[0] in _NAMED:
        return subject
    return f"{state.area}.{hashlib.sha256(subject.encode()).hexdigest()[:8]}"


def _ready(*, serving: bool) -> Iterator[str]:
    yield from _gauge("resilience_ready", "1 if /readyz answers 200.", [({}, float(serving))])


def _of_subjects(health: Health) -> Iterator[str]:
    states = {label_of(state): state for state in health.subjects}
    labels = {label: {"area": state.area, "subject": label} for label, state in states.items()}

    def family(name: str, help_: str, values: Mapping[str, float | None]) -> Iterator[str]:
        samples = [(labels[label], value) for label, value in values.items() if value is not None]
        return _gauge(f"resilience_subject_{name}", help_, samples)

    yield from family(
        "level",
        "Worst finding: 0 ok, 20 info, 30 warning, 40 error.",
        {label: float(state.level) for label, state in states.items()},
    )
    yield from family(
        "probe_duration_seconds",
        "How long the last probe took.",
        {label: state.duration_ms / 1000 for label, state in states.items()},
    )
    yield from family(
        "probe_running_seconds",
        "How long a probe has been under way.",
        {label: state.running(health.taken_at) for label, state in states.items()},
    )
    yield from family(
        "checked_timestamp_seconds",
        "End of the last probe.",
        {label: state.checked_at for label, state in states.items()},
    )
    yield from family(
        "last_ok_timestamp_seconds",
        "Last probe that found no error.",
        {label: state.last_ok for label, state in states.items()},
    )


def _of_caches(caches: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    circuits: list[tuple[Mapping[str, str], float]] = []
    for alias, status in caches.items():
        for role in ("read", "write"):
            state = "memory" if status["state"] == "memory" else status[role]["state"]
            circuits += [
                ({"alias": alias, "role": role, "state": each}, float(each == state))
                for each in CIRCUITS
            ]
    yield from _gauge("resilience_cache_circuit", "1 for the state of a circuit.", circuits)
    for name, help_, part, key in (
        ("journal_keys", "Keys that Redis is not asked about.", "journal", "keys"),
        ("journal_patterns", "Patterns that Redis is not asked about.", "journal", "patterns"),
        ("l1_bytes", "Size of the local store.", "l1", "bytes"),
        ("l1_max_bytes", "Bound of the local store.", "l1", "max_bytes"),
    ):
        sizes = [({"alias": alias}, float(each[part][key])) for alias, each in caches.items()]
        yield from _gauge(f"resilience_cache_{name}", help_, sizes)


def _gauge(name: str, help_: str, samples: _Samples) -> Iterator[str]:
    yield f"# TYPE {name} gauge\n"
    if unit := next((unit for unit in ("seconds", "bytes") if name.endswith(f"_{unit}")), ""):
        yield f"# UNIT {name} {unit}\n"
    yield f"# HELP {name} {help_}\n"
    for labels, value in samples:
        inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        yield f"{name}{'{' + inside + '}' if inside else ''} {value!r}\n"


def _escaped(text: str) -> str:
    # A lone surrogate, which a variable that is no UTF-8 gives, has no bytes to be sent as.
    text = text.encode(errors="backslashreplace").decode()
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
