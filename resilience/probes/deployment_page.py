"""What the answer to the front page tells: redirects, security headers, cookies."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urljoin, urlsplit

from resilience.findings import Finding, Level
from resilience.probes.deployment_details import shown
from resilience.probes.exchange import Answer
from resilience.probes.http import Site

_REDIRECTS = range(300, 400)
_HSTS = "Strict-Transport-Security"


def rules(subject: str, site: Site, front: Answer) -> Iterator[Finding]:
    """What is wrong with the answer itself; only over HTTPS, for which most of this is made."""
    yield from _redirect(subject, site, front)
    if site.secure:
        yield from _headers(subject, front)
    yield from _cookies(subject, front, secure=site.secure)


def _redirect(subject: str, site: Site, front: Answer) -> Iterator[Finding]:
    location = front.header("Location")
    if front.status not in _REDIRECTS or not location:  # 304 for one leads nowhere
        return
    here = f"{site.origin}{site.path}"
    try:
        there = urljoin(here, location)
        same = _normal(there) == _normal(here)
    except ValueError:
        yield Finding(
            "deploy.url-unhealthy",
            Level.ERROR,
            subject,
            f"{here} redirects to what is no address: {shown(location)}",
            "Correct what makes this redirect: LOGIN_URL, a view, or the server before the app.",
        )
        return
    if same:
        yield Finding(
            "deploy.redirect-loop",
            Level.ERROR,
            subject,
            f"{here} redirects to itself: nobody ever sees a page.",
            "Django takes HTTPS for HTTP: set SECURE_PROXY_SSL_HEADER = "
            "('HTTP_X_FORWARDED_PROTO', 'https').",
        )
    elif site.secure and there.lower().startswith("http://"):
        yield Finding(
            "deploy.redirect-plain",
            Level.WARNING,
            subject,
            f"{here} redirects to {shown(there)}, which is not encrypted.",
            "Django takes HTTPS for HTTP: set SECURE_PROXY_SSL_HEADER = "
            "('HTTP_X_FORWARDED_PROTO', 'https').",
        )


def _normal(url: str) -> tuple[str, str, int | None, str, str]:
    """What makes two addresses the same page. Raises ValueError for what is none."""
    parts = urlsplit(url)
    port = parts.port or {"https": 443, "http": 80}.get(parts.scheme)
    return parts.scheme, parts.hostname or "", port, parts.path or "/", parts.query


def _headers(subject: str, front: Answer) -> Iterator[Finding]:
    missing = dict(_missing(front))
    if missing:
        yield Finding(
            "deploy.headers-missing",
            Level.WARNING,
            subject,
            f"The answer lacks {', '.join(missing)}.",
            f"Set {'; '.join(missing.values())}; SecurityMiddleware and XFrameOptionsMiddleware "
            "send them.",
        )


def _missing(front: Answer) -> Iterator[tuple[str, str]]:
    age = re.search(r"max-age=\"?(\d+)", front.header(_HSTS))
    if age is None or int(age[1]) == 0:
        yield _HSTS, "SECURE_HSTS_SECONDS = 3600 (more once it has proved right)"
    if front.header("X-Content-Type-Options").lower() != "nosniff":
        yield "X-Content-Type-Options: nosniff", "SECURE_CONTENT_TYPE_NOSNIFF = True"
    if not front.header("Referrer-Policy"):
        yield "Referrer-Policy", 'SECURE_REFERRER_POLICY = "same-origin"'
    policy = front.header("Content-Security-Policy")
    if not front.header("X-Frame-Options") and "frame-ancestors" not in policy:
        yield "X-Frame-Options", 'X_FRAME_OPTIONS = "DENY"'


def _cookies(subject: str, front: Answer, *, secure: bool) -> Iterator[Finding]:
    found = []
    for line in front.headers.get_all("Set-Cookie") or ():
        pair, *attributes = (part.strip() for part in str(line).split(";"))
        # One without a name is all value.
        name = pair.partition("=")[0] if "=" in pair else "A nameless one"
        flags = {each.partition("=")[0].lower() for each in attributes}
        lacks = [
            flag
            for flag, needed in (
                ("Secure", secure),
                # Scripts send the token of a form along, so that cookie is theirs to read.
                ("HttpOnly", "csrf" not in name.lower()),
                ("SameSite", True),
            )
            if needed and flag.lower() not in flags
        ]
        if lacks:
            found.append(f"{name} lacks {', '.join(lacks)}")
    if found:
        yield Finding(
            "deploy.cookie-flags",
            Level.WARNING,
            subject,
            f"Cookies are less protected than they could be: {'; '.join(found)}.",
            "Set SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True; leave SESSION_COOKIE_HTTPONLY "
            "and the SAMESITE settings as Django has them.",
        )
