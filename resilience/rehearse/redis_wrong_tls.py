"""The address says TLS and the server speaks none, or the other way round."""

from __future__ import annotations

from resilience.rehearse.scenario import RedisScenario
from resilience.rehearse.stage import Stage


class RedisWrongTls(RedisScenario):
    name = "redis-wrong-tls"
    fault = "Address and port of Redis disagree about TLS"
    expects = ("redis.tls-to-plain", "redis.plain-to-tls", "tls.plaintext-port")

    def arrange(self, stage: Stage) -> None:
        stage.move_redis(scheme="redis" if stage.redis.tls else "rediss")
