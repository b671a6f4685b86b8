"""Redis is full and evicts nothing: writes fail."""

from __future__ import annotations

from resilience.rehearse.scenario import RedisScenario
from resilience.rehearse.stage import Stage


class RedisFull(RedisScenario):
    name = "redis-oom"
    fault = "Redis is full"
    expects = ("redis.oom",)
    along = (*RedisScenario.along, "redis.eviction")

    def arrange(self, stage: Stage) -> None:
        stage.redis.fill()
