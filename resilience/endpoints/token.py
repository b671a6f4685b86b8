"""Who may see details: STATUS_TOKEN in a header, or the cookie that the form gave for it.

Closed while STATUS_TOKEN is empty. Never in a query string, which ends up in logs. The token is
compared in constant time.
"""

from __future__ import annotations

import hashlib
import hmac

from django.core.signing import BadSignature, TimestampSigner

COOKIE = "resilience_status"
COOKIE_SECONDS = 12 * 60 * 60

_VALUE = "granted"
_SCHEME = "bearer"


def of_header(authorization: str) -> bytes | None:
    """The token of an Authorization header, as its bytes were sent; None for another scheme.

    Django decodes headers as latin-1 whatever they hold.
    """
    scheme, _, given = authorization.strip().partition(" ")
    if scheme.lower() != _SCHEME:
        return None
    return given.strip().encode("latin-1", "replace")


def is_right(given: bytes, token: str) -> bool:
    """Whether it is the token. Takes as long for a wrong one, of any length; False if empty."""
    right = hmac.compare_digest(hashlib.sha256(given).digest(), _digest(token))
    return right and bool(token)


def seal(token: str) -> str:
    """The value of the cookie. It tells nothing about the token and is void with another one."""
    return _signer(token).sign(_VALUE)


def is_sealed(value: str, token: str) -> bool:
    """Whether the cookie is one of ours for this token, and not older than 12 h."""
    if not token or not value:
        return False
    try:
        return _signer(token).unsign(value, max_age=COOKIE_SECONDS) == _VALUE
    except BadSignature:
        return False


def _signer(token: str) -> TimestampSigner:
    # The salt goes into the key of the HMAC, beside SECRET_KEY and its fallbacks.
    return TimestampSigner(salt=f"resilience.status:{_digest(token).hex()}")


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
