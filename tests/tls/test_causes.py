"""From a code and the chain to a sentence: real certificates, without a server.

That servers with these faults lead here is in tests/probes/test_tls.py.
"""

from __future__ import annotations

import ssl
from datetime import timedelta

import pytest

from resilience.tls import causes
from resilience.tls.causes import Cause
from resilience.tls.diagnosis import Diagnosis
from resilience.tls.handshake import Handshake
from resilience.tls.trust import Trust
from tests.tls.pki import DAY, MIDDLE, NOW, ROOT, Issued, issue, leaf


def find(
    code: int,
    *chain: Issued,
    path: tuple[Issued, ...] = (),
    name: str = "localhost",
    trust: Trust | None = None,
) -> Cause:
    error = ssl.SSLCertVerificationError(1, "a sentence that changes")
    error.verify_code = code
    seen = Handshake(
        error, tuple(each.der for each in chain), tuple(each.der for each in path), "", "", 1.0
    )
    return causes.find(seen, name, trust or Trust.only(ROOT.pem), NOW)


def said(cause: Cause) -> Diagnosis:
    return cause.diagnosis


def test_the_servers_certificate_is_the_first_of_the_drawn_chain():
    mine = leaf(MIDDLE)
    cause = find(20, mine, MIDDLE)
    assert cause.server is not None
    assert cause.server.der == mine.der
    assert cause.drawn == (
        "localhost <- Our Intermediate <- (not sent) Our Root: tls.untrusted-root"
    )
    nothing = find(20)
    assert (nothing.server, nothing.drawn) == (None, ": tls.untrusted-root")


# ── dates ───────────────────────────────────────────────────────────────────────────────────────


def ended(name: str, by: Issued | None = None, *, ca: bool = False) -> Issued:
    return issue(name, by, ca=ca, begins=NOW - 9 * DAY, ends=NOW - DAY)


def test_whose_end_has_come_and_who_renews_it():
    mine, middle, root = ended("mine"), ended("Middle", ROOT, ca=True), ended("Root", ca=True)
    day = f"{NOW - DAY:%Y-%m-%d}"
    own = said(find(10, mine, middle, root))
    assert own.summary == f"The server's own certificate expired on {day}."
    assert own.hint == "Renew it on the server, and reload the server."
    above = said(find(10, leaf(), middle, root))
    assert above.summary == f"'Middle' expired on {day}."
    assert above.hint.startswith("Have the server send the authority's new intermediate")
    store = said(find(10, leaf(), MIDDLE, path=(leaf(), MIDDLE, root)))
    assert store.summary == f"'Root' expired on {day}."
    assert store.hint.startswith("Update the store that has it")
    assert {own.id, above.id, store.id} == {"tls.expired"}


def test_one_that_signed_itself_and_is_no_authority_is_renewed_on_the_server():
    assert said(find(10, ended("alone"))).hint.startswith("Renew it on the server")


@pytest.mark.parametrize("code", [9, 10])
def test_dates_that_are_right_by_this_clock_leave_the_code_alone(code):
    assert "A certificate of the chain" in said(find(code, leaf(), ROOT)).summary
    exactly = issue("now", begins=NOW.replace(microsecond=0), ends=NOW.replace(microsecond=0))
    seen = Handshake(find_error(code), (exactly.der,), (), "", "", 1.0)
    found = causes.find(seen, "localhost", Trust.only(ROOT.pem), NOW.replace(microsecond=0))
    assert "A certificate of the chain" in found.diagnosis.summary


def find_error(code: int) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "")
    error.verify_code = code
    return error


def test_one_that_is_not_valid_yet():
    begins = (NOW + 9 * DAY).replace(second=0, microsecond=0)
    found = said(find(9, leaf(), issue("Later", ROOT, ca=True, begins=begins)))
    assert found.id == "tls.not-yet-valid"
    assert found.summary == f"'Later' is valid only from {begins:%Y-%m-%d %H:%M} UTC on."
    assert found.hint.startswith("Deploy the certificate that is valid today")
    root = issue("Young Root", ca=True, begins=begins)
    assert "'Young Root'" in said(find(9, leaf(), path=(leaf(), root))).summary


@pytest.mark.parametrize(("hours", "near"), [(1, True), (25, True), (27, False)])
def test_one_that_is_nearly_valid_is_a_matter_of_clocks(hours, near):
    """A wrong time zone is up to 26 hours."""
    found = said(find(9, leaf(begins=NOW + timedelta(hours=hours))))
    assert ("so near that a clock may be wrong" in found.summary) is near
    assert found.hint.startswith("Compare this machine's clock" if near else "Deploy")
    assert found.hint.endswith("and the server's." if near else "on the server.")
    whole = NOW.replace(microsecond=0)
    seen = Handshake(
        find_error(9), (leaf(begins=whole + timedelta(hours=26)).der,), (), "", "", 1.0
    )
    at = causes.find(seen, "localhost", Trust.only(ROOT.pem), whole)
    assert at.diagnosis.hint.startswith("Deploy")


# ── names ───────────────────────────────────────────────────────────────────────────────────────


