"""When a certificate is near its end: measured by its own lifetime, since lifetimes shrink.

Public ones live 200 days since March 2026, 47 from 2029 on (CA/Browser Forum SC-081v3). Renewal is
due with a third left; a warning begins behind that, so that no certificate which is renewed on time
ever gives one.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from resilience.findings import Level
from resilience.tls.certificate import Certificate

_WARN = (4, timedelta(days=30))  # with a quarter left, but not earlier than this
_FAIL = (10, timedelta(days=7))
_DAY = timedelta(days=1)


def judge(certificate: Certificate, now: datetime) -> Level:
    """OK, WARNING or ERROR for a certificate that is valid now."""
    left = certificate.ends - now
    for level, (part, most) in ((Level.ERROR, _FAIL), (Level.WARNING, _WARN)):
        if left < min(certificate.lifetime / part, most):
            return level
    return Level.OK


def days(certificate: Certificate, now: datetime) -> int:
    """Whole days left, negative when it is over."""
    return (certificate.ends - now) // _DAY
