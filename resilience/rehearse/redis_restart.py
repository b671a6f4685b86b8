"""Redis is killed while requests come, and comes back empty."""

from __future__ import annotations

import time

from resilience.rehearse.scenario import RedisScenario
from resilience.rehearse.stage import Stage

_AWAY = 0.6  # of the time


class RedisRestart(RedisScenario):
    name = "redis-restart"
    fault = "Redis is killed under load, and restarted"
    expects = ("tcp.refused",)

    def during(self, stage: Stage, seconds: float) -> None:
        time.sleep(seconds * (1 - _AWAY) / 2)
        stage.redis.kill()
        time.sleep(seconds * _AWAY)
        stage.redis.start()
        time.sleep(seconds * (1 - _AWAY) / 2)
        stage.redis.kill()  # the diagnosis comes behind
