"""What the probes of one run tell each other: who signs for whom, and what time servers have.

One untrusted authority that signs for unrelated public names is somebody in between. One probe
alone cannot see that, so each says what it saw, and waits for the others before it judges.
"""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Iterable
from datetime import timedelta

_PRIVATE = (".internal", ".local", ".lan", ".corp", ".home.arpa", ".localhost", ".svc", ".test")
# Whose certificates are signed by public authorities, whoever says otherwise.
_PUBLIC = frozenset(
    "amazonaws.com anthropic.com cloudflare.com github.com google.com googleapis.com langchain.com "
    "openai.com sendgrid.net sentry.io".split()
)
_SHORT = 3  # letters: co.uk, com.au


class Sightings:
    """Shared by the probes of one run."""

    def __init__(self, subjects: Iterable[str]) -> None:
        self._changed = threading.Condition()
        self._subjects = frozenset(subjects)
        self._done: set[str] = set()
        self._authorities: dict[str, tuple[str, bytes]] = {}
        self._skews: dict[str, timedelta] = {}

    def begin(self, subject: str) -> None:
        """It is examined now; what it said in an earlier run is forgotten."""
        with self._changed:
            self._subjects |= {subject}
            self._done.discard(subject)
            self._authorities.pop(subject, None)
            self._skews.pop(subject, None)

    def authority(self, subject: str, host: str, authority: bytes) -> None:
        """An authority that is not trusted here signs for ``host``."""
        with self._changed:
            self._authorities[subject] = (host, authority)
            self._changed.notify_all()

    def time(self, subject: str, skew: timedelta) -> None:
        """A trusted server's clock is so far ahead of this one."""
        with self._changed:
            self._skews[subject] = skew
            self._changed.notify_all()

    def done(self, subject: str) -> None:
        """Nothing more will be said."""
        with self._changed:
            self._done.add(subject)
            self._changed.notify_all()

    def intercepted(self, subject: str, seconds: float) -> bool:
        """Whether the authority of this subject signs for hosts that are nobody's family.

        Waits until everybody else has said something or is done, at most ``seconds``.
        """
        host, mine = self._authorities[subject]
        if not domain(host):
            return False
        if domain(host) in _PUBLIC:
            return True
        self._wait(subject, seconds)
        with self._changed:
            names = {domain(name) for name, each in self._authorities.values() if each == mine}
        return len(names - {""}) > 1

    def skew(self, subject: str, seconds: float) -> timedelta:
        """How far the servers' clocks are ahead of this one, in the middle; 0 if nobody knows."""
        self._wait(subject, seconds)
        with self._changed:
            return middle(self._skews.values())

    def _wait(self, subject: str, seconds: float) -> None:
        def everybody() -> bool:
            heard = self._done | set(self._authorities) | set(self._skews)
            return not self._subjects - heard - {subject}

        with self._changed:
            self._changed.wait_for(everybody, seconds)


def middle(skews: Iterable[timedelta]) -> timedelta:
    """The one in the middle, so that a single wrong clock decides nothing; 0 if there is none."""
    ordered = sorted(skews)
    return ordered[len(ordered) // 2] if ordered else timedelta()


def domain(host: str) -> str:
    """The part of a public host name that somebody owns; empty for a private name or an address."""
    name = host.rstrip(".").lower()
    try:
        ipaddress.ip_address(name)
    except ValueError:
        pass
    else:
        return ""
    labels = name.split(".")
    if len(labels) < 2 or f".{name}".endswith(_PRIVATE):  # noqa: PLR2004 - localhost, redis
        return ""
    both_short = len(labels) > 2 and len(labels[-1]) == 2 and len(labels[-2]) <= _SHORT  # noqa: PLR2004
    return ".".join(labels[-3:] if both_short else labels[-2:])
