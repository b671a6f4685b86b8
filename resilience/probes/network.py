"""The first two stages of every connection: DNS and TCP, each bounded and each with its finding."""

from __future__ import annotations

import errno
import queue
import socket
import threading
import time
from typing import Any

from resilience.findings import Fact, Finding, Level
from resilience.probes.base import Deadline

Address = tuple[socket.AddressFamily, Any]


class StageFailed(Exception):
    """A stage ended the examination; ``finding`` says why."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.id)
        self.finding = finding


def resolve(subject: str, host: str, port: int, deadline: Deadline) -> list[Address]:
    """The addresses of a host. Raises StageFailed with ``dns.failed`` or ``dns.timeout``.

    ``getaddrinfo`` knows no timeout (the resolver's own default is 2 x 5 s per name server), so it
    runs on a thread that is left behind when its time is over.
    """
    answers: queue.SimpleQueue[list[Address] | OSError] = queue.SimpleQueue()

    def ask() -> None:
        try:
            rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            answers.put([(row[0], row[4]) for row in rows])
        except (OSError, UnicodeError) as error:
            answers.put(error if isinstance(error, OSError) else OSError(str(error)))

    threading.Thread(target=ask, name=f"resilience-dns-{host}", daemon=True).start()
    allowed = deadline.stage()
    try:
        answer = answers.get(timeout=allowed)
    except queue.Empty:
        raise failed(
            "dns.timeout",
            subject,
            f"DNS did not answer for {host} within {allowed:.1f} s.",
            "Check the resolver in /etc/resolv.conf and that this network may reach it.",
        ) from None
    if isinstance(answer, OSError):
        raise failed(
            "dns.failed",
            subject,
            f"The host name {host} does not resolve.",
            "Correct the host. A platform's private names resolve only inside its network, "
            "at run time, not during a build or on a laptop.",
            error=answer.strerror or "not a host name",
        )
    return answer


def connect(
    subject: str, addresses: list[Address], where: str, deadline: Deadline
) -> socket.socket:
    """A TCP connection to the first address that answers, all of them within one stage's time.

    Each address gets its share of it, so a dead IPv6 route cannot eat the time of IPv4. Raises
    StageFailed with ``tcp.refused``, ``tcp.timeout`` or ``tcp.unreachable``.
    """
    allowed = deadline.stage()
    ends = time.monotonic() + allowed
    errors: list[OSError] = []
    for family, address in addresses:
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            share = (ends - time.monotonic()) / (len(addresses) - len(errors))
            sock.settimeout(max(0.001, share))
            sock.connect(address)
        except OSError as error:
            sock.close()
            errors.append(error)
        else:
            return sock
    raise _tcp(subject, where, min(errors, key=_rank), allowed) from None


def connect_unix(subject: str, path: str, deadline: Deadline) -> socket.socket:
    """A connection to a socket file. Raises StageFailed with ``tcp.refused``."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(deadline.stage())
    try:
        sock.connect(path)
    except OSError as error:
        sock.close()
        raise failed(
            "tcp.refused",
            subject,
            f"Nothing listens on the socket {path}: {error.strerror or 'no answer'}.",
            "Start the service with this socket, and let this user read and write it.",
        ) from None
    return sock


def failed(id: str, subject: str, summary: str, hint: str, **facts: Fact) -> StageFailed:
    """The end of an examination, to be raised."""
    return StageFailed(Finding(id, Level.ERROR, subject, summary, hint, facts))


def _rank(error: OSError) -> int:
    """The error that says most comes first: that of a host that was reached."""
    if isinstance(error, ConnectionRefusedError):
        return 0
    return 1 if isinstance(error, TimeoutError) else 2


def _tcp(subject: str, where: str, error: OSError, allowed: float) -> StageFailed:
    if isinstance(error, TimeoutError):
        return failed(
            "tcp.timeout",
            subject,
            f"Nothing answers at {where}: no TCP connection within {allowed:.1f} s.",
            "A firewall drops the packets, or the address is wrong: compare host and port with "
            "the service's private address, and check security groups.",
            waited_ms=round(allowed * 1000),
        )
    if isinstance(error, ConnectionRefusedError):
        return failed(
            "tcp.refused",
            subject,
            f"Nothing listens at {where}.",
            "Start the service, or correct host and port; inside a container localhost is the "
            "container itself.",
        )
    return failed(
        "tcp.unreachable",
        subject,
        f"There is no way to {where}: {error.strerror or errno.errorcode.get(error.errno or 0)}.",
        "Check the network: outbound IPv6 is off by default on some platforms, and private "
        "addresses are reachable only from inside.",
    )
