"""``manage.py rehearse``: how does this project do on a platform whose services fail?"""

from __future__ import annotations

import os
import sys
import time
from argparse import ArgumentTypeError
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from resilience import hosting, redact
from resilience.errors import UsageError
from resilience.findings import Report
from resilience.management.command import ReportCommand, argument, seconds_to
from resilience.management.output import USAGE, print_report
from resilience.rehearse import runner, scenarios, table
from resilience.rehearse.platforms import PLATFORMS

_DURATION = 3.0  # s of requests for each scenario
_LONGEST = 600.0


class Command(ReportCommand):
    help = (
        "Start this project in processes of its own as a platform would, break its Redis, DNS, "
        "LangSmith and secrets on purpose, and tell for each fault whether the project still "
        "answers and whether checkdeploy names the fault. No configured service is touched. Exit "
        "status: 0 all passed, 1 one did not, 2 it could not run."
    )
    needs_setup = False

    def add_arguments(self, parser: CommandParser) -> None:
        self.add_format(parser)
        parser.add_argument(
            "--platform",
            choices=tuple(PLATFORMS),
            default="railway",
            help="whose variables and bounds the project gets (railway)",
        )
        parser.add_argument(
            "--scenario",
            action="append",
            type=argument(scenarios.named),
            metavar="NAME",
            help=f"only this one, may be repeated: {', '.join(scenarios.NAMES)}",
        )
        parser.add_argument(
            "--path",
            action="append",
            type=_path,
            metavar="PATH",
            help="what is requested, may be repeated (/)",
        )
        parser.add_argument(
            "--duration",
            type=seconds_to(_LONGEST),
            default=_DURATION,
            metavar="SECONDS",
            help="how long requests come in each scenario (%(default).0f)",
        )

    def run_command(self, argv: list[str]) -> None:
        """Without what Django does at the end: to close connections it imports the settings."""
        options = vars(self.create_parser(argv[0], argv[1]).parse_args(argv[2:]))
        self._called_from_command_line = True
        try:
            self.execute(*options.pop("args", ()), **options)
        except CommandError as error:
            self.stderr.write(f"CommandError: {error}")
            raise SystemExit(error.returncode) from None

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ARG002 - Django's signature
        began = time.monotonic()
        here = hosting.detect()
        if here.on_platform:
            raise CommandError(
                f"This is {here.name} ({', '.join(here.signals)}): rehearse runs on laptops and in "
                "CI, where nothing depends on this process.",
                returncode=USAGE,
            )
        settings = options["settings"] or os.environ.get("DJANGO_SETTINGS_MODULE", "")
        with runner.workshop() as folder:
            request = runner.request_for(
                settings,
                platform=options["platform"],
                scenarios=tuple(options["scenario"] or ()),
                paths=tuple(options["path"] or ("/",)),
                duration=options["duration"],
                cwd=Path.cwd(),
                folder=folder,
            )
            try:
                found = runner.play(request, _progress)
            except UsageError as error:
                raise CommandError(str(error), returncode=USAGE) from None
        milliseconds = round((time.monotonic() - began) * 1000, 1)
        report = Report(tuple(found), here, milliseconds)
        self._code = print_report(
            report, options, self.stdout, as_text=table.render, as_summary=table.summary
        )
        if self._code:
            raise SystemExit(self._code)


def _progress(words: str) -> None:
    sys.stderr.write(f"rehearse: {redact.printable(redact.text(words))}\n")
    sys.stderr.flush()


def _path(word: str) -> str:
    if not word.startswith("/") or not word.isprintable() or " " in word:
        raise ArgumentTypeError("a path begins with / and has no spaces")
    return word
