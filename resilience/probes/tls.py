"""Does every server verify here, and if not, why not? And are this process's stores in order?

DNS → TCP → proxy, STARTTLS → TLS → certificate → the first words of the protocol. The chain is read
from the verifying handshake itself, also when that failed.
"""

from __future__ import annotations

import ssl
import sys
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from resilience.findings import Fact, Finding, Level
from resilience.probes import discovery, greetings, network, services
from resilience.probes.base import Deadline, Probe
from resilience.probes.clocks import TOLERANCE, Clocks, clock_skew, spoken
from resilience.probes.comparison import Comparison
from resilience.probes.endpoints import Endpoint
from resilience.probes.reach import Reach
from resilience.probes.sightings import Sightings
from resilience.probes.stores import Stores, broken_store, insecure, insecure_expired
from resilience.tls import causes, ladder, lifetimes, policy, stores
from resilience.tls.certificate import Certificate, draw, read_all
from resilience.tls.diagnosis import Diagnosis, diagnose
from resilience.tls.handshake import Handshake, shake
from resilience.tls.trust import Trust

CLOCK = "clock"
_MAYBE_PLAIN = frozenset({"tls.handshake-timeout", "tls.plaintext-port", "tls.reset"})
_BY_TRUST = frozenset({"tls.untrusted-root", "tls.empty-store", "tls.intercepted"})
_BY_TIME = frozenset({"tls.expired", "tls.not-yet-valid"})
_STRICT_BY_DEFAULT = sys.version_info >= (3, 13)


def probes() -> list[Probe]:
    """The stores, every server that the settings name, and the clock if there is one."""
    found = probes_of(discovery.endpoints())
    others = [Unexamined(f"tls.{origin}", why=why) for origin, why in discovery.unexamined()]
    if not found:
        return [Stores("tls"), *others]
    return [Stores("tls"), *found, *others, Clocks(CLOCK, sightings=found[0].sightings)]


def probes_of(endpoints: Sequence[Endpoint]) -> list[Tls]:
    """One for each; they tell each other what they see."""
    sightings = Sightings(endpoint.subject for endpoint in endpoints)
    comparison = Comparison()
    return [
        Tls(endpoint.subject, endpoint=endpoint, sightings=sightings, comparison=comparison)
        for endpoint in endpoints
    ]


@dataclass(frozen=True)
class Unexamined(Probe):
    """TLS that is configured and not looked at, which is said instead of nothing."""

    area = "tls"
    live = False
    why: str = field(kw_only=True)

    def run(self, deadline: Deadline) -> Iterator[Finding]:  # noqa: ARG002 - it asks nobody
        yield Finding("tls.not-examined", Level.INFO, self.subject, self.why, skipped=True)


