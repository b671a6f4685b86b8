"""Many processes, one truth: what HotCache serves is never staler than its lease."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import redis

from resilience.cache.listener import LEASE
from tests.cache.hot_readers import KEYS, SIZE, VERSIONS, Times
from tests.processes import ROOT

SECONDS = 6.0
READERS = 3


def run_readers(
    port: int, path: Path, seconds: float, seed: int, lease: float
) -> list[dict[str, Any]]:
    """Readers while one writer writes; what each saw."""
    path.write_bytes(bytes(SIZE))
    client = redis.Redis(port=port)
    try:
        times, versions = Times(path), [0] * KEYS
        for key in range(KEYS):
            client.set(f":1:k{key}", 0)
        module = [sys.executable, "-m", "tests.cache.hot_readers"]
        readers = [
            subprocess.Popen(
                [*module, str(port), path, str(seconds), str(seed + place), str(lease)],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                text=True,
            )
            for place in range(READERS)
        ]
        rng = random.Random(seed)  # noqa: S311 - the same in every run
        while any(reader.poll() is None for reader in readers):
            key = rng.randrange(KEYS)
            if versions[key] + 2 < VERSIONS:
                versions[key] += 1
                client.set(f":1:k{key}", versions[key])
                times.note(key, versions[key])
            time.sleep(rng.uniform(0.0, 0.02))
        return [json.loads(reader.communicate()[0]) for reader in readers]
    finally:
        client.close()


def test_nobody_reads_what_is_older_than_the_lease(fresh, tmp_path):
    saw = run_readers(fresh.port, tmp_path / "times", SECONDS, 1, LEASE)
    assert [each["stale"] for each in saw] == [0] * READERS, saw
    assert sum(each["faults"] for each in saw) > READERS
    assert all(each["hits"] > 100 for each in saw), saw


def test_twin__a_longer_lease_is_noticed(fresh, tmp_path):
    saw = run_readers(fresh.port, tmp_path / "times", SECONDS, 1, 60.0)
    assert sum(each["stale"] for each in saw) > 0, saw
