"""The cause of a failed TLS connection, from codes, never from texts.

``verify_code`` is the same on every OpenSSL since 1.1.0; the sentences change (code 9 reads
differently in OpenSSL 4). CPython's ``reason`` mnemonics are stable too, but for a prefix.
Codes: ``X509_V_ERR_*`` of ``x509_vfy.h``; alerts: RFC 8446 section 6.
"""

from __future__ import annotations

import ssl
from typing import NamedTuple

from resilience.errors import InsecureExpired
from resilience.tls.pinning import PinMismatch


class Diagnosis(NamedTuple):
    """The finding id of a cause, one sentence, and the next step."""

    id: str
    summary: str
    hint: str


_ADD_ROOT = (
    "Add the root certificate of that authority to what this client trusts; "
    "do not switch verification off."
)
_REISSUE = "Have the certificate reissued by its authority; no client setting is the right fix."
_STRICT = (
    "Have the CA certificate reissued; until then relax only VERIFY_X509_STRICT for this "
    "connection (Python 3.13 switches it on), never the verification itself."
)

_BY_CODE: dict[int, Diagnosis] = {
    9: Diagnosis(
        "tls.not-yet-valid",
        "A certificate of the chain is not valid yet.",
        "Compare this machine's clock with the real time (date -u); then look at the deployment.",
    ),
    10: Diagnosis(
        "tls.expired",
        "A certificate of the chain has expired.",
        "Renew it on the server. If it looks valid, compare this machine's clock (date -u).",
    ),
    18: Diagnosis(
        "tls.self-signed",
        "The server's certificate is signed by itself alone.",
        "Add that certificate itself to what this client trusts; do not switch verification off.",
    ),
    24: Diagnosis("tls.not-a-ca", "The chain holds an issuer that is not a CA.", _REISSUE),
    25: Diagnosis("tls.not-a-ca", "The chain is longer than its CA allows.", _REISSUE),
    26: Diagnosis("tls.wrong-usage", "The certificate is not meant for servers.", _REISSUE),
    34: Diagnosis(
        "tls.wrong-usage", "The certificate has a critical extension unknown here.", _REISSUE
    ),
    47: Diagnosis("tls.name-constraint", "The CA may not sign for this name.", _REISSUE),
    62: Diagnosis(
        "tls.wrong-name",
        "The certificate is for another host name.",
        "Connect by a name that is in the certificate, or have this name added to it.",
    ),
    64: Diagnosis(
        "tls.wrong-name",
        "The certificate is not for this IP address.",
        "Connect by the host name in the certificate instead of the address.",
    ),
    66: Diagnosis("tls.weak-key", "The server's key is too short.", _REISSUE),
    67: Diagnosis("tls.weak-key", "A CA of the chain has a key that is too short.", _REISSUE),
    68: Diagnosis(
        "tls.weak-signature", "The chain is signed with a broken digest such as SHA-1.", _REISSUE
    ),
    79: Diagnosis("tls.not-a-ca", "The chain holds an issuer that is not a CA.", _REISSUE),
    **{
        code: Diagnosis("tls.untrusted-root", "The certificate's issuer is not trusted.", _ADD_ROOT)
        for code in (2, 19, 20, 21, 27)
    },
    **{
        code: Diagnosis("tls.strict-only", "The chain breaks a rule of RFC 5280.", _STRICT)
        for code in (80, 81, 82, 83, 84, 85, 86, 87, 88, 89, 90, 91, 92, 93)
    },
}
_OTHER_CODE = Diagnosis(
    "tls.untrusted-root",
    "The certificate does not verify.",
    "Look the code up in `man verify`, section DIAGNOSTICS.",
)

