"""The one thread of this process that writes to the history."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import uuid

from django.db import Error as DatabaseError, connections

from resilience import conf, redact
from resilience.findings import Level
from resilience.health import monitor
from resilience.health.signals import subject_changed
from resilience.history import connection, identity, keeping, pace, writing
from resilience.history.fitting import fit
from resilience.history.recording import Recorder

logger = logging.getLogger("resilience.history")

EARLY = 5.0
"""Seconds from a beat to one that comes early because something changed."""

STOP = 1.0
"""Seconds that the end of the process waits for the last beat."""

RARELY = 60.0
"""Seconds between two looks for tables that are not there."""

MISSING = (
    "The tables of resilience.history are missing: run python manage.py migrate resilience_history."
)
OFF = "This process reports nothing: RESILIENCE['BACKGROUND'] is False."


class Heart:
    """Beats until it is stopped. Whatever the database does, it is this one thread that waits."""

    def __init__(self, role: str) -> None:
        self.problem = ""
        self._role = role
        self._me: identity.Identity | None = None
        self._stopping = threading.Event()
        self._woken = threading.Event()
        self.recorder = Recorder(self._woken.set)
        self._ended = threading.Event()
        self._ended.set()
        self._began: float | None = None  # the beat that is under way
        self._last = float("-inf")
        self._prepared = False

    @property
    def key(self) -> uuid.UUID | None:
        """Which row is this process; None before the first beat."""
        return self._me.key if self._me is not None else None

    @property
    def hanging(self) -> float:
        """Seconds that the beat under way has taken so far."""
        began = self._began
        return time.monotonic() - began if began is not None else 0.0

    def start(self) -> None:
        """Raises RuntimeError if the system has no thread left."""
        thread = threading.Thread(target=self._run, name="resilience-history", daemon=True)
        self._ended.clear()
        thread.start()

    def stop(self, seconds: float) -> None:
        """Say goodbye: a last beat, for which this waits so long."""
        self._stopping.set()
        self._woken.set()
        if seconds > 0:
            self._ended.wait(seconds)

    def _run(self) -> None:
        while True:
            stopping = self._stopping.is_set()  # before the beat, which then says so
            self._woken.clear()
            pause = self._turn(stopping=stopping)
            if stopping:
                self._ended.set()
                return
            if self._woken.wait(pause):
                early = self._last + min(EARLY, pause)
                self._stopping.wait(max(0.0, early - time.monotonic()))

    def _turn(self, *, stopping: bool) -> float:
        """One beat; how many seconds until the next."""
        if not conf.get().BACKGROUND:
            self._tell(OFF)
            return pace.pause()
        self._last = self._began = time.monotonic()
        try:
            problem = self._beat(stopping=stopping)
        except Exception as error:  # noqa: BLE001 - the thread goes on: nobody would start it again
            problem = f"the beat failed: {redact.exception(error)}"
        self._began = None
        self._tell(problem)
        return RARELY if problem == MISSING else pace.pause()

    def _beat(self, *, stopping: bool) -> str:
        """What kept the beat from being written, or nothing."""
        if self._me is None:
            self._me = identity.identify(self._role)
        now = {fit(each.subject): each.level for each in monitor.snapshot().subjects}
        using = connection.alias()
        try:
            with connection.own(using):
                try:
                    self._write(using, now, stopping=stopping)
                except DatabaseError:
                    if _is_missing(using):
                        return MISSING
                    raise
        except DatabaseError as error:
            return f"the database did not take the beat ({redact.exception(error)})"
        return ""

    def _write(self, using: str, now: dict[str, Level], *, stopping: bool) -> None:
        assert self._me is not None  # noqa: S101 - for the type checker
        writing.write(using, self._me, self.recorder, now, stopped=stopping)
        if stopping:
            return
        if not self._prepared:
            keeping.prepare(using)
            self._prepared = True
        keeping.keep(using, now)

    def _tell(self, problem: str) -> None:
        """Once for each change, not for each beat."""
        before, self.problem = self.problem, problem
        if bool(before) == bool(problem) or {before, problem} & {MISSING, OFF}:
            return
        if problem:
            logger.warning("no heartbeat of this process: %s", problem)
        else:
            logger.info("heartbeats of this process are written again")


def _is_missing(using: str) -> bool:
    """Asked only where the connection stands: another attempt would take its time once more."""
    try:
        return connections[using].connection is not None and connection.is_missing(using)
    except DatabaseError:
        return False


_lock = threading.Lock()
_heart: Heart | None = None
_hooked = False


def start(role: str) -> None:
    """Beat from now on, unless ``BACKGROUND`` is False. Cheap and idempotent; never before a fork.

    ``role`` is ``web``, ``celery-worker``, ``celery-beat``, or a word for a process of your own.
    """
    if _heart is None and conf.get().BACKGROUND:
        _begin(role)


def _begin(role: str) -> None:
    global _heart  # noqa: PLW0603 - the one heart of this process
    with _lock:
        if _heart is not None:  # of two first requests the other one was faster
            return
        heart = Heart(role)
        try:
            heart.start()
        except RuntimeError:  # no thread to be had, or the process ends: the next request tries
            return
        _heart = heart
    _hook()
    subject_changed.connect(heart.recorder.note, dispatch_uid="resilience.history")
    monitor.start()


def stop(seconds: float = STOP) -> None:
    """Say goodbye and beat no more, within ``seconds``."""
    heart = _heart
    if heart is not None:
        heart.stop(seconds)


def key() -> uuid.UUID | None:
    """Which row is this process, None if none."""
    return _heart.key if _heart is not None else None


def problem() -> str:
    """Why the page knows less than it should, as far as this process can tell; else ""."""
    heart = _heart
    if heart is None:
        return "" if conf.get().BACKGROUND else OFF
    said = heart.problem
    if heart.hanging > pace.INTERVAL:
        said = f"a beat has been waiting for the database for {heart.hanging:.0f} s"
    if said in (MISSING, OFF):
        return said
    dropped = heart.recorder.dropped
    lost = f" {dropped} changes of state are lost." if dropped else ""
    return f"This host only: {said}.{lost}" if said else lost.strip()


def reset() -> None:
    """Beat no more, without goodbye (tests)."""
    global _heart
    heart, _heart = _heart, None
    if heart is not None:
        subject_changed.disconnect(dispatch_uid="resilience.history")
        heart.stop(STOP)


def _hook() -> None:
    global _hooked  # noqa: PLW0603 - as in _begin()
    if not _hooked:
        _hooked = True
        atexit.register(stop)
        os.register_at_fork(after_in_child=_after_fork)


def _after_fork() -> None:
    """The thread stays with the parent; the child beats from its own first request on."""
    global _heart, _lock
    _heart, _lock = None, threading.Lock()
    subject_changed.disconnect(dispatch_uid="resilience.history")
