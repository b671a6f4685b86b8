"""What ``/readyz`` tells whom, in which format, and how long it takes for it."""

from __future__ import annotations

import threading
import time

import pytest
from django.core import mail
from django.test import Client, override_settings
from hypothesis import given, settings, strategies as st

from resilience.endpoints import draining, readyz
from resilience.health import monitor
from tests.endpoints.parts import BEARER, COUNTER, OPENMETRICS, SITE, TOKEN, ready

pytestmark = pytest.mark.usefixtures("site")

CANARY = "hunter22-hunter22"

FORMATS = {
    "": (b"ready\n", "text/plain; charset=utf-8"),
    "text/plain": (b"ready\n", "text/plain; charset=utf-8"),
    "application/json": (b'{"status": "ready"}\n', "application/json"),
    "application/health+json": (b'{"status": "pass"}\n', "application/health+json"),
}


@pytest.mark.parametrize("accept", FORMATS)
def test_everybody_sees_one_word(accept):
    for where in ("/readyz", "/readyz?verbose", f"/readyz?token={TOKEN}&verbose"):
        answer = Client().get(where, headers={"accept": accept})
        assert (answer.content, answer["Content-Type"]) == FORMATS[accept]


@pytest.mark.parametrize("accept", [OPENMETRICS, "text/plain;version=0.0.4"])
def test_everybody_sees_one_number(accept):
    lines = ready(accept=accept).content.decode().splitlines()
    assert [line for line in lines if not line.startswith("#")] == ["resilience_ready 1.0"]


def test_a_browser_sees_the_form():
    answer = ready(accept="text/html")
    assert answer.status_code == 200
    assert b"<form" in answer.content
    assert b"caches.default" not in answer.content


@pytest.mark.parametrize(
    "accept",
    ["text/plain", "application/json", "application/health+json", OPENMETRICS, "text/html"],
)
def test_with_the_token_details_are_shown(accept):
    answer = Client().get("/readyz?verbose", headers={**BEARER, "accept": accept})
    assert answer.status_code == 200
    assert b"caches.default" in answer.content


def test_with_the_token_text_is_one_word_unless_more_is_asked_for():
    assert ready(**BEARER).content == b"ready\n"


CLIENT = Client()  # reads the settings at its first request


@given(st.one_of(st.text(max_size=40), st.sampled_from([";", "*;q", "text/html;;;", "\x00"])))
@settings(max_examples=50, deadline=None)
def test_no_accept_header_is_an_error(accept):
    headers = {"accept": accept.encode("utf-8", "replace").decode("latin-1")}
    for more in ({}, BEARER):
        assert CLIENT.get("/readyz", headers={**headers, **more}).status_code == 200


def test_failing_is_503_and_says_when_to_come_again():
    COUNTER.broken = True
    for accept, body in (
        ("*/*", b"not-ready\n"),
        ("application/json", b'{"status": "not-ready"}\n'),
        ("application/health+json", b'{"status": "fail"}\n'),
    ):
        answer = ready(accept=accept)
        assert (answer.status_code, answer.content) == (503, body)
        assert answer["Retry-After"] == "10"
    assert ready(accept="text/html").status_code == 503
    assert ready(accept="text/html", **BEARER).status_code == 503
    assert ready(accept=OPENMETRICS).status_code == 200
    assert b"resilience_ready 0.0\n" in ready(accept=OPENMETRICS, **BEARER).content


def test_a_failure_is_neither_logged_as_an_error_nor_mailed(caplog):
    COUNTER.broken = True
    with override_settings(ADMINS=["ada@shop.example"]):
        assert ready().status_code == 503
    assert mail.outbox == []
    assert [record.message for record in caplog.records if "readyz" in record.message] == []


def test_what_is_not_critical_leaves_it_at_200():
    COUNTER.broken = True
    with override_settings(RESILIENCE={"CRITICAL": []}):
        monitor.check_now()
        assert (ready().status_code, ready().content) == (200, b"degraded\n")


def test_before_the_first_answer_it_is_starting_and_waits_no_longer_than_it_may(monkeypatch):
    monkeypatch.setattr(readyz, "WAIT", 0.1)
    COUNTER.holding.clear()
    try:
        answer = ready()
        assert (answer.status_code, answer.content) == (503, b"starting\n")
        assert answer["Retry-After"] == "1"
    finally:
        COUNTER.holding.set()
    monkeypatch.setattr(readyz, "WAIT", 10.0)
    assert ready().status_code == 200


def test_of_many_who_would_wait_only_some_do(monkeypatch):
    """A storm at start-up must not take every thread of the server."""
    COUNTER.holding.clear()
    over = threading.Event()
    waiting = [threading.Thread(target=lambda: (ready(), over.wait(1))) for _ in range(2)]
    try:
        for thread in waiting:
            thread.start()
        for _ in range(1000):
            if not readyz._waiting._value:
                break
            threading.Event().wait(0.005)
        monkeypatch.setattr(readyz, "WAIT", 5.0)
        began = time.monotonic()
        assert ready().content == b"starting\n"
        assert time.monotonic() - began < 4
    finally:
        COUNTER.holding.set()
        over.set()
        for thread in waiting:
            thread.join()


def test_many_requests_are_one_run():
    for _ in range(300):
        assert ready().status_code == 200
    assert COUNTER.runs == 1


def test_on_a_platform_that_sleeps_a_request_starts_the_run():
    with override_settings(RESILIENCE={**SITE["RESILIENCE"], "BACKGROUND": False}):
        assert [ready().status_code for _ in range(5)] == [200] * 5
        assert COUNTER.runs == 1


def test_draining_where_the_server_says_so():
    draining.when(lambda: True)
    answer = ready()
    assert (answer.status_code, answer.content) == (503, b"draining\n")
    assert Client().get("/livez").status_code == 200
    draining.when(lambda: 1 / 0)
    assert ready().content == b"ready\n"


def test_no_secret_is_in_any_format():
    COUNTER.broken = True
    COUNTER.saying = f"cannot log in to redis://:{CANARY}@cache/0 with password={CANARY}"
    for accept in ("text/plain", "application/json", "application/health+json", OPENMETRICS):
        for more in ({}, BEARER):
            answer = Client().get("/readyz?verbose", headers={"accept": accept, **more})
            everything = repr(answer.headers) + answer.content.decode()
            assert CANARY not in everything
            assert TOKEN not in everything
