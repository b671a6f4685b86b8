"""LangSmith's client: both HTTP stacks, bounded, across fork and exit; over real HTTP and TLS."""

from __future__ import annotations

import logging
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import langsmith
import langsmith.utils
import pytest
from langchain_core.tracers.langchain import get_client
from langsmith import run_trees, traceable
from langsmith._exceptions import APIConnectionError
from urllib3.util import Retry

from resilience.components import langsmith as module
from resilience.components.langsmith import Client
from resilience.simulation.authority import Authority
from resilience.simulation.network import BlackHole, Refused, Silence
from resilience.tls.trust import Trust
from tests.processes import ROOT, Ended, run
from tests.services import LangSmith

KEY = "lsv2_canary_0123456789"
STACKS: dict[str, Callable[[Any], object]] = {
    "requests": lambda client: list(client.list_projects(limit=1)),
    "httpx": lambda client: client.agents.list(),
}
REFUSED = (langsmith.utils.LangSmithConnectionError, APIConnectionError)
each_stack = pytest.mark.parametrize("call", STACKS.values(), ids=STACKS)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def secured(authority: Authority) -> Iterator[LangSmith]:
    with LangSmith(KEY, tls=authority.server_context("localhost")) as server:
        yield server


@pytest.fixture
def plain() -> Iterator[LangSmith]:
    with LangSmith(KEY) as server:
        yield server


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Client]]:
    """Builds clients of a server, tracing switched on, and ends them all."""
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    with ExitStack() as stack:
        stack.callback(langsmith.configure, client=None, enabled=None)

        def make(server: LangSmith, **options: Any) -> Client:
            options = {"api_url": server.origin, "api_key": KEY, "enabled": True, **options}
            client = Client(**options)
            stack.callback(client.close, 0)
            return client

        yield make


@traceable
def double(number: int) -> int:
    return 2 * number


def causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


# ── trust ───────────────────────────────────────────────────────────────────────────────────────


@each_stack
def test_both_stacks_trust_as_we_do(call, build, secured, authority):
    call(build(secured, trust=Trust.load(authority.ca_pem.decode())))
    assert len(secured.requests) == 1


@each_stack
def test_both_stacks_trust_as_we_do__twin__and_refuse_as_we_do(call, build, secured):
    with pytest.raises(REFUSED) as refused:
        call(build(secured))
    assert any(isinstance(each, ssl.SSLCertVerificationError) for each in causes(refused.value))
    assert secured.requests == []


