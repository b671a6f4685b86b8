"""Reads and parses one source file; what cannot be read or parsed raises one kind of error."""

from __future__ import annotations

import ast
import os
import re
import stat
import sys
import warnings

_LAZY = re.compile(rb"^([ \t]*)lazy[ \t]+(?=(?:import|from)[ \t])", re.MULTILINE)
UNREADABLE = (OSError, SyntaxError, ValueError, RecursionError, MemoryError)
"""What reading, parsing or walking a file raises; the last two if it is nested too deeply."""


def read(file: str) -> bytes:
    """The content of a regular file. Raises OSError, and ValueError for what is no source text.

    Anything else of that name is not waited for: a named pipe would never end.
    """
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("is not a regular file")
        with open(descriptor, "rb", closefd=False) as opened:
            source = opened.read()
    finally:
        os.close(descriptor)
    if b"\0" in source:  # in UTF-16 every other byte is one
        raise ValueError("is not text in UTF-8: it has NUL bytes")
    return source


def parse(file: str) -> ast.Module:
    """A file as its tree. Raises what ``UNREADABLE`` says.

    ``lazy import`` (PEP 810) is read by Pythons that do not know it yet as an import.
    """
    source = read(file)
    with warnings.catch_warnings():  # an invalid escape is not this report's business
        warnings.simplefilter("ignore", SyntaxWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            return ast.parse(source, file)
        except SyntaxError:
            if sys.version_info >= (3, 15) or not _LAZY.search(source):
                raise
            return ast.parse(_LAZY.sub(rb"\1", source), file)
