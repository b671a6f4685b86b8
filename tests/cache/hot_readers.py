"""Readers of a HotCache whose listener is cut, delayed and made deaf, and what they saw too late.

``python -m tests.cache.hot_readers PORT FILE SECONDS SEED LEASE`` is one reader, which trusts its
listener for LEASE seconds and prints what it saw. A version of a key is stale once the next one was
acknowledged to its writer; none may be read for longer than the lease after that.
"""

from __future__ import annotations

import asyncio
import json
import random
import struct
import sys
import time
from mmap import mmap
from pathlib import Path
from typing import Any, ClassVar

from django.conf import settings

from resilience.cache import listener, status
from resilience.simulation.faults import Fault, Flow, Line
from resilience.simulation.proxy import Proxy

KINDS = ("none", "none", "cut", "deaf", "late")
KEYS = 20
VERSIONS = 4096  # of each key whose time is remembered
SIZE = KEYS * VERSIONS * 8


class Times:
    """When each version of each key was acknowledged: seconds of the clock all processes share."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._memory = mmap(file.fileno(), SIZE)

    def note(self, key: int, version: int) -> None:
        struct.pack_into("d", self._memory, self._place(key, version), time.monotonic())

    def of(self, key: int, version: int) -> float:
        """0 for one that was not acknowledged yet."""
        found: float = struct.unpack_from("d", self._memory, self._place(key, version))[0]
        return found

    def _place(self, key: int, version: int) -> int:
        return (key * VERSIONS + version) * 8


class ToListener(Fault):
    """Strikes only the connection that says PING: ``cut``, ``deaf`` or ``late``."""

    heard: ClassVar[set[int]] = set()

    def __init__(self, kind: str = "none", delay: float = 0.0) -> None:
        self.kind, self.delay = kind, delay

    def strike(self, line: Line) -> None:
        if self.kind == "cut" and line.client.fileno() in self.heard:
            line.reset()

    async def carry(self, flow: Flow, data: bytes) -> bytes:
        client = (flow.sink if flow.is_reply else flow.source).fileno()
        if not flow.is_reply and b"PING" in data:
            self.heard.add(client)
        elif client in self.heard:
            if self.kind == "deaf":
                return b""
            if self.kind == "late":
                await asyncio.sleep(self.delay)
        return await super().carry(flow, data)


def read(port: int, times: Times, seconds: float, seed: int, lease: float) -> dict[str, Any]:
    """What one process saw."""
    promised, listener.LEASE = listener.LEASE, lease
    rng = random.Random(seed)  # noqa: S311 - the same in every run
    saw: dict[str, Any] = {"reads": 0, "stale": 0, "worst": 0.0, "faults": 0}
    with Proxy("127.0.0.1", port, fault=ToListener()) as proxy:
        own = {"HOT": ["*"], "MAX_STALE": 0, "OPERATION_TIMEOUT": 2.0}
        url = f"redis://{proxy.host}:{proxy.port}/0"
        backend = "resilience.cache.HotCache"
        config = {"BACKEND": backend, "LOCATION": url, "OPTIONS": {"RESILIENCE": own}}
        settings.configure(CACHES={"default": config}, SECRET_KEY="for nobody")
        from django.core.cache import cache  # it reads the settings

        plan = [("none", 0.7), ("deaf", promised + 1.0)]  # once so long that the lease must end it
        ends, change = time.monotonic() + seconds, 0.0
        while (now := time.monotonic()) < ends:
            if now > change:
                kind, lasts = plan.pop(0) if plan else (rng.choice(KINDS), rng.uniform(0.2, 1.0))
                proxy.fault = ToListener(kind, rng.uniform(0.0, 3.0))
                saw["faults"] += kind != "none"
                change = now + lasts
            key = rng.randrange(KEYS)
            began = time.monotonic()
            version = cache.get(f"k{key}")
            saw["reads"] += 1
            replaced = times.of(key, version + 1) if version is not None else 0.0
            if replaced:
                saw["worst"] = max(saw["worst"], began - replaced)
                saw["stale"] += began - replaced > promised
        saw["hits"] = status()["l1"]["hits"]
        saw["sessions"] = status()["hot"]["sessions"]
        return saw


if __name__ == "__main__":
    port, path, seconds, seed, lease = sys.argv[1:]
    found = read(int(port), Times(Path(path)), float(seconds), int(seed), float(lease))
    sys.stdout.write(json.dumps(found))
