"""One certificate, as a report speaks of it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtensionOID, NameOID

from resilience.tls.pinning import pin_of

_SHOWN = 60  # characters of one name


@dataclass(frozen=True)
class Certificate:
    """What a certificate says. ``names`` are its host names and addresses (SAN).

    ``has_issuer_url``: it says where its issuer's certificate is, as those of public authorities
    do. ``signed_itself``: issuer and subject are the same, and so are their keys.
    """

    der: bytes = field(repr=False)
    subject: str
    issuer: str
    issuer_der: bytes = field(repr=False)
    names: tuple[str, ...]
    begins: datetime
    ends: datetime
    is_ca: bool
    pin: str
    signed_itself: bool
    has_issuer_url: bool

    @classmethod
    def read(cls, der: bytes) -> Certificate:
        """Raises ValueError for what is no certificate."""
        found = x509.load_der_x509_certificate(der)
        return cls(
            der=der,
            subject=_shown(found.subject),
            issuer=_shown(found.issuer),
            issuer_der=found.issuer.public_bytes(),
            names=_names(found),
            begins=found.not_valid_before_utc,
            ends=found.not_valid_after_utc,
            is_ca=bool(getattr(_extension(found, ExtensionOID.BASIC_CONSTRAINTS), "ca", False)),
            pin=pin_of(der),
            signed_itself=_signed(found, found),
            has_issuer_url=any(
                each.access_method == AuthorityInformationAccessOID.CA_ISSUERS
                for each in _extension(found, ExtensionOID.AUTHORITY_INFORMATION_ACCESS) or ()
            ),
        )

    @property
    def lifetime(self) -> timedelta:
        return self.ends - self.begins

    def is_signed_by(self, issuer: Certificate) -> bool:
        return _signed(
            x509.load_der_x509_certificate(self.der), x509.load_der_x509_certificate(issuer.der)
        )


def read_all(ders: tuple[bytes, ...]) -> list[Certificate]:
    """Every certificate that can be read, in order."""
    found = []
    for der in ders:
        with suppress(ValueError):
            found.append(Certificate.read(der))
    return found


def draw(chain: list[Certificate], end: str = "") -> str:
    """A chain on one line, the server's first: ``shop.test <- Our CA <- (not sent) Root``."""
    parts = [each.subject or ", ".join(each.names[:1]) or "(no name)" for each in chain]
    if chain and not chain[-1].signed_itself:
        parts.append(f"(not sent) {chain[-1].issuer}")
    return " <- ".join(parts) + (f": {end}" if end else "")


def _shown(name: x509.Name) -> str:
    """The common name, otherwise organisation or unit, otherwise all of it."""
    for kind in (NameOID.COMMON_NAME, NameOID.ORGANIZATIONAL_UNIT_NAME, NameOID.ORGANIZATION_NAME):
        found = name.get_attributes_for_oid(kind)
        if found:
            return str(found[0].value)[:_SHOWN]
    return name.rfc4514_string()[:_SHOWN]


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    names = _extension(certificate, ExtensionOID.SUBJECT_ALTERNATIVE_NAME)
    return tuple(str(each.value) for each in names or () if hasattr(each, "value"))


def _extension(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> Any:
    """None where it is missing, or cannot be read: foreign certificates have any form."""
    with suppress(x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return certificate.extensions.get_extension_for_oid(oid).value
    return None


def _signed(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
