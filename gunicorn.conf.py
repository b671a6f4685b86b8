"""What gunicorn needs in a container. It reads WEB_CONCURRENCY, its process count, by itself."""

import os
import socket
from pathlib import Path
from typing import Any


def _host() -> str:
    """Return "[::]" if it works here: it serves IPv4 too, and networks that are IPv6 only."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::", 0))
            v6_only = probe.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    except OSError:  # a container without IPv6
        return "0.0.0.0"
    return "0.0.0.0" if v6_only else "[::]"


bind = f"{_host()}:{os.environ.get('PORT') or 8000}"
threads = 4  # a slow neighbour holds up one thread, not the process
preload_app = False  # a background thread started before the fork would be missing in the workers
timeout = 30  # s without a heartbeat, then the worker is replaced
graceful_timeout = 25  # s for running requests after SIGTERM; platforms often kill after 30
accesslog = "-"
control_socket_disable = True  # nobody uses it here, and its folder may be read-only
if Path("/dev/shm").is_dir():
    worker_tmp_dir = "/dev/shm"  # the heartbeat file must not wait for a disk


def post_worker_init(worker: Any) -> None:
    """While a worker ends, /readyz says so on the connections that it still serves."""
    from resilience.endpoints import draining  # noqa: PLC0415 - only the workers need it

    draining.when(lambda: not worker.alive)
