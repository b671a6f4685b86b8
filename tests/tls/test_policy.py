"""``RESILIENCE["TLS"]``: what is taken, what is refused, and what a component then trusts."""

from __future__ import annotations

import asyncio
import base64
import logging
import os
import ssl
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from resilience import conf
from resilience.errors import InsecureExpired, UsageError
from resilience.simulation.fake_redis import FakeRedis
from resilience.tls import policy
from resilience.tls.diagnosis import diagnose
from resilience.tls.policy import Policy
from resilience.tls.trust import Insecure, Source, Trust
from tests.tls.pki import ROOT, Web, issue, leaf, server_context
from tests.tls.test_handshake import fetch, shaken

PIN = "sha256//" + base64.b64encode(bytes(32)).decode()


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in policy.CA_VARIABLES:
        monkeypatch.delenv(name, raising=False)


# ── the setting ─────────────────────────────────────────────────────────────────────────────────


def test_every_key():
    found = policy.parse(
        {
            "CA": Path("/etc/ssl/ours.pem"),
            "RELAX_STRICT": ["redis", "db.internal:5432"],
            "PINS": {"[::1]:6380": PIN},
            "CLIENT_CERT": {"database": ("/run/tls.crt", "/run/tls.key"), "redis": "/run/both.pem"},
            "INSECURE": {"email": {"reason": " old server ", "until": "2027-01-31"}},
        }
    )
    assert found == Policy(
        ca="/etc/ssl/ours.pem",
        relax_strict=frozenset({"redis", "db.internal:5432"}),
        pins={"[::1]:6380": (PIN,)},
        client_cert={
            "database": ("/run/tls.crt", "/run/tls.key"),
            "redis": ("/run/both.pem", None),
        },
        insecure={"email": Insecure("email", "old server", date(2027, 1, 31))},
    )
    assert policy.parse({}) == Policy()


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ([], "must be a dictionary"),
        ({"CAS": 1}, "unknown key 'CAS'. Did you mean 'CA'?"),
        ({"INSECURE": True}, "['INSECURE']: must be a dictionary by component or HOST:PORT"),
        ({"CA": 7}, "['CA']: must be None, a path or PEM text"),
        ({"RELAX_STRICT": "redis"}, "must be a list of components"),
        ({"RELAX_STRICT": ["reddis"]}, "'reddis' is neither HOST:PORT nor one of redis, database"),
        ({"RELAX_STRICT": ["reddis"]}, "Did you mean 'redis'?"),
        ({"PINS": {"host:70000": [PIN]}}, "the port of an entry is not from 1 to 65535"),
        ({"PINS": {"*": [PIN]}}, "an entry is neither HOST:PORT nor one of"),
        ({"PINS": {"redis": []}}, "'redis' must be a list of pins"),
        ({"PINS": {"redis": ["sha256//abc"]}}, "a pin is sha256//, then 44 characters"),
        ({"CLIENT_CERT": {"redis": ()}}, "'redis' must be a path, or the paths of"),
        (
            {"INSECURE": {"redis": "yes"}},
            '\'redis\' must be {"reason": "…", "until": "2027-01-31"}',
        ),
        ({"INSECURE": {"redis": {"reason": "x"}}}, "'redis' must be"),
        ({"INSECURE": {"redis": {"reason": " ", "until": "2027-01-31"}}}, "gives no reason"),
        (
            {"INSECURE": {"redis": {"reason": "x", "until": "soon"}}},
            "is not of the form 2027-01-31",
        ),
        ({"INSECURE": {"redis": {"reason": "x", "until": None}}}, "is not of the form 2027-01-31"),
        ({"INSECURE": {"": {"reason": "x", "until": "2027-01-31"}}}, "an entry is neither"),
        ({"INSECURE": {"*:443": {"reason": "x", "until": "2027-01-31"}}}, "an entry is neither"),
    ],
)
def test_what_is_refused(raw, said, settings):
    with pytest.raises(UsageError) as refused:
        policy.parse(raw)
    assert said in str(refused.value)
    settings.RESILIENCE = {"TLS": raw}
    (problem,) = conf.problems()
    assert problem.id == "conf.invalid"
    assert said in problem.summary
    assert policy.current() == Policy(), "verification stays on"


def test_the_settings_are_pushed_down_and_follow_a_change(settings):
    assert policy.current() == Policy()
    settings.RESILIENCE = {"TLS": {"RELAX_STRICT": ["redis"]}}
    assert policy.trust_of("redis").strict is False
    assert policy.trust_of("email").strict is None
    settings.RESILIENCE = {}
    assert policy.trust_of("redis").strict is None


# ── whom a component trusts ─────────────────────────────────────────────────────────────────────


def test_an_address_beats_its_component():
    entry = Insecure("redis", "x", date(2999, 1, 1))
    policy.use(Policy(insecure={"redis": entry}, pins={"db:1": ("a",), "redis": ("b",)}))
    assert policy.trust_of("redis", "db", 1).pins == ("a",)
    assert policy.trust_of("redis", "other", 1).pins == ("b",)
    assert policy.trust_of("redis").insecure == entry
    assert policy.trust_of("email") == policy.trust_of() == Trust.load()


def test_the_stores_are_read_once_until_a_file_changes(tmp_path):
    path = tmp_path / "ours.pem"
    path.write_text(ROOT.pem)
    policy.use(Policy(ca=str(path)))
    first = policy.trust_of("redis")
    assert policy.trust_of("email").certificates is first.certificates
    assert first.sources[-1] == Source("user", 1)
    path.write_text(ROOT.pem + issue("Another", ca=True).pem)
    os.utime(path, (0, 0))
    assert policy.trust_of("redis").sources[-1] == Source("user", 2)


