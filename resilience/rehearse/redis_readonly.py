"""Redis has become a replica: it reads, and refuses to write."""

from __future__ import annotations

from resilience.rehearse.scenario import RedisScenario
from resilience.rehearse.stage import Stage


class RedisReadOnly(RedisScenario):
    name = "redis-readonly"
    fault = "Redis is a replica and takes no writes"
    expects = ("redis.readonly",)

    def arrange(self, stage: Stage) -> None:
        stage.redis.refuse_writes()
