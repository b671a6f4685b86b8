"""The only result vocabulary: a level, a finding, a report.

Every probe returns findings, every page, command, format and system check renders them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from resilience import redact

if TYPE_CHECKING:
    from resilience.hosting import Hosting

Fact = str | int | float | bool

ID = re.compile(r"\w+(\.[A-Za-z0-9][\w-]*)+")
"""The form of an id, ``area.slug``."""


class Level(IntEnum):
    """How bad it is, in the numbers of Django's system checks."""

    OK = 0
    INFO = 20
    WARNING = 30
    ERROR = 40

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True)
class Finding:
    """One thing that was found out about one subject. Immutable, and safe to print anywhere.

    ``id`` is the stable slug ``area.slug`` that ``--explain``, ``docs/findings.md`` and Django's
    ``SILENCED_SYSTEM_CHECKS`` (behind ``resilience.``) know; Django's own check ids stay as they
    are. ``subject`` is the thing, ``summary`` one sentence, ``hint`` the exact next step, ``facts``
    numbers and short texts with the unit in the key (``wait_ms``), ``location`` ``file:line``.
    ``cause`` is the finding that explains this one, ``skipped`` says that it was not examined.
    ``area`` and ``duration_ms`` are filled in by whoever ran the probe.

    Texts are redacted and made printable here, once, so no renderer can forget to.

    Raises ValueError for an id of the wrong form, and for a warning or error without a hint.
    """

    id: str
    level: Level
    subject: str
    summary: str
    hint: str = ""
    facts: Mapping[str, Fact] = field(default_factory=dict)
    location: str | None = None
    cause: Finding | None = None
    skipped: bool = False
    area: str = ""
    duration_ms: float = 0.0

    def __post_init__(self) -> None:
        if not ID.fullmatch(self.id):
            raise ValueError(f"finding id {self.id!r} is not of the form area.slug")
        if self.level >= Level.WARNING and not self.hint:
            raise ValueError(f"finding {self.id} is a {self.level} without a hint")
        # By shape only: a subject is compared with others, and must stay equal to itself.
        object.__setattr__(self, "subject", redact.printable(redact.shapes(self.subject)))
        for name in ("summary", "hint", "location"):
            object.__setattr__(self, name, _safe(getattr(self, name)))
        facts = {redact.printable(key): _safe(fact) for key, fact in self.facts.items()}
        object.__setattr__(self, "facts", MappingProxyType(facts))

    @property
    def is_root_cause(self) -> bool:
        """An error that no other finding explains."""
        return self.level >= Level.ERROR and self.cause is None


def _safe(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON knows no NaN
    return redact.printable(redact.text(value)) if isinstance(value, str) else value


@dataclass(frozen=True)
class Report:
    """Everything one run found out, in the order of the areas, and what that means for a deploy.

    ``critical`` are the subjects whose failure takes the app out of service, ``fail_level`` the
    level from which on a finding fails the run. ``silenced`` are those that settings hold back:
    they count nowhere, and their facts give the ``reason`` and ``until`` when.
    """

    findings: tuple[Finding, ...]
    hosting: Hosting
    duration_ms: float
    critical: frozenset[str] = frozenset()
    fail_level: Level = Level.ERROR
    silenced: tuple[Finding, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 fine · 1 a finding at or above the fail level · 3 only a critical subject's timeout."""
        failing = [f for f in self.findings if f.level >= self.fail_level]
        if any(not self._is_critical_timeout(f) for f in failing):
            return 1
        return 3 if any(self._is_critical_timeout(f) for f in self.findings) else 0

    @property
    def verdict(self) -> str:
        """``pass``, ``fail`` or ``timeout``: the exit code as a word."""
        return {0: "pass", 1: "fail", 3: "timeout"}[self.exit_code]

    def count(self, level: Level) -> int:
        """How many findings have exactly this level."""
        return sum(finding.level is level for finding in self.findings)

    def _is_critical_timeout(self, finding: Finding) -> bool:
        return finding.id == "probe.timeout" and finding.subject in self.critical
