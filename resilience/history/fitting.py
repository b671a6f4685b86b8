"""Texts as every database takes them.

PostgreSQL refuses NUL, and no driver encodes the lone surrogate that a variable which is not UTF-8
gives: one odd name would keep every beat of its process from being written.
"""

from __future__ import annotations

from resilience import redact

NAME = 200
"""Characters of a subject, a replica, a host."""


def fit(text: str, most: int = NAME) -> str:
    """``text`` printable, and cut. Equal texts stay equal, and what fits stays as it is."""
    return redact.printable(text)[:most]
