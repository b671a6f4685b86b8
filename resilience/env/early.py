"""Frameworks that were imported before the environment was loaded, and by which line."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

from resilience import places

if TYPE_CHECKING:
    import ast

# They read the environment while they are imported, or keep what they read first.
WATCHED = tuple(
    "anthropic boto3 ddtrace gevent google.genai huggingface_hub langchain langchain_anthropic "
    "langchain_core langchain_openai langfuse langgraph langsmith litellm llama_index mistralai "
    "newrelic numpy openai opentelemetry sentry_sdk tensorflow torch transformers".split()
)


class Early(NamedTuple):
    """A framework, and ``file:line`` of the project's import; None if another one brought it."""

    framework: str
    location: str | None


def imported(root: Path | None) -> tuple[Early, ...]:
    """The watched frameworks that are imported by now, and the first own import of each."""
    names = [name for name in WATCHED if name in sys.modules]
    own = list(_own_files(root)) if names and root is not None else []
    return tuple(Early(name, _importer(name, own)) for name in names)


def _own_files(root: Path) -> Iterator[Path]:
    """The project's modules so far, in the order in which their imports ended."""
    for module in list(sys.modules.values()):
        # Neither a module's own __getattr__ nor a lazy one's loading is set off.
        if not issubclass(type(module), ModuleType):
            continue
        file = object.__getattribute__(module, "__dict__").get("__file__")
        if type(file) is not str or "site-packages" in file:
            continue
        if Path(file).is_relative_to(root):
            yield Path(file)


def _importer(framework: str, files: Sequence[Path]) -> str | None:
    for file in files:
        line = _line_of_import(file, framework)
        if line is not None:
            return f"{places.shorten(str(file))}:{line}"
    return None


def _line_of_import(file: Path, framework: str) -> int | None:
    import ast  # noqa: PLC0415 - 5 ms, for those who have something to search

    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return min((line for node in ast.walk(tree) for line in _lines(node, framework)), default=None)


def _lines(node: ast.AST, framework: str) -> Iterator[int]:
    import ast  # noqa: PLC0415 - as above

    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and not node.level:
        names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
    else:
        return
    if any(name == framework or name.startswith(f"{framework}.") for name in names):
        yield node.lineno
