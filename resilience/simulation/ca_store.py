"""An image without certificates of authorities, for this process.

What OpenSSL would load by default is nothing, and the files are hidden by whoever guards the
process: ``PATHS`` says which. A bundle that a library brings along, or that a variable names, is
there as before.
"""

from __future__ import annotations

import ssl
from typing import Any

PATHS = (
    "/etc/ssl/certs",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki",
    "/usr/lib/ssl/certs",
    "/usr/lib/ssl/cert.pem",
    "/usr/local/share/ca-certificates",
    "/usr/share/ca-certificates",
)


def paths() -> tuple[str, ...]:
    """Where this system, and the OpenSSL of this Python, keep them."""
    known = ssl.get_default_verify_paths()
    return (*PATHS, known.openssl_cafile, known.openssl_capath)


def empty() -> None:
    """From now on nobody's default store has anything in it."""

    def nothing(*_: Any, **__: Any) -> None:
        return None

    context: Any = ssl.SSLContext
    context.load_default_certs = nothing
    context.set_default_verify_paths = nothing
