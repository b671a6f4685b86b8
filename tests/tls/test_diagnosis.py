"""Each code and mnemonic of OpenSSL alone: which cause it is, and what its hint says first.

That real handshakes give these codes is in tests/probes/test_tls.py.
"""

from __future__ import annotations

import _ssl
import ctypes
import errno
import re
import ssl

import pytest

from resilience.errors import InsecureExpired
from resilience.tls.diagnosis import diagnose
from resilience.tls.pinning import PinMismatch

REISSUED = "Have the certificate reissued by its authority"
ADD_ROOT = "Add the root certificate of that authority"
# X509_V_ERR_*: its number, a word of OpenSSL's own sentence, id, words of summary and of hint.
CODES = [
    (2, "issuer certificate", "untrusted-root", "issuer is not trusted", ADD_ROOT),
    (9, "not yet valid", "not-yet-valid", "not valid yet", "clock with the real time"),
    (10, "expired", "expired", "has expired", "Renew it on the server"),
    (18, "self.signed", "self-signed", "signed by itself alone", "Add that certificate itself"),
    (19, "in certificate chain", "untrusted-root", "issuer is not trusted", ADD_ROOT),
    (20, "local issuer", "untrusted-root", "issuer is not trusted", ADD_ROOT),
    (21, "first certificate", "untrusted-root", "issuer is not trusted", ADD_ROOT),
    (24, "issuer|CA", "not-a-ca", "an issuer that is not a CA", REISSUED),
    (25, "path length", "not-a-ca", "longer than its CA allows", REISSUED),
    (26, "purpose", "wrong-usage", "not meant for servers", REISSUED),
    (27, "not trusted", "untrusted-root", "issuer is not trusted", ADD_ROOT),
    (34, "critical extension", "wrong-usage", "critical extension unknown", REISSUED),
    (47, "permitted subtree", "name-constraint", "may not sign for this name", REISSUED),
    (62, "host ?name", "wrong-name", "for another host name", "Connect by a name that is in"),
    (64, "IP address", "wrong-name", "not for this IP address", "Connect by the host name"),
    (66, "EE .*key too weak", "weak-key", "server's key is too short", REISSUED),
    (67, "CA .*key too weak", "weak-key", "A CA of the chain", REISSUED),
    (68, "digest", "weak-signature", "broken digest", REISSUED),
    (79, "CA certificate", "not-a-ca", "an issuer that is not a CA", REISSUED),
    *(
        (code, words, "strict-only", "breaks a rule of RFC 5280", "only VERIFY_X509_STRICT")
        for code, words in {
            80: "non-CA", 81: "keyCertSign", 82: "non-CA", 83: "Issuer name empty",
            84: "Subject name empty", 85: "Authority Key Id", 86: "Subject Key Id",
            87: "Subject Alternative Name", 88: "Subject empty", 89: "Basic Constraints",
            90: "Authority Key Id", 91: "Subject Key Id", 92: "key usage", 93: "X509v3",
        }.items()
    ),
]  # fmt: skip


def refused_with(code: int) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "a sentence that changes")
    error.verify_code = code
    return error


@pytest.mark.parametrize(("code", "_", "id", "summary", "hint"), CODES)
def test_what_a_code_means_and_what_to_do(code, _, id, summary, hint):
    found = diagnose(refused_with(code))
    assert found.id == f"tls.{id}"
    assert summary in found.summary
    assert hint in found.hint


@pytest.mark.parametrize(("code", "words"), [(row[0], row[1]) for row in CODES])
def test_a_code_is_the_one_that_this_openssl_has(code, words):
    sentence = ctypes.CDLL(_ssl.__file__).X509_verify_cert_error_string
    sentence.restype = ctypes.c_char_p
    assert re.search(words, sentence(ctypes.c_long(code)).decode(), re.IGNORECASE)


@pytest.mark.parametrize("code", [1, 3, 23, 65, 94])
def test_a_code_without_a_meaning_of_its_own_is_looked_up(code):
    found = diagnose(refused_with(code))
    assert found.id == "tls.untrusted-root"
    assert found.summary == "The certificate does not verify."
    assert "man verify" in found.hint


