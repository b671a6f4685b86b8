"""Randomness for pauses and choices, of which nothing depends on anybody's guess."""

from __future__ import annotations

import random

CHANCE = random.SystemRandom()
"""Without a state: a fork does not repeat it, and whoever seeds ``random`` does not meet it.

Hypothesis ends a test in which another thread draws from ``random``.
"""
