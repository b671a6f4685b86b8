"""``python -m resilience COMMAND``: the commands, also for settings that do not import.

Django's ``manage.py`` shows a traceback, or "Unknown command", when settings raise or lack a
variable. Here every missing variable is collected, a failing ``django.setup()`` becomes the
finding ``django.setup-failed``, and a hanging one is named by file and line at the deadline.
"""

from __future__ import annotations

import os
import re
import sys
import threading
import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from resilience import env, hosting, redact
from resilience.errors import EnvError
from resilience.findings import Finding, Level, Report

if TYPE_CHECKING:
    from resilience.management.command import ReportCommand

_STARTED = time.monotonic()

COMMANDS = ("checkdeploy", "checkredis")
_USAGE = f"usage: python -m resilience {{{','.join(COMMANDS)}}} [options]\n"


def main(argv: list[str]) -> NoReturn:
    """Run one of ``COMMANDS`` with its options, and end the process with its exit status."""
    from resilience.management.command import (  # noqa: PLC0415 - imports Django
        USAGE,
        accept_any_text,
        leave,
    )

    accept_any_text()
    program = sys.argv[0] if sys.argv[0].endswith("manage.py") else "python -m resilience"
    if not argv or argv[0] not in COMMANDS:
        sys.stderr.write(_USAGE)
        leave(0 if argv[:1] in (["-h"], ["--help"]) else USAGE)
    command = _command(argv[0])
    # Usage errors and --explain need no settings.
    options = vars(command.create_parser(program, argv[0]).parse_args(argv[1:]))
    # To the very end: a module that is imported late may declare variables too.
    with env.collecting():
        if not options.get("explain"):
            command.started = _STARTED
            _set_up(options, _STARTED)
        command.run_from_argv([program, *argv])


def _command(name: str) -> ReportCommand:
    from importlib import import_module  # noqa: PLC0415 - only here

    command: ReportCommand = import_module(f"resilience.management.commands.{name}").Command()
    # Parse errors print the usage and exit with 2.
    command._called_from_command_line = True  # type: ignore[attr-defined]  # noqa: SLF001
    return command


def _set_up(options: dict[str, Any], started: float) -> None:
    """``django.setup()``, watched. Returns only if it worked; otherwise prints why and ends."""
    if options.get("pythonpath"):
        sys.path.insert(0, options["pythonpath"])
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    if options.get("settings"):
        os.environ["DJANGO_SETTINGS_MODULE"] = options["settings"]
    elif not os.environ.get("DJANGO_SETTINGS_MODULE"):
        _find_settings_module()
    done = threading.Event()
    main_thread = threading.get_ident()

    def watch() -> None:
        if not done.wait(max(0.0, started + options["deadline"] - time.monotonic())):
            _end(_hanging(main_thread, options["deadline"]), options, started)

    threading.Thread(target=watch, name="resilience-setup-watch", daemon=True).start()
    try:
        import django  # noqa: PLC0415 - its cost counts against the deadline

        django.setup()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - settings may raise anything
        done.set()
        _end(_failed(error), options, started)
    done.set()


def _find_settings_module() -> None:
    """As ``manage.py`` in the working directory sets it. Ends with status 2 if there is none."""
    from resilience.management.command import USAGE, leave  # noqa: PLC0415 - imports Django

    try:
        source = Path("manage.py").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        source = ""
    found = re.search(r"DJANGO_SETTINGS_MODULE['\"]\s*,\s*['\"]([\w.]+)['\"]", source)
    if not found:
        sys.stderr.write(
            "There is no settings module: run this beside manage.py, set DJANGO_SETTINGS_MODULE, "
            "or give --settings.\n"
        )
        leave(USAGE)
    os.environ["DJANGO_SETTINGS_MODULE"] = found[1]


def _failed(error: BaseException) -> Finding:
    return Finding(
        "django.setup-failed",
        Level.ERROR,
        os.environ.get("DJANGO_SETTINGS_MODULE", "settings"),
        f"Django does not start: {redact.exception(error)}",
        "Correct the named place; python -m django check shows the whole traceback.",
        {"traceback": " < ".join(reversed(redact.traceback(error)))},
        location=redact.location(error),
    )


def _hanging(thread: int, deadline: float) -> Finding:
    stack = traceback.extract_stack(sys._current_frames()[thread])  # noqa: SLF001 - where it hangs
    own = [frame for frame in stack if redact.is_own_file(frame.filename)]
    frame = (own or stack)[-1]
    return Finding(
        "django.setup-failed",
        Level.ERROR,
        os.environ.get("DJANGO_SETTINGS_MODULE", "settings"),
        f"Django did not start within {deadline:.1f} s: an import hangs.",
        "Move the work at this place out of import time, into the function that needs it.",
        location=f"{redact.shorten(frame.filename)}:{frame.lineno}",
    )


def _end(finding: Finding, options: dict[str, Any], started: float) -> NoReturn:
    """Print what can be said without Django, and end the process."""
    from resilience.management.command import leave, print_report  # noqa: PLC0415
    from resilience.probes import env as env_probe  # noqa: PLC0415

    problems: list[EnvError] = [*env.snapshot().problems]
    problems += [item.problem for item in env.declared() if item.problem is not None]
    found = [replace(env_probe.of_error(problem), area="env") for problem in problems]
    # A placeholder in the place of a missing variable may well be why setup failed.
    finding = replace(finding, area="django", cause=found[0] if found else None)
    report = Report(
        (*found, finding),
        hosting.detect(),
        round((time.monotonic() - started) * 1000, 1),
        fail_level=Level[options["fail_level"].upper()],
    )
    print_report(report, options, sys.stdout)
    leave(report.exit_code)


if __name__ == "__main__":
    main(sys.argv[1:])
