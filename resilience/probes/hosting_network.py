"""What the platform puts between this app and others: variables, name lookups, closed ports."""

from __future__ import annotations

import re
from collections.abc import Iterator

from resilience.env import ledger
from resilience.findings import Finding, Level
from resilience.probes import discovery
from resilience.probes.surroundings import SUBJECT, Surroundings

# Names that projects read as their own, whether or not they declare them with env.
_COMMON = frozenset(
    "PORT REDIS_PORT POSTGRES_PORT POSTGRESQL_PORT DATABASE_PORT DB_PORT MYSQL_PORT EMAIL_PORT "
    "RABBITMQ_PORT CELERY_PORT WEB_PORT APP_PORT".split()
)
LINK = re.compile(r"(?:tcp|udp|sctp)://[\w.:\[\]-]+")
_HERE = (None, "", "localhost", "127.0.0.1")
_MANY = 5


def service_links(around: Surroundings) -> Iterator[Finding]:
    """``REDIS_PORT=tcp://10.0.0.1:6379``: made of the name of a service, not set by anybody."""
    linked = {
        name
        for name, value in around.environ.items()
        if name.endswith("_PORT") and LINK.fullmatch(value)
    }
    declared = {each.name for each in ledger.declared()}
    taken = sorted(linked & (declared | _COMMON))
    if taken:
        yield Finding(
            "hosting.service-links",
            Level.WARNING,
            taken[0],
            f"{', '.join(taken)} holds an address with tcp:// and no port number: Kubernetes (or "
            "docker --link) sets such variables for every service of that name.",
            "Set enableServiceLinks: false in the pod's spec; services are found by their DNS "
            "names without them.",
        )


def ndots(around: Surroundings) -> Iterator[Finding]:
    """Each name of the internet is asked for with every search domain first."""
    if around.hosting.platform != "kubernetes" or not around.asked_for:
        return
    try:
        text = (around.root / "etc/resolv.conf").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return
    options = re.findall(r"^options\b.*?\bndots:(\d+)", text, re.MULTILINE)
    search = re.findall(r"^search\s+(.+)$", text, re.MULTILINE)
    domains = search[-1].split() if search else []
    if options and int(options[-1]) >= _MANY and domains:
        yield Finding(
            "hosting.ndots",
            Level.INFO,
            SUBJECT,
            f"Names with fewer than {options[-1]} dots are looked up below {len(domains)} search "
            "domains first: api.example.com costs that many lookups more, for IPv4 and IPv6 each.",
            'Give the pod dnsConfig: {options: [{name: ndots, value: "1"}]}, and name services '
            "with their namespace (redis.shop).",
        )


def smtp(around: Surroundings) -> Iterator[Finding]:
    """Railway lets SMTP out on its larger plans only."""
    if (
        around.hosting.platform == "railway"
        and around.asked_for
        and any(options.get("host") not in _HERE for _, options in discovery.mailers())
    ):
        yield Finding(
            "hosting.smtp",
            Level.INFO,
            "settings.EMAIL_HOST",
            "Railway opens the SMTP ports on the Pro plan and above only; elsewhere every mail "
            "runs into a timeout.",
            "Use the provider's HTTPS API (django-anymail), and EMAIL_TIMEOUT in any case.",
        )


RULES = (service_links, ndots, smtp)
