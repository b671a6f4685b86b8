"""Another object in the place of a component, for a test."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Self, TypeVar, cast

from resilience.components.registry import components

F = TypeVar("F", bound=Callable[..., Any])


class override_component:  # noqa: N801 - a context manager and decorator, as override_settings
    """``components[name]`` is ``object`` inside the block or the decorated function.

    In the whole process. What requires the component is built anew inside, on use, and what it was
    before comes back afterwards: built or not. Nest them, do not interleave them. Raises
    ComponentUnavailable for a name that nothing declares.
    """

    def __init__(self, name: str, object: object) -> None:
        self._name = name
        self._object = object
        self._entered: list[ExitStack] = []

    def __enter__(self) -> Any:
        with ExitStack() as stack:
            stack.enter_context(components.replaced(self._name, self._object))
            self._entered.append(stack.pop_all())
        return self._object

    def __exit__(self, *_: object) -> None:
        self._entered.pop().close()

    def __call__(self, function: F) -> F:
        if inspect.isclass(function) or not callable(function):
            raise TypeError(
                "override_component() decorates functions; in a TestCase use "
                "self.enterContext(override_component(...)) in setUp()"
            )
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def awaited(*args: Any, **options: Any) -> Any:
                with self._again():
                    return await function(*args, **options)

            return cast("F", awaited)

        @functools.wraps(function)
        def called(*args: Any, **options: Any) -> Any:
            with self._again():
                return function(*args, **options)

        return cast("F", called)

    def _again(self) -> Self:
        return type(self)(self._name, self._object)