@pytest.mark.parametrize(
    "spelled",
    [
        lambda pem: pem,
        lambda pem: pem.replace("\n", "\\n"),
        lambda pem: base64.b64encode(pem.encode()).decode(),
    ],
)
def test_the_authority_in_a_variable(spelled, monkeypatch, tmp_path):
    monkeypatch.setenv("TLS_CA_PEM", spelled(ROOT.pem))
    assert ROOT.der in policy.trust_of().certificates
    other = issue("Another", ca=True)
    path = tmp_path / "other.pem"
    path.write_text(other.pem)
    monkeypatch.setenv("TLS_CA_BUNDLE", str(path))
    assert {ROOT.der, other.der} <= set(policy.trust_of().certificates), "both"
    policy.use(Policy(ca=str(path)))
    assert ROOT.der not in policy.trust_of().certificates, "the setting wins"


def test_a_variable_that_is_none_is_a_problem_and_not_repeated(monkeypatch):
    monkeypatch.setenv("TLS_CA_PEM", "geheim-canary")
    (problem,) = policy.trust_of().problems
    assert problem.id == "tls.bundle-broken"
    assert "canary" not in str(problem)


def test_a_snapshot_holds_names_only():
    policy.use(Policy(ca="-----BEGIN geheim", pins={"redis": (PIN,)}))
    assert policy.snapshot() == {
        "ca": True,
        "relax_strict": [],
        "pins": ["redis"],
        "client_cert": [],
        "insecure": [],
        "loaded": 0,
    }


# ── insecure, and nothing else ──────────────────────────────────────────────────────────────────


def test_insecure_connects_warns_and_ends(caplog):
    today = datetime.now(UTC).date()
    with Web(leaf()) as server:
        policy.use(Policy(insecure={"redis": Insecure("redis", "Friday", today)}))
        with caplog.at_level(logging.WARNING, "resilience.tls"):
            assert shaken(policy.trust_of("redis").context(), server).error is None
        assert f"TLS of redis is not verified until {today}: Friday" in caplog.text
        assert shaken(policy.trust_of("email").context(), server).code in (18, 19, 20), "the twin"
        yesterday = today - timedelta(days=1)
        policy.use(Policy(insecure={"redis": Insecure("redis", "Friday", yesterday)}))
        with pytest.raises(InsecureExpired, match=r"redis was switched off until .*INSECURE"):
            policy.trust_of("redis").context()


def test_insecure_ends_while_the_process_runs(monkeypatch):
    """A context of yesterday refuses today, in every library that was given it."""
    policy.use(Policy(insecure={"redis": Insecure("redis", "Friday", date(2999, 1, 1))}))
    context = policy.trust_of("redis").context()
    with Web(leaf()) as server:
        assert shaken(context, server).error is None
        monkeypatch.setattr(Insecure, "is_over", lambda *_: True)
        seen = shaken(context, server)
        assert isinstance(seen.error, InsecureExpired)
        assert diagnose(seen.error).id == "tls.insecure-expired"
        with pytest.raises(InsecureExpired):
            asyncio.run(fetch(server.port, context))
        with httpx.Client(verify=context) as client, pytest.raises(httpx.ConnectError) as refused:
            client.get(server.origin)
        assert "which is over" in str(refused.value)


def test_nothing_else_switches_verification_off(monkeypatch):
    for name in ("PYTHONHTTPSVERIFY", "TLS_INSECURE", "NODE_TLS_REJECT_UNAUTHORIZED"):
        monkeypatch.setenv(name, "0")
    for platform in ("RAILWAY_ENVIRONMENT_ID", "KUBERNETES_SERVICE_HOST", "DYNO"):
        monkeypatch.setenv(platform, "x")
    everything = Policy(
        ca="/nowhere.pem",
        relax_strict=frozenset(policy.COMPONENTS),
        insecure={"other:1": Insecure("other:1", "x", date(2999, 1, 1))},
    )
    for each in (Policy(), everything):
        policy.use(each)
        for component in (*policy.COMPONENTS, ""):
            context = policy.trust_of(component, "host", 443).context()
            assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


# ── redis-py ────────────────────────────────────────────────────────────────────────────────────


def ping(port: int, trust: Trust) -> bool:
    client = redis.Redis(
        host="localhost",
        port=port,
        ssl=True,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=1.0,
        **trust.redis_options(),
    )
    with client:
        return bool(client.ping())


def test_the_options_of_redis_py():
    strange = issue("alone", names=("localhost",))
    with (
        FakeRedis(tls=server_context(leaf())) as known,
        FakeRedis(tls=server_context(strange)) as unknown,
    ):
        policy.use(Policy(ca=ROOT.pem, relax_strict=frozenset({"redis"})))
        assert ping(known.port, policy.trust_of("redis"))
        with pytest.raises(redis.ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
            ping(unknown.port, policy.trust_of("redis"))
        entry = Insecure("redis", "x", date(2999, 1, 1))
        policy.use(Policy(insecure={"redis": entry}))
        assert ping(unknown.port, policy.trust_of("redis"))
        policy.use(Policy(pins={"redis": (PIN,)}))
        with pytest.raises(ValueError, match="no pins"):
            policy.trust_of("redis").redis_options()
