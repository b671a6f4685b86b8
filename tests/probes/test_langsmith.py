"""Every answer that LangSmith gives: what the probe says, what the SDK meets, what the hint mends.

The fake is a real HTTPS server. In each case the SDK's own client, with our component around it,
fails where the probe says so; then the hint is followed to the letter, and both succeed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import certifi
import langsmith
import pytest

from resilience.components import components
from resilience.components.langsmith import Client
from resilience.env import ref
from resilience.findings import Finding, Level
from resilience.probes import areas, langsmith as module, runner
from resilience.probes.base import Deadline
from resilience.probes.langsmith_config import CLIENT, SPELLINGS, Config
from resilience.simulation.fake_langsmith import (
    FORBIDDEN,
    NOT_ALLOWED,
    NOT_FOUND,
    FakeLangSmith,
)
from resilience.simulation.network import BlackHole, Garbage, Refused, Silence
from resilience.simulation.service import HTML, Answer
from resilience.tls import policy, stores
from resilience.tls.policy import Policy
from tests.tls.pki import ROOT, ConnectProxy, Web, issue, leaf, server_context

KEY = "lsv2_pt_canary_0123456789abcdef"
WORKSPACE = "0b9c7f1e-0000-4000-8000-000000000001"
PAGE = Answer(200, "<!doctype html><title>Sign in</title>", HTML)


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable of LangSmith, no proxy, and a system's store of one stranger."""
    proxies = [
        name
        for each in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY")
        for name in (each, each.lower())
    ]
    for name in (*stores.READERS, *proxies):
        monkeypatch.delenv(name, raising=False)
    for name in list(os.environ):
        if name.startswith(SPELLINGS):
            monkeypatch.delenv(name)
    monkeypatch.setenv("LANGSMITH_CONFIG_FILE", str(tmp_path / "none"))
    (tmp_path / "0a1b2c3d.0").write_text(issue("Another Root", ca=True).pem)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "0a1b2c3d.0"))
    monkeypatch.setattr(certifi, "where", lambda: str(tmp_path / "0a1b2c3d.0"))  # 40 ms each time
    policy.use(Policy(ca=ROOT.pem))


def configure(monkeypatch: pytest.MonkeyPatch, url: str, key: str = KEY, **more: str) -> None:
    values = {"ENDPOINT": url, "API_KEY": key, "TRACING": "true", **more}
    for name, value in values.items():
        monkeypatch.setenv(f"LANGSMITH_{name}", value)


def examine(*words: str, stage: str = "run", seconds: float = 4.0) -> list[Finding]:
    probes = areas.probes_of(words or ("langsmith",), stage)
    return list(runner.run(probes, Deadline(seconds)))


def roots(findings: list[Finding]) -> list[str]:
    return [each.id for each in findings if each.level is Level.ERROR and each.cause is None]


