"""What other projects may import: everything else may change without a word."""

from __future__ import annotations

NAMES = {
    "resilience.env": (
        "load str secret bool int float list url db ref declared snapshot Declared Ref Snapshot "
        "collecting placeholder_in reset"
    ).split(),
    "resilience.cache": "ResilientCache status force state_changed".split(),
    "resilience.cache.signing": ["SignedPickleSerializer"],
    "resilience.components": "components override_component Status".split(),
    "resilience.components.langsmith": ["Client"],
    "resilience.errors": (
        "ResilienceError CacheUnavailable ComponentUnavailable InsecureExpired UsageError EnvError "
        "MissingVariable InvalidVariable BrokenSource"
    ).split(),
    "resilience.tls.policy": ["trust_of"],
    "resilience.audit": "scan trace".split(),
    "resilience.health.monitor": "snapshot ask check_now".split(),
    "resilience.health.signals": ["subject_changed"],
    "resilience.history.heartbeat": ["start"],
    "resilience.endpoints.draining": ["when"],
    "resilience.middleware": ["HealthMiddleware"],
    "resilience.simulation.proxy": (
        "Proxy Fault Refuse BlackHole Silence Latency Trickle Bandwidth Reset Truncate Garbage"
    ).split(),
}
# What has no docstring of its own.
SAID = {
    "resilience.cache.signing.SignedPickleSerializer": (
        "Pickles with a signature: the SERIALIZER of OPTIONS."
    ),
    "resilience.middleware.HealthMiddleware": "Answers `/livez` and `/readyz` before all others.",
    "resilience.cache.state_changed": "A signal: the circuit of an alias opened or closed.",
    "resilience.components.components": 'The registry: `components["name"]` is the object itself.',
    "resilience.health.signals.subject_changed": "A signal: a subject got better or worse.",
}
