"""Redis wants a password, and the address has none."""

from __future__ import annotations

import secrets

from resilience.rehearse.scenario import RedisScenario
from resilience.rehearse.stage import Stage


class RedisNoAuth(RedisScenario):
    name = "redis-noauth"
    fault = "Redis wants a password"
    expects = ("redis.auth-missing",)

    def arrange(self, stage: Stage) -> None:
        stage.redis.require_password(secrets.token_urlsafe(16))
