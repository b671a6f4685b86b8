"""A daemon thread that is started on need and ends when there is nothing to do."""

from __future__ import annotations

import contextlib
import logging
import threading

from resilience import redact

logger = logging.getLogger("resilience.cache")

AFTER_ERROR = 5.0  # seconds after something that nobody foresaw


class Worker:
    """``start()`` may be called at any time, by anybody; there is never more than one thread.

    Whoever inherits says what a ``turn()`` is and when it ``is_idle()``, and who logs its errors.
    """

    logger = logger

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self.running = False
        self._woken = threading.Event()
        self._stopped = False
        self._ended = threading.Event()
        self._ended.set()

    def start(self, *, wake: bool = False) -> None:
        """See to it that there are turns; with ``wake`` one now, whatever the last one said."""
        if wake:
            self._woken.set()
        with self._lock:
            if self.running or self._stopped:
                return
            thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            # Without a thread to be had keep() tries again.
            with contextlib.suppress(RuntimeError):
                thread.start()
                self.running = True

    def keep(self) -> None:
        """Start it if it should run and does not: to be called where that would be noticed."""
        if not self.running:
            self.start()

    def stop(self, seconds: float = 0.0) -> None:
        """End for good, after the turn that is under way, for which this waits so long."""
        self._stopped = True
        self._woken.set()
        if seconds > 0:
            self._ended.wait(seconds)

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
        self._ended.clear()
        try:
            pause = self.begin()
            while not self._pauses(pause):
                pause = self._turn()
                with self._lock:
                    if self.is_idle():
                        self.running = False
                        return
        except BaseException:
            self.running = False  # somebody may start it again
            raise
        finally:
            self._ended.set()

    def _pauses(self, seconds: float) -> bool:
        """Wait for the next turn; whether there is none."""
        self._woken.wait(seconds)
        self._woken.clear()
        return self._stopped

    def _turn(self) -> float:
        try:
            return self.turn()
        except Exception as error:  # noqa: BLE001 - the thread must go on: nobody would start it
            self.logger.error("%s: %s", self._name, redact.exception(error))  # noqa: TRY400 - one line
            return AFTER_ERROR
