"""One deployment as others reach it: through the proxy, with TLS that verifies."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from resilience import redact
from resilience.errors import UsageError
from resilience.probes import network, preludes
from resilience.probes.base import Deadline
from resilience.probes.discovery import through_proxy
from resilience.probes.endpoints import Endpoint, parse
from resilience.probes.exchange import Answer, Api, NoAnswer
from resilience.tls import policy
from resilience.tls.diagnosis import diagnose
from resilience.tls.handshake import shake

ANSWER_SECONDS = 5.0
"""The longest that one answer may take: behind the network the app has its own work to do."""

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Site:
    """Where a deployment answers: scheme, host, port and the path of its front page."""

    secure: bool
    endpoint: Endpoint
    path: str = "/"
    subject: str = field(default="", compare=False)

    @property
    def name(self) -> str:
        """The Host header: with the port where it is not the usual one."""
        usual = 443 if self.secure else 80
        if self.endpoint.port != usual:
            return self.endpoint.where
        return f"[{self.endpoint.host}]" if ":" in self.endpoint.host else self.endpoint.host

    @property
    def origin(self) -> str:
        return f"{'https' if self.secure else 'http'}://{self.name}"

    @property
    def keeps_secrets(self) -> bool:
        """Whether a token may be sent there: encrypted, or not over any network."""
        return self.secure or self.endpoint.host in _LOOPBACK


def read_site(word: str) -> Site:
    """A site of ``https://host[:port][/path]``. Raises UsageError, which does not repeat it."""
    text = word.strip()
    redact.register_url(text)
    try:
        parts = urlsplit(text) if text.startswith(("https://", "http://")) else None
    except ValueError:
        raise UsageError("--url does not parse: look at its host, and at brackets in it.") from None
    if parts is None:
        raise UsageError("--url is written as https://host, with its scheme.")
    if parts.username is not None or parts.query or parts.fragment:
        raise UsageError(
            "--url has a host and a path, no password or query: the token comes from STATUS_TOKEN."
        )
    if not re.fullmatch(r"[!-~]*", parts.path):
        raise UsageError("The path of --url must be written in ASCII, as a browser sends it.")
    secure = parts.scheme == "https"
    endpoint = parse(text if secure else f"https{text.removeprefix('http')}")
    if not secure and parts.port is None:
        endpoint = replace(endpoint, port=80)
    site = Site(secure, endpoint, parts.path or "/")
    return replace(site, subject=f"deploy.{site.name}")


class Client:
    """Asks one site. It prepares whom it trusts once, which takes longer than a request."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._context: ssl.SSLContext | None = None

    def ask(
        self,
        path: str,
        deadline: Deadline,
        *,
        host: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """GET a path. ``host`` is the Host header, the site's own if empty.

        TLS always verifies. Raises StageFailed as DNS and TCP do, NoAnswer for the rest.
        """
        api = Api(
            host or self._site.name,
            lambda: self._connect(deadline),
            lambda: max(0.001, min(ANSWER_SECONDS, deadline.left() * 0.9)),
        )
        return api.ask("GET", path, headers)

    def _connect(self, deadline: Deadline) -> socket.socket:
        site = self._site
        if not site.secure:
            endpoint = site.endpoint
            addresses = network.resolve(site.subject, endpoint.host, endpoint.port, deadline)
            return network.connect(site.subject, addresses, endpoint.where, deadline)
        endpoint = through_proxy(site.endpoint)
        if self._context is None:
            trust = policy.trust_of(endpoint.component, endpoint.host, endpoint.port)
            self._context = replace(trust, insecure=None).context()
        sock = preludes.connect(endpoint, deadline)
        seen, secured = shake(sock, self._context, endpoint.host, deadline.stage())
        if secured is not None:
            return secured
        why = diagnose(seen.error).id if seen.error else "no answer"
        raise NoAnswer(f"has no TLS that verifies ({why})")
