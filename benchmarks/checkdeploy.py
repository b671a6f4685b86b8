"""What ``checkdeploy`` costs over a bare ``django.setup()`` of the same settings.

    python -m benchmarks.checkdeploy [ROUNDS]

Whole processes of the example project, bytecode compiled, a real Redis and a migrated SQLite
file, so that every answer is fast. The two kinds take turns, so that a busy machine slows both.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

from tests.processes import ROOT, SECRET_KEY, manage, run
from tests.servers import redis_server

BARE = "import django, os; django.setup(); os._exit(0)"


def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder, redis_server(directory=Path(folder)) as redis:
        variables: dict[str, str | None] = {
            "SECRET_KEY": SECRET_KEY,
            "DATABASE_URL": f"sqlite:///{folder}/db.sqlite3",
            "REDIS_URL": redis.url(),
            "DJANGO_SETTINGS_MODULE": "opsproject.settings",
        }
        bare, whole = [], []
        assert manage("migrate", "--verbosity", "0", **variables).code == 0
        for _ in range(rounds + 1):  # the first round compiles bytecode and is not counted
            bare.append(run(sys.executable, "-c", BARE, cwd=ROOT, variables=variables).seconds)
            ended = manage("checkdeploy", **variables)
            assert ended.code == 0, ended.out
            whole.append(ended.seconds)
    setup, command = statistics.median(bare[1:]), statistics.median(whole[1:])
    print(f"django.setup()   {setup:.3f} s   (median of {rounds})")
    print(f"checkdeploy      {command:.3f} s")
    print(f"ratio            {command / setup:.2f}")
    print(f"on top           {command - setup:.3f} s   (aim: 0.3 s)")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)
