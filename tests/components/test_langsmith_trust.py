"""``RESILIENCE["TLS"]`` in LangSmith's client: every key of it, in both HTTP stacks."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from typing import Any

import certifi
import langsmith
import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from langsmith import traceable

from resilience.components.langsmith import Client
from resilience.simulation.fake_langsmith import FakeLangSmith
from resilience.simulation.service import HTML, Answer
from resilience.tls import policy, stores
from resilience.tls.pinning import PinMismatch, pin_of
from resilience.tls.policy import Policy
from resilience.tls.trust import Insecure
from tests.components.test_langsmith import REFUSED, STACKS, causes
from tests.tls.pki import DAY, NOW, ROOT, Issued, issue, leaf, load, server_context

KEY = "lsv2_canary_0123456789"
LATER = date(2999, 1, 1)
each_stack = pytest.mark.parametrize("call", STACKS.values(), ids=STACKS)


@pytest.fixture(autouse=True)
def nobody_is_trusted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """But one stranger, in the system's store and in certifi's."""
    for name in stores.READERS:
        monkeypatch.delenv(name, raising=False)
    stranger = tmp_path / "0a1b2c3d.0"
    stranger.write_text(issue("Another Root", ca=True).pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(stranger))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    monkeypatch.setattr(certifi, "where", lambda: str(stranger))


@pytest.fixture
def ask() -> Iterator[Callable[..., None]]:
    """Builds a client of a server as the policy of this moment has it, and calls with it."""
    with ExitStack() as stack:
        stack.callback(langsmith.configure, client=None, enabled=None)

        def make(server: FakeLangSmith, call: Callable[[Any], object], **options: Any) -> None:
            client = Client(api_url=server.url, api_key=KEY, enabled=True, **options)
            stack.callback(client.close, 0)
            call(client)

        yield make


def serving(*chain: Issued, tls: ssl.SSLContext | None = None) -> FakeLangSmith:
    return FakeLangSmith(KEY, tls=tls or server_context(*(chain or (leaf(),))))


def refusal(ask: Callable[..., None], server: FakeLangSmith, call: object) -> list[BaseException]:
    """Every exception of the chain with which a call ends. The server is asked nothing."""
    before = len(server.requests)
    with pytest.raises(REFUSED) as refused:
        ask(server, call)
    assert len(server.requests) == before
    return list(causes(refused.value))


def keys_of(server: FakeLangSmith) -> tuple[str, str]:
    return "langsmith", f"localhost:{server.port}"


@each_stack
def test_ca(call, ask):
    with serving() as server:
        found = refusal(ask, server, call)
        assert any(isinstance(each, ssl.SSLCertVerificationError) for each in found)
        policy.use(Policy(ca=ROOT.pem))
        ask(server, call)
        assert len(server.requests) == 1


@each_stack
@pytest.mark.parametrize("place", [0, 1], ids=["component", "address"])
def test_pins(call, place, ask, recwarn):
    """A server that no authority knows, for another name, and expired: its key is enough."""
    mine = leaf(issue("Nobody", ca=True), names=("else.test",), ends=NOW - DAY / 2)
    with serving(mine) as server:
        key = keys_of(server)[place]
        policy.use(Policy(pins={key: (pin_of(mine.der),)}))
        ask(server, call)
        assert len(server.requests) == 1
        assert [each.category for each in recwarn] == [], "urllib3 sees that it is known"
        policy.use(Policy(ca=ROOT.pem, pins={key: (pin_of(ROOT.der),)}))
        assert any(isinstance(each, PinMismatch) for each in refusal(ask, server, call))
        policy.use(Policy(pins={"redis": (pin_of(mine.der),)}))
        assert refusal(ask, server, call), "the pin of somebody else"


@each_stack
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_client_cert(call, version, ask, tmp_path):
    context = server_context(leaf(), client_ca=ROOT.pem)
    context.minimum_version = context.maximum_version = version
    mine = issue("client", ROOT, usage=ExtendedKeyUsageOID.CLIENT_AUTH)
    certificate, key = map(str, load(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), tmp_path, mine))
    with serving(tls=context) as server:
        policy.use(Policy(ca=ROOT.pem))
        assert refusal(ask, server, call)
        policy.use(Policy(ca=ROOT.pem, client_cert={"langsmith": (certificate, key)}))
        ask(server, call)
        assert len(server.requests) == 1


def test_client_cert__twin__one_that_is_not_there_is_named_when_it_is_built(ask, tmp_path):
    policy.use(Policy(client_cert={"langsmith": (str(tmp_path / "none.pem"), None)}))
    with serving() as server, pytest.raises(FileNotFoundError):
        ask(server, lambda _: None)


@each_stack
def test_relax_strict(call, ask, monkeypatch):
    """A root without key usage, which VERIFY_X509_STRICT refuses: Python 3.13's default."""
    lax = issue("Lax Root", ca=True, without=(x509.KeyUsage,))
    with serving(leaf(lax)) as server:
        policy.use(Policy(ca=lax.pem, relax_strict=frozenset({keys_of(server)[1]})))
        ask(server, call)
        policy.use(Policy(ca=lax.pem))
        strict = policy.trust_of

        def as_on_3_13(*where: Any) -> Any:
            from dataclasses import replace

            found = strict(*where)
            return found if found.strict is False else replace(found, strict=True)

        monkeypatch.setattr(policy, "trust_of", as_on_3_13)
        found = refusal(ask, server, call)
        codes = {each.verify_code for each in found if hasattr(each, "verify_code")}
        assert codes & {85, 92}
        policy.use(Policy(ca=lax.pem, relax_strict=frozenset({"langsmith"})))
        ask(server, call)


