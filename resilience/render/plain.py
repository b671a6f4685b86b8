"""What is known of this process, for people at a terminal: ``/readyz?verbose``."""

from __future__ import annotations

from resilience import redact
from resilience.health.states import HUNG, Health
from resilience.render import text


def render(health: Health, word: str) -> str:
    """The word alone on the first line, how old the answers are, then the report."""
    hung = [
        f"{redact.printable(state.subject)} has been asked for {seconds:.0f} s without an answer"
        for state in health.subjects
        if (seconds := state.running(health.taken_at)) > HUNG
    ]
    return "\n".join([word, _ages(health), *hung, "", text.render(health.report), ""])


def _ages(health: Health) -> str:
    how = "in the background" if health.background else "only when somebody asks"
    if not health.subjects:
        return f"no answer yet; probes run {how}"
    newest = health.taken_at - max(state.checked_at for state in health.subjects)
    return f"last answer {max(0.0, newest):.0f} s ago; probes run {how}"
