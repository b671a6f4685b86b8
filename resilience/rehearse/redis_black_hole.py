"""Nobody answers at Redis's address, as behind a firewall that drops."""

from __future__ import annotations

from resilience.rehearse.scenario import RedisScenario
from resilience.rehearse.stage import Stage
from resilience.simulation.proxy import BlackHole


class RedisBlackHole(RedisScenario):
    name = "redis-black-hole"
    fault = "Redis's address answers nothing"
    expects = ("tcp.timeout",)

    def arrange(self, stage: Stage) -> None:
        stage.redis.fail(BlackHole())
