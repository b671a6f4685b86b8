"""Every question for a name hangs, and Redis's address is a name."""

from __future__ import annotations

from resilience.rehearse.scenario import RedisScenario
from resilience.rehearse.stage import Stage

_NAME = "redis.railway.internal"


class DnsHanging(RedisScenario):
    name = "dns-hanging"
    fault = "DNS hangs"
    expects = ("dns.timeout",)

    def arrange(self, stage: Stage) -> None:
        stage.move_redis(host=_NAME)
        stage.hang_names()
