#!/usr/bin/env python
"""Django's command line.

The doctor's commands go through ``resilience``'s own entry point, which reports a settings module
that does not import instead of showing its traceback.
"""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "opsproject.settings")
    without_settings = ("checkdeploy", "checkredis", "checktls", "auditimports", "rehearse")
    if sys.argv[1:2] and sys.argv[1] in without_settings:
        from resilience.__main__ import main as doctor  # noqa: PLC0415 - needs no settings

        doctor(sys.argv[1:])

    from django.core.management import execute_from_command_line  # noqa: PLC0415

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
