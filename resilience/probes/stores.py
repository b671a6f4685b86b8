"""Stores, variables and exceptions of this process: what no server needs to be asked for."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from resilience.findings import Fact, Finding, Level
from resilience.probes.base import Deadline, Probe, utc_now
from resilience.tls import causes, ladder, lifetimes, policy, stores
from resilience.tls.certificate import read_all
from resilience.tls.trust import Trust


@dataclass(frozen=True)
class Stores(Probe):
    """Variables per library, the user's CA and its dates, and where verification is off."""

    area = "tls"
    live = False
    now: Callable[[], datetime] = field(kw_only=True, repr=False, compare=False, default=utc_now)

    def run(self, deadline: Deadline) -> Iterator[Finding]:  # noqa: ARG002 - it reads files only
        found = [*_faults(), *_empty(self.subject), *_exceptions(self.now), *_own(self.now())]
        yield from found
        if not any(finding.level >= Level.ERROR for finding in found):
            facts: dict[str, Fact] = {**stores.counts(policy.trust_of())}
            given = ", ".join(f"{name} {count}" for name, count in facts.items())
            summary = f"{len(policy.trust_of().certificates)} authorities are trusted: {given}."
            yield Finding("tls.ok", Level.OK, self.subject, summary, facts=facts)


def broken_store() -> Finding | None:
    """The first store of which nothing is left: it explains what is not trusted."""
    return next((found for found in _faults() if found.level is Level.ERROR), None)


def empty_store() -> Finding | None:
    """That nobody is trusted by whoever trusts the system; None if the system has authorities."""
    return next(_empty("tls"), None)


def explaining(error: BaseException) -> Finding | None:
    """The empty store behind an error of the user's code: a certificate had no known issuer.

    Libraries wrap the error of the handshake, mostly more than once.
    """
    seen: list[BaseException] = []
    waiting = [error]
    while waiting:
        each = waiting.pop()
        if isinstance(each, ssl.SSLCertVerificationError) and each.verify_code in causes.NO_ISSUER:
            return empty_store()
        seen.append(each)
        beneath = (each.__cause__, each.__context__, *each.args, getattr(each, "reason", None))
        waiting += [one for one in beneath if isinstance(one, BaseException) and one not in seen]
    return None


def _faults() -> list[Finding]:
    return [
        Finding(
            fault.id,
            Level.ERROR if fault.fatal else Level.WARNING,
            f"tls.{fault.name}",
            f"{fault.said}.",
            fault.hint,
            {"readers": stores.READERS.get(fault.name, "this package")},
        )
        for fault in stores.audit()
    ]


def _empty(subject: str) -> Iterator[Finding]:
    trust = policy.trust_of()
    if stores.counts(trust)["system"] and trust.certificates:
        return
    image = ladder.distribution()
    nothing = not trust.certificates
    if not nothing and broken_store() is not None:
        return  # the variable has said it
    rest = "nobody is trusted" if nothing else "this package takes certifi's and your own CA"
    yield Finding(
        "tls.empty-store",
        Level.ERROR if nothing else Level.WARNING,
        subject,
        f"The system's store is empty, and {rest}; ssl, urllib, smtplib and redis-py trust nobody.",
        f"Install the authorities ({image.name}: {image.install}); or write a bundle with checktls "
        "--write-bundle and name it in SSL_CERT_FILE.",
    )


def _exceptions(now: Callable[[], datetime]) -> Iterator[Finding]:
    for entry in policy.current().insecure.values():
        over = entry.is_over(now().date())
        yield (
            insecure_expired(f"tls.{entry.name}", entry.name, str(entry.until))
            if over
            else (
                insecure(
                    f"tls.{entry.name}",
                    f"TLS of {entry.name} is not verified until {entry.until}: {entry.reason}",
                )
            )
        )


def insecure(subject: str, summary: str) -> Finding:
    """A connection that nobody verifies."""
    return Finding(
        "tls.insecure",
        Level.WARNING,
        subject,
        summary,
        "Whoever is in between can read passwords and data. Run checktls and do what it says "
        "instead: trust the root, or pin the key.",
    )


def insecure_expired(subject: str, name: str, until: str) -> Finding:
    return Finding(
        "tls.insecure-expired",
        Level.ERROR,
        subject,
        f"Verification of {name} was switched off until {until}, which is over: what this package "
        "connects is refused, what others connect is still not verified.",
        f'Remove {name} from RESILIENCE["TLS"]["INSECURE"] and do what checktls says instead.',
    )


def _own(now: datetime) -> Iterator[Finding]:
    """The dates of the user's own authorities: nobody else watches them."""
    wanted = policy.cas()
    for each in read_all(Trust.only(*wanted).certificates) if wanted else ():
        level = lifetimes.judge(each, now)
        if level is not Level.OK:
            yield Finding(
                "tls.expires-soon" if each.ends > now else "tls.expired",
                level,
                "tls",
                f"Your own authority {each.subject!r} is valid until {each.ends.date()}.",
                "Get its successor, and name both in one file until every server has changed.",
                {"days_left": lifetimes.days(each, now)},
            )
