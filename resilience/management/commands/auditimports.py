"""``manage.py auditimports``: what happens while modules are imported, and which line does it?"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from resilience.errors import UsageError, did_you_mean
from resilience.findings import Finding
from resilience.management.command import ReportCommand, argument
from resilience.probes import audit
from resilience.probes.base import Deadline, Probe

_DEADLINE = 60.0  # s; a project has hundreds of modules


class Command(ReportCommand):
    help = (
        "Import modules in a child process without a network, and name each line that reads a "
        "variable, builds a client, connects or starts a thread at import. Without arguments all "
        "modules of the project's own apps and package, after django.setup(). Exit status as "
        "checkdeploy's."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.set_defaults(deadline=_DEADLINE)
        parser.add_argument(
            "modules",
            nargs="*",
            type=argument(_dotted),
            metavar="MODULE",
            help="a dotted name, such as shop.views (all of the project's own)",
        )
        parser.add_argument(
            "--after-setup", action="store_true", help="run django.setup() before the modules"
        )

    def probes(self, options: dict[str, Any]) -> Sequence[Probe]:
        for name in options["modules"]:
            if not audit.module_is_there(name):
                near = did_you_mean(name, audit.modules_near(name))
                raise UsageError(f"there is no module {name}.{near}")
        return [_probe(options, () if options["modules"] else audit.own_paths())]

    def without_settings(self, options: dict[str, Any], deadline: Deadline) -> Sequence[Finding]:
        """The same of the packages in the working directory: the settings name no apps."""
        module = os.environ.get("DJANGO_SETTINGS_MODULE", "")
        paths = () if options["modules"] else audit.paths_beside(Path.cwd(), module)
        return list(_probe(options, paths).run(deadline))


def _probe(options: dict[str, Any], paths: tuple[str, ...]) -> Probe:
    return audit.Imports(
        "audit",
        modules=tuple(options["modules"]) or audit.modules_in(paths),
        paths=paths,
        after_setup=options["after_setup"] or not options["modules"],
        strangers=options["verbosity"] > 1 or options["format"] in ("json", "junit"),
    )


def _dotted(word: str) -> str:
    if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*", word):
        raise UsageError("a module is named as it is imported, shop.views for example")
    return word
