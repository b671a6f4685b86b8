"""What it saves that components are built on first use: start-up with the SDKs, and without.

    python -m benchmarks.startup [ROUNDS]

Whole processes of the example project, to the end of ``django.setup()``. The eager one has the two
lines that so many projects have, ``from langsmith import Client`` and ``from langchain_openai
import ChatOpenAI``, in its settings. Cold is without any compiled bytecode, as in an image that was
built with PYTHONDONTWRITEBYTECODE. The kinds take turns, so that a busy machine slows all alike.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

from tests.processes import ROOT, SECRET_KEY, run

EAGER = (
    "from opsproject.settings import *\n"
    "from langsmith import Client\n"
    "from langchain_openai import ChatOpenAI\n"
)
SETUP = (
    "import sys, os, django; django.setup();"
    "assert ('langchain_openai' in sys.modules) is (sys.argv[1] == 'eager'), sys.argv;"
    "assert ('langsmith.client' in sys.modules) is (sys.argv[1] == 'eager'), sys.argv;"
    "os._exit(0)"
)
SETTINGS = {"lazy": "opsproject.settings", "eager": "eager"}


def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "eager.py").write_text(EAGER)
        took: dict[tuple[str, str], list[float]] = {}
        for _ in range(rounds + 1):  # the first round compiles bytecode and is not counted
            for bytecode in ("warm", "cold"):
                for kind in SETTINGS:
                    seconds = _start(kind, bytecode, Path(folder))
                    took.setdefault((kind, bytecode), []).append(seconds)
    print(f"medians of {rounds} processes each\n")
    for bytecode, aim in (("warm", ""), ("cold", "   (aim: 1 s)")):
        lazy, eager = (statistics.median(took[kind, bytecode][1:]) for kind in SETTINGS)
        print(f"{bytecode}   as components   {lazy:.3f} s")
        print(f"       eager           {eager:.3f} s")
        print(f"       ratio           {eager / lazy:.2f}")
        print(f"       saved           {eager - lazy:.3f} s{aim}\n")


def _start(kind: str, bytecode: str, folder: Path) -> float:
    variables = {
        "SECRET_KEY": SECRET_KEY,
        "DJANGO_SETTINGS_MODULE": SETTINGS[kind],
        "PYTHONPATH": f"{folder}:{ROOT}",
    }
    if bytecode == "cold":
        nothing = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPYCACHEPREFIX": str(folder / "none")}
        variables = {**variables, **nothing}
    ended = run(sys.executable, "-c", SETUP, kind, cwd=folder, variables=variables)
    assert ended.code == 0, ended.err
    return ended.seconds


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
