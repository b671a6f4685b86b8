"""``manage.py checkdeploy``: would this deployment work, and if not, why not?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.management.base import CommandError, CommandParser

from resilience import catalogue
from resilience.errors import UsageError
from resilience.management.command import USAGE, ReportCommand, argument, write
from resilience.probes.areas import STAGES, named, names, probes_of
from resilience.probes.base import Probe


class Command(ReportCommand):
    help = (
        "Examine environment, hosting, caches, Redis, TLS, databases and deploy settings, all at "
        "once, and name the root cause of what fails. Exit status: 0 fine, 1 a finding at or "
        "above --fail-level, 2 usage, 3 a critical subject gave no answer in time."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "areas",
            nargs="*",
            type=argument(named),
            metavar="AREA",
            help=f"of {', '.join(names())} (all but audit)",
        )
        parser.add_argument(
            "--stage",
            choices=STAGES,
            default="run",
            help="build: settings only, no network; predeploy; run: everything (run)",
        )
        parser.add_argument("--explain", metavar="ID", help="explain a finding id, and end")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["explain"]:
            code = write(_explain(options["explain"]), self.stdout, 0)
            if code:
                raise SystemExit(code)
            return
        super().handle(*args, **options)

    def probes(self, options: dict[str, Any]) -> Sequence[Probe]:
        return probes_of(options["areas"], options["stage"])


def _explain(identifier: str) -> str:
    try:
        return catalogue.explain(identifier)
    except UsageError as error:
        raise CommandError(str(error), returncode=USAGE) from None
