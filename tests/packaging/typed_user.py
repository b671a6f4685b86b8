"""A user's module that uses every public name, for type checkers: strict ones find nothing wrong.

``test_typing.py`` has them read this against the installed wheel, and proves that no name is left
out. It is never run.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any, assert_type

import redis
from django.contrib import admin
from django.core.cache import caches
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse

from resilience import audit, env, redact
from resilience.__main__ import main
from resilience.admin import register
from resilience.cache import HotCache, ResilientCache, force, state_changed, status
from resilience.cache.signing import SignedPickleSerializer
from resilience.components import Status, components, override_component
from resilience.components.langsmith import Client
from resilience.endpoints import draining
from resilience.errors import (
    BrokenSource,
    CacheUnavailable,
    ComponentUnavailable,
    EnvError,
    InsecureExpired,
    InvalidVariable,
    MissingVariable,
    ResilienceError,
    UsageError,
)
from resilience.findings import Finding, Level, Report
from resilience.health import monitor, signals
from resilience.health.states import Health, Readiness, Sample, SubjectState
from resilience.history import heartbeat
from resilience.middleware import HealthMiddleware
from resilience.simulation import network, proxy
from resilience.simulation.authority import Authority
from resilience.simulation.fake_redis import FakeRedis
from resilience.simulation.redis_server import RedisServer
from resilience.tls.policy import trust_of
from resilience.tls.trust import Trust

# ── <project>/__init__.py and settings.py ───────────────────────────────────────────────────────

env.load()
env.load(Path(__file__).parent)
SECRET_KEY = assert_type(env.secret("SECRET_KEY"), str)
DEBUG = assert_type(env.bool("DEBUG", default=False), bool)
NAME = assert_type(env.str("NAME", default=""), str)
WORKERS = assert_type(env.int("WORKERS", default=2), int)
RATE = assert_type(env.float("RATE", default=0.5), float)
ALLOWED_HOSTS = assert_type(env.list("ALLOWED_HOSTS", default=[]), list[str])
LOCATION = assert_type(env.url("REDIS_URL", default="", schemes=("redis", "rediss")), str)
DATABASES = {"default": assert_type(env.db("DATABASE_URL"), dict[str, Any])}
KEY = assert_type(env.ref("OPENAI_API_KEY"), env.Ref)


def environment() -> list[str]:
    with env.collecting():
        assert_type(env.placeholder_in(SECRET_KEY), str | None)
    found: env.Snapshot = env.snapshot()
    declared: list[env.Declared] = env.declared()
    env.reset()
    return [*found.files, *(f"{item.name} {item.origin or item.problem}" for item in declared)]


# ── the cache ───────────────────────────────────────────────────────────────────────────────────


@receiver(state_changed)
def told(sender: str, *, old: str, new: str, **_: object) -> None:
    redact.register(f"{sender} {old} {new}")


def price(key: str) -> int | None:
    cache = caches["default"]
    assert isinstance(cache, ResilientCache)
    assert not isinstance(cache, HotCache)
    try:
        cache.set(key, 7, timeout=60)
        cache.set_many({key: 7})
        assert_type(cache.incr(key), int)
        assert_type(cache.add(key, 1), bool)
        assert_type(cache.get_many([key]), dict[Any, Any])
    except CacheUnavailable as error:
        redact.exception(error)
        return None
    force("default", "open", role="read")
    force("default", None)
    return len(assert_type(status("default"), dict[str, Any])["last_error"] or redact.text(key))


async def price_later(cache: ResilientCache, key: str) -> bool:
    await cache.aset(key, 7)
    assert_type(await cache.aget(key), Any)
    return await cache.adelete(key)


def unsigned(data: bytes) -> Any:
    return SignedPickleSerializer({}).loads(data)


# ── components and errors ───────────────────────────────────────────────────────────────────────


def chat(question: str) -> str:
    components.register("llm.chat", {"BACKEND": "shop.Chat", "OPTIONS": {"key": KEY}})
    if "llm.chat" not in components or len(components) < len(list(components)):
        return ""
    state: Status = components.status("llm.chat")
    try:
        with override_component("llm.chat", object()):
            return str(components["llm.chat"].invoke(question)) + state.why + str(state.missing)
    except ComponentUnavailable as error:
        return f"{error.name} {error.state} {error.problem} {error.hint}"
    finally:
        components.close()
        components.reset()


@override_component("llm.chat", object())
async def chat_later() -> object:
    return await components.aget("llm.chat")


def tracing() -> Client:
    with_trust = Client(trust=trust_of("langsmith"), enabled=True, api_key="lsv2")
    with_trust.flush(1.0)
    with_trust.close()
    return with_trust


def explained(error: ResilienceError) -> str:
    if isinstance(error, BrokenSource | InvalidVariable | MissingVariable):
        same: EnvError = error.bare()
        return f"{same.id} {same.subject} {same.hint} {same.location or ''}"
    return type(error).__name__ if isinstance(error, InsecureExpired | UsageError) else ""


# ── health, history, pages ──────────────────────────────────────────────────────────────────────


@receiver(signals.subject_changed)
def changed(sender: str, *, finding: Finding, new: Level, **_: object) -> None:
    if new >= Level.WARNING and finding.is_root_cause:
        redact.text(f"{sender} {finding.id} {dict(finding.facts)}")


def health() -> str:
    for found in (monitor.snapshot(), monitor.ask(wait=0.5), monitor.check_now()):
        whole: Health = found
        report: Report = whole.report
        if whole.readiness is Readiness.NOT_READY and report.exit_code:
            return report.verdict
        subjects: tuple[SubjectState, ...] = whole.subjects
        samples: list[Sample] = [sample for each in subjects for sample in each.samples]
        if samples and samples[-1].level is Level.ERROR:
            return str(report.count(Level.ERROR))
    return ""


def serve(site: admin.AdminSite) -> HealthMiddleware:
    register(site)
    heartbeat.start("bot")
    draining.when(Path("/tmp/draining").exists)
    return HealthMiddleware(answer)


def answer(_request: HttpRequest) -> HttpResponse:
    return HttpResponse()


def doctor() -> None:
    main(["checkdeploy", "--format", "json"])


def imports() -> list[str]:
    found = [*audit.scan(["shop"]), *audit.trace("shop.tasks", settings="shop.settings")]
    return [each.summary for each in found]


# ── TLS and faults ──────────────────────────────────────────────────────────────────────────────


def connect() -> redis.Redis:
    trust: Trust = trust_of("redis", "cache.internal", 6380)
    context: ssl.SSLContext = trust.context()
    trust.add_to(context)
    assert_type(trust.bundle(), Path)
    assert_type(trust.pem(), str)
    return redis.Redis(host="cache.internal", ssl=True, **trust.redis_options())


def faults(folder: Path) -> list[tuple[str, int]]:
    authority = Authority()
    found: list[tuple[str, int]] = []
    with RedisServer(folder, tls=authority) as server, proxy.Proxy("::1", server.port) as between:
        all_faults: list[proxy.Fault | None] = [
            proxy.Bandwidth(10_000),
            proxy.BlackHole(late=True),
            proxy.Garbage(b"HTTP/1.1 400"),
            proxy.Latency(0.1, jitter=0.02),
            proxy.Refuse(),
            proxy.Reset(),
            proxy.Silence(),
            proxy.Trickle(1, pause=0.05),
            proxy.Truncate(after=5),
            None,
        ]
        for fault in all_faults:
            between.fault = fault
            found.append((between.address[0], between.bytes_up + between.connections))
    with (
        network.BlackHole() as deaf,
        network.Garbage() as garbage,
        network.Refused() as refused,
        network.Reset() as reset,
        network.Silence(tls=authority.server_context("localhost")) as silence,
        FakeRedis({"PING": "PONG"}) as fake,
    ):
        every = [deaf.address, garbage.address, refused.address, reset.address, silence.address]
        return [*found, *every, (fake.url, fake.port)]
