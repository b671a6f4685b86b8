"""Django's own cache tests on a backend, in a process of their own: a report as JSON on stdout.

    python -m tests.cache.django_suite TESTS BACKEND LOCATION

``TESTS`` is the directory of Django's tests, which are not in its wheel. Nothing of them is edited;
left out is what Django leaves out for its own Redis backend: the aliases that cull.
"""

from __future__ import annotations

import io
import json
import sys
import unittest
from typing import Any

import django
from django.conf import settings

# Fractions of what is the default, so that a server that never answers does not take minutes.
RESILIENCE = {"OPERATION_TIMEOUT": 0.1, "CONNECT_TIMEOUT": 0.2, "CLEAR_PATTERN": "*"}


def main(tests: str, backend: str, location: str) -> None:
    sys.path.insert(0, tests)
    base = {"BACKEND": backend, "LOCATION": location, "OPTIONS": {"RESILIENCE": RESILIENCE}}
    settings.configure(
        SECRET_KEY="only-for-these-tests",
        INSTALLED_APPS=["resilience", "cache"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        CACHES={"default": base},
        USE_TZ=False,
    )
    django.setup()
    sys.stdout.write(json.dumps(_run(base)))


def _run(base: dict[str, Any]) -> dict[str, Any]:
    from cache import tests as theirs  # type: ignore[import-not-found]
    from django.core.management import call_command
    from django.test import TestCase, override_settings
    from django.test.utils import setup_test_environment

    caches = theirs.caches_setting_for_tests(base=base, exclude=theirs.redis_excluded_caches)
    suite_class = override_settings(CACHES=caches)(
        type("ResilientCacheTests", (theirs.BaseCacheTests, TestCase), {})
    )
    setup_test_environment()
    call_command("migrate", run_syncdb=True, verbosity=0)
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(suite_class)
    said = io.StringIO()
    result = unittest.TextTestRunner(said, verbosity=0).run(suite)
    return {
        "run": result.testsRun,
        "skipped": {str(test.id()).rpartition(".")[2]: why for test, why in result.skipped},
        "failed": {
            str(test.id()).rpartition(".")[2]: text
            for test, text in (*result.failures, *result.errors)
        },
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
