"""The ``components.py`` of installed apps: what they declare, and nothing else of them."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Mapping
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from resilience import places, redact
from resilience.components import interrupts
from resilience.components.registry import components
from resilience.components.spec import Spec, read_all
from resilience.errors import UsageError

logger = logging.getLogger("resilience.components")


def discover(apps: Iterable[ModuleType]) -> None:
    """Declare what the apps' ``components`` modules hold under the name ``COMPONENTS``.

    One that cannot be read is a finding and a line in the log, and its components are unknown: the
    app starts, and says what it lacks.
    """
    for app in apps:
        name = f"{app.__name__}.components"
        found = _read(name) if hasattr(app, "__path__") else None
        if found is None:
            continue
        specs, problem = found
        if problem:
            logger.error("%s", problem)
        components.declare(name, specs, problem)


def _read(name: str) -> tuple[Mapping[str, Spec], str] | None:
    """What a module declares, or why that is not known; None if there is no such module."""
    try:
        # One that somebody put there need not have come from a finder, which find_spec() asks for.
        if sys.modules.get(name) is None and find_spec(name) is None:
            return None
        module = import_module(name)
        declared = getattr(module, "COMPONENTS", {})
        return read_all(declared, getattr(module, "__file__", None) or name), ""
    except UsageError as error:
        return {}, f"COMPONENTS in {name} {error}"
    except (Exception, SystemExit) as error:  # it is the user's code
        if interrupts.ends_the_process(error):
            raise
        where = places.of_error(error)
        said = f"{name} cannot be imported: {redact.exception(error)}"
        return {}, f"{said} ({where})" if where else said
