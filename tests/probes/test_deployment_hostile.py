"""What answers is a stranger: it sends without end, lies about lengths, leads anywhere."""

from __future__ import annotations

import resource
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import quote

import pytest
from hypothesis import given, settings as hypothesis_settings, strategies as st

from resilience.errors import UsageError
from resilience.findings import Finding
from resilience.probes import deployment_details
from resilience.probes.base import Deadline
from resilience.probes.deployment import Deployment
from resilience.probes.http import read_site
from resilience.simulation.listener import Listener
from tests.processes import manage

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </site.css>\r\n\r\n"
PAGE = OK + b"Content-Length: 2\r\n\r\nok"
SECRET = "canary-0123456789"


class Raw(Listener):
    """Sends some bytes as they are to whoever asks, and then others for ever."""

    def __init__(self, once: bytes, forever: bytes = b"") -> None:
        super().__init__()
        self._once, self._forever = once, forever

    def handle(self, connection: socket.socket) -> None:
        asked = b""
        while b"\r\n\r\n" not in asked:
            got = connection.recv(65536)
            if not got:
                return
            asked += got
        with suppress(OSError):
            connection.sendall(self._once)
            while self._forever:
                connection.sendall(self._forever)


@contextmanager
def answering(once: bytes, forever: bytes = b"") -> Iterator[str]:
    with Raw(once, forever) as server:
        yield f"http://127.0.0.1:{server.port}"


def examine(origin: str, seconds: float = 3.0) -> list[Finding]:
    site = read_site(origin)
    return list(Deployment(site.subject, site=site).run(Deadline(seconds)))


def said(found: list[Finding]) -> str:
    return " ".join(f"{each.id} {each.summary} {each.hint}" for each in found)


# ── lengths ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("length", [b"-5", b"-1", b"zz", b"f" * 5000, b""])
def test_a_chunk_that_lies_about_its_length_is_no_answer(length):
    with answering(CHUNKED + length + b"\r\nabc") as origin:
        [found] = examine(origin)
    assert found.id == "deploy.url-unhealthy"


def test_a_chunk_that_lies_about_its_length__twin(tmp_path):
    with answering(CHUNKED + b"3\r\nabc\r\n0\r\n\r\n") as origin:
        assert "deploy.ok" in said(examine(origin))


@pytest.mark.parametrize(
    ("once", "forever"),
    [
        (CHUNKED + b"-1\r\n", b"x" * 65536),  # a length that a careless reader takes for "all"
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
        (b"", HINTS * 100),
    ],
)
def test_what_never_ends_costs_neither_memory_nor_time(once, forever):
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    with answering(once, forever) as origin:
        [found] = examine(origin)
    assert found.id == "deploy.url-unhealthy"
    assert time.monotonic() - began < 3.5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 65536  # KiB


@pytest.mark.parametrize("before", [HINTS, HINTS * 2, b"HTTP/1.1 100 Continue\r\n\r\n" + HINTS])
def test_what_comes_before_an_answer_is_not_the_answer(before):
    with answering(before + PAGE) as origin:
        found = {each.id: each for each in examine(origin)}
    assert found["deploy.ok"].facts["status"] == 200


# ── where it leads ──────────────────────────────────────────────────────────────────────────────


def redirect(location: str, status: int = 302) -> bytes:
    return f"HTTP/1.1 {status} X\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()


def test_a_redirect_to_what_is_no_address_is_named():
    with answering(redirect("http://[")) as origin:
        [found, *_] = examine(origin)
    assert (found.id, "no address" in found.summary) == ("deploy.url-unhealthy", True)


@pytest.mark.parametrize(
    "location", [f"https://elsewhere.invalid/login?code={SECRET}", f"/login#{SECRET}"]
)
def test_the_parameters_of_a_redirect_are_not_printed(location):
    with answering(redirect(location)) as origin:
        found = examine(origin)
    assert SECRET not in said(found)
    assert "/login" in said(found)


@pytest.mark.parametrize("location", ["/", "HTTP://127.0.0.1:{port}/#top"])
def test_a_redirect_to_itself_is_a_loop_however_it_is_written(location):
    with Raw(b"") as server:
        server._once = redirect(location.format(port=server.port))
        ids = [each.id for each in examine(f"http://127.0.0.1:{server.port}")]
    assert "deploy.redirect-loop" in ids


@pytest.mark.parametrize("answer", [b"HTTP/1.1 304 X\r\n\r\n", redirect("/start"), PAGE])
def test_a_redirect_to_itself__twin(answer):
    with answering(answer) as origin:
        assert "deploy.redirect-loop" not in said(examine(origin))


def test_a_cookie_without_a_name_is_not_printed():
    with answering(OK + f"Set-Cookie: {SECRET}; Path=/\r\n\r\n".encode()) as origin:
        found = examine(origin)
    assert "A nameless one lacks HttpOnly" in said(found)
    assert SECRET not in said(found)


# ── what it tells ───────────────────────────────────────────────────────────────────────────────

JSON = st.sampled_from([None, 1.5, "error", "warning", "redis.oom", "", [], [["error"]], {"id": 1}])
TOLD = st.dictionaries(st.sampled_from(["id", "subject", "level", "cause"]), JSON)


@given(st.lists(TOLD, max_size=3))
@hypothesis_settings(deadline=None, max_examples=50)
def test_findings_of_any_form_are_read(findings):
    for each in deployment_details.roots({"report": {"findings": findings}}):
        assert isinstance(each, str)


def test_findings_of_another_form__twin():
    told = {"level": "error", "id": "redis.oom", "subject": "redis.a:6379/0"}
    read = [
        deployment_details.roots({"report": {"findings": [each]}})
        for each in (told, told | {"id": [1]})
    ]
    assert read == [["redis.a:6379/0 redis.oom"], ["redis.a:6379/0"]]


# ── the URL itself ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "url",
    [
        f"https://user:{SECRET}@[::1",
        f"https://ex\u2100mple.com/{SECRET}",
        f"https://{SECRET}:0",
        f"http://{SECRET}:0/",
    ],
)
def test_a_url_that_is_none_is_refused_without_its_words(url):
    with pytest.raises(UsageError) as refused:
        read_site(url)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(("url", "port"), [("https://[::1]", 443), ("http://[::1]:1", 1)])
def test_a_url__twin(url, port):
    assert read_site(url).endpoint.port == port


def test_the_command_refuses_it_without_its_words():
    ended = manage("checkdeploy", "--url", f"https://ex\u2100mple.com/{SECRET}")
    assert ended.code == 2
    assert "--url does not parse" in ended.err
    assert SECRET not in ended.out + ended.err
    assert quote(SECRET) not in ended.err