def names(count: int) -> tuple[str, ...]:
    return tuple(f"host{number}.test" for number in range(count))


@pytest.mark.parametrize(("count", "end"), [(1, ""), (5, ""), (6, " …")])
def test_another_name_shows_five_of_those_that_it_has(count, end):
    found = said(find(62, leaf(names=names(count)), name="shop.test"))
    shown = ", ".join(names(count)[:5]) + end
    assert found.summary == f"The certificate is for {shown}, not for shop.test."
    assert found.hint.startswith("Connect by a name that is in the certificate")
    assert found.id == "tls.wrong-name"


def test_an_address_instead_of_a_name():
    found = said(find(64, leaf(), name="127.0.0.1"))
    assert found.summary == "The certificate is for localhost, not for 127.0.0.1."
    assert found.hint == "Connect by a host name of the certificate instead of the address."


def test_no_name_at_all():
    found = said(find(62, leaf(names=(), name="old"), name="shop.test"))
    assert found.summary.startswith("The certificate names no host at all (no SAN), only 'old' as")
    assert found.summary.endswith("its subject, which does not count.")
    assert found.hint == "Have it reissued with shop.test as subject alternative name."


def test_a_name__twin__without_a_chain_the_code_is_all_there_is():
    assert said(find(62)).summary == "The certificate is for another host name."


# ── issuers ─────────────────────────────────────────────────────────────────────────────────────

OTHER = issue("Other", ca=True)
NO_ISSUER = [2, 19, 20, 21, 27]


@pytest.mark.parametrize("code", NO_ISSUER)
def test_an_authority_that_no_store_has(code):
    trust = Trust.only(OTHER.pem)
    found = said(find(code, leaf(), trust=trust))
    assert found.id == "tls.untrusted-root"
    assert found.summary == (
        "The chain ends at 'Our Root', which it did not send, and no store here has it."
    )
    assert found.hint.startswith("Add the root certificate of that authority")
    sent = said(find(code, leaf(), ROOT, trust=trust))
    assert sent.summary == "The chain ends at 'Our Root', which it sent, and no store here has it."
    assert sent.hint == found.hint


@pytest.mark.parametrize("code", NO_ISSUER)
def test_a_store_without_any_authority(code):
    found = said(find(code, leaf(), trust=Trust.only()))
    assert found.id == "tls.empty-store"
    assert found.summary.startswith("Not one certificate is trusted here")
    assert found.hint == "Install the authorities."


@pytest.mark.parametrize("code", [24, 26, 68])
def test_an_issuer__twin__another_code_says_nothing_about_it(code):
    assert said(find(code, leaf(), trust=Trust.only())).id not in (
        "tls.empty-store", "tls.untrusted-root",
    )  # fmt: skip


def test_the_intermediate_certificate_is_missing():
    """Only public authorities say where their own certificate is: a private one may be the root."""
    found = said(find(20, leaf(MIDDLE, issuer_url=True)))
    assert found.id == "tls.missing-intermediate"
    assert found.summary == (
        "The server sent its own certificate alone, without that of 'Our Intermediate' which "
        "signed it."
    )
    assert "fullchain.pem" in found.hint
    for chain in (
        (leaf(MIDDLE),),
        (leaf(MIDDLE, issuer_url=True), MIDDLE),
        (issue("alone", issuer_url=True),),
    ):
        assert said(find(20, *chain, trust=Trust.only(OTHER.pem))).id == "tls.untrusted-root"


def test_an_authority_that_is_trusted_with_another_key():
    renewed = said(find(20, leaf(), trust=Trust.only(issue("Our Root", ca=True).pem)))
    assert renewed.id == "tls.untrusted-root"
    assert renewed.summary == (
        "The authority 'Our Root' is trusted with another key: it was renewed."
    )
    assert renewed.hint.startswith("Add the root certificate of that authority")


@pytest.mark.parametrize(
    "trusted",
    [
        ROOT,  # the very same: something else is wrong
        issue("Our Root", ca=False),  # the name alone makes no authority
        issue("Signed by", issue("Our Root", ca=True), ca=True),  # its name is in there
    ],
)
def test_an_authority_that_is_trusted_with_another_key__twin(trusted):
    assert "renewed" not in said(find(20, leaf(), trust=Trust.only(trusted.pem))).summary


# ── alerts ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("reason", "sent", "id"),
    [
        ("SSLV3_ALERT_HANDSHAKE_FAILURE", True, "client-cert-required"),
        ("SSLV3_ALERT_HANDSHAKE_FAILURE", False, "no-shared-cipher"),
        ("TLSV1_UNRECOGNIZED_NAME", True, "sni"),
    ],
)
def test_a_refusal_once_the_ciphers_were_agreed_on_is_about_our_certificate(reason, sent, id):
    error = ssl.SSLError(1, "")
    error.reason = reason
    seen = Handshake(error, (leaf().der,) if sent else (), (), "", "", 1.0)
    found = said(causes.find(seen, "localhost", Trust.only(ROOT.pem), NOW))
    assert found.id == f"tls.{id}"
    if id == "client-cert-required":
        assert "after it had sent its chain" in found.summary
        assert found.hint.startswith("Give the client a certificate and key")
