"""After a failover the address leads to a replica: it follows the new primary, and only reads."""

from __future__ import annotations

from resilience.rehearse.scenario import RedisScenario
from resilience.rehearse.stage import Stage


class RedisReadOnly(RedisScenario):
    name = "redis-readonly"
    fault = "Redis is a replica of a live primary"
    expects = ("redis.readonly",)

    def arrange(self, stage: Stage) -> None:
        stage.redis.demote()