_CLIENT_CERT = "Give the client a certificate and key that this server's authority has signed."
_BY_REASON: tuple[tuple[str, Diagnosis], ...] = (
    (
        "WRONG_VERSION_NUMBER",
        Diagnosis(
            "tls.plaintext-port",
            "The port answers, but not with TLS.",
            "Use the server's TLS port, or its scheme without TLS.",
        ),
    ),
    (
        "ALERT_PROTOCOL_VERSION",
        Diagnosis(
            "tls.protocol-version",
            "The server speaks only TLS versions that are refused here.",
            "Upgrade the server to TLS 1.2 or later.",
        ),
    ),
    (
        "UNSUPPORTED_PROTOCOL",
        Diagnosis(
            "tls.protocol-version",
            "The server speaks only TLS versions that are refused here.",
            "Upgrade the server to TLS 1.2 or later.",
        ),
    ),
    (
        "HANDSHAKE_FAILURE",
        Diagnosis(
            "tls.no-shared-cipher",
            "The server refused the handshake: no common cipher, or it wants a certificate.",
            "Compare the ciphers of both sides. " + _CLIENT_CERT,
        ),
    ),
    (
        "CERTIFICATE_REQUIRED",
        Diagnosis(
            "tls.client-cert-required", "The server asks for a client certificate.", _CLIENT_CERT
        ),
    ),
    *(
        (
            alert,
            Diagnosis(
                "tls.client-cert-rejected",
                "The server rejected our client certificate.",
                _CLIENT_CERT,
            ),
        )
        for alert in (
            "ALERT_UNKNOWN_CA",
            "ALERT_BAD_CERTIFICATE",
            "ALERT_CERTIFICATE_EXPIRED",
            "ALERT_CERTIFICATE_UNKNOWN",
            "ALERT_CERTIFICATE_REVOKED",
        )
    ),
    (
        "UNRECOGNIZED_NAME",
        Diagnosis(
            "tls.sni",
            "The server has no certificate for the name that was asked for.",
            "Connect by a name that this server serves.",
        ),
    ),
)
_TIMEOUT = Diagnosis(
    "tls.handshake-timeout",
    "The TCP connection stands, but the TLS handshake got no answer.",
    "Compare the port with the server's TLS port: a port without TLS waits silently for more.",
)
_RESET = Diagnosis(
    "tls.reset",
    "The server closed the connection during the TLS handshake.",
    "Compare the port with the server's TLS port, then read the reason in the server's log.",
)
_BUNDLE_MISSING = Diagnosis(
    "tls.bundle-missing",
    "A certificate or key file of this client's configuration is missing or may not be read.",
    "Correct the path, mount the file there, or let this user read it.",
)
_WITHOUT_FLAGS = 0x3FFFF  # err.h: ERR_R_PEM_LIB is ERR_LIB_PEM and a flag
_LIBRARIES = (9, 11)  # ERR_LIB_PEM, ERR_LIB_X509
_BUNDLE_BROKEN = Diagnosis(
    "tls.bundle-broken",
    "A certificate or key file of this client's configuration cannot be used.",
    "Make it a PEM file: whole blocks, each on lines of its own, the key without a passphrase.",
)


_OTHER_KEY = Diagnosis(
    "tls.pin-mismatch",
    "The server has another key than the pinned one; its pin is {found}.",
    "Ask whoever runs the server whether its key was changed. Only then replace the pin; "
    "otherwise somebody else answers.",
)
_OVER = Diagnosis(
    "tls.insecure-expired",
    "Verification was switched off until a day that has passed, so the connection is refused.",
    'Remove the entry from RESILIENCE["TLS"]["INSECURE"] and do what checktls says instead.',
)


# The first class that fits decides.
_BY_CLASS: tuple[tuple[tuple[type[BaseException], ...], Diagnosis], ...] = (
    ((TimeoutError,), _TIMEOUT),
    ((InsecureExpired,), _OVER),
    ((FileNotFoundError, IsADirectoryError, PermissionError), _BUNDLE_MISSING),
    ((ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionError), _RESET),
)


def diagnose(error: BaseException) -> Diagnosis:
    """The cause behind an exception of a TLS connection attempt."""
    if isinstance(error, PinMismatch):
        return _OTHER_KEY._replace(summary=_OTHER_KEY.summary.format(found=error.found))
    if isinstance(error, ssl.SSLCertVerificationError):
        return _BY_CODE.get(error.verify_code, _OTHER_CODE)
    for classes, diagnosis in _BY_CLASS:
        if isinstance(error, classes):
            return diagnosis
    reason = getattr(error, "reason", None) or ""
    for mnemonic, diagnosis in _BY_REASON:
        if reason.endswith(mnemonic):
            return diagnosis
    if not isinstance(error, ssl.SSLError) or _is_of_a_file(error):
        return _BUNDLE_BROKEN
    return _RESET


def _is_of_a_file(error: ssl.SSLError) -> bool:
    """A file without any PEM block is an error of the library SSL, which passes PEM's on."""
    passed_on = (error.errno or 0) & _WITHOUT_FLAGS
    return getattr(error, "library", None) in ("X509", "PEM") or passed_on in _LIBRARIES