@each_stack
def test_the_systems_own_variable_is_enough(call, build, secured, authority, monkeypatch, tmp_path):
    """SSL_CERT_FILE, which the SDK alone obeys in one of its two stacks."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.write_ca(tmp_path / "ca.pem")))
    call(build(secured))
    theirs = langsmith.Client(
        secured.origin, api_key=KEY, info={}, auto_batch_tracing=False, retry_config=Retry(total=0)
    )
    if call is STACKS["requests"]:
        with pytest.raises(langsmith.utils.LangSmithConnectionError):
            call(theirs)
    else:
        call(theirs)


@each_stack
@pytest.mark.parametrize("bundle", ["missing", "another"])
def test_the_variables_of_requests_change_nothing(
    call, bundle, build, secured, authority, monkeypatch, tmp_path
):
    if bundle == "another":
        Authority().write_ca(tmp_path / "another")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / bundle))
    call(build(secured, trust=Trust.load(authority.ca_pem.decode())))


@each_stack
def test_verification_cannot_be_lost_on_the_way(call, build, secured):
    client = build(secured)
    client.session.verify = False
    if call is STACKS["requests"]:
        with pytest.raises(langsmith.utils.LangSmithConnectionError):
            call(client)
    assert secured.requests == []


def test_the_two_stacks_do_not_share_a_context(build, secured, authority):
    """Requests leaves its protocols on the one that it is given."""
    client = build(secured, trust=Trust.load(authority.ca_pem.decode()))
    contexts = client._contexts
    assert contexts is not None
    assert contexts.httpx not in contexts.requests.values()


# ── tracing ─────────────────────────────────────────────────────────────────────────────────────


def test_what_is_traced_arrives(build, secured, authority):
    client = build(secured, trust=Trust.load(authority.ca_pem.decode()))
    assert double(21) == 42
    client.flush(2.0)
    (run_,) = secured.named("double")
    assert (run_["inputs"], run_["outputs"]) == ({"number": 21}, {"output": 42})
    assert {request.path for request in secured.requests} == {"/runs/multipart"}
    assert KEY.encode() not in b"".join(request.body for request in secured.requests)


def test_what_is_traced_arrives__twin__or_the_reason_is_told(build, secured, caplog):
    told: list[Exception] = []
    client = build(secured, tracing_error_callback=told.append)
    assert double(21) == 42, "who traces does not notice"
    client.flush(2.0)
    assert secured.runs == {}
    assert any(isinstance(each, ssl.SSLCertVerificationError) for each in causes(told[0]))
    assert KEY not in caplog.text


def test_langchain_and_traceable_find_it(build, plain):
    client = build(plain)
    assert run_trees.get_cached_client() is client
    assert get_client() is client


def test_building_one_talks_to_nobody(build, plain):
    client = build(plain)
    double(1)
    client.flush(2.0)
    assert [request.path for request in plain.requests] == ["/runs/multipart"]
    assert plain.connections == 1


def test_an_environment_that_was_read_too_early_is_read_again(build, plain, monkeypatch):
    monkeypatch.delenv("LANGSMITH_TRACING", raising=False)
    langsmith.utils.get_env_var.cache_clear()  # type: ignore[attr-defined]
    assert not langsmith.utils.tracing_is_enabled()
    monkeypatch.setenv("LANGSMITH_TRACING", "true")
    monkeypatch.setenv("LANGSMITH_PROJECT", "late")
    client = build(plain, enabled=None)
    assert langsmith.utils.tracing_is_enabled()
    double(1)
    client.flush(2.0)
    assert plain.named("double")[0]["session_name"] == "late"


@pytest.mark.parametrize(("enabled", "arrive"), [(None, 0), (False, 0), (True, 1)])
def test_enabled_decides_where_the_variable_is_not_understood(
    enabled, arrive, build, plain, monkeypatch
):
    monkeypatch.setenv("LANGSMITH_TRACING", "True")  # the SDK wants "true"
    client = build(plain, enabled=enabled)
    double(1)
    client.flush(2.0)
    assert len(plain.runs) == arrive


# ── never waiting ───────────────────────────────────────────────────────────────────────────────


def test_a_silent_server_holds_nobody_up(build, plain, monkeypatch):
    monkeypatch.setenv("LANGSMITH_TRACING_QUEUE_MAX_SIZE", "20")
    plain.delay = 60.0
    client = build(plain, timeout_ms=(200, 200))
    double(0)  # the first one asks git for the revision
    began = time.perf_counter()
    assert [double(number) for number in range(300)] == [2 * number for number in range(300)]
    assert time.perf_counter() - began < 1.0
    assert client.tracing_queue is not None
    assert client.tracing_queue.qsize() <= 20, "the rest was dropped"


def test_traces_are_given_up_within_the_times_of_the_client(build, plain):
    """The SDK itself would wait 10 s for each of its three attempts."""
    told: list[Exception] = []
    plain.delay = 60.0
    client = build(plain, timeout_ms=(200, 100), tracing_error_callback=told.append)
    double(1)
    began = time.perf_counter()
    client.flush(5.0)
    assert time.perf_counter() - began < 1.5
    assert told


@each_stack
def test_a_call_fails_at_once(call, build, plain):
    plain.delay = 60.0
    client = build(plain, timeout_ms=(200, 200))
    began = time.perf_counter()
    with pytest.raises(Exception, match=r"(?i)time|connection"):
        call(client)
    assert time.perf_counter() - began < 1.0
    assert len(plain.requests) == 1


@each_stack
def test_nothing_is_repeated(call, build, plain):
    plain.status = 503
    with pytest.raises(Exception, match="error"):
        call(build(plain))
    assert len(plain.requests) == 1


def test_the_times_without_options(build, plain):
    client = build(plain)
    assert client._timeout == (module.CONNECT, module.READ) == (2.0, 5.0)
    adapter = client.session.get_adapter("https://api.smith.langchain.com")
    assert isinstance(adapter, module._Adapter)
    assert adapter.max_retries.total == 0


# ── the end ─────────────────────────────────────────────────────────────────────────────────────


def test_close_sends_what_is_left_and_may_come_twice(build, plain):
    client = build(plain)
    double(1)
    client.close()
    assert len(plain.named("double")) == 1
    client.close()
    assert double(2) == 4, "tracing into a closed client harms nobody"


def test_close_is_bounded(build, plain):
    plain.delay = 60.0
    client = build(plain)
    double(1)
    began = time.perf_counter()
    client.close(0.3)
    assert 0.2 < time.perf_counter() - began < 1.0
    began = time.perf_counter()
    client.close(10.0)
    assert time.perf_counter() - began < 0.2, "the exit does not wait for what was given up"


def child(server: LangSmith | str, code: str, **variables: str) -> Ended:
    """A process that traces to a server, or address, and ends."""
    return run(
        sys.executable,
        "-W",
        "ignore::DeprecationWarning",
        "-c",
        "import os, sys, threading, time, langsmith\n"
        "from langsmith import traceable\n"
        "double = traceable(lambda number: 2 * number, name='double')\n" + code,
        variables={
            "PYTHONPATH": str(ROOT),
            "LANGSMITH_ENDPOINT": server if isinstance(server, str) else server.origin,
            "LANGSMITH_API_KEY": KEY,
            "LANGSMITH_TRACING": "true",
            **variables,
        },
    )


OURS = "from resilience.components.langsmith import Client\nclient = Client()\n"
THEIRS = "client = langsmith.Client(info={})\nlangsmith.configure(client=client)\n"


def test_the_last_runs_are_sent_at_exit(plain):
    ended = child(plain, OURS + "[double(number) for number in range(3)]")
    assert (ended.code, ended.err) == (0, "")
    assert len(plain.named("double")) == 3


AWAY: dict[str, Callable[[Authority], Any]] = {
    "silent": lambda _: Silence(),
    "silent in TLS": lambda authority: Silence(tls=authority.server_context("localhost")),
    "refused": lambda _: Refused(),
    "black hole": lambda _: BlackHole(),
    "untrusted": lambda authority: LangSmith(KEY, tls=authority.server_context("localhost")),
}


@pytest.mark.parametrize("away", AWAY)
def test_exit_takes_two_seconds_at_most_wherever_langsmith_is(away, authority, tmp_path):
    """Its twin above waits for what is worth it."""
    with AWAY[away](authority) as server:
        scheme = "https" if getattr(server, "tls", None) else "http"
        ca = str(authority.write_ca(tmp_path / "ca.pem")) if "silent" in away else ""
        ended = child(
            f"{scheme}://localhost:{server.port}",
            OURS + "[double(number) for number in range(50)]\nprint(time.time())",
            SSL_CERT_FILE=ca or "/nowhere",
        )
        stopped = time.time() - float(ended.out)
        assert ended.code == 0, ended.err
        assert stopped < 2.0
        assert KEY not in ended.err


# ── fork ────────────────────────────────────────────────────────────────────────────────────────

FORK = """
double(1)
client.flush(2)
if not os.fork():
    assert langsmith.run_trees.get_cached_client() is client
    threads = [threading.Thread(target=double, args=(100 + each,)) for each in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    client.flush(1)
    os._exit(0)
os.wait()
double(2)
"""


def numbers(server: LangSmith) -> list[int]:
    return sorted(run_["inputs"]["number"] for run_ in server.named("double"))


def test_a_child_sends_its_own_runs_and_the_parents_not_again(plain):
    ended = child(plain, OURS + FORK)
    assert (ended.code, ended.err) == (0, "")
    assert numbers(plain) == [1, 2, *range(100, 108)]
    posts = [request.body for request in plain.asked("/runs/multipart")]
    assert sum(body.count(b'"number":1}') for body in posts) == 1


def test_a_child_sends_its_own_runs__twin__the_sdks_client_does_not(plain):
    ended = child(plain, THEIRS + FORK, LANGSMITH_DISABLE_RUN_COMPRESSION="true")
    assert ended.code == 0, ended.err
    assert numbers(plain) == [1, 2]


def test_forks_while_threads_trace(plain):
    """Whatever lock of the client another thread holds at that moment, the child has none of it.

    The first trace and the first request import more modules, and a fork while another thread
    imports is Python's own trouble: the lock of that module stays taken.
    """
    code = """
double(0)
client.flush(2)
stop = threading.Event()
def hammer():
    while not stop.is_set():
        double(0)
        time.sleep(0.002)
threads = [threading.Thread(target=hammer) for _ in range(3)]
[thread.start() for thread in threads]
children = []
for each in range(6):
    time.sleep(0.02)
    pid = os.fork()
    if not pid:
        double(100 + each)
        sys.exit()  # flushes, as a worker that ends in peace
    children.append(pid)
codes = [os.waitpid(pid, 0)[1] for pid in children]
stop.set()
[thread.join() for thread in threads]
print(codes)
"""
    ended = child(plain, OURS + code)
    assert ended.out.strip() == str([0] * 6), ended.err
    assert [number for number in numbers(plain) if number] == list(range(100, 106))


@pytest.mark.parametrize("call", STACKS, ids=str)
def test_a_child_has_connections_of_its_own(call, plain):
    """On the parent's, two processes would read each other's answers."""
    ask = "client.agents.list()" if call == "httpx" else "list(client.list_projects(limit=1))"
    ended = child(
        plain, f"{OURS}{ask}\nif not os.fork():\n    {ask}\n    os._exit(0)\nos.wait()\n{ask}"
    )
    assert ended.code == 0, ended.err
    assert len(plain.requests) == 3
    assert plain.connections == 2


def test_a_child_that_traces_nothing_starts_nothing(plain):
    code = (
        "if not os.fork():\n    print(threading.active_count(), flush=True)\n    client.close()\n"
    )
    ended = child(plain, OURS + code + "    os._exit(0)\nos.wait()")
    assert (ended.code, ended.out.strip()) == (0, "1"), ended.err


def test_fifty_threads_may_build_and_trace(build, plain):
    """Not the registry's promise of one client: none of them breaks another."""
    client = build(plain)
    threads = [threading.Thread(target=double, args=(each,)) for each in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    client.flush(3.0)
    assert numbers(plain) == list(range(50))


def test_it_is_quiet(build, plain, caplog):
    with caplog.at_level(logging.INFO):
        client = build(plain)
        double(1)
        client.close()
    assert [record for record in caplog.records if record.name.startswith("langsmith")] == []
    assert KEY not in repr(client)
    assert Path(module.__file__).name == "langsmith.py"
