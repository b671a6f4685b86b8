"""Who is shown details: the token in a header, the form, its cookie, and who only guesses."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client, override_settings

from resilience.endpoints import token
from resilience.endpoints.guesses import GUESSES
from tests.endpoints.parts import BEARER, FORM, SITE, TOKEN, ready

pytestmark = pytest.mark.usefixtures("site")

# ── the header ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("wrong", ["Bearer wrong", "Bearer", f"Bearer {TOKEN}x", "Bearer \xff"])
def test_a_wrong_token_is_refused(wrong):
    answer = ready(authorization=wrong)
    assert (answer.status_code, answer["WWW-Authenticate"]) == (401, "Bearer")
    assert answer.content == b"unauthorized\n"


@pytest.mark.parametrize("given", ["", "x" * 20])
def test_without_a_token_in_settings_nothing_opens(given):
    with override_settings(RESILIENCE={**SITE["RESILIENCE"], "STATUS_TOKEN": ""}):
        assert ready(authorization=f"Bearer {given}").status_code == 401
        assert ready().content == b"ready\n", "the twin: the word is for everybody"


def test_another_scheme_is_no_token():
    assert ready(authorization="Basic YTpi").content == b"ready\n"


def test_who_guesses_has_to_wait_and_nobody_sleeps(monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(GUESSES, "_clock", lambda: clock[0])
    assert ready(authorization="Bearer wrong").status_code == 401
    for right in ("wrong", TOKEN):
        answer = ready(authorization=f"Bearer {right}")
        assert (answer.status_code, answer["Retry-After"]) == (429, "1")
    assert ready().status_code == 200, "who does not guess is not concerned"
    other = Client(REMOTE_ADDR="192.0.2.7")
    assert other.get("/readyz", headers=BEARER).status_code == 200
    clock[0] += 1.0
    assert ready(**BEARER).status_code == 200


# ── the form ────────────────────────────────────────────────────────────────────────────────────


def post(client: Client, body: str = f"token={TOKEN}", **headers: str) -> Any:
    return client.post("/readyz", body, content_type=FORM, headers=headers)


def test_the_form_gives_a_cookie_that_shows_details():
    client = Client(enforce_csrf_checks=True)
    answer = post(client)
    assert (answer.status_code, answer["Location"]) == (303, "/readyz")
    cookie = answer.cookies[token.COOKIE]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Strict", "/readyz")
    assert (cookie["max-age"], cookie["secure"]) == (43200, "")
    assert TOKEN not in cookie.value
    assert b"caches.default" in client.get("/readyz", headers={"accept": "text/html"}).content
    with override_settings(RESILIENCE={**SITE["RESILIENCE"], "STATUS_TOKEN": "x" * 20}):
        assert (
            b"caches.default" not in client.get("/readyz", headers={"accept": "text/html"}).content
        )


def test_over_https_the_cookie_is_for_https_only():
    answer = Client().post("/readyz", f"token={TOKEN}", content_type=FORM, secure=True)
    assert answer.cookies[token.COOKIE]["secure"] is True


def test_a_wrong_token_shows_the_form_again_and_then_makes_wait():
    client = Client()
    answer = post(client, "token=wrong")
    assert (answer.status_code, b"<form" in answer.content) == (401, True)
    assert b"not the token" in answer.content
    assert token.COOKIE not in answer.cookies
    answer = post(client)
    assert (answer.status_code, answer["Retry-After"]) == (429, "1")
    assert b"not the token" not in answer.content, "it was the right one"
    assert b"Try again in 1 s" in answer.content
    assert token.COOKIE not in answer.cookies


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"sec-fetch-site": "same-origin"}, 303),
        ({"sec-fetch-site": "same-origin", "origin": "https://evil.example"}, 303),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "none"}, 403),
        ({"origin": "http://10.0.0.7:8000", "host": "10.0.0.7:8000"}, 303),
        ({"origin": "http://10.0.0.7:8001", "host": "10.0.0.7:8000"}, 403),
        ({"origin": "https://evil.example", "host": "10.0.0.7:8000"}, 403),
        ({"origin": "null", "host": "10.0.0.7:8000"}, 403),
        ({"origin": "http://["}, 403),
        ({}, 303),  # no browser
    ],
)
def test_another_site_cannot_send_the_form(headers, status):
    assert post(Client(), **headers).status_code == status


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"token=" + b"x" * 5000, FORM, 400),
        (b'{"token": "x"}', "application/json", 400),
        (b"--b--", "multipart/form-data; boundary=b", 400),
        (b"", FORM, 400),
        (b"token=%ff&&&=;", FORM, 401),
        (b"\xff\xfe", FORM, 401),
    ],
)
def test_what_is_no_form_of_ours_is_refused(body, kind, status):
    answer = Client().generic("POST", "/readyz", body, content_type=kind)
    assert answer.status_code == status


def test_a_form_beyond_the_limits_of_the_project_is_answered_by_us():
    """Django's own page for it would be of the project, and logged as suspicious."""
    for body, length in ((b"a&" * 1500, "3000"), (b"token=x", "9" * 5000)):
        answer = Client().generic("POST", "/readyz", body, content_type=FORM, CONTENT_LENGTH=length)
        assert (answer.status_code, answer.content) == (400, b"bad-request\n")
    with override_settings(DATA_UPLOAD_MAX_MEMORY_SIZE=5):
        answer = post(Client())
        assert (answer.status_code, answer.content) == (400, b"bad-request\n")
    assert post(Client()).status_code == 303, "the twin: within them it is taken"
