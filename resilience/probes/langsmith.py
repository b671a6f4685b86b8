"""Would traces arrive at LangSmith, and if not, why not?

The variables by themselves, then DNS → TCP → proxy → TLS with the trust of ``langsmith``, then what
the API says. Neither the SDK nor requests is imported.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field, replace

from resilience.findings import Finding, Level
from resilience.probes import (
    discovery,
    endpoints,
    env,
    greetings,
    langsmith_config,
    network,
    services,
)
from resilience.probes.base import Deadline, Probe
from resilience.probes.comparison import Comparison
from resilience.probes.exchange import Api
from resilience.probes.langsmith_config import Config
from resilience.probes.langsmith_static import found, stops
from resilience.probes.langsmith_verdict import Verdict
from resilience.probes.sightings import Sightings
from resilience.probes.tls import Tls
from resilience.tls.diagnosis import diagnose
from resilience.tls.handshake import shake

SUBJECT = "langsmith"
_HTTP = 80
_OURS = "langsmith."  # what the API says weighs less while nothing is traced
Dial = Callable[[], socket.socket]


def probes() -> list[Probe]:
    """What the variables say, and, where anybody would talk to LangSmith, the API itself."""
    config = langsmith_config.read()
    made: list[Probe] = [Written(SUBJECT, config=config)]
    if config.in_use and not stops(found(config, SUBJECT)):  # which Written tells
        made.append(Asked(SUBJECT, config=config))
    return made


@dataclass(frozen=True)
class Written(Probe):
    """The variables and OPTIONS by themselves."""

    area = "langsmith"
    live = False
    config: Config = field(kw_only=True)

    def run(self, deadline: Deadline) -> Iterator[Finding]:  # noqa: ARG002 - it asks nobody
        skipped = env.skipped_for(self.subject, langsmith_config.placeholder())
        if skipped is not None:
            yield skipped
            return
        findings = found(self.config, self.subject)
        yield from findings
        if not (findings or self.config.in_use):
            yield Finding(
                "langsmith.ok",
                Level.OK,
                self.subject,
                "Nothing here uses LangSmith: it has neither key nor address, and does not trace.",
            )


@dataclass(frozen=True)
class Asked(Probe):
    """The API, with the key, asked as the SDK would."""

    area = "langsmith"
    config: Config = field(kw_only=True)

    def run(self, deadline: Deadline) -> Iterator[Finding]:
        if env.skipped_for(self.subject, langsmith_config.placeholder()):
            return  # which Written tells
        try:
            for finding in self._stages(deadline):
                yield self._mine(finding)
        except network.StageFailed as failed:
            yield self._mine(failed.finding)

    def _mine(self, finding: Finding) -> Finding:
        """As this probe's own: whatever is found on the way is about LangSmith here."""
        mine = replace(finding, subject=self.subject)
        if mine.id == "tls.proxy":
            mine = replace(mine, id="langsmith.proxy")
        if mine.level is Level.ERROR and mine.id.startswith(_OURS) and not self.config.tracing:
            return replace(mine, level=Level.WARNING)
        return mine

    def _stages(self, deadline: Deadline) -> Iterator[Finding]:
        config = self.config
        if config.parts.scheme == "https":
            dial = yield from self._secured(deadline)
        else:
            dial = self._plain(deadline)
        if dial is None:
            return
        host = config.parts.netloc.rpartition("@")[2]
        api = Api(host, dial, deadline.stage)
        verdict = Verdict(self.subject, config, api, lambda: self._speaks_tls(deadline))
        verdict.judge()
        origins = {"address": config.url_from or "default", "workspace": config.workspace_from}
        facts = {**verdict.facts, **{name: text for name, text in origins.items() if text}}
        version = f" {facts['version']}" if "version" in facts else ""
        key = f"takes the key of {config.key_from}" if config.key else "wants no key"
        traces = "and this process traces" if config.tracing else "but this process does not trace"
        summary = f"LangSmith{version} at {config.where} {key}, {traces}."
        yield Finding("langsmith.ok", Level.OK, self.subject, summary, facts=facts)

    # ── the way there ───────────────────────────────────────────────────────────────────────────

    def _secured(self, deadline: Deadline) -> Generator[Finding, None, Dial | None]:
        """Dials with TLS as our client does; None where that would be refused, which is told."""
        server = self._server()
        trust = server.trust()
        opened = yield from server.connect(deadline)
        if opened is not None:
            seen, secured = opened
            with secured:
                try:
                    greetings.listen(secured, seen.took_ms, deadline)
                except OSError as error:  # it wants a client certificate, or another one
                    raise server.stopped(diagnose(error)) from None
        if (trust.insecure and trust.insecure.is_over()) or not (opened or trust.insecure):
            return None
        context = trust.context()

        def dial() -> socket.socket:
            seen, secured = shake(
                server.dial(deadline), context, server.endpoint.host, deadline.stage()
            )
            if secured is None:
                assert seen.error is not None  # noqa: S101 - shake() gives one of both
                raise server.stopped(diagnose(seen.error))
            return secured

        return dial

    def _server(self) -> Tls:
        endpoint = replace(endpoints.parse(self.config.url), component="langsmith")
        return Tls(
            self.subject,
            endpoint=discovery.through_proxy(replace(endpoint, origins=(SUBJECT,))),
            sightings=Sightings((self.subject,)),
            comparison=Comparison(),
        )

    def _plain(self, deadline: Deadline) -> Dial:
        host, port = self.config.host, self.config.parts.port or _HTTP
        addresses = network.resolve(self.subject, host, port, deadline)
        return lambda: network.connect(self.subject, addresses, f"{host}:{port}", deadline)

    def _speaks_tls(self, deadline: Deadline) -> bool:
        """Whether the port of a plain address wants TLS after all."""
        with self._plain(deadline)() as sock:
            peer = sock.getpeername()[:2]
        return services.tls_facts(peer, self.config.host, deadline) is not None
