"""``python -m resilience.livecheck``: quick, without Django, and not led astray."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from resilience.simulation.authority import Authority
from resilience.simulation.listener import Listener
from resilience.simulation.network import BlackHole, Garbage, Refused, Silence
from tests.processes import ROOT, Ended, run

OK, NOT_LIVE, USAGE = 0, 1, 2


class Server(Listener):
    """Answers every request with these bytes, and remembers the last."""

    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    asked = b""

    def handle(self, connection: socket.socket) -> None:
        self.asked = connection.recv(4096)
        connection.sendall(self.answer)


@contextmanager
def server(status: str = "200 OK", more: str = "") -> Iterator[Server]:
    with Server() as listening:
        head = f"HTTP/1.1 {status}\r\n{more}Content-Length: 3\r\n\r\nok\n"
        listening.answer = head.encode()
        yield listening


def check(*arguments: str, **variables: str | None) -> Ended:
    command = (sys.executable, "-m", "resilience.livecheck", *arguments)
    return run(*command, variables=variables)


def url_of(port: int, path: str = "/livez") -> str:
    return f"http://127.0.0.1:{port}{path}"


def test_it_asks_the_port_of_the_environment():
    with server() as listening:
        ended = check(PORT=str(listening.address[1]))
        assert (ended.code, ended.out, ended.err) == (OK, "", "")
        assert listening.asked.startswith(b"GET /livez HTTP/1.1\r\n")


def test_it_asks_any_url():
    with server() as listening:
        assert check(url_of(listening.address[1], "/health?a=b")).code == OK
        assert listening.asked.startswith(b"GET /health?a=b HTTP/1.1\r\n")


@pytest.mark.parametrize("status", ["204 No Content", "301 Moved", "302 Found", "404 No", "503 No"])
def test_anything_but_200_is_a_failure_and_no_redirect_is_followed(status):
    with server() as fine:
        location = f"Location: {url_of(fine.address[1])}\r\n"
        with server(status, location) as listening:
            ended = check(url_of(listening.address[1]))
        assert fine.asked == b""
    assert ended.code == NOT_LIVE
    assert ended.err == f"{url_of(listening.address[1])} answered {status[:3]} instead of 200.\n"


def test_proxies_of_the_environment_are_not_used():
    with server() as proxy, Refused() as down:
        there = f"http://127.0.0.1:{proxy.address[1]}"
        ended = check(url_of(down.address[1]), http_proxy=there, HTTP_PROXY=there, ALL_PROXY=there)
        assert (ended.code, proxy.asked) == (NOT_LIVE, b"")


class Trickle(Server):
    """Each byte comes in time, and the answer does not."""

    def handle(self, connection: socket.socket) -> None:
        connection.recv(4096)
        for byte in b"HTTP/1.1 200 OK and on it goes":
            connection.sendall(bytes([byte]))
            self.pause(0.3)


def test_what_does_not_answer_is_not_waited_for():
    faults: tuple[Any, ...] = (Refused, Silence, BlackHole, Garbage, Trickle)
    with ExitStack() as stack, ThreadPoolExecutor(len(faults)) as pool:
        ports = [int(stack.enter_context(fault()).address[1]) for fault in faults]
        for port, ended in zip(ports, pool.map(check, map(url_of, ports)), strict=True):
            assert ended.code == NOT_LIVE
            assert len(ended.err.splitlines()) == 1
            assert str(port) in ended.err
            assert ended.seconds < 3.5


def test_https_is_verified():
    with Listener(tls=Authority().server_context("localhost")) as there:
        ended = check(f"https://localhost:{there.address[1]}/livez")
    assert (ended.code, "SSLCertVerificationError" in ended.err) == (NOT_LIVE, True)


@pytest.mark.parametrize(
    "url",
    [
        "livez",
        "ftp://127.0.0.1/",
        "http://",
        "http://[::1/",
        "http://127.0.0.1:0/",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1/a b",
        "http://127.0.0.1/\n",
        "http://127.0.0.1/é",
        "",
    ],
)
def test_what_is_no_url_cannot_be_asked(url):
    ended = check(url)
    assert (ended.code, ended.out) == (USAGE, "")
    assert "usage: python -m resilience.livecheck" in ended.err
    assert len(ended.err.splitlines()) == 1


@pytest.mark.parametrize("arguments", [("http://a/", "http://b/"), ("--verbose",)])
def test_other_arguments_are_usage_errors(arguments):
    assert check(*arguments).code == USAGE


def test_a_port_that_is_no_number_is_named_and_not_quoted():
    ended = check(PORT="hunter22-hunter22")
    assert (ended.code, "PORT" in ended.err, "hunter22" in ended.err) == (USAGE, True, False)


def test_help_is_no_failure():
    ended = check("--help")
    assert (ended.code, ended.err) == (OK, "")
    assert ended.out.startswith("usage:")


def test_a_password_in_the_url_is_not_repeated():
    with Refused() as down:
        port = down.address[1]
        ended = check(f"http://ada:hunter22-hunter22@127.0.0.1:{port}/livez?token=hunter22")
    assert ended.code == NOT_LIVE
    assert "hunter22" not in ended.err
    assert f"http://127.0.0.1:{port}/livez" in ended.err


IMPORTED = """
import sys, runpy
sys.argv = ["livecheck", {url!r}]
import os
leave = os._exit
def told(status):
    print(status, *sorted({{name.partition(".")[0] for name in sys.modules}}), flush=True)
    leave(status)
os._exit = told
runpy.run_module("resilience.livecheck", run_name="__main__")
"""


def test_it_imports_no_django():
    with server() as listening:
        code = IMPORTED.format(url=url_of(listening.address[1]))
        ended = run(sys.executable, "-c", code, variables={})
    status, *names = ended.out.split()
    assert status == "0", ended.err
    assert "resilience" in names
    assert not {"django", "redis", "environ", "asgiref", "asyncio", "requests"} & set(names)


def test_it_takes_a_moment():
    """The best of some: others may be busy on this machine."""
    with server() as listening:
        command = [sys.executable, "-m", "resilience.livecheck", url_of(listening.address[1])]
        best = min(_seconds(command) for _ in range(5))
    assert best <= 0.150


def test_what_takes_longer_is_noticed__twin():
    assert _seconds([sys.executable, "-c", "import time; time.sleep(0.15)"]) > 0.150


def _seconds(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True)
    return time.perf_counter() - began
