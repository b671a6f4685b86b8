"""The middleware inside Django's handlers: ``/livez``, what is left alone, both ways of Django."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import threading
from typing import Any, cast

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client, RequestFactory, override_settings

from resilience.endpoints import readyz, wire
from resilience.middleware import HealthMiddleware
from tests.endpoints.parts import COUNTER, FORM, OURS, SITE, TOKEN, ready

pytestmark = pytest.mark.usefixtures("site")

# ── /livez ──────────────────────────────────────────────────────────────────────────────────────

HOSTS = [
    "10.42.0.17:8000",
    "healthcheck.railway.app",
    "[2001:db8::17]:8000",
    "[fe80::1%eth0]",
    "a b\"<>'",
    "..",
    "x" * 5000,
    "\xff",
    "",
    None,
]


@pytest.mark.parametrize("where", ["/livez", "/livez/", "/readyz", "/readyz/"])
def test_every_host_is_answered_over_plain_http(where):
    client = Client()
    for host in HOSTS:
        extra: dict[str, Any] = {} if host is None else {"HTTP_HOST": host}
        answer = client.get(where, **extra)
        assert (answer.status_code, answer.content[-1:]) == (200, b"\n"), host


def test_any_other_path_is_redirected_or_refused__twin():
    assert Client().get("/thread/", HTTP_HOST="shop.example").status_code == 301
    assert Client().get("/thread/", HTTP_HOST="10.42.0.17").status_code == 400
    assert Client().get("/livezz", HTTP_HOST="shop.example", secure=True).status_code == 404


def test_where_it_stands_second_it_is_redirected__twin():
    with override_settings(MIDDLEWARE=[*SITE["MIDDLEWARE"][1:], OURS]):
        assert Client().get("/livez", HTTP_HOST="shop.example").status_code == 301


def test_a_script_name_is_no_part_of_the_path():
    assert Client().get("/livez", SCRIPT_NAME="/shop").status_code == 200


@pytest.mark.parametrize("where", ["/livez", "/readyz"])
def test_head_has_everything_but_the_body(where):
    get, head = Client().get(where), Client().head(where)
    assert head.status_code == get.status_code == 200
    assert head.content == b""
    assert dict(head.headers) == dict(get.headers)
    assert get["Content-Length"] == str(len(get.content))
    # Without the test client, which takes the body away by itself.
    answer = cast(HttpResponse, HealthMiddleware(HttpResponse)(RequestFactory().head(where)))
    assert answer.content == b""
    assert get["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("where", "allow"), [("/livez", "GET, HEAD"), ("/readyz", "GET, HEAD, POST")]
)
def test_other_methods_are_named_as_not_allowed(where, allow):
    client = Client()
    for method in ("PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"):
        answer = client.generic(method, where)
        assert (answer.status_code, answer["Allow"]) == (405, allow)


def test_livez_takes_no_post():
    assert Client().post("/livez").status_code == 405


class Watch:
    """What this thread does to the outside while it is watched, as CPython itself tells."""

    EVENTS = ("open", "socket.", "os.", "subprocess.", "sqlite3.", "import")

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.thread = 0
        sys.addaudithook(self._hook)  # for good: there is no way to take one back

    def _hook(self, event: str, _: Any) -> None:
        if self.thread and threading.get_ident() == self.thread and event.startswith(self.EVENTS):
            self.seen.append(event)

    def during(self, call: Any) -> list[str]:
        self.seen, self.thread = [], threading.get_ident()
        try:
            call()
        finally:
            self.thread = 0
        return self.seen


WATCH = Watch()


def test_livez_does_nothing_to_the_outside():
    client = Client()
    client.get("/livez")
    before = threading.enumerate()
    assert WATCH.during(lambda: client.get("/livez")) == []
    assert (COUNTER.runs, threading.enumerate()) == (0, before)
    # The twin: it would be seen.
    assert "open" in WATCH.during(lambda: open(__file__).close())  # noqa: PTH123
    assert "socket.getaddrinfo" in WATCH.during(lambda: socket.getaddrinfo("127.0.0.1", 1))
    ready()
    assert COUNTER.runs == 1
    assert threading.enumerate() != before


# ── asynchronous ────────────────────────────────────────────────────────────────────────────────


def test_an_asynchronous_stack_is_answered_in_its_own_thread(monkeypatch):
    """Django's own test client is the loop's; where an answer is made, its thread is noted."""
    seen = []
    finish = wire.finish

    def noted(request: HttpRequest, response: HttpResponse) -> HttpResponse:
        seen.append(threading.get_ident())
        return finish(request, response)

    monkeypatch.setattr(wire, "finish", noted)

    async def ask() -> None:
        client = AsyncClient()
        for where in ("/livez", "/readyz"):
            answer = await client.get(where, headers={"host": "10.0.0.7"})
            assert answer.status_code == 200
        secure = await client.get("/thread/", headers={"host": "shop.example"}, secure=True)
        assert secure.content == f"{threading.get_ident()}".encode()
        seen.append(threading.get_ident())

    with override_settings(MIDDLEWARE=[OURS, *SITE["MIDDLEWARE"][1:2]]):
        asyncio.run(ask())
    assert len(seen) == 3
    assert len(set(seen)) == 1


def test_while_one_waits_for_the_first_answer_the_loop_goes_on(monkeypatch):
    monkeypatch.setattr(readyz, "WAIT", 0.3)
    COUNTER.holding.clear()

    async def ask() -> None:
        client = AsyncClient()
        waiting = asyncio.ensure_future(client.get("/readyz"))
        await asyncio.sleep(0.05)
        alive = await client.get("/livez")
        assert (alive.status_code, waiting.done()) == (200, False)
        assert (await waiting).content == b"starting\n"

    try:
        asyncio.run(ask())
    finally:
        COUNTER.holding.set()


def test_the_asynchronous_form_works():
    async def ask() -> Any:
        client = AsyncClient()
        posted = await client.post("/readyz", f"token={TOKEN}", content_type=FORM)
        assert posted.status_code == 303
        return await client.get("/readyz", headers={"accept": "application/json"})

    assert json.loads(asyncio.run(ask()).content)["subjects"]


def test_asynchronous_on_a_platform_that_sleeps():
    async def ask() -> int:
        return int((await AsyncClient().get("/readyz")).status_code)

    with override_settings(RESILIENCE={**SITE["RESILIENCE"], "BACKGROUND": False}):
        assert asyncio.run(ask()) == 200
    assert COUNTER.runs == 1