def follow(hint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Do what a hint says: ``Set NAME=VALUE`` and ``unset NAME …``. Raises if it says neither."""
    sets = re.findall(r"[Ss]et (\w+)=(\S+?)[.,]?(?= |$)", hint)
    unsets = re.search(r"unset ((?:\w+ ?)+)", hint)
    for name, value in sets:
        monkeypatch.setenv(name, value)
    for name in unsets[1].split() if unsets else []:
        monkeypatch.delenv(name)
    assert sets or unsets, hint


@langsmith.traceable
def one() -> int:
    return 1


def trace(flush: float) -> None:
    """A run of the SDK's own client, ours around it, as the variables configure it."""
    with ExitStack() as stack:
        stack.callback(langsmith.configure, client=None, enabled=None)
        client = Client(enabled=True)
        stack.callback(client.close, 0)
        one()
        client.flush(flush)


def is_lost(fake: FakeLangSmith) -> bool:
    """Whether the SDK's run does not arrive; it says so in the log at most."""
    trace(0.3)
    return not fake.named("one", 0.0)


def arrives(fake: FakeLangSmith) -> bool:
    trace(5.0)
    return bool(fake.named("one"))


@contextmanager
def serving(**options: Any) -> Iterator[FakeLangSmith]:
    with FakeLangSmith(KEY, tls=server_context(leaf()), **options) as fake:
        yield fake


def test_a_sound_configuration(monkeypatch):
    with serving() as fake:
        configure(monkeypatch, fake.url)
        (fine,) = examine()
        assert (fine.id, fine.level, fine.subject) == ("langsmith.ok", Level.OK, "langsmith")
        assert fine.summary.startswith("LangSmith 0.16.14 at https://localhost:")
        assert fine.summary.endswith("takes the key of LANGSMITH_API_KEY, and this process traces.")
        assert fine.facts["address"] == "LANGSMITH_ENDPOINT"
        assert fake.runs == {}, "the question whether runs may be sent sends none"
        assert arrives(fake)


# ── what the API answers ────────────────────────────────────────────────────────────────────────


class Case(NamedTuple):
    """How the fake is, what else is set, what is found, and what mends it if not the hint alone."""

    fake: dict[str, Any]
    id: str
    words: str
    variables: Mapping[str, str] = MappingProxyType({})
    mend: Callable[[FakeLangSmith, pytest.MonkeyPatch], None] | None = None


def heal(fake: FakeLangSmith, _: pytest.MonkeyPatch) -> None:
    fake.answers.clear()
    fake.status = 200


def new_key(_: FakeLangSmith, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANGSMITH_API_KEY", KEY)


def workspace(_: FakeLangSmith, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANGSMITH_WORKSPACE_ID", WORKSPACE)


GATEWAY = {"Via": "1.1 proxy.internal (squid)"}
CASES = {
    "own, without /api/v1": Case({"prefix": "/api/v1"}, "langsmith.ui-host", "with 405"),
    "own, wrong path": Case(
        {"prefix": "/api/v1", "path": "/api/v1/api"}, "langsmith.path", "its API is at https"
    ),
    "cloud, superfluous path": Case({"path": "/api/v2"}, "langsmith.path", "its API is at https"),
    "some other site": Case(
        {"answers": {"*": PAGE}}, "langsmith.ui-host", "A web page answers", mend=heal
    ),
    "some other API": Case(
        {"answers": {"*": Answer(200, {"hello": "world"})}},
        "langsmith.path",
        "it is not LangSmith's API",
        mend=heal,
    ),
    "wrong key": Case({}, "langsmith.key-invalid", "(401)", {"API_KEY": "lsv2_x"}, new_key),
    "forbidden": Case(
        {"answers": {"/sessions": FORBIDDEN, "/runs/multipart": FORBIDDEN}},
        "langsmith.key-forbidden",
        "to read here (403)",
        mend=heal,
    ),
    "may read only": Case(
        {"answers": {"/runs/multipart": FORBIDDEN}},
        "langsmith.key-forbidden",
        "to write here (403)",
        mend=heal,
    ),
    "organization's key": Case(
        {"needs_workspace": True}, "langsmith.workspace", "no workspace is named", mend=workspace
    ),
    "wrong workspace": Case(
        {"workspace": WORKSPACE},
        "langsmith.workspace",
        "may not use the workspace of LANGSMITH_WORKSPACE_ID",
        {"WORKSPACE_ID": WORKSPACE[:-1] + "2"},
    ),
    "no key": Case({}, "langsmith.key-missing", "wants a key", {"API_KEY": ""}, new_key),
    "too old": Case(
        {"answers": {"/runs/multipart": NOT_FOUND}}, "langsmith.server-old", "0.16.14", mend=heal
    ),
    "one route is missing": Case(
        {"answers": {"/sessions": NOT_ALLOWED, "/runs/multipart": NOT_ALLOWED}},
        "langsmith.server-old",
        "/sessions",
        mend=heal,
    ),
    **{
        f"status {status}": Case(
            {"answers": {"*": Answer(status, {"detail": "no"})}},
            "langsmith.server-error",
            words,
            mend=heal,
        )
        for status, words in (
            (500, "an error of its own"),
            (503, "with 503"),
            (429, "too many requests"),
            (408, "took too long"),
        )
    },
    "a gateway's page": Case(
        {"answers": {"*": PAGE._replace(status=403)}}, "langsmith.proxy", "of its own", mend=heal
    ),
    "a proxy that wants a password": Case(
        {"answers": {"*": Answer(407, "no", HTML)}}, "langsmith.proxy", "status 407", mend=heal
    ),
    "a proxy that reaches nobody": Case(
        {"answers": {"*": Answer(502, "no", HTML, GATEWAY)}},
        "langsmith.proxy",
        "could not reach",
        mend=heal,
    ),
    "a sign-in elsewhere": Case(
        {"answers": {"*": Answer(302, "", HTML, {"Location": "https://login.test/?x=secret"})}},
        "langsmith.proxy",
        "redirects to login.test",
        mend=heal,
    ),
    "another path": Case(
        {"answers": {"*": Answer(301, "", HTML, {"Location": "/new"})}},
        "langsmith.path",
        "redirects to another path",
        mend=heal,
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::langsmith.utils.LangSmithMissingAPIKeyWarning")
@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_an_answer_of_the_api(case, monkeypatch):
    path = case.fake.get("path", "")
    options = {name: value for name, value in case.fake.items() if name != "path"}
    with serving(**options) as fake:
        url = fake.origin + path
        configure(monkeypatch, url, **case.variables)
        before = examine()
        assert [each.id for each in before] == [case.id]
        (found,) = before
        assert (found.level, found.subject) == (Level.ERROR, "langsmith")
        assert case.words in found.summary
        assert "secret" not in f"{found}"
        assert is_lost(fake)
        if case.mend:
            case.mend(fake, monkeypatch)
        else:
            follow(found.hint, monkeypatch)
        assert [each.id for each in examine()] == ["langsmith.ok"]
        assert arrives(fake)


def test_nothing_is_told_to_who_has_not_answered_as_langsmith_does(monkeypatch):
    """No key and no workspace in any request to a page, a gateway or another host."""
    for answer in (PAGE, Answer(302, "", HTML, {"Location": "https://127.0.0.1:1/"}), NOT_FOUND):
        with serving(answers={"*": answer}) as fake:
            configure(monkeypatch, fake.url, WORKSPACE_ID=WORKSPACE)
            assert len(roots(examine())) == 1
            assert fake.requests
            assert not [each for each in fake.requests if "x-api-key" in each.headers]
            assert not [each for each in fake.requests if "x-tenant-id" in each.headers]


def test_http_where_https_is_meant(monkeypatch):
    """The redirect that turns POST into GET, and by then the key was sent in clear text."""
    with serving() as fake, FakeLangSmith(KEY, moved_to=fake.origin) as plain:
        configure(monkeypatch, plain.origin)
        (found,) = examine()
        assert (found.id, "turns POST into GET" in found.summary) == (
            "langsmith.http-redirect",
            True,
        )
        assert not [each for each in plain.requests if "x-api-key" in each.headers]
        before = len(fake.requests)
        assert is_lost(fake)
        assert [each for each in plain.requests if each.headers.get("x-api-key") == KEY]
        assert len(fake.requests) == before, "another port: our client does not follow"
        follow(found.hint, monkeypatch)
        assert [each.id for each in examine()] == ["langsmith.ok"]
        assert arrives(fake)


def test_http_to_a_port_that_speaks_tls(monkeypatch):
    with serving() as fake:
        configure(monkeypatch, fake.url.replace("https", "http"))
        (found,) = examine()
        assert (found.id, "speaks TLS" in found.summary) == ("langsmith.http-redirect", True)
        follow(found.hint, monkeypatch)
        assert [each.id for each in examine()] == ["langsmith.ok"]


def test_one_of_ones_own_whose_info_is_closed(monkeypatch):
    with serving(info_needs_key=True, prefix="/api/v1") as fake:
        configure(monkeypatch, fake.url)
        assert [each.id for each in examine()] == ["langsmith.ok"]
        monkeypatch.setenv("LANGSMITH_API_KEY", "lsv2_x")
        assert roots(examine()) == ["langsmith.key-invalid"]


@pytest.mark.parametrize(
    ("answer", "id"),
    [
        (Answer(200, "[" * 60_000, "text/plain"), "langsmith.path"),
        (Answer(200, '{"version": ' * 5_000, "text/plain"), "langsmith.path"),
        (Answer(302, "", HTML, {"Location": "https://127.0.0.1:99999999/"}), "langsmith.proxy"),
        (Answer(302, "", HTML, {"Location": "https://[::1"}), "langsmith.proxy"),
    ],
)
def test_an_answer_of_any_shape_is_no_crash(answer, id, monkeypatch):
    with FakeLangSmith(KEY, answers={"*": answer}) as fake:
        configure(monkeypatch, fake.origin)
        assert [each.id for each in examine()] == [id]


@pytest.mark.parametrize("workspace", ["a\r\nx-evil: 1", "a b", "a\u00e9"])
def test_a_workspace_that_no_header_can_carry_is_not_sent(workspace, monkeypatch):
    with FakeLangSmith(KEY) as fake:
        configure(monkeypatch, fake.origin, WORKSPACE_ID=workspace)
        assert roots(examine()) == ["langsmith.workspace"]
        assert not fake.requests
        monkeypatch.setenv("LANGSMITH_WORKSPACE_ID", f" {WORKSPACE}\n")
        assert [each.id for each in examine()] == ["langsmith.ok"], "the twin"


def test_an_address_of_ipv6_is_shown_as_it_is_written():
    assert Config(url="https://u:p@[::1]:1984/api/v1").where == "https://[::1]:1984/api/v1"
    assert Config(url="https://ls.test/").where == "https://ls.test/", "the twin"


def test_an_older_one_that_takes_runs_in_another_way_is_fine_for_the_sdk(monkeypatch):
    info = Answer(200, {"version": "0.5", "batch_ingest_config": {"use_multipart_endpoint": False}})
    with serving(answers={"/info": info, "/runs/multipart": NOT_FOUND}) as fake:
        configure(monkeypatch, fake.url)
        assert [each.id for each in examine()] == ["langsmith.ok"]
        declared(OPTIONS={"api_url": fake.url, "api_key": ref("LANGSMITH_API_KEY")})
        assert roots(examine()) == ["langsmith.server-old"], "our client does not ask"


# ── the way there ───────────────────────────────────────────────────────────────────────────────


def test_tls_is_the_cause_and_the_hint_mends_it(monkeypatch, tmp_path):
    policy.use(Policy())
    with serving() as fake:
        configure(monkeypatch, fake.url)
        (found,) = examine()
        assert (found.id, found.subject) == ("tls.untrusted-root", "langsmith")
        both = examine("tls", "langsmith")
        assert roots(both) == ["tls.untrusted-root"], "one root cause, of both areas"
        assert is_lost(fake)
        assert fake.requests == []
        root = tmp_path / "root.pem"
        root.write_text(ROOT.pem)
        monkeypatch.setenv("TLS_CA_BUNDLE", str(root))
        assert "TLS_CA_BUNDLE=" in found.hint
        assert [each.id for each in examine()] == ["langsmith.ok"]
        assert roots(examine("tls", "langsmith")) == []
        assert arrives(fake)


def test_a_client_certificate_that_tls_1_3_asks_for_late(monkeypatch):
    context = server_context(leaf(), client_ca=ROOT.pem)
    with FakeLangSmith(KEY, tls=context) as fake:
        configure(monkeypatch, fake.url)
        assert roots(examine()) == ["tls.client-cert-required"]


@pytest.mark.parametrize(
    ("server", "id"),
    [(Refused, "tcp.refused"), (BlackHole, "tcp.timeout"), (Silence, "tls.handshake-timeout")],
)
def test_it_is_not_reached(server, id, monkeypatch):
    with server() as nobody:
        configure(monkeypatch, f"https://127.0.0.1:{nobody.port}")
        assert roots(examine(seconds=1.5)) == [id]


@pytest.mark.parametrize(
    ("server", "id"),
    [
        (lambda: Silence(tls=server_context(leaf())), "langsmith.server-error"),
        (lambda: Garbage(b"", tls=server_context(leaf())), "langsmith.endpoint-invalid"),
        (lambda: Garbage(b"+PONG\r\n", tls=server_context(leaf())), "langsmith.endpoint-invalid"),
        (lambda: Garbage(b"HTTP/1.1 2", tls=server_context(leaf())), "langsmith.endpoint-invalid"),
    ],
)
def test_what_answers_is_no_web_server(server, id, monkeypatch):
    with server() as strange, serving() as fake:
        configure(monkeypatch, f"https://localhost:{strange.port}")
        (found,) = examine(seconds=2.0)
        assert found.id == id
        configure(monkeypatch, fake.url)
        assert [each.id for each in examine()] == ["langsmith.ok"]


def test_a_proxy_in_between(monkeypatch):
    with serving() as fake, ExitStack() as stack:
        closed = stack.enter_context(ConnectProxy(lambda _: fake.address, status="407 No"))
        open_ = stack.enter_context(ConnectProxy(lambda _: fake.address))
        configure(monkeypatch, fake.url)
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{closed.port}")
        (found,) = examine()
        assert (found.id, "user and a password" in found.summary) == ("langsmith.proxy", True)
        assert is_lost(fake)
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:pw@127.0.0.1:{open_.port}")
        assert [each.id for each in examine()] == ["langsmith.ok"]
        assert arrives(fake)
        assert len(open_.asked) >= 4


def test_insecure_is_followed_with_a_warning_and_refused_once_it_is_over(settings, monkeypatch):
    with serving() as fake:
        configure(monkeypatch, fake.url)
        entry = {"langsmith": {"reason": "the root comes on Friday", "until": "2999-01-01"}}
        settings.RESILIENCE = {"TLS": {"INSECURE": entry}}
        found = examine()
        assert [(each.id, each.level) for each in found] == [
            ("tls.insecure", Level.WARNING),
            ("langsmith.ok", Level.OK),
        ]
        entry = {"langsmith": {**entry["langsmith"], "until": "2020-01-01"}}
        settings.RESILIENCE = {"TLS": {"INSECURE": entry}}
        asked = len(fake.requests)
        assert roots(examine()) == ["tls.insecure-expired"]
        assert len(fake.requests) == asked, "the key is not shown to whom nobody verified"


# ── variables ───────────────────────────────────────────────────────────────────────────────────

CLOUD = "https://api.smith.langchain.com"


@pytest.mark.parametrize(
    ("url", "id", "words"),
    [
        ("https://smith.langchain.com", "langsmith.ui-host", "where people sign in"),
        (r"https://ls.test\@else.test", "langsmith.endpoint-invalid", "more than scheme"),
        ("https://eu.smith.langchain.com/", "langsmith.ui-host", "eu.smith.langchain.com"),
        ("http://api.smith.langchain.com", "langsmith.http-redirect", "405"),
        ("https://ls.test/api/v1/api/v1", "langsmith.path", "twice"),
        ("api.smith.langchain.com", "langsmith.endpoint-invalid", "does not begin with https"),
        ("ftp://api.smith.langchain.com", "langsmith.endpoint-invalid", "does not begin with"),
        ("https://", "langsmith.endpoint-invalid", "does not begin with"),
        ("https:///api/v1", "langsmith.endpoint-invalid", "names no host"),
        ("https://ls.test:99999", "langsmith.endpoint-invalid", "from 1 to 65535"),
        ("https://ls.test:port", "langsmith.endpoint-invalid", "from 1 to 65535"),
        ("https://[::1", "langsmith.endpoint-invalid", "brackets"),
        ("https://ls..test", "langsmith.endpoint-invalid", "neither a host name"),
        ("https://ls.test?key=geheim", "langsmith.endpoint-invalid", "more than scheme"),
        ("https://ls test", "langsmith.endpoint-invalid", "more than scheme"),
        ("https://ls.test\r\nX-Evil: 1", "langsmith.endpoint-invalid", "more than scheme"),
    ],
)
def test_an_address_that_cannot_be_right(url, id, words, monkeypatch):
    configure(monkeypatch, url)
    (found,) = examine(stage="build")
    assert (found.id, found.level) == (id, Level.ERROR)
    assert words in found.summary
    assert "geheim" not in str(found)
    assert [each.id for each in examine()] == [id], "the API is not asked, and adds nothing"
    follow(found.hint, monkeypatch)
    assert examine(stage="build") == []


def test_what_is_only_read_is_no_consequence_of_the_network(monkeypatch):
    """An address that cannot be right is a root cause, whatever its host does."""
    with Refused() as nobody:
        configure(monkeypatch, f"https://127.0.0.1:{nobody.port}/api/v1/api/v1")
        found = {each.subject: each for each in examine("tls", "langsmith", seconds=2.0)}
        assert (found["langsmith"].id, found["langsmith"].cause) == ("langsmith.path", None)
        monkeypatch.setenv("LANGSMITH_ENDPOINT", f"https://127.0.0.1:{nobody.port}/api/v1")
        assert roots(examine("tls", "langsmith", seconds=2.0)) == ["tcp.refused"]


def test_nothing_is_an_error_while_nothing_is_traced(monkeypatch):
    with serving() as fake:
        configure(monkeypatch, fake.url, "lsv2_x", TRACING="false")
        (found,) = examine()
        assert (found.id, found.level) == ("langsmith.key-invalid", Level.WARNING)
        monkeypatch.setenv("LANGSMITH_ENDPOINT", "https://smith.langchain.com")
        assert [each.level for each in examine()] == [Level.WARNING]


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("true", []),
        ("false", []),
        ("0", []),
        ("off", []),
        (" ", []),
        *((word, ["langsmith.tracing-value"]) for word in ("True", "TRUE", "1", "yes", "on")),
        ('"true"', ["langsmith.tracing-value"]),
        ("true ", ["langsmith.tracing-value"]),
        ("ture", ["langsmith.tracing-value"]),
    ],
)
@pytest.mark.parametrize("name", ["LANGSMITH_TRACING", "LANGCHAIN_TRACING_V2"])
def test_a_value_that_the_sdk_takes_for_off(name, value, found, monkeypatch):
    monkeypatch.setenv("LANGSMITH_API_KEY", KEY)
    monkeypatch.setenv(name, value)
    before = examine(stage="build")
    assert [each.id for each in before] == found
    langsmith.utils.get_env_var.cache_clear()  # type: ignore[attr-defined]
    assert langsmith.utils.tracing_is_enabled() is (value == "true"), "the SDK's own opinion"
    if before:
        assert (before[0].level, name in before[0].summary) == (Level.WARNING, True)
        assert ("ture" in before[0].summary) is False, "what is no known word is not repeated"
        follow(before[0].hint.partition(" (")[0], monkeypatch)
        assert examine(stage="build") == []
        langsmith.utils.get_env_var.cache_clear()  # type: ignore[attr-defined]
        assert langsmith.utils.tracing_is_enabled()
    langsmith.utils.get_env_var.cache_clear()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"LANGCHAIN_API_KEY": "lsv2_other"}, "LANGCHAIN_API_KEY says something else"),
        ({"LANGCHAIN_ENDPOINT": "https://other.test"}, "LANGCHAIN_ENDPOINT says something else"),
        ({"LANGCHAIN_TRACING_V2": "false"}, "LANGCHAIN_TRACING_V2 wins over LANGSMITH_TRACING"),
        ({"LANGSMITH_RUNS_ENDPOINTS": "{}"}, "the SDK refuses to make a client"),
    ],
)
def test_names_that_contradict_each_other(variables, words, monkeypatch):
    configure(monkeypatch, CLOUD)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    (found,) = examine(stage="build")
    assert found.id == "langsmith.names-conflict"
    assert words in found.summary
    assert "other" not in found.summary
    follow(found.hint, monkeypatch)
    assert examine(stage="build") == []


