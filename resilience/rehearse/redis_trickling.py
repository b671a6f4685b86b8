"""Redis's replies come byte by byte, each just before a client's timeout for one read."""

from __future__ import annotations

from resilience.rehearse.scenario import RedisScenario
from resilience.rehearse.stage import Stage
from resilience.simulation.proxy import Trickle

_PAUSE = 0.15  # seconds before each byte


class RedisTrickling(RedisScenario):
    name = "redis-trickling"
    fault = "Redis's replies trickle"
    expects = ("redis.slow", "redis.silent", "tls.handshake-timeout")

    def arrange(self, stage: Stage) -> None:
        stage.redis.fail(Trickle(pause=_PAUSE))
