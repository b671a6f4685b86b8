"""Redis refuses connections, as when its process is gone."""

from __future__ import annotations

from resilience.rehearse.scenario import RedisScenario
from resilience.rehearse.stage import Stage
from resilience.simulation.proxy import Refuse


class RedisRefused(RedisScenario):
    name = "redis-refused"
    fault = "Redis refuses connections"
    expects = ("tcp.refused",)

    def arrange(self, stage: Stage) -> None:
        stage.redis.fail(Refuse())
