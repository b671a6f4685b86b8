"""The catalogue of findings: ``findings.md`` as data, for ``--explain`` and the tests.

The same file is the page ``docs/findings.md``, so what is printed offline is what is published.
"""

from __future__ import annotations

import re
from importlib import resources

from resilience.errors import UsageError, did_you_mean

_ENTRY = re.compile(r"^### `([^`]+)`$\n(.*?)(?=^##|\Z)", re.MULTILINE | re.DOTALL)


def entries() -> dict[str, str]:
    """Every finding id with its explanation, in the order of the page."""
    page = resources.files("resilience").joinpath("findings.md").read_text(encoding="utf-8")
    return {identifier: body.strip() for identifier, body in _ENTRY.findall(page)}


def explain(identifier: str) -> str:
    """The explanation of one id, also when it is written as Django writes it. Raises UsageError."""
    known = entries()
    wanted = identifier.removeprefix("resilience.")
    if wanted in known:
        return f"{wanted}\n\n{known[wanted]}"
    if re.fullmatch(r"\w+\.[A-Z]\d+", wanted):
        raise UsageError(
            f"{wanted} is a check of Django or of an app, not of resilience: "
            "see https://docs.djangoproject.com/en/stable/ref/checks/."
        )
    shown = wanted if re.fullmatch(r"[\w.-]{1,60}", wanted) else "That"
    raise UsageError(f"{shown} is not the id of a finding.{did_you_mean(wanted, known)}")
