"""Whether the server is about to end, as far as it lets us know.

Nobody is told by a signal: a handler of ours would have to stand in the server's way (decision
40). The server's own word is asked for at each ``/readyz``, in gunicorn.conf.py::

    def post_worker_init(worker):
        from resilience.endpoints import draining

        draining.when(lambda: not worker.alive)
"""

from __future__ import annotations

from collections.abc import Callable

_ask: Callable[[], object] | None = None


def when(ask: Callable[[], object] | None) -> None:
    """From now on ``ask()`` is asked, in any thread; true means that the end is near.

    It must be quick. None: nobody is asked any more. The last caller wins, and a forked process
    keeps what its parent said.
    """
    global _ask  # noqa: PLW0603 - one server per process
    _ask = ask


def is_draining() -> bool:
    """What the server says; False if nobody was named, or the question itself failed."""
    if _ask is None:
        return False
    try:
        return bool(_ask())
    except Exception:  # noqa: BLE001 - somebody else's code must not take the app out of service
        return False


def reset() -> None:
    """Forget whom to ask (tests)."""
    when(None)
