"""Why a handshake failed: OpenSSL's code, refined by the chain that the server sent."""

from __future__ import annotations

import ipaddress
import ssl
from datetime import datetime, timedelta
from typing import NamedTuple

from resilience.tls.certificate import Certificate, draw, read_all
from resilience.tls.diagnosis import Diagnosis, diagnose
from resilience.tls.handshake import Handshake
from resilience.tls.trust import Trust

_EXPIRED, _EARLY = 10, 9
NO_ISSUER = frozenset({2, 19, 20, 21, 27})
_NAMES = 5  # shown
_CLOCK = timedelta(hours=26)  # a wrong time zone, and some

_SERVER_CHAIN = (
    "Have the server send its whole chain (nginx and most others: fullchain.pem instead of "
    "cert.pem), then reload it."
)


class Cause(NamedTuple):
    """What is wrong, with the server's certificates (its own first) and the drawn chain."""

    diagnosis: Diagnosis
    chain: list[Certificate]
    drawn: str

    @property
    def server(self) -> Certificate | None:
        return self.chain[0] if self.chain else None


def find(seen: Handshake, name: str, trust: Trust, now: datetime) -> Cause:
    """The cause of a handshake that failed. ``name`` is whom the client asked for."""
    assert seen.error is not None  # noqa: S101 - the caller's
    chain, path = read_all(seen.chain), read_all(seen.path)
    found = diagnose(seen.error)
    if isinstance(seen.error, ssl.SSLCertVerificationError):
        found = _of_certificate(found, seen.error.verify_code, chain, path, name, trust, now)
    elif found.id == "tls.no-shared-cipher" and chain:
        # TLS 1.2 has one alert for both: with the chain on the table the ciphers were agreed on.
        found = Diagnosis(
            "tls.client-cert-required",
            "The server ended the handshake after it had sent its chain: it wants a client "
            "certificate.",
            "Give the client a certificate and key that this server's authority has signed.",
        )
    return Cause(found, chain, draw(chain, found.id))


def _of_certificate(  # noqa: PLR0911, PLR0913, PLR0917 - one return for each kind of cause
    found: Diagnosis,
    code: int,
    chain: list[Certificate],
    path: list[Certificate],
    name: str,
    trust: Trust,
    now: datetime,
) -> Diagnosis:
    if code == _EXPIRED:
        return _expired(found, [*chain, *path], now)
    if code == _EARLY:
        return _early(found, [*chain, *path], now)
    if found.id == "tls.wrong-name" and chain:
        return _wrong_name(found, chain[0], name)
    if code not in NO_ISSUER or not chain:
        return found
    top = chain[-1]
    if not trust.certificates:
        return Diagnosis(
            "tls.empty-store",
            "Not one certificate is trusted here, so no server can be.",
            "Install the authorities.",
        )
    if _rotated(top, trust):
        return Diagnosis(
            "tls.untrusted-root",
            f"The authority {top.issuer!r} is trusted with another key: it was renewed.",
            found.hint,
        )
    if len(chain) == 1 and top.has_issuer_url and not top.signed_itself:
        return Diagnosis(
            "tls.missing-intermediate",
            f"The server sent its own certificate alone, without that of {top.issuer!r} which "
            "signed it.",
            _SERVER_CHAIN,
        )
    sent = "which it sent" if top.signed_itself else "which it did not send"
    return Diagnosis(
        "tls.untrusted-root",
        f"The chain ends at {top.issuer!r}, {sent}, and no store here has it.",
        found.hint,
    )


def _expired(found: Diagnosis, certificates: list[Certificate], now: datetime) -> Diagnosis:
    over = next((each for each in certificates if each.ends < now), None)
    if over is None:
        return found
    whose = "The server's own certificate" if over is certificates[0] else f"{over.subject!r}"
    day = over.ends.date()
    hint = "Renew it on the server, and reload the server."
    if over.is_ca and over.signed_itself:
        hint = "Update the store that has it (ca-certificates, certifi), or your own CA file."
    elif over is not certificates[0]:
        hint = "Have the server send the authority's new intermediate certificate."
    return found._replace(summary=f"{whose} expired on {day}.", hint=hint)


def _early(found: Diagnosis, certificates: list[Certificate], now: datetime) -> Diagnosis:
    early = next((each for each in certificates if each.begins > now), None)
    if early is None:
        return found
    summary = f"{early.subject!r} is valid only from {early.begins:%Y-%m-%d %H:%M} UTC on."
    if early.begins - now < _CLOCK:
        return found._replace(
            summary=f"{summary} That is so near that a clock may be wrong.",
            hint="Compare this machine's clock with the real time (date -u), and the server's.",
        )
    return found._replace(
        summary=summary, hint="Deploy the certificate that is valid today on the server."
    )


def _wrong_name(found: Diagnosis, server: Certificate, name: str) -> Diagnosis:
    if not server.names:
        return found._replace(
            summary=f"The certificate names no host at all (no SAN), only {server.subject!r} as "
            "its subject, which does not count.",
            hint=f"Have it reissued with {name} as subject alternative name.",
        )
    shown = ", ".join(server.names[:_NAMES]) + (" …" if len(server.names) > _NAMES else "")
    summary = f"The certificate is for {shown}, not for {name}."
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return found._replace(summary=summary)
    return found._replace(
        summary=summary, hint="Connect by a host name of the certificate instead of the address."
    )


def _rotated(top: Certificate, trust: Trust) -> bool:
    """Whether an authority of the same name is trusted, whose key did not sign this."""
    # Reading all of a store takes time, and cryptography warns about some of the world's roots.
    alike = tuple(der for der in trust.certificates if top.issuer_der in der)
    return any(
        each.subject == top.issuer and each.is_ca and not top.is_signed_by(each)
        for each in read_all(alike)
    )
