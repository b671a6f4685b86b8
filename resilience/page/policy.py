"""What a browser may do with the page: nothing but what the page itself brings."""

from __future__ import annotations

import secrets
from urllib.parse import urlsplit

from django.http import HttpResponse


def nonce() -> str:
    """A new one for each response (CSP 3 asks for at least 128 bits)."""
    return secrets.token_urlsafe(16)


def protect(response: HttpResponse, nonce: str, *, static_url: str | None = None) -> None:
    """Send the policy, and keep the page out of every cache and frame.

    ``static_url`` is where the admin's own style and script come from, for a page that uses them;
    without one nothing but the page itself counts.
    """
    assets = ""
    if static_url is not None:
        parts = urlsplit(static_url)
        other = f" {parts.scheme or 'https'}://{parts.netloc}" if parts.netloc else ""
        assets = f" 'self'{other}"
    response.headers["Content-Security-Policy"] = "; ".join(
        [
            "default-src 'none'",
            f"script-src 'nonce-{nonce}'{assets}",
            f"style-src 'nonce-{nonce}'{assets}",
            *([f"img-src{assets}", f"font-src{assets}"] if assets else []),
            "connect-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        ]
    )
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["X-Frame-Options"] = "DENY"
    response.headers["X-Robots-Tag"] = "noindex, nofollow"
    # The form needs its own origin told, and nobody else anything.
    response.headers["Referrer-Policy"] = "same-origin"
