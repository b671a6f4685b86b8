"""What the page of the Python API says of names without a docstring of their own."""

from __future__ import annotations

ELSEWHERE = {"resilience.admin"}  # on the page of the status page
SAID = {
    "resilience.cache.signing.SignedPickleSerializer": (
        "Pickles with a signature: the SERIALIZER of OPTIONS."
    ),
    "resilience.middleware.HealthMiddleware": "Answers `/livez` and `/readyz` before all others.",
    "resilience.cache.state_changed": "A signal: the circuit of an alias opened or closed.",
    "resilience.components.components": 'The registry: `components["name"]` is the object itself.',
    "resilience.health.signals.subject_changed": "A signal: a subject got better or worse.",
}
