"""DNS that hangs, for this process: what asks through Python's ``socket`` waits.

As with a name server that nobody reaches: glibc waits 5 s for each of two tries, then says that
the failure is temporary. Libraries in C that resolve by themselves (libpq) are not reached.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any

GLIBC = 10.0  # seconds: resolv.conf(5), timeout and attempts


def hang(seconds: float = GLIBC, *, sleep: Callable[[float], None] = time.sleep) -> None:
    """From now on every name takes ``seconds`` and then fails; addresses and localhost do not."""
    for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex"):
        setattr(socket, name, _hanging(getattr(socket, name), seconds, sleep))


def is_name(host: object) -> bool:
    """Whether a name server would be asked about it."""
    text = host.decode(errors="replace") if isinstance(host, bytes) else str(host or "")
    if text in ("", "localhost"):
        return False
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, text.partition("%")[0])
        except OSError:
            continue
        return False
    return True


def _hanging(
    resolve: Callable[..., Any], seconds: float, sleep: Callable[[float], None]
) -> Callable[..., Any]:
    def resolved(host: Any, *arguments: Any, **options: Any) -> Any:
        if is_name(host):
            sleep(seconds)
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return resolve(host, *arguments, **options)

    return resolved
