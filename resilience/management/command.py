"""What the commands share: options, the run, and its repetition."""

from __future__ import annotations

import argparse
import contextlib
import math
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NoReturn, TypeVar

from django.core.management.base import BaseCommand, CommandError, CommandParser, OutputWrapper

from resilience import redact
from resilience.errors import UsageError, did_you_mean
from resilience.findings import Finding, Level, Report
from resilience.management.output import (
    FORMATS,
    INTERRUPTED,
    USAGE,
    accept_any_text,
    leave,
    print_report,
    progress,
    without_our_logs,
)
from resilience.probes.base import Deadline, Probe
from resilience.probes.examine import examine

_DEFAULT_DEADLINE = 10.0
_MOST_SECONDS = 3600.0
_PAUSE = 1.0  # s between the runs of --wait
_MUCH = 0.3  # of the deadline: a start that leaves too little of it
_VALUES = re.compile(r"(?<=[\w-])=\S+")

T = TypeVar("T")


class _Parser(CommandParser):
    """Names an option that is not there, before its value is taken for something else."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse, which would complain about the value first."""
        words = list(sys.argv[1:] if args is None else args)
        if "--" in words:
            words = words[: words.index("--")]
        known = [option for option in self._option_string_actions if option.startswith("--")]
        for word in words:
            name = word.partition("=")[0]
            if name.startswith("--") and not any(option.startswith(name) for option in known):
                near = did_you_mean(name, known) or " --help lists them."
                self.error(f"there is no option {name}.{near}")
        return super().parse_known_args(args, namespace)


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
        parser.set_defaults(command=subcommand)
        parser.__class__ = _Parser  # Django makes its own class, and takes no other
        refuse = parser.error
        parser.error = lambda message: refuse(  # type: ignore[method-assign]
            _VALUES.sub("=***", redact.printable(redact.text(message)))
        )
        return parser

    def add_arguments(self, parser: CommandParser) -> None:
        self.add_format(parser)
        parser.add_argument(
            "--deadline",
            type=seconds_to(_MOST_SECONDS),
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
            type=seconds_to(_MOST_SECONDS),
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
            help="output format (text); github: annotations of GitHub Actions, and a step summary",
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
        spent = now - (self.started or now)
        allowed = max(0.0, options["deadline"] - spent)
        while True:
            report = self._examine(probes, options, allowed)
            if spent > options["deadline"] * _MUCH:
                report = _after_a_long_start(report, spent)
            left = until - time.monotonic()
            if report.exit_code == 0 or left <= 0:
                return report
            with progress(sys.stderr, now) as show:
                show(f"of {options['wait']:.0f}: {_still_wrong(report)}")
                time.sleep(min(_PAUSE, left))
            spent, allowed = 0.0, options["deadline"]

    def _examine(self, probes: Sequence[Probe], options: dict[str, Any], allowed: float) -> Report:
        def tell(waiting: list[str]) -> None:
            more = " …" if len(waiting) > 3 else ""  # noqa: PLR2004 - a line holds no more
            show(f"waiting for {', '.join(waiting[:3])}{more}" if waiting else "")

        deadline = Deadline(allowed)
        with (
            progress(sys.stderr, time.monotonic()) as show,
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


def argument(parse: Callable[[str], T]) -> Callable[[str], T]:
    """``parse`` as argparse's ``type=``: its UsageError is the message, never the argument."""

    def parsed(word: str) -> T:
        try:
            return parse(word)
        except UsageError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parsed


def seconds_to(most: float) -> Callable[[str], float]:
    """For argparse's ``type=``: a number of seconds, more than 0 and at most ``most``."""

    def parsed(word: str) -> float:
        try:
            seconds = float(word)
        except ValueError:
            seconds = math.nan
        if not 0 < seconds <= most:
            raise argparse.ArgumentTypeError(
                f"must be a number of seconds, above 0 and up to {most:.0f}"
            )
        return seconds

    return parsed


def _after_a_long_start(report: Report, spent: float) -> Report:
    """Probes that had no time may not hang: a first start compiles all that it imports."""
    hint = (
        f"Starting Django took {spent:.1f} s of the deadline: run it once more, or give more time "
        "with --deadline. If it stays so, look for a missing timeout on the way to it."
    )
    findings = tuple(
        replace(finding, hint=hint) if finding.id == "probe.timeout" else finding
        for finding in report.findings
    )
    return replace(report, findings=findings)


def _still_wrong(report: Report) -> str:
    """The first thing that has kept a run from passing."""
    roots = [finding for finding in report.findings if finding.is_root_cause]
    failing = [finding for finding in report.findings if finding.level >= report.fail_level]
    first = next(iter(roots or failing), None)
    return f"still {first.subject} {first.id}" if first else "still no answer"