CERTIFICATE = "Give the client a certificate"
REASONS = [
    ("WRONG_VERSION_NUMBER", "plaintext-port", "not with TLS", "the server's TLS port"),
    ("TLSV1_ALERT_PROTOCOL_VERSION", "protocol-version", "refused here", "TLS 1.2 or later"),
    ("UNSUPPORTED_PROTOCOL", "protocol-version", "refused here", "TLS 1.2 or later"),
    ("SSLV3_ALERT_HANDSHAKE_FAILURE", "no-shared-cipher", "no common cipher", "Compare the ciph"),
    ("SSLV3_ALERT_HANDSHAKE_FAILURE", "no-shared-cipher", "wants a certificate", CERTIFICATE),
    ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "client-cert-required", "asks for", CERTIFICATE),
    ("TLSV1_ALERT_UNKNOWN_CA", "client-cert-rejected", "rejected our client", CERTIFICATE),
    ("SSLV3_ALERT_BAD_CERTIFICATE", "client-cert-rejected", "rejected our", CERTIFICATE),
    ("SSLV3_ALERT_CERTIFICATE_EXPIRED", "client-cert-rejected", "rejected our", CERTIFICATE),
    ("SSLV3_ALERT_CERTIFICATE_UNKNOWN", "client-cert-rejected", "rejected our", CERTIFICATE),
    ("SSLV3_ALERT_CERTIFICATE_REVOKED", "client-cert-rejected", "rejected our", CERTIFICATE),
    ("TLSV1_UNRECOGNIZED_NAME", "sni", "no certificate for the name", "a name that this server"),
]


def failed_by(reason: str | None, library: str = "SSL", number: int = 1) -> ssl.SSLError:
    error = ssl.SSLError(number, "a sentence that changes")
    error.reason, error.library = reason, library  # type: ignore[assignment] # None before 3.13
    return error


@pytest.mark.parametrize(("reason", "id", "summary", "hint"), REASONS)
@pytest.mark.parametrize("prefix", ["", "SSL_R_"])
def test_what_a_mnemonic_means_whatever_stands_before_it(prefix, reason, id, summary, hint):
    found = diagnose(failed_by(prefix + reason))
    assert found.id == f"tls.{id}"
    assert summary in found.summary
    assert hint in found.hint


@pytest.mark.parametrize("reason", ["BAD_RECORD_MAC", "WRONG_VERSION_NUMBER_", "", None])
def test_what_a_mnemonic_means__twin__any_other_ended_the_connection(reason):
    assert diagnose(failed_by(reason)).id == "tls.reset"


@pytest.mark.parametrize(
    ("error", "id", "summary", "hint"),
    [
        (TimeoutError(), "handshake-timeout", "got no answer", "Compare the port"),
        (ssl.SSLEOFError(), "reset", "closed the connection", "Compare the port"),
        (ssl.SSLZeroReturnError(), "reset", "closed the connection", "server's log"),
        (ConnectionResetError(), "reset", "closed the connection", "Compare the port"),
        (FileNotFoundError(), "bundle-missing", "missing or may not be read", "Correct the path"),
        (IsADirectoryError(), "bundle-missing", "missing or may not", "mount the file"),
        (PermissionError(), "bundle-missing", "missing or may not be read", "let this user"),
        (InsecureExpired("over"), "insecure-expired", "until a day that has passed", "INSECURE"),
        (ValueError(), "bundle-broken", "cannot be used", "Make it a PEM file"),
        (OSError(errno.EIO, "I/O error"), "bundle-broken", "cannot be used", "Make it a PEM file"),
        (failed_by("NO_START_LINE", "PEM"), "bundle-broken", "cannot be used", "a PEM file"),
        (failed_by("KEY_VALUES_MISMATCH", "X509"), "bundle-broken", "cannot be used", "a PEM file"),
    ],
)
def test_what_is_no_alert(error, id, summary, hint):
    found = diagnose(error)
    assert found.id == f"tls.{id}"
    assert summary in found.summary
    assert hint in found.hint


def test_another_key_is_shown_as_the_pin_that_it_would_need():
    found = diagnose(PinMismatch("abc="))
    assert found.id == "tls.pin-mismatch"
    assert found.summary.endswith("another key than the pinned one; its pin is abc=.")
    assert "Only then replace the pin" in found.hint


@pytest.mark.parametrize(
    ("number", "id"),
    [
        (0x80009, "bundle-broken"),  # ERR_R_PEM_LIB
        (0x8000B, "bundle-broken"),  # ERR_R_X509_LIB
        (0x80010, "reset"),
        (0, "reset"),
    ],
)
def test_an_error_that_the_library_ssl_passes_on(number, id):
    assert diagnose(failed_by(None, number=number)).id == f"tls.{id}"


@pytest.mark.parametrize("content", ["", "nothing", "-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_a_file_that_holds_no_certificate(content, tmp_path):
    """OpenSSL's own errors: where no block begins, it is the library SSL that says so."""
    bundle = tmp_path / "bundle.pem"
    bundle.write_text(content)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for load in (context.load_verify_locations, context.load_cert_chain):
        with pytest.raises(ssl.SSLError) as caught:
            load(str(bundle))
        assert diagnose(caught.value).id == "tls.bundle-broken"
