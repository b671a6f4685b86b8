"""Every scenario, in the order in which they are played."""

from __future__ import annotations

from resilience.errors import UsageError, did_you_mean
from resilience.rehearse.dns_hanging import DnsHanging
from resilience.rehearse.empty_ca_store import EmptyCaStore
from resilience.rehearse.healthy import Healthy
from resilience.rehearse.langsmith_405 import LangSmith405
from resilience.rehearse.langsmith_bad_key import LangSmithBadKey
from resilience.rehearse.langsmith_down import LangSmithDown
from resilience.rehearse.missing_secret import MissingSecret
from resilience.rehearse.redis_black_hole import RedisBlackHole
from resilience.rehearse.redis_noauth import RedisNoAuth
from resilience.rehearse.redis_oom import RedisFull
from resilience.rehearse.redis_readonly import RedisReadOnly
from resilience.rehearse.redis_refused import RedisRefused
from resilience.rehearse.redis_restart import RedisRestart
from resilience.rehearse.redis_silent import RedisSilent
from resilience.rehearse.redis_trickling import RedisTrickling
from resilience.rehearse.redis_wrong_tls import RedisWrongTls
from resilience.rehearse.scenario import Scenario

HEALTHY = Healthy()
SCENARIOS: tuple[Scenario, ...] = (
    HEALTHY,
    RedisRefused(),
    RedisBlackHole(),
    RedisSilent(),
    RedisTrickling(),
    RedisNoAuth(),
    RedisWrongTls(),
    RedisReadOnly(),
    RedisFull(),
    RedisRestart(),
    MissingSecret(),
    EmptyCaStore(),
    LangSmithDown(),
    LangSmith405(),
    LangSmithBadKey(),
    DnsHanging(),
)
NAMES = tuple(each.name for each in SCENARIOS)


def named(word: str) -> str:
    """``word``, if it names a scenario. Raises UsageError."""
    if word in NAMES:
        return word
    near = did_you_mean(word, NAMES)
    raise UsageError(f"there is no such scenario: use {', '.join(NAMES)}.{near}")


def chosen(names: tuple[str, ...]) -> list[Scenario]:
    """The scenarios of these names, all if there are none; the healthy one always first."""
    return [each for each in SCENARIOS if not names or each.name in names or each is HEALTHY]
