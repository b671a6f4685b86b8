"""What is known of this process, for people at a terminal: ``/readyz?verbose``."""

from __future__ import annotations

from resilience import redact
from resilience.health.states import Health
from resilience.render import text

HUNG_SECONDS = 10.0
"""A run that takes longer than this is worth a line of its own."""


def render(health: Health, word: str) -> str:
    """The word alone on the first line, how old the answers are, then the report."""
    lines = [word, _ages(health)]
    for state in health.subjects:
        if state.running_since and health.taken_at - state.running_since >= HUNG_SECONDS:
            seconds = health.taken_at - state.running_since
            subject = redact.printable(state.subject)
            lines.append(f"{subject} has been asked for {seconds:.0f} s without an answer")
    return "\n".join(lines) + f"\n\n{text.render(health.report)}\n"


def _ages(health: Health) -> str:
    how = "in the background" if health.background else "only when somebody asks"
    if not health.subjects:
        return f"no answer yet; probes run {how}"
    newest = health.taken_at - max(state.checked_at for state in health.subjects)
    return f"last answer {max(0.0, newest):.0f} s ago; probes run {how}"