def test_names_that_agree_are_no_conflict(monkeypatch):
    configure(monkeypatch, CLOUD)
    monkeypatch.setenv("LANGCHAIN_API_KEY", f' "{KEY}"')
    monkeypatch.setenv("LANGCHAIN_TRACING_V2", "true")
    assert examine(stage="build") == []


def test_a_key_that_is_missing(monkeypatch):
    (unused,) = examine()
    assert (unused.id, "Nothing here uses LangSmith" in unused.summary) == ("langsmith.ok", True)
    monkeypatch.setenv("LANGSMITH_TRACING", "false")
    (quiet,) = examine()
    assert (quiet.id, quiet.level) == ("langsmith.key-missing", Level.INFO)
    monkeypatch.setenv("LANGSMITH_TRACING", "true")
    (found,) = examine()
    assert (found.id, found.level) == ("langsmith.key-missing", Level.ERROR)
    profile = Path(os.environ["LANGSMITH_CONFIG_FILE"])
    profile.write_text("{}")
    (perhaps,) = examine()
    assert (perhaps.level, "profile" in perhaps.summary) == (Level.INFO, True)
    profile.unlink()
    monkeypatch.setenv("LANGSMITH_API_KEY", KEY)
    assert examine(stage="build") == []


@pytest.mark.parametrize("key", ["lsv2 x", "lsv2_x\r\nX-Evil: 1", "lsv2_ü"])
def test_a_key_that_no_header_can_carry(key, monkeypatch):
    with serving() as fake:
        configure(monkeypatch, fake.url, key)
        (found,) = examine()
        assert (found.id, fake.requests) == ("langsmith.key-invalid", [])
        monkeypatch.setenv("LANGSMITH_API_KEY", KEY)
        assert [each.id for each in examine()] == ["langsmith.ok"]


