"""What an error of Redis, of its client or of the network means for a cache: the only such place.

redis-py gives its own class to some replies and drops their first word (it stays in
``status_code``); MISCONF, BUSY, NOREPLICAS, DENIED and many more arrive as a plain
``ResponseError`` that begins with the word.
"""

from __future__ import annotations

import re
import ssl
from enum import Enum

from django_redis.exceptions import ConnectionInterrupted
from redis import exceptions

from resilience.tls.diagnosis import diagnose


class Kind(Enum):
    """What to do about an error."""

    OUTAGE = "outage"  # fall back: nobody answers, too late, or Redis says "not now"
    HARD_OUTAGE = "hard-outage"  # fall back: refused, reset, broken pipe; no chance is involved
    WRITE_OUTAGE = "write-outage"  # writes fall back, reads go on
    READONLY = "readonly"  # as WRITE_OUTAGE, and the name may lead to another server by now
    CONFIGURATION = "configuration"  # fall back, loudly: no retry can help
    PERMISSION = "permission"  # this command falls back, others go on
    SATURATION = "saturation"  # this call falls back: the limit is ours, Redis may be well
    BUG = "bug"  # raised to the caller, whose arguments are wrong


# The nearest class of an error's ancestors decides; a ResponseError without one, its text.
_BY_CLASS: dict[type[BaseException], Kind] = {
    exceptions.AuthenticationError: Kind.CONFIGURATION,  # a ConnectionError, for redis-py
    exceptions.AuthorizationError: Kind.CONFIGURATION,
    exceptions.AuthenticationWrongNumberOfArgsError: Kind.CONFIGURATION,
    exceptions.MovedError: Kind.CONFIGURATION,  # a cluster, and this client speaks to one server
    exceptions.AskError: Kind.CONFIGURATION,
    exceptions.NoPermissionError: Kind.PERMISSION,
    exceptions.ReadOnlyError: Kind.READONLY,
    exceptions.OutOfMemoryError: Kind.WRITE_OUTAGE,
    exceptions.MaxConnectionsError: Kind.SATURATION,
    exceptions.ChildDeadlockedError: Kind.SATURATION,
    exceptions.TimeoutError: Kind.OUTAGE,
    exceptions.BusyLoadingError: Kind.OUTAGE,
    exceptions.ExternalAuthProviderError: Kind.OUTAGE,
    exceptions.InvalidResponse: Kind.OUTAGE,
    exceptions.TryAgainError: Kind.OUTAGE,
    exceptions.NoScriptError: Kind.OUTAGE,  # the server has restarted; nobody's arguments
    exceptions.ClusterError: Kind.OUTAGE,
    exceptions.ClusterDownError: Kind.OUTAGE,
    exceptions.MasterDownError: Kind.OUTAGE,
    exceptions.RedisClusterException: Kind.OUTAGE,
    exceptions.CrossSlotTransactionError: Kind.BUG,
    exceptions.InvalidPipelineStack: Kind.BUG,
    ssl.SSLCertVerificationError: Kind.CONFIGURATION,
    ConnectionError: Kind.HARD_OUTAGE,
    OSError: Kind.OUTAGE,
}

_BY_CODE = {
    **dict.fromkeys(("MISCONF", "NOREPLICAS", "OOM"), Kind.WRITE_OUTAGE),
    **dict.fromkeys(
        ("BUSY", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "NOSCRIPT", "TRYAGAIN"), Kind.OUTAGE
    ),
    **dict.fromkeys(
        ("ASK", "DENIED", "MOVED", "NOAUTH", "NOPROTO", "WRONGPASS"), Kind.CONFIGURATION
    ),
    "NOPERM": Kind.PERMISSION,
    "READONLY": Kind.READONLY,
}

# Beginnings of what follows ERR, the word for everything that has no word of its own.
_BY_TEXT = (
    # The second is a provider that counts requests.
    (re.compile(r"max (number of clients|(\w+ )?requests? limit exceeded)"), Kind.OUTAGE),
    (
        re.compile(r"DB index is out|invalid DB index|SELECT is not allowed", re.IGNORECASE),
        Kind.CONFIGURATION,
    ),
    # Too old a server, or a provider that took the command away: what NOPERM says elsewhere.
    (re.compile("unknown (sub)?command"), Kind.PERMISSION),
)

# A refusal that comes wrapped: of a transaction, and before Redis 7 of a script.
_WRAPPED = re.compile(r"Transaction discarded because of: |Error running script .*?: -")
_PIPELINE = " of pipeline caused error: "  # redis-py's words, after its own number and command

_TLS_TRANSPORT = frozenset({"tls.reset", "tls.handshake-timeout"})


def classify(error: BaseException) -> Kind:
    """What an exception means; BUG if it has nothing to do with Redis or the network."""
    if isinstance(error, ConnectionInterrupted) and error.__cause__ is not None:
        return classify(error.__cause__)
    for cls in type(error).__mro__:
        if cls is exceptions.ConnectionError:
            return _beneath(error)
        if cls is exceptions.ResponseError:
            return _of_reply(error)
        if cls is ssl.SSLError:
            return Kind.OUTAGE if diagnose(error).id in _TLS_TRANSPORT else Kind.CONFIGURATION
        if cls in _BY_CLASS:
            return _BY_CLASS[cls]
    return Kind.BUG


def _beneath(error: BaseException) -> Kind:
    """By the OSError in whose place redis-py raised this one; there is none at the end of a stream.

    A server that ends a stream in good order may only have restarted or found the client idle.
    """
    beneath = error.__cause__ if error.__suppress_context__ else error.__context__
    if isinstance(beneath, OSError | exceptions.RedisError):  # the latter: why a dial failed
        return classify(beneath)
    return Kind.OUTAGE


def _of_reply(error: BaseException) -> Kind:
    text = str(error.args[0]) if error.args else ""
    text = text.rpartition(_PIPELINE)[2]
    code = getattr(error, "status_code", None)
    if code is None:
        code, _, text = text.partition(" ")
    if code in ("ERR", "EXECABORT") and (wrapped := _WRAPPED.match(text)):
        code, _, text = text[wrapped.end() :].partition(" ")
    if code in _BY_CODE:
        return _BY_CODE[code]
    for pattern, kind in _BY_TEXT:
        if code == "ERR" and pattern.match(text):
            return kind
    # Redis begins every error with a word in capitals. Another beginning is a proxy's, which has
    # no server behind it.
    return Kind.BUG if code.isupper() else Kind.OUTAGE
