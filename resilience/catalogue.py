"""The catalogue of findings: ``findings.md`` as data, for ``--explain`` and the tests.

The same file is the page ``docs/findings.md``, so what is printed offline is what is published.
"""

from __future__ import annotations

import difflib
import re
from importlib import resources

from resilience.errors import UsageError

_HEADING = re.compile(r"^### `(?P<id>[^`]+)`$", re.MULTILINE)


def entries() -> dict[str, str]:
    """Every finding id with its explanation, in the order of the page."""
    page = resources.files("resilience").joinpath("findings.md").read_text(encoding="utf-8")
    headings = list(_HEADING.finditer(page))
    ends = [heading.start() for heading in headings[1:]] + [len(page)]
    return {
        heading["id"]: re.split(r"^## ", page[heading.end() : end], maxsplit=1, flags=re.MULTILINE)[
            0
        ].strip()
        for heading, end in zip(headings, ends, strict=True)
    }


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
    nearest = difflib.get_close_matches(wanted, known, n=3, cutoff=0.5)
    guess = f" Did you mean {', '.join(nearest)}?" if nearest else ""
    raise UsageError(f"{shown} is not the id of a finding.{guess}")