def test_a_key_in_clear_text_is_told(monkeypatch):
    configure(monkeypatch, "http://ls.internal/api/v1")
    (found,) = examine(stage="build")
    assert (found.id, found.level) == ("tls.insecure", Level.WARNING)
    monkeypatch.setenv("LANGSMITH_ENDPOINT", "http://localhost:1984/api/v1")
    assert examine(stage="build") == []


# ── a component's options ───────────────────────────────────────────────────────────────────────


def declared(**more: Any) -> None:
    components.register("tracing", {"BACKEND": CLIENT, **more})


def test_what_a_component_is_given_comes_first(monkeypatch):
    with serving() as fake:
        monkeypatch.setenv("LANGSMITH_ENDPOINT", "https://smith.langchain.com")
        monkeypatch.setenv("LANGSMITH_TRACING", "1")
        monkeypatch.setenv("MY_KEY", KEY)
        declared(OPTIONS={"api_url": fake.url, "api_key": ref("MY_KEY"), "enabled": True})
        (fine,) = examine()
        assert (fine.id, "the key of MY_KEY" in fine.summary) == ("langsmith.ok", True)
        assert fine.facts["address"] == "OPTIONS['api_url'] of components.tracing"
        assert "tls.localhost" in [each.subject.partition(":")[0] for each in examine("tls")]
        declared(OPTIONS={"api_url": fake.url, "api_key": "lsv2_x", "enabled": True})
        (found,) = examine()
        assert (found.id, found.level) == ("langsmith.key-invalid", Level.ERROR)
        assert "components.tracing" in found.hint


