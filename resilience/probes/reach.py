"""How a client reaches a TLS server: what it trusts, over which way, and once more if need be."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from resilience.findings import Fact
from resilience.probes import network, preludes
from resilience.probes.base import Deadline, Probe, utc_now
from resilience.probes.comparison import Comparison
from resilience.probes.endpoints import Endpoint
from resilience.probes.sightings import Sightings
from resilience.tls import policy
from resilience.tls.diagnosis import Diagnosis
from resilience.tls.handshake import Handshake, shake
from resilience.tls.trust import Trust


@dataclass(frozen=True)
class Reach(Probe):
    """One server, with the trust that its client has. Whatever fails is raised as StageFailed."""

    area = "tls"
    endpoint: Endpoint = field(kw_only=True)
    sightings: Sightings = field(kw_only=True, repr=False, compare=False)
    comparison: Comparison = field(kw_only=True, repr=False, compare=False)
    now: Callable[[], datetime] = field(kw_only=True, repr=False, compare=False, default=utc_now)

    def dial(self, deadline: Deadline) -> socket.socket:
        return preludes.connect(self.endpoint, deadline)

    def trust(self) -> Trust:
        """What its client trusts: ours, and what its own options add or put in its place."""
        endpoint = self.endpoint
        trust = policy.trust_of(endpoint.component, endpoint.host, endpoint.port)
        if endpoint.stores or endpoint.only_ca:  # a client that knows nothing of our exceptions
            trust = replace(trust, strict=None, pins=(), client_cert=None, insecure=None)
        if endpoint.client_cert:
            trust = replace(trust, client_cert=endpoint.client_cert)
        cas = (Path(endpoint.only_ca),) if endpoint.only_ca else endpoint.ca
        if not cas:
            return trust
        own = Trust.only(*cas)
        if own.problems and not own.certificates:
            problem = own.problems[0]
            found = Diagnosis(
                problem.id,
                f"The CA file of this client cannot be used: {problem.where}: {problem.said}.",
                "Mount a PEM file there, or correct the path in its options.",
            )
            raise self.stopped(found)
        given = () if endpoint.only_ca else trust.certificates
        return replace(trust, certificates=(*given, *own.certificates))

    def again(self, trust: Trust, deadline: Deadline) -> tuple[Handshake, ssl.SSLSocket | None]:
        context = replace(trust, insecure=None).context()
        return shake(self.dial(deadline), context, self.endpoint.host, deadline.stage())

    def stores_say(self, deadline: Deadline) -> dict[str, Fact]:
        verdicts = self.comparison.verdicts(
            lambda: self.dial(deadline), self.endpoint.host, deadline.stage
        )
        return {f"store_{name}": said or "accepts" for name, said in verdicts.items()}

    def stopped(self, found: Diagnosis) -> network.StageFailed:
        return network.failed(found.id, self.subject, found.summary, found.hint)
