"""What the commands share: options, progress, output and the end of the process."""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import math
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn, TextIO, TypeVar

from django.core.management.base import BaseCommand, CommandError, CommandParser, OutputWrapper

from resilience import redact
from resilience.errors import UsageError
from resilience.findings import Finding, Level, Report
from resilience.probes.base import Deadline, Probe
from resilience.probes.examine import examine
from resilience.render import github, json, junit, text

FORMATS = ("text", "json", "junit", "github")

_DEFAULT_DEADLINE = 10.0
_MOST_SECONDS = 3600.0
_PAUSE = 1.0  # s between the runs of --wait
USAGE = 2
INTERRUPTED = 130  # 128 + SIGINT

# What they warn of, the report says: as findings, with a cause and a repair.
_LOGGERS = ("resilience.cache", "resilience.components")

_VALUES = re.compile(r"(?<=[\w-])=\S+")

T = TypeVar("T")


class ReportCommand(BaseCommand):
    """A command that examines something and prints a report.

    ``--deadline`` counts from ``started`` (a ``time.monotonic()`` value), so that whoever has
    already spent time on ``django.setup()`` can let it count.
    """

    # The report itself runs the system checks, and must outlive them.
    requires_system_checks = ()
    started: float | None = None
    # Called when the probes are there, and with them all that they import.
    probes_made: Callable[[], object] = staticmethod(lambda: None)
    # Whether this is about the app, so that its environment counts.
    app: bool = True
    # Whether it looks at the settings in this process.
    needs_setup: bool = True
    _code: int | None = None

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """With errors redacted: argparse repeats what it does not understand, a URL for example."""
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        refuse = parser.error
        parser.error = lambda message: refuse(  # type: ignore[method-assign]
            _VALUES.sub("=***", redact.printable(redact.text(message)))
        )
        return parser

    def add_arguments(self, parser: CommandParser) -> None:
        self.add_format(parser)
        parser.add_argument(
            "--deadline",
            type=_seconds,
            default=_DEFAULT_DEADLINE,
            metavar="SECONDS",
            help="end after this many seconds, whatever hangs (%(default).0f)",
        )
        parser.add_argument(
            "--fail-level",
            choices=("error", "warning"),
            default="error",
            help="exit with 1 from this level on (error)",
        )
        parser.add_argument(
            "--wait",
            type=_seconds,
            default=0.0,
            metavar="SECONDS",
            help="repeat until it passes; no run begins after this time",
        )

    def add_format(self, parser: CommandParser) -> None:
        """``--format``, which every report has."""
        parser.add_argument(
            "--format",
            choices=FORMATS,
            default="text",
            help="output format (text); github: annotations of GitHub Actions",
        )

    def probes(self, options: dict[str, Any]) -> Sequence[Probe]:
        """The probes that these options ask for. Raises UsageError."""
        raise NotImplementedError

    def without_settings(self, options: dict[str, Any], deadline: Deadline) -> Sequence[Finding]:  # noqa: ARG002 - for those that can
        """What can be found out even where ``django.setup()`` fails."""
        return ()

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ARG002 - Django's signature
        """Print the report; raise SystemExit with its exit code unless that is 0."""
        try:
            probes = self.probes(options)
        except UsageError as error:
            raise CommandError(str(error), returncode=USAGE) from None
        finally:
            self.probes_made()
        report = self._repeat(probes, options)
        self._code = print_report(report, options, self.stdout)
        if self._code:
            raise SystemExit(self._code)

    def run_from_argv(self, argv: list[str]) -> NoReturn:
        """As a command: print, flush and leave at once, hung probes and foreign threads or not."""
        accept_any_text()
        # Django's own were made before a closed stream was replaced.
        self.stdout, self.stderr = OutputWrapper(sys.stdout), OutputWrapper(sys.stderr)
        self.stderr.style_func = self.style.ERROR
        code: int | str | None = 0
        try:
            with without_our_logs():
                self.run_command(argv)
        except SystemExit as ended:
            code = ended.code
        except KeyboardInterrupt:
            code = INTERRUPTED
        except CommandError as error:  # only with --traceback
            code = error.returncode
        except Exception as error:  # noqa: BLE001 - what is not foreseen is no traceback either
            code = self._code
            if code is None:  # else the report is out, and Django's own tidying up failed
                sys.stderr.write(f"{argv[1]} could not run: {redact.exception(error)}\n")
                code = USAGE
        leave(code if isinstance(code, int) else int(bool(code)))

    def run_command(self, argv: list[str]) -> None:
        """Parse and execute, as every command of Django's."""
        super().run_from_argv(argv)

    def _repeat(self, probes: Sequence[Probe], options: dict[str, Any]) -> Report:
        """One run; with ``--wait`` more of them until one passes or the time is over.

        Each has the whole deadline: a run that is cut short may miss an error, and pass.
        """
        now = time.monotonic()
        until = now + options["wait"]
        allowed = max(0.0, (self.started or now) + options["deadline"] - now)
        while True:
            report = self._examine(probes, options, allowed)
            left = until - time.monotonic()
            if report.exit_code == 0 or left <= 0:
                return report
            with _progress(sys.stderr, now) as show:
                show(f"of {options['wait']:.0f}: {_still_wrong(report)}")
                time.sleep(min(_PAUSE, left))
            allowed = options["deadline"]

    def _examine(self, probes: Sequence[Probe], options: dict[str, Any], allowed: float) -> Report:
        def tell(waiting: list[str]) -> None:
            more = " …" if len(waiting) > 3 else ""  # noqa: PLR2004 - a line holds no more
            show(f"waiting for {', '.join(waiting[:3])}{more}" if waiting else "")

        deadline = Deadline(allowed)
        with (
            _progress(sys.stderr, time.monotonic()) as show,
            contextlib.redirect_stdout(sys.stderr),
        ):
            return examine(
                probes,
                deadline,
                stage=options.get("stage", "run"),
                fail_level=Level[options["fail_level"].upper()],
                app=self.app,
                progress=tell,
            )


def print_report(
    report: Report,
    options: dict[str, Any],
    out: TextIO | OutputWrapper,
    *,
    as_text: Callable[..., str] = text.render,
) -> int:
    """Write a report in the format that the options ask for, and return the exit status."""
    return write(_rendered(report, options, out, as_text), out, report.exit_code)


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


def argument(parse: Callable[[str], T]) -> Callable[[str], T]:
    """``parse`` as argparse's ``type=``: its UsageError is the message, never the argument."""

    def parsed(word: str) -> T:
        try:
            return parse(word)
        except UsageError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parsed


def accept_any_text() -> None:
    """Write what a stream's encoding lacks as an escape; write to nowhere where it is closed."""
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115 - for the process's life
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def leave(code: int) -> NoReturn:
    """End the process now: no thread is joined, no ``atexit`` handler can hang."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _drop(record: logging.LogRecord) -> bool:  # noqa: ARG001 - logging's signature
    return False


def _seconds(word: str) -> float:
    try:
        seconds = float(word)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= _MOST_SECONDS:
        raise argparse.ArgumentTypeError(f"must be a number of seconds, up to {_MOST_SECONDS:.0f}")
    return seconds


@contextlib.contextmanager
def _progress(stream: TextIO, began: float) -> Iterator[Callable[[str], None]]:
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


def _still_wrong(report: Report) -> str:
    """The first thing that has kept a run from passing."""
    roots = [finding for finding in report.findings if finding.is_root_cause]
    failing = [finding for finding in report.findings if finding.level >= report.fail_level]
    first = next(iter(roots or failing), None)
    return f"still {first.subject} {first.id}" if first else "still no answer"


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
