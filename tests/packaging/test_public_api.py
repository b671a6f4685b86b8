"""What users may rely on stays as it is, until somebody decides otherwise."""

from __future__ import annotations

import difflib
import sys

import pytest

from tests.packaging.surface import PAGE
from tests.processes import ROOT, run

ADVICE = """The public surface is not what tests/packaging/public_api.txt says.

Not meant? Then mend the code: whoever uses resilience would have to change theirs.
Meant? Then, in the same commit:
1. something that goes or changes its meaning: a decision in docs/decisions, and the next version
   is a new 0.Y, not 0.x.Y (docs/decisions/0055-public-surface.md);
2. a line in CHANGELOG.md under Unreleased, and the page of docs/reference that has it;
3. python -m tests.packaging.surface > tests/packaging/public_api.txt

"""


def complaint(pinned: str, found: str) -> str:
    """Nothing if they are equal, else what to do, and each line that came or went."""
    changes = difflib.unified_diff(
        pinned.splitlines(), found.splitlines(), "public_api.txt", "now", lineterm="", n=0
    )
    shown = "\n".join(line for line in changes if not line.startswith("@@"))
    return ADVICE + shown if shown else ""


@pytest.fixture(scope="module")
def found() -> str:
    """The surface, in a process of its own: with the admin, and the settings of no test."""
    ended = run(sys.executable, "-m", "tests.packaging.surface", cwd=ROOT, variables={})
    assert (ended.code, ended.err) == (0, "")
    return ended.out


def test_the_public_surface_is_the_pinned_one(found):
    said = complaint(PAGE.read_text(encoding="utf-8"), found)
    assert not said, said


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("wait: float = 1.0", "wait: float"),
        ("resilience.env.ref(name: str) -> Ref\n", ""),
        ("['MAX_STALE'] = 60.0", "['MAX_STALE'] = 30.0"),
        ("checkdeploy --commit SHA", "checkdeploy --revision SHA"),
        ("\nredis.auth-missing\n", "\nredis.auth-lacking\n"),
        ("/readyz/\n", "/ready/\n"),
        ("resilience_cache_l1_bytes", "resilience_cache_bytes"),
        ("alias role old new why", "alias role old new"),
        ("class resilience.errors.CacheUnavailable(", "class resilience.errors.CacheGone("),
        ("table resilience_history_instance", "table resilience_instance"),
    ],
)
def test_the_public_surface__twin__a_change_is_told(old, new, found):
    assert found.count(old) == 1
    said = complaint(found, found.replace(old, new))
    assert said.startswith(ADVICE)
    assert f"\n-{next(line for line in found.splitlines() if old.strip() in line)}" in said


def test_nothing_of_this_process_is_in_it(found):
    assert " at 0x" not in found
    assert str(ROOT) not in found
