"""A daemon thread that is started on need and ends when there is nothing to do."""

from __future__ import annotations

import contextlib
import threading


class Worker:
    """``start()`` may be called at any time, by anybody; there is never more than one thread.

    Whoever inherits says what a ``turn()`` is and when it ``is_idle()``.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._woken = threading.Event()
        self._stopped = False

    def start(self, *, wake: bool = False) -> None:
        """See to it that there are turns; with ``wake`` one now, whatever the last one said."""
        if wake:
            self._woken.set()
        with self._lock:
            alive = self._thread is not None and self._thread.is_alive()
            if alive or self._stopped:
                return
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            # Without a thread to be had the next reason to start tries again.
            with contextlib.suppress(RuntimeError):
                self._thread.start()

    def stop(self) -> None:
        """End for good, after the turn that is under way."""
        self._stopped = True
        self._woken.set()

    def begin(self) -> float:
        """How many seconds to wait for the first turn."""
        return 0.0

    def turn(self) -> float:
        """One piece of work; how many seconds to wait for the next."""
        raise NotImplementedError

    def is_idle(self) -> bool:
        """Whether there is nothing to do until somebody calls start()."""
        raise NotImplementedError

    def _run(self) -> None:
        pause = self.begin()
        while True:
            self._woken.wait(pause)
            self._woken.clear()
            if self._stopped:
                return
            pause = self.turn()
            with self._lock:
                if self.is_idle():
                    self._thread = None
                    return