@each_stack
@pytest.mark.parametrize("place", [0, 1], ids=["component", "address"])
@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
def test_insecure_until_its_day_is_over(call, place, ask, caplog):
    with serving() as server:
        key = keys_of(server)[place]
        entry = Insecure(key, "the root comes on Friday", LATER)
        policy.use(Policy(insecure={key: entry}))
        with caplog.at_level(logging.WARNING):
            ask(server, call)
        assert len(server.requests) == 1
        assert f"TLS of {key} is not verified until 2999-01-01: the root comes" in caplog.text
        caplog.clear()
        policy.use(Policy(insecure={key: entry._replace(until=date(2020, 1, 1))}))
        found = refusal(ask, server, call)
        assert any(isinstance(each, ssl.SSLCertVerificationError) for each in found)
        assert "switched off until 2020-01-01, which is over" in caplog.text
        assert KEY not in caplog.text
        policy.use(Policy(ca=ROOT.pem))
        ask(server, call)


@each_stack
@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
def test_insecure_of_one_address_does_not_follow_a_redirect(call, ask):
    """Only the address itself is excepted: who redirects leads nobody anywhere unseen."""
    with serving() as there, serving() as here:
        here.moved_to = there.origin
        key = keys_of(here)[1]
        policy.use(Policy(insecure={key: Insecure(key, "x", LATER)}))
        with pytest.raises(Exception, match=r"CERTIFICATE_VERIFY_FAILED|301"):
            ask(here, call)
        assert (len(here.requests), there.requests) == (1, [])


def test_what_is_traced_arrives_at_a_pinned_server(ask):
    mine = leaf(issue("Nobody", ca=True))
    with serving(mine) as server:
        policy.use(Policy(pins={"langsmith": (pin_of(mine.der),)}))

        def trace(client: Client) -> None:
            traceable(_double)(21)
            client.flush(3.0)

        ask(server, trace)
        (run,) = server.named("_double")
        assert run["outputs"] == {"output": 42}


def _double(number: int) -> int:
    return 2 * number


@each_stack
@pytest.mark.parametrize("status", [302, 307])
def test_no_redirect_leads_the_key_to_another_server(call, status, ask):
    """Both stacks of the SDK take ``x-api-key`` along, and a 307 takes the traces too."""
    with FakeLangSmith(KEY) as there, FakeLangSmith(KEY) as here:
        ask(here, call)
        assert here.requests[-1].headers["x-api-key"] == KEY, "the twin: here it belongs"
        away = Answer(status, "", HTML, {"Location": f"{there.origin}/sessions"})
        here.answers["*"] = away

        def trace(client: Client) -> None:
            traceable(_double)(21)
            client.flush(1.0)

        with pytest.raises(Exception, match=f"{status}"):
            ask(here, call)
        ask(here, trace)
        assert [each for each in here.requests if each.method == "POST"]
        assert there.requests == []
