"""``manage.py checkdeploy``: would this deployment work, and if not, why not?"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any

from django.core.management.base import CommandError, CommandParser

from resilience import catalogue, redact
from resilience.errors import UsageError
from resilience.management.command import ReportCommand, argument
from resilience.management.output import USAGE, write
from resilience.probes import deployment
from resilience.probes.areas import AREAS, STAGES, named, probes_of
from resilience.probes.base import Probe
from resilience.probes.deployment import read_commit
from resilience.probes.http import read_site


class Command(ReportCommand):
    help = (
        "Examine environment, hosting, caches, Redis, TLS, databases and deploy settings, all at "
        "once, and name the root cause of what fails. Exit status: 0 fine, 1 a finding at or "
        "above --fail-level, 2 usage, 3 a critical subject gave no answer in time. With --url the "
        "deployment that answers there, instead."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "areas",
            nargs="*",
            type=argument(named),
            metavar="AREA",
            help=f"of {', '.join(AREAS)} (all but audit); with resilience.history also instances",
        )
        parser.add_argument(
            "--stage",
            choices=STAGES,
            default="run",
            help="build: settings only, no network; predeploy; run: everything (run)",
        )
        parser.add_argument(
            "--url",
            type=argument(read_site),
            metavar="URL",
            help="verify the deployment that answers there, from outside, and nothing here",
        )
        parser.add_argument(
            "--commit",
            type=argument(read_commit),
            metavar="SHA",
            help="with --url: what should be running; needs the deployment's STATUS_TOKEN here",
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
        if options["commit"] and not options["url"]:
            raise UsageError("--commit needs --url: it is about what runs there.")
        if options["url"]:
            if options["areas"]:
                raise UsageError("--url looks at a deployment from outside, which has no areas.")
            self.app = False
            return deployment.probes_of(options["url"], options["commit"] or "", _token())
        return probes_of(options["areas"], options["stage"])


def _token() -> str:
    """The deployment's, if it can be one. Raises UsageError, which does not repeat it."""
    token = os.environ.get("STATUS_TOKEN", "").strip()
    if not re.fullmatch(r"[!-~]*", token):
        raise UsageError("STATUS_TOKEN holds what no header can: use visible ASCII only.")
    redact.register(token)
    return token


def _explain(identifier: str) -> str:
    try:
        return catalogue.explain(identifier)
    except UsageError as error:
        raise CommandError(str(error), returncode=USAGE) from None
