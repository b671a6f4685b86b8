"""What the platform's edge and its health check send, and whether Django takes it.

Static: settings and variables. The sources are in docs/explanation/platforms.md.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator

from django.conf import settings
from django.http.request import validate_host

from resilience.findings import Finding, Level
from resilience.probes.surroundings import (
    HEALTH,
    SUBJECT,
    Surroundings,
    edge,
    health_is_first,
    public_host,
)

RAILWAYS_HOST = "healthcheck.railway.app"

_CSRF = "django.middleware.csrf.CsrfViewMiddleware"
_SECURITY = "django.middleware.security.SecurityMiddleware"
_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
# Their health check speaks HTTP to the container itself, without the edge's headers.
_PLAIN_CHECKS = ("railway", "kubernetes")
_FIRST = f'Put "{HEALTH}" first in MIDDLEWARE and let the check ask /readyz'


def healthcheck_host(around: Surroundings) -> Iterator[Finding]:
    """The health check has a Host of its own, which Django answers with 400."""
    if health_is_first():
        return
    if around.hosting.platform == "railway" and not _allowed(RAILWAYS_HOST):
        yield Finding(
            "hosting.healthcheck-host",
            Level.WARNING,
            SUBJECT,
            f"Railway's health check comes as Host {RAILWAYS_HOST}, which ALLOWED_HOSTS lacks: "
            "Django answers 400, and a deployment with a health check fails.",
            f'{_FIRST}; or add "{RAILWAYS_HOST}" to ALLOWED_HOSTS.',
        )
    elif around.hosting.platform == "kubernetes":
        address = _address(around)
        if address and not _allowed(address):
            yield Finding(
                "hosting.healthcheck-host",
                Level.WARNING,
                SUBJECT,
                "A probe of the kubelet comes with the pod's address as Host, which ALLOWED_HOSTS "
                "lacks: Django answers 400, and the pod never becomes ready.",
                f"{_FIRST}; or give the probe httpHeaders with a Host of ALLOWED_HOSTS.",
            )


def ssl_redirect(around: Surroundings) -> Iterator[Finding]:
    """The health check speaks HTTP, and is sent to HTTPS, where it does not arrive."""
    if (
        around.hosting.platform not in _PLAIN_CHECKS
        or health_is_first()
        or not _redirects()
        or settings.SECURE_REDIRECT_EXEMPT
    ):
        return
    railway = around.hosting.platform == "railway"
    what = "needs status 200" if railway else "follows it to HTTPS, which no pod serves"
    yield Finding(
        "hosting.ssl-redirect",
        Level.WARNING,
        SUBJECT,
        "The health check comes over plain HTTP past the edge, SECURE_SSL_REDIRECT answers it "
        f"with a redirect, and the check {what}.",
        f'{_FIRST}; or exempt its path: SECURE_REDIRECT_EXEMPT = [r"^healthz/?$"].',
    )


def proxy_header(around: Surroundings) -> Iterator[Finding]:
    """Django does not know that the client spoke HTTPS."""
    found = _proxy_header(around)
    if found:
        yield found


def csrf_origin(around: Surroundings) -> Iterator[Finding]:
    """A form over HTTPS that Django takes for HTTP has an Origin of another scheme."""
    host, cause = public_host(around), _proxy_header(around)
    if not host or cause is None or _CSRF not in _listed("MIDDLEWARE"):
        return
    trusted = [each.lower() for each in _listed("CSRF_TRUSTED_ORIGINS")]
    if any(_covers(origin, host) for origin in trusted):
        return
    yield Finding(
        "hosting.csrf-origin",
        Level.WARNING if trusted else Level.ERROR,
        SUBJECT,
        f"Forms sent from https://{host} are refused with 403: Django takes the request for HTTP, "
        "and CSRF_TRUSTED_ORIGINS lacks this origin.",
        f'Set SECURE_PROXY_SSL_HEADER = {_HEADER}; or CSRF_TRUSTED_ORIGINS = ["https://{host}"].',
        cause=cause if cause.level is Level.ERROR else None,
    )


def allowed_hosts(around: Surroundings) -> Iterator[Finding]:
    """ALLOWED_HOSTS lets in everybody, or not even the app's own visitors."""
    if not around.hosting.on_platform:
        return
    if "*" in _listed("ALLOWED_HOSTS"):
        yield Finding(
            "hosting.any-host",
            Level.WARNING,
            SUBJECT,
            'ALLOWED_HOSTS is ["*"]: whoever sends a request chooses the host in absolute links, '
            "those of password mails included.",
            "List the app's own host names"
            + (f', "{public_host(around)}" for one' if public_host(around) else "")
            + "; for health checks put HealthMiddleware first, which needs none.",
        )
        return
    host = public_host(around)
    if host and not _allowed(host):
        others = [each for each in _listed("ALLOWED_HOSTS") if not _is_local(each)]
        yield Finding(
            "hosting.public-host",
            Level.WARNING if others else Level.ERROR,
            SUBJECT,
            f"ALLOWED_HOSTS lacks {host}, by which {around.hosting.name} serves this app: Django "
            "answers 400 there.",
            f'Add "{host}" to ALLOWED_HOSTS.',
        )


