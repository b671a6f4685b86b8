"""Which files are audited, and what their source says."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from resilience.audit import known
from resilience.audit.joined import findings
from resilience.audit.reading import parse, read
from resilience.audit.sightings import Place, Sighting
from resilience.audit.source import Source
from resilience.audit.swallowed import swallowed
from resilience.findings import Finding

_PASSED_OVER = frozenset(
    ("__pycache__", "node_modules", "test", "tests", "testing", "testutils", "test_utils")
)
_TESTS = re.compile(r"(?:test_.*|.*_tests?|tests?|conftest)\.py")
# A file without any of these words does nothing that is looked for.
_WORDS = re.compile("|".join(sorted(known.WORDS)).encode())


def scan(paths: Iterable[str | os.PathLike[str]]) -> list[Finding]:
    """What these files and folders do at import, one finding per cause, from source alone.

    Tests and hidden folders, virtual environments and the like are passed over in a folder, and
    read when they are named themselves. Raises nothing for files that cannot be read: they are
    findings too.
    """
    return findings(sightings(files_of(paths)))


def files_of(paths: Iterable[str | os.PathLike[str]]) -> list[str]:
    """The Python files at and below these paths, each once, in order, absolute."""
    found: dict[str, None] = {}
    for path in paths:
        whole = Path(path).absolute()
        for file in sorted(_below(whole)) if whole.is_dir() else [str(whole)]:
            found.setdefault(file)
    return list(found)


def sightings(files: Sequence[str]) -> list[Sighting]:
    """What the source of each file says."""
    return [sighting for file in files for sighting in _of_file(file)]


def _below(folder: Path) -> Iterator[str]:
    for here, folders, files in os.walk(folder):
        folders[:] = [
            name
            for name in folders
            if name not in _PASSED_OVER
            and not name.startswith(".")
            and not (Path(here) / name / "pyvenv.cfg").exists()
        ]
        yield from (
            str(Path(here) / name)
            for name in files
            if name.endswith(".py") and not _TESTS.fullmatch(name)
        )


def _of_file(file: str) -> list[Sighting]:
    try:
        if not _WORDS.search(read(file)):
            return []
        tree = parse(file)
        source = Source(file, tree)
        return [*source.at_import(), *source.frozen(), *swallowed(file, tree, source.names)]
    except SyntaxError as error:
        return [_unreadable(file, error.lineno or 1, "is not valid Python")]
    except OSError as error:
        return [_unreadable(file, 1, error.strerror or "cannot be read")]
    except ValueError as error:
        return [_unreadable(file, 1, str(error) if type(error) is ValueError else "is not text")]
    except (RecursionError, MemoryError):
        return [_unreadable(file, 1, "is nested too deeply")]


def _unreadable(file: str, line: int, why: str) -> Sighting:
    place = Place(file, line)
    return Sighting("audit.unreadable", Path(file).name, place, place, words=why)
