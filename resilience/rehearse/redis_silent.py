"""Redis accepts connections and says nothing, as a process that is stuck."""

from __future__ import annotations

from resilience.rehearse.scenario import RedisScenario
from resilience.rehearse.stage import Stage
from resilience.simulation.proxy import Silence


class RedisSilent(RedisScenario):
    name = "redis-silent"
    fault = "Redis accepts and stays silent"
    # Where the client speaks TLS, the handshake is what nobody answers.
    expects = ("redis.silent", "tls.handshake-timeout")

    def arrange(self, stage: Stage) -> None:
        stage.redis.fail(Silence())