RULES = (healthcheck_host, ssl_redirect, proxy_header, csrf_origin, allowed_hosts)


def _proxy_header(around: Surroundings) -> Finding | None:
    if edge(around) is None:
        return None
    said = _about(settings.SECURE_PROXY_SSL_HEADER)
    if not said:
        return None
    name = around.hosting.name
    loop = _redirects()
    return Finding(
        "hosting.proxy-header",
        Level.ERROR if loop else Level.WARNING,
        SUBJECT,
        f"{name} ends HTTPS before the app and says so in X-Forwarded-Proto, but "
        f"SECURE_PROXY_SSL_HEADER {said}: "
        + (
            "with SECURE_SSL_REDIRECT every page redirects to itself."
            if loop
            else "request.is_secure() is never true."
        ),
        f"Set SECURE_PROXY_SSL_HEADER = {_HEADER}.",
    )


def _about(header: object) -> str:
    """Why Django never takes a request for HTTPS by this, "" if it may: an edge's own is fine."""
    if not header:
        return "is not set"
    if not isinstance(header, list | tuple) or len(header) != len(_HEADER):
        return "is no pair of a header and its value"
    if not str(header[0]).startswith("HTTP_"):
        return f"names {header[0]!r}, which is no key of request.META"
    if header[0] == _HEADER[0] and header[1] != _HEADER[1]:
        return f"waits for another value than {_HEADER[1]!r}"
    return ""


def _redirects() -> bool:
    return bool(settings.SECURE_SSL_REDIRECT) and _SECURITY in _listed("MIDDLEWARE")


def _allowed(host: str) -> bool:
    """As ``request.get_host()`` decides. With DEBUG an empty list means localhost."""
    return validate_host(host, _listed("ALLOWED_HOSTS"))


def _listed(name: str) -> list[str]:
    """The words of a setting, none if it is of another form: Django says so itself."""
    value = getattr(settings, name, None)
    return list(map(str, value)) if isinstance(value, list | tuple | set | frozenset) else []


def _is_local(host: str) -> bool:
    bare = host.strip("[].")
    if bare == "localhost":
        return True
    try:
        return ipaddress.ip_address(bare).is_loopback
    except ValueError:
        return False


def _covers(origin: str, host: str) -> bool:
    scheme, _, name = origin.partition("://")
    if scheme != "https":
        return False
    return host == name or (name.startswith("*.") and host.endswith(name[1:]))


def _address(around: Surroundings) -> str:
    """The pod's as a Host: from the variable that manifests give it, else from ``/etc/hosts``."""
    given = around.environ.get("POD_IP", "") or _of_hosts(around, socket.gethostname())
    try:
        own = ipaddress.ip_address(given)
    except ValueError:
        return ""
    if own.is_loopback:
        return ""
    return f"[{own}]" if own.version == 6 else str(own)  # noqa: PLR2004 - of the protocol


def _of_hosts(around: Surroundings, name: str) -> str:
    """The kubelet writes each pod's own name there."""
    try:
        lines = (around.root / "etc/hosts").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return ""
    rows = (line.partition("#")[0].split() for line in lines)
    return next((row[0] for row in rows if name in row[1:]), "")
