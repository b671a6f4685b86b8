"""What is special about a Redis on Railway: its two addresses, and that neither has TLS.

Railway's documentation: the service is the plain ``redis`` image; its private network is
WireGuard; public access is a TCP proxy, paid by the byte.
"""

from __future__ import annotations

from resilience.findings import Finding, Level

_PRIVATE = ".railway.internal"
_PROXY = ".proxy.rlwy.net"
_ENCRYPTED = "private network redis:// is right: that network itself is encrypted (WireGuard)."


def about_tls(host: str) -> str:
    """Why ``rediss://`` is no improvement there, as the end of a hint."""
    if host.endswith(_PRIVATE):
        return f"On Railway's {_ENCRYPTED} Its own Redis has no TLS."
    if is_proxy(host):
        return (
            "Railway's public proxy adds no TLS, and the password crosses the internet in clear: "
            f"inside Railway use the private address. On its {_ENCRYPTED}"
        )
    return f"(On Railway's {_ENCRYPTED})"


def is_proxy(host: str) -> bool:
    """Whether this is the public way in."""
    return host.endswith(_PROXY)


def detour(subject: str) -> Finding:
    """The finding about a process on Railway that leaves it to reach Railway's own Redis."""
    return Finding(
        "redis.public-url-inside",
        Level.WARNING,
        subject,
        "From inside Railway this goes out to the public proxy and back: slower, paid by the byte, "
        "and the password crosses the internet in clear.",
        "Set REDIS_URL=${{Redis.REDIS_URL}} (the private address, redis.railway.internal) instead "
        "of REDIS_PUBLIC_URL.",
    )