def test_options_that_settings_took_from_the_variable_are_the_variable(monkeypatch):
    """As the example has it: whoever mends it needs the variable's name."""
    wrong = "https://smith.langchain.com"
    configure(monkeypatch, wrong)
    declared(OPTIONS={"api_url": wrong, "api_key": ref("LANGSMITH_API_KEY")})
    (found,) = examine(stage="build")
    assert found.id == "langsmith.ui-host"
    assert found.hint == "Set LANGSMITH_ENDPOINT=https://api.smith.langchain.com."
    declared(OPTIONS={"api_url": "https://eu.smith.langchain.com"})
    (found,) = examine(stage="build")  # the twin: the variable says something else
    assert found.hint == (
        "Set OPTIONS['api_url'] of components.tracing to https://eu.api.smith.langchain.com."
    )


@pytest.mark.parametrize("enabled", [True, False])
def test_options_override_switches_that_contradict_each_other(enabled, monkeypatch):
    configure(monkeypatch, CLOUD)
    monkeypatch.setenv("LANGCHAIN_TRACING_V2", "false")
    declared(OPTIONS={"enabled": enabled})
    (found,) = examine(stage="build")
    assert found.id == "langsmith.names-conflict"
    assert found.summary.endswith(f"both: it {'traces' if enabled else 'does not trace'}.")
    declared(OPTIONS={})
    (found,) = examine(stage="build")  # the twin: the variables decide
    assert "LANGCHAIN_TRACING_V2 wins over" in found.summary
    assert found.summary.endswith("the opposite: it does not trace.")


@pytest.mark.parametrize("platform", ["none", "railway"])
def test_a_key_that_a_component_waits_for_is_one_root_cause(platform, settings):
    tracing = {"BACKEND": CLIENT, "OPTIONS": {"api_key": ref("MY_KEY"), "enabled": True}}
    settings.RESILIENCE = {"PLATFORM": platform, "COMPONENTS": {"tracing": tracing}}
    found = {each.id: each for each in examine("langsmith", "components")}
    assert found["langsmith.key-missing"].level is Level.ERROR
    expected = ["components.blocked" if platform == "railway" else "langsmith.key-missing"]
    assert roots(list(found.values())) == expected
    os.environ["MY_KEY"] = KEY
    assert roots(examine("langsmith", "components", stage="build")) == []


def test_the_web_server_of_the_other_tests_is_no_langsmith(monkeypatch):
    """The twin of every case above: a server that never heard of it is not taken for one."""
    with Web(leaf()) as web:
        configure(monkeypatch, web.origin)
        assert roots(examine()) == ["langsmith.path"]
        assert module.SUBJECT == "langsmith"
