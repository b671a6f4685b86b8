"""``python -m resilience COMMAND``: the commands, also for settings that do not import.

Django's ``manage.py`` shows a traceback, or "Unknown command", when settings raise or lack a
variable. Here every missing variable is collected, a failing ``django.setup()`` becomes the
finding ``django.setup-failed``, and a hanging one is named by file and line at the deadline.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import django
from django.core.management import handle_default_options, load_command_class

from resilience import env, hosting, places, redact
from resilience.errors import did_you_mean
from resilience.findings import Fact, Finding, Level, Report
from resilience.management.command import ReportCommand
from resilience.management.output import (
    INTERRUPTED,
    USAGE,
    accept_any_text,
    leave,
    print_report,
    without_our_logs,
)
from resilience.probes import env as env_probe
from resilience.probes.base import Deadline

_STARTED = time.monotonic()

COMMANDS = ("checkdeploy", "checkredis", "checktls", "auditimports", "rehearse")
_USAGE = f"usage: python -m resilience {{{','.join(COMMANDS)}}} [options]\n"


def main(argv: list[str]) -> NoReturn:
    """Run one of ``COMMANDS`` with its options, and end the process with its exit status."""
    accept_any_text()
    program = sys.argv[0] if sys.argv[0].endswith("manage.py") else "python -m resilience"
    if not argv or argv[0] not in COMMANDS:
        sys.stderr.write(_USAGE)
        if argv and not argv[0].startswith("-"):
            near = did_you_mean(argv[0], COMMANDS)
            sys.stderr.write(f"There is no such command.{near}\n")
        leave(0 if argv[:1] in (["-h"], ["--help"]) else USAGE)
    command = load_command_class("resilience", argv[0])
    assert isinstance(command, ReportCommand)  # noqa: S101 - narrows the type
    # Usage errors and --explain need no settings.
    parser = command.create_parser(program, argv[0])
    parser.called_from_command_line = True
    options = parser.parse_args(argv[1:])
    # To the very end: a module that is imported late may declare variables too.
    with env.collecting(), without_our_logs():
        if not vars(options).get("explain"):
            command.started = _STARTED
            if command.needs_setup:
                command.probes_made = _set_up(command, options).set
            else:
                _find_settings(options)
        command.run_from_argv([program, *argv])


def _set_up(command: ReportCommand, options: argparse.Namespace) -> threading.Event:
    """``django.setup()``, watched. Returns only if it worked; otherwise prints why and ends.

    The watch goes on until the event is set: making the probes imports cache backends.
    """
    _find_settings(options)
    done = threading.Event()
    out = sys.stdout  # probes may be running by then, and their prints go elsewhere
    main_thread = threading.get_ident()

    def watch() -> None:
        if not done.wait(max(0.0, _STARTED + options.deadline - time.monotonic())):
            sys.stdout = out
            _end(_hanging(main_thread, options.deadline), options)

    threading.Thread(target=watch, name="resilience-setup-watch", daemon=True).start()
    try:
        django.setup()
    except KeyboardInterrupt:
        done.set()
        leave(INTERRUPTED)
    except BaseException as error:  # noqa: BLE001 - settings may raise anything
        done.set()
        # A placeholder in the place of a missing variable breaks values, not imports and names.
        explained = not isinstance(error, ImportError | NameError | SyntaxError)
        deadline = Deadline(max(0.0, _STARTED + options.deadline - time.monotonic()))
        more = command.without_settings(vars(options), deadline)
        _end(_failed(error), options, explained=explained, more=more)
    return done


def _find_settings(options: argparse.Namespace) -> None:
    """Make them importable, and name them in the environment."""
    handle_default_options(options)  # --settings and --pythonpath
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    if not os.environ.get("DJANGO_SETTINGS_MODULE"):
        _find_settings_module()


def _find_settings_module() -> None:
    """As ``manage.py`` in the working directory sets it. Ends with status 2 if there is none."""
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
    hint = (
        "Correct this place, or what the message names in your settings; python -m django check "
        f"--settings {_settings_module()} shows the whole traceback."
    )
    module = _settings_module()
    if isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}."):
        hint = (
            f"There is no {error.name} here: correct --settings, DJANGO_SETTINGS_MODULE or "
            "manage.py, whichever names it, and run this beside manage.py."
        )
    if "Error loading psycopg" in str(error):  # Django's words, which name no package of an index
        hint = (
            "Run pip install 'django-resilience-ops[postgres]', which brings psycopg, and add that "
            "to your requirements."
        )
    return _setup_failed(
        f"Django does not start: {redact.exception(error)}",
        hint,
        places.of_error(error),
        {"traceback": places.trace(error)},
    )


def _hanging(thread: int, deadline: float) -> Finding:
    stack = traceback.extract_stack(sys._current_frames()[thread])  # noqa: SLF001 - where it hangs
    return _setup_failed(
        f"Django did not start within {deadline:.1f} s; an import is still busy here.",
        "Move the work at this place out of import time, into the function that needs it.",
        places.of_frames(stack),
        {},
    )


def _setup_failed(summary: str, hint: str, location: str | None, facts: dict[str, Fact]) -> Finding:
    return Finding(
        *("django.setup-failed", Level.ERROR, _settings_module(), summary, hint),
        facts=facts,
        location=location,
        area="django",
    )


def _settings_module() -> str:
    return os.environ.get("DJANGO_SETTINGS_MODULE", "settings")


def _end(
    finding: Finding,
    options: argparse.Namespace,
    *,
    explained: bool = False,
    more: Sequence[Finding] = (),
) -> NoReturn:
    """Print what can be said without Django, and end the process.

    ``explained`` if a missing variable may be the reason; ``more`` is what else was found out, and
    explains it if it is an error at the same place.
    """
    found = env_probe.errors()
    causes = [one for one in more if one.is_root_cause and one.location == finding.location]
    if found and explained:
        causes = found
    report = Report(
        (
            *found,
            *([env_probe.sources(wrong=True)] if env.declared() else []),
            replace(finding, cause=causes[0] if causes else None),
            *more,
        ),
        hosting.detect(),
        round((time.monotonic() - _STARTED) * 1000, 1),
        fail_level=Level[options.fail_level.upper()],
    )
    leave(print_report(report, vars(options), sys.stdout))


if __name__ == "__main__":
    main(sys.argv[1:])
