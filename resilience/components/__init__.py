"""Clients and services, declared by name and built on first use, once per process.

::

    from resilience.components import components

    components["framework.reason"].invoke("Hello")    # the object itself
    await components.aget("framework.reason")         # in a coroutine
    components.status("framework.reason")             # builds nothing

They are declared in ``RESILIENCE["COMPONENTS"]``, or as ``COMPONENTS`` in an installed app's
``components.py``. Nothing of a component's package is imported before it is used. One that is not
ready raises ``resilience.errors.ComponentUnavailable``, which says why and what to do; there are no
fallbacks.
"""

from resilience.components.override import override_component
from resilience.components.registry import components
from resilience.components.status import Status

__all__ = ["Status", "components", "override_component"]