@dataclass(frozen=True)
class Tls(Reach):
    """One server, with the trust that its client has."""

    def run(self, deadline: Deadline) -> Iterator[Finding]:
        self.sightings.begin(self.subject)
        try:
            yield from self._stages(deadline)
        except network.StageFailed as failed:
            yield failed.finding
        finally:
            self.sightings.done(self.subject)

    # ── before the certificate ──────────────────────────────────────────────────────────────────

    def _stages(self, deadline: Deadline) -> Iterator[Finding]:
        opened = yield from self.connect(deadline)
        if opened is not None:
            seen, secured = opened
            with secured:
                yield from self._passed(seen, secured, self.trust(), deadline)

    def connect(
        self, deadline: Deadline
    ) -> Generator[Finding, None, tuple[Handshake, ssl.SSLSocket] | None]:
        """Every stage up to a handshake that verifies; None if it does not, and then why."""
        trust = self.trust()
        yield from self._unverified(trust)
        try:
            context = replace(trust, insecure=None).context()
        except OSError as error:  # the client's own certificate
            raise self.stopped(_own_certificate(diagnose(error), trust)) from None
        sock = self.dial(deadline)
        seen, secured = shake(sock, context, self.endpoint.host, deadline.stage())
        if secured is None:
            yield from self._failed(seen, trust, deadline)
            return None
        return seen, secured

    def _unverified(self, trust: Trust) -> Iterator[Finding]:
        entry = trust.insecure
        if entry is not None and entry.is_over(self.now().date()):
            yield insecure_expired(self.subject, entry.name, str(entry.until))
        elif not self.endpoint.verifies:
            origin = self.endpoint.origins[0]
            yield insecure(self.subject, f"The options of {origin} switch verification off.")

    # ── it does not verify ──────────────────────────────────────────────────────────────────────

    def _failed(self, seen: Handshake, trust: Trust, deadline: Deadline) -> Iterator[Finding]:
        endpoint, now = self.endpoint, self.now()
        cause = causes.find(seen, endpoint.host, trust, now)
        found, broken = cause.diagnosis, None
        facts: dict[str, Fact] = {"origin": ", ".join(endpoint.origins), **_facts(cause.chain, now)}
        if seen.code is not None:
            facts["verify_code"] = seen.code
        if found.id in _MAYBE_PLAIN:
            found = self._plain(found, deadline)
        elif found.id == "tls.strict-only":
            found = self._relaxed(found, trust, deadline)
        elif found.id in _BY_TIME:
            found = self._by_clock(found, cause.chain, deadline)
        elif found.id in _BY_TRUST:
            found = self._intercepted(found, cause.chain, deadline)
            broken = broken_store()
            facts.update(self.stores_say(deadline))
            accepting = [name[6:] for name, said in facts.items() if said == "accepts"]
            if accepting:
                also = f" The store of {', '.join(accepting)} has it."
                found = found._replace(summary=found.summary + also)
        case = ladder.Case(
            endpoint.where,
            endpoint.component,
            broken.hint if broken else "",
            stores.counts(policy.trust_of())["system"],
            cause.server.pin if cause.server else "",
            ours=not endpoint.stores and not endpoint.only_ca,
        )
        allowed = bool(trust.insecure or not endpoint.verifies) and seen.code is not None
        if allowed:  # the connection is made all the same, and a finding has said what that means
            yield Finding(
                "tls.insecure",
                Level.WARNING,
                self.subject,
                f"It would not verify ({found.id}): {found.summary}",
                ladder.climb(found, case),
                facts,
            )
            return
        yield Finding(
            found.id,
            Level.ERROR,
            self.subject,
            found.summary,
            ladder.climb(found, case),
            {**facts, "chain": draw(cause.chain, found.id)} if cause.chain else facts,
            cause=broken,
        )

    def _plain(self, found: Diagnosis, deadline: Deadline) -> Diagnosis:
        endpoint = self.endpoint
        if endpoint.proxy or endpoint.starttls:
            return found
        try:
            with self.dial(deadline) as sock:
                peer = sock.getpeername()[:2]
        except (network.StageFailed, OSError):  # it is gone by now
            return found
        who = services.identify(peer, deadline)
        if who is None:
            return found
        where = endpoint.where
        hint = {
            services.MAIL: f"It begins without TLS: check smtp://{where} (EMAIL_USE_TLS).",
            services.POSTGRESQL: f"It begins without TLS: check postgres://{where}.",
            services.MYSQL: "It begins TLS inside its own protocol, which is not examined here: "
            "ask it with mysql --ssl-mode=VERIFY_IDENTITY.",
        }.get(who, "Use the server's TLS port, or its scheme without TLS.")
        return Diagnosis("tls.plaintext-port", f"On {where} answers {who}, without TLS.", hint)

    def _relaxed(self, found: Diagnosis, trust: Trust, deadline: Deadline) -> Diagnosis:
        """What remains without X509_STRICT, which may be something worse."""
        seen, secured = self.again(replace(trust, strict=False), deadline)
        if secured is None:
            cause = causes.find(seen, self.endpoint.host, trust, self.now())
            return cause.diagnosis
        secured.close()
        return found._replace(summary=f"{found.summary} Without VERIFY_X509_STRICT it verifies.")

    def _by_clock(
        self, found: Diagnosis, chain: list[Certificate], deadline: Deadline
    ) -> Diagnosis:
        """Whether it would be valid by the clocks of the servers that were reached."""
        skew = self.sightings.skew(self.subject, deadline.stage())
        then = self.now() + skew
        if abs(skew) < TOLERANCE or not all(each.begins <= then <= each.ends for each in chain):
            return found
        return Diagnosis(
            "tls.clock-skew",
            f"This machine's clock is {spoken(skew)}: by the clocks of other servers the "
            "certificate is valid.",
            "Set the clock (timedatectl set-ntp true, or on the container's host), then retry.",
        )

    def _intercepted(
        self, found: Diagnosis, chain: list[Certificate], deadline: Deadline
    ) -> Diagnosis:
        if found.id != "tls.untrusted-root" or not chain:
            return found
        top = chain[-1]
        self.sightings.authority(self.subject, self.endpoint.host, top.issuer_der)
        if not self.sightings.intercepted(self.subject, deadline.stage()):
            return found
        return found._replace(
            id="tls.intercepted",
            summary=f"Somebody in between signs for {self.endpoint.host}: the chain ends at "
            f"{top.issuer!r}, which is no public authority and signs for unrelated hosts.",
        )

    # ── it verifies ─────────────────────────────────────────────────────────────────────────────

    def _passed(
        self, seen: Handshake, secured: ssl.SSLSocket, trust: Trust, deadline: Deadline
    ) -> Iterator[Finding]:
        endpoint, now = self.endpoint, self.now()
        chain, path = read_all(seen.chain), read_all(seen.path)
        facts: dict[str, Fact] = {
            "origin": ", ".join(endpoint.origins),
            "version": seen.version,
            "cipher": seen.cipher,
            "handshake_ms": seen.took_ms,
            **_facts(chain, now),
        }
        try:
            greeting = greetings.greet(endpoint, secured, seen.took_ms, deadline)
        except ssl.SSLError as error:
            found = diagnose(error)
            if found.id.startswith("tls.client-cert"):
                raise self.stopped(found) from None
            greeting = greetings.Greeting("it hung up")
        except OSError:
            greeting = greetings.Greeting("it said nothing")
        if greeting.said:
            facts["then"] = greeting.said
        yield from self._clock(greeting.time)
        yield from self._lifetimes(path or chain)
        yield from self._comparison(trust, facts, deadline)
        yield from self._stricter(trust, deadline)
        server = chain[0] if chain else None
        until = f", until {server.ends.date()} ({facts['days_left']} days)" if server else ""
        how = "Its key is the pinned one" if trust.pins else f"{seen.version} verifies"
        drawn = f"; {draw(path or chain)}" if chain else ""
        yield Finding("tls.ok", Level.OK, self.subject, f"{how}{until}{drawn}.", facts=facts)

    def _clock(self, theirs: datetime | None) -> Iterator[Finding]:
        if theirs is None:
            return
        skew = theirs - self.now()
        self.sightings.time(self.subject, skew)
        if abs(skew) > TOLERANCE:
            yield clock_skew(self.subject, skew, "this server")

    def _lifetimes(self, chain: list[Certificate]) -> Iterator[Finding]:
        now = self.now()
        for each in chain:
            level = lifetimes.judge(each, now)
            if level is not Level.OK:
                whose = "The certificate" if each is chain[0] else f"{each.subject!r} in its chain"
                yield Finding(
                    "tls.expires-soon",
                    level,
                    self.subject,
                    f"{whose} ends on {each.ends.date()}, in {lifetimes.days(each, now)} days of "
                    f"its {each.lifetime.days}.",
                    "See why its renewal has not run (certbot renew --dry-run, cert-manager, the "
                    "platform's certificate page), and reload the server after it.",
                    {"days_left": lifetimes.days(each, now)},
                )

    def _comparison(
        self, trust: Trust, facts: dict[str, Fact], deadline: Deadline
    ) -> Iterator[Finding]:
        """Whether the stores that others choose accept it too."""
        endpoint = self.endpoint
        if trust.pins or endpoint.only_ca or endpoint.ca or not endpoint.verifies:
            return
        verdicts = self.stores_say(deadline)
        facts.update(verdicts)
        refusing = [name[6:] for name, said in verdicts.items() if said != "accepts"]
        its_own = [name for name in refusing if name in endpoint.stores]
        if not (its_own or (refusing and "argument" in endpoint.origins)):
            return  # the client takes its trust from this package, whatever others have
        names = ", ".join(its_own or refusing)
        readers = "; ".join(each.readers for each in stores.used() if each.name in refusing)
        level = Level.ERROR if its_own else Level.WARNING
        yield Finding(
            "tls.stores-disagree",
            level,
            self.subject,
            f"It verifies with all certificates of this process, but not with the store {names} "
            f"alone, which is used by {readers}.",
            "Run checktls --write-bundle /path/bundle.pem and set SSL_CERT_FILE and "
            "REQUESTS_CA_BUNDLE to that file.",
            verdicts,
            cause=broken_store() if its_own else None,
        )

    def _stricter(self, trust: Trust, deadline: Deadline) -> Iterator[Finding]:
        """Before Python 3.13: whether that one would refuse it."""
        if _STRICT_BY_DEFAULT or trust.pins or trust.strict is not None:
            return
        try:
            seen, secured = self.again(replace(trust, strict=True), deadline)
        except network.StageFailed:
            return
        if secured is not None:
            secured.close()
        elif seen.code is not None:
            found = causes.find(seen, self.endpoint.host, trust, self.now()).diagnosis
            yield Finding(
                "tls.strict-only",
                Level.WARNING,
                self.subject,
                f"{found.summary} This Python accepts it, Python 3.13 does not.",
                found.hint,
                {"verify_code": seen.code},
            )


def _own_certificate(found: Diagnosis, trust: Trust) -> Diagnosis:
    names = ", ".join(filter(None, trust.client_cert or ()))
    return found._replace(summary=f"{found.summary} Named are: {names}.")


def _facts(chain: list[Certificate], now: datetime) -> dict[str, Fact]:
    if not chain:
        return {}
    server = chain[0]
    return {
        "chain": draw(chain),
        "names": ", ".join(server.names[:5]),
        "valid_until": f"{server.ends:%Y-%m-%dT%H:%MZ}",
        "days_left": lifetimes.days(server, now),
        "pin": server.pin,
    }
