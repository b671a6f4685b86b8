"""Tells a signal that ends the process from a package that only calls ``sys.exit`` by itself.

A server stops its worker by a signal whose handler raises SystemExit, wherever the main thread is.
"""

from __future__ import annotations

import functools
import inspect
import signal
import threading
import traceback
from types import CodeType


def handlers() -> frozenset[CodeType]:
    """The code of every handler that is written in Python and installed now."""
    installed = (_code(signal.getsignal(number)) for number in signal.valid_signals())
    return frozenset(code for code in installed if code is not None)


def ends_the_process(error: BaseException, before: frozenset[CodeType] = frozenset()) -> bool:
    """Whether a signal handler raised this, to end the process.

    ``before`` are further handlers: many a handler puts back the default before it exits. Handlers
    run in the main thread only.
    """
    if not isinstance(error, SystemExit | KeyboardInterrupt):
        return False
    if threading.current_thread() is not threading.main_thread():
        return False
    known = before | handlers()
    return any(frame.f_code in known for frame, _ in traceback.walk_tb(error.__traceback__))


def _code(handler: object) -> CodeType | None:
    """Of a function, a method, a partial of one, or an object that can be called."""
    while isinstance(handler, functools.partial):
        handler = handler.func
    for each in (handler, inspect.getattr_static(type(handler), "__call__", None)):
        code = getattr(getattr(each, "__func__", each), "__code__", None)
        if isinstance(code, CodeType):
            return code
    return None
