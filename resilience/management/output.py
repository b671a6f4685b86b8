"""What a command says, where and in which format, and how its process ends."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn, TextIO

from django.core.management.base import OutputWrapper

from resilience import redact
from resilience.findings import Report
from resilience.render import github, json, junit, summary, text

FORMATS = ("text", "json", "junit", "github")
_SUMMARY_BYTES = 1 << 20  # docs.github.com/actions, "Step isolation and limits"
USAGE = 2
INTERRUPTED = 130  # 128 + SIGINT

# What they warn of, the report says: as findings, with a cause and a repair.
_LOGGERS = ("resilience.cache", "resilience.components")


def print_report(
    report: Report,
    options: dict[str, Any],
    out: TextIO | OutputWrapper,
    *,
    as_text: Callable[..., str] = text.render,
    as_summary: Callable[..., str] = summary.render,
) -> int:
    """Write a report in the format that the options ask for, and return the exit status.

    For GitHub also a summary into the file that the runner gives to each step.
    """
    place = os.environ.get("GITHUB_STEP_SUMMARY") if options["format"] == "github" else ""
    if place:
        name = options.get("command", "")
        _append(place, lambda most: as_summary(report, most=most, command=name))
    return write(_rendered(report, options, out, as_text), out, report.exit_code)


def write(words: str, out: TextIO | OutputWrapper, code: int) -> int:
    """Write everything that a command has to say, and return the exit status: mostly ``code``.

    A reader that has gone (``| head``) does not change it; a full disk, which loses a good
    verdict, does.
    """
    try:
        out.write(words + "\n")
        out.flush()
    except BrokenPipeError:
        return code
    except OSError as error:
        sys.stderr.write(f"The report could not be written: {error.strerror}.\n")
        return code or USAGE
    return code


@contextlib.contextmanager
def without_our_logs() -> Iterator[None]:
    """What the report says is not logged above it as well. For the doctor's own process only.

    By filters, which stay where they are when ``LOGGING`` is configured meanwhile.
    """
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    for logger in loggers:
        logger.addFilter(_drop)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(_drop)


@contextlib.contextmanager
def progress(stream: TextIO, began: float) -> Iterator[Callable[[str], None]]:
    """A line on a terminal with the seconds since ``began``; nothing elsewhere."""
    if not stream.isatty():
        yield lambda _: None
        return

    def show(words: str) -> None:
        said = redact.printable(redact.text(words))
        line = f"{time.monotonic() - began:3.0f} s  {said}" if said else ""
        stream.write(f"\r\x1b[K{line[:78]}")
        stream.flush()

    try:
        yield show
    finally:
        stream.write("\r\x1b[K")
        stream.flush()


def accept_any_text() -> None:
    """Write what a stream's encoding lacks as an escape; write to nowhere where it is closed."""
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115 - for the process's life
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(OSError, ValueError):  # the project has closed it
                stream.reconfigure(errors="backslashreplace")


def leave(code: int) -> NoReturn:
    """End the process now: no thread is joined, no ``atexit`` handler can hang."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _append(place: str, render: Callable[[int], str]) -> None:
    """Add to a step's summary, whatever is in it already; one warning if that does not work."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
    problem = "it has no room left"
    try:
        with open(os.open(place, flags, 0o666), "ab") as file:  # noqa: PTH123 - never waits
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                problem = "it is no regular file"
            else:
                gap = "\n\n" if status.st_size else ""
                words = render(_SUMMARY_BYTES - status.st_size - len(gap))
                if words:
                    file.write(f"{gap}{words}".encode())
                    return
    except (OSError, ValueError) as error:
        problem = getattr(error, "strerror", None) or "it is no path"
    sys.stderr.write(f"The file of GITHUB_STEP_SUMMARY could not be written: {problem}.\n")


def _rendered(
    report: Report,
    options: dict[str, Any],
    out: TextIO | OutputWrapper,
    as_text: Callable[..., str],
) -> str:
    verbosity, unicode = options["verbosity"], _can_encode(out)
    if options["format"] == "json":
        return json.render(report)
    if options["format"] == "junit":
        return junit.render(report)
    if options["format"] == "github":
        return github.render(report, verbosity=verbosity, unicode=unicode)
    colour = _wants_colour(out, options)
    return as_text(report, verbosity=verbosity, colour=colour, unicode=unicode)


def _drop(record: logging.LogRecord) -> bool:  # noqa: ARG001 - logging's signature
    return False


def _wants_colour(stream: TextIO | OutputWrapper, options: dict[str, Any]) -> bool:
    if options.get("no_color") or os.environ.get("NO_COLOR"):
        return False
    return bool(options.get("force_color")) or stream.isatty()


def _can_encode(stream: TextIO | OutputWrapper) -> bool:
    try:
        "✓→…".encode(getattr(stream, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
