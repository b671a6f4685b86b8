"""The page in a real Chromium: every state that people are called for, and every way to look."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.page.browser import Browser
from tests.page.site import TOKEN, WAIT, Site, stopped

pytestmark = pytest.mark.usefixtures("chrome")


def until(done: Callable[[], bool], within: float = WAIT) -> None:
    ends = time.monotonic() + within
    while not done():
        assert time.monotonic() < ends, "the page does not show it"
        time.sleep(0.2)


@contextmanager
def watched(chrome: Browser, site: Site, name: str, inside: str = "html") -> Iterator[None]:
    """Take a picture at the end; nothing for axe to find, no request elsewhere."""
    yield
    chrome.picture(name)
    assert chrome.complaints(inside) == []
    assert chrome.sideways() <= 0
    chrome.assert_alone(site)


def errors(chrome: Browser) -> list[str]:
    """The headings of the root causes, at one moment: the page replaces them by itself."""
    heads = "document.querySelectorAll('.ro-edge-bad .ro-card-head')"
    found: list[str] = chrome.run(f"return [...{heads}].map((each) => each.innerText)")
    return found


def test_healthy(chrome, fine):
    chrome.sign_in(fine.site)
    with chrome.like(), watched(chrome, fine.site, "healthy"):
        chrome.open(fine.site.page)
        assert "databases.default" in chrome.text(".ro-subjects")
        assert chrome.text("#ro-h-now") == "Ready"
        assert "Nothing is wrong" in chrome.text(".ro-verdict")
        assert not chrome.all("#ro-h-wrong")
        assert "Redis answers" in chrome.text("#ro-page")
        assert len(chrome.all(".ro-subjects tbody tr")) > 8
        assert chrome.all(".ro-c-bars svg[role=img] title")


def test_the_same_where_html_is_dark(chrome, fine):
    """By the system's wish, and by the admin's own switch against it."""
    chrome.sign_in(fine.site)
    with chrome.like(dark=True), watched(chrome, fine.site, "healthy-dark"):
        chrome.open(fine.site.page)
        assert background(chrome) == "rgb(18, 18, 18)"
    with chrome.like(), watched(chrome, fine.site, "healthy-dark-by-switch"):
        chrome.open(fine.site.page)
        assert background(chrome) == "rgb(255, 255, 255)"
        chrome.run("document.documentElement.dataset.theme = 'dark'")
        assert background(chrome) == "rgb(18, 18, 18)"


def background(chrome: Browser) -> str:
    return str(
        chrome.run("return getComputedStyle(document.querySelector('.ro-panel')).backgroundColor")
    )


def test_narrow(chrome, fine):
    chrome.sign_in(fine.site)
    with chrome.like(width=360), watched(chrome, fine.site, "healthy-narrow"):
        chrome.open(fine.site.page)
        assert chrome.find(".ro-verdict").is_displayed()


def test_without_javascript(chrome, fine):
    """All of it is there, and its buttons work."""
    chrome.sign_in(fine.site)
    with chrome.like():
        chrome.open(fine.site.page)
        with chrome.like(script=False):
            chrome.open(fine.site.page)
            assert len(chrome.all(".ro-subjects tbody tr")) > 8
            assert not chrome.find("[data-copy]").is_displayed()
            chrome.find("form[action$='check/'] button").click()
            until(lambda: bool(chrome.all("[data-notice]")))
            assert "examined just now" in chrome.text("[data-notice]")
            chrome.find(".ro-c-subject summary").click()
            assert chrome.find(".ro-c-subject details[open] .ro-more").is_displayed()
            chrome.find("details[data-key=report] summary").click()
            assert chrome.find("#ro-report").is_displayed()
        # Without its script the admin's own switch for the theme has no name.
        with watched(chrome, fine.site, "without-javascript", inside="#content"):
            assert not chrome.all("[data-copy]:not([hidden])")


def test_keyboard_alone(chrome, fine):
    """Tab leads to every control, in the order of the page, and Enter and Space work them."""
    chrome.sign_in(fine.site)
    with chrome.like():
        chrome.open(fine.site.page)
        chrome.run("document.getElementById('content-start').focus()")
        seen = []
        for _ in range(8):
            chrome.press_key("TAB")
            seen.append(chrome.run("return document.activeElement.textContent.trim()"))
        assert seen[:3] == ["Check now", "Copy diagnostics", "Pause updates"]
        outline = chrome.run("return getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none"
        chrome.find("[data-pause]").send_keys(" ")
        assert chrome.find("[data-pause]").get_attribute("aria-pressed") == "true"
        assert chrome.run("return document.getElementById('ro-said').textContent")


def test_a_phase_without_its_key_and_a_certificate_near_its_end(chrome, bad):
    chrome.sign_in(bad.site)
    with chrome.like(), watched(chrome, bad.site, "blocked-and-expiring"):
        until(lambda: "tls." in _opened(chrome, bad.site))
        assert any("components.framework.reason" in each for each in errors(chrome))
        card = chrome.text(".ro-edge-bad.ro-card")
        assert "OPENAI_API_KEY is not set" in card
        assert "2 more because of it" in card
        assert "11 days left" in chrome.text("[aria-labelledby=ro-h-certificates]")
        assert "waits for framework.reason" in chrome.text("[aria-labelledby=ro-h-components]")
        assert "RAILWAY_SERVICE_ID" in chrome.text("[aria-labelledby=ro-h-hosting]")
    with chrome.like(width=360, dark=True), watched(chrome, bad.site, "blocked-narrow-dark"):
        chrome.open(bad.site.page)


def _opened(chrome: Browser, site: Site) -> str:
    chrome.open(site.page)
    return chrome.text("#ro-page")


def test_redis_stops_and_comes_back_under_the_eyes_of_who_looks(chrome, bad):
    """Without a reload: what is unfolded stays so, what has the focus keeps it."""
    chrome.sign_in(bad.site)
    subject = f"redis.127.0.0.1:{bad.redis.port}/0"
    with chrome.like():
        chrome.open(bad.site.page)
        assert subject not in " ".join(errors(chrome))
        chrome.run("window.stays = true")
        chrome.find("tr[data-key='databases.default'] summary").click()
        with stopped(bad.redis.pid):
            chrome.find("form[action$='check/'] button").click()
            until(lambda: any(subject in each for each in errors(chrome)))
            with watched(chrome, bad.site, "redis-stopped"):
                assert chrome.run("return window.stays") is True
                assert chrome.find("tr[data-key='databases.default'] details").get_attribute("open")
                focused = chrome.run("return document.activeElement.textContent")
                assert "Check now" in focused
            status, body, seconds = bad.site.status()
            assert (status, subject in body) == (200, True)
            assert seconds < 1.0
        chrome.find("form[action$='check/'] button").click()
        until(lambda: not any(subject in each for each in errors(chrome)))


def test_an_operator_holds_the_breakers_open(chrome, fine):
    chrome.sign_in(fine.site)
    with chrome.like(), watched(chrome, fine.site, "held-open"):
        chrome.open(fine.site.page)
        chrome.find("button[name=state][value=open]").click()
        until(lambda: "held open" in " ".join(each.text for each in chrome.all("[data-notice]")))
        assert "This holds in process" in chrome.text("[data-notice]")
        assert chrome.find("button[value=open]").get_attribute("aria-pressed") == "true"
        until(lambda: "held open" in chrome.text("#ro-said"))
    chrome.find("button[name=state][value=auto]").click()
    until(lambda: chrome.find("button[value=auto]").get_attribute("aria-pressed") == "true")


def test_copy_diagnostics(chrome, fine):
    """What is copied is what the report prints: the very text of the page's own field."""
    chrome.sign_in(fine.site)
    with chrome.like():
        chrome.open(fine.site.page)
        chrome.allow_clipboard(fine.site.origin)
        chrome.find("[data-copy]").click()
        until(lambda: "Copied" in chrome.text("#ro-said") or "Copied" in chrome.text("[data-copy]"))
        copied = chrome.read_clipboard()
        assert copied == chrome.run("return document.getElementById('ro-report').value")
        assert copied.startswith('{\n  "schema": 1,')


def test_the_page_says_when_it_is_no_longer_updated(chrome, fine):
    chrome.sign_in(fine.site)
    with chrome.like():
        chrome.open(fine.site.page)
        chrome.driver.delete_all_cookies()
        pause = chrome.find("[data-pause]")
        pause.click()
        pause.click()
        until(lambda: "not updated since" in chrome.text(".ro-process"))
        assert "no longer signed in" in chrome.text(".ro-process")


def test_a_custom_admin_site_has_it_too(chrome, fine):
    chrome.sign_in(fine.site)
    with chrome.like(), watched(chrome, fine.site, "custom-admin"):
        chrome.open(f"{fine.site.origin}/ops/")
        chrome.press("a[href$='/componentstatus/']")
        assert "/ops/" in chrome.driver.current_url
        assert "Operations" in chrome.text()
        assert "/ops/" in str(chrome.find("form[action$='check/']").get_attribute("action"))


def test_the_database_is_gone(chrome, fine):
    """Every login is gone with it, and the token still opens the page."""
    chrome.sign_in(fine.site, "")
    with chrome.like():
        chrome.open(f"{fine.site.origin}/readyz")
        with watched(chrome, fine.site, "token-asked"):
            assert chrome.find("#ro-token").is_displayed()
        chrome.find("#ro-token").send_keys("certainly-not-the-token")
        chrome.press("button")
        with watched(chrome, fine.site, "token-refused"):
            assert "not the token" in chrome.text("[role=alert]")
        time.sleep(1.0)  # who guesses waits
        chrome.find("#ro-token").send_keys(TOKEN)
        chrome.press("button")
        with fine.site.without_database():
            until(lambda: "Database unreachable" in _reopened(chrome, fine.site), 25.0)
            with watched(chrome, fine.site, "database-gone"):
                assert any("databases.default" in each for each in errors(chrome))
                assert not chrome.all("form[method=post]")
            assert fine.site.token_page()[2] < 1.0
            assert fine.site.status()[0] == 500
    with chrome.like(width=360, dark=True), watched(chrome, fine.site, "database-narrow-dark"):
        chrome.open(f"{fine.site.origin}/readyz")


def _reopened(chrome: Browser, site: Site) -> str:
    chrome.open(f"{site.origin}/readyz")
    return chrome.text("#ro-page")


def test_what_watches_is_awake__twin(chrome, fine):
    """A picture without a name, a request elsewhere and a wide page would all be seen."""
    chrome.sign_in(fine.site)
    with chrome.like(width=360):
        chrome.open(fine.site.page)
        chrome.run(
            "const i = document.createElement('img'); i.src = 'http://localhost:1/x.png';"
            "document.querySelector('#ro-page').append(i);"
            "const d = document.createElement('div'); d.style.width = '999px';"
            "document.querySelector('#ro-page').append(d);"
        )
        until(lambda: chrome.sideways() > 0)
        assert any("image-alt" in each for each in chrome.complaints())
        with pytest.raises(AssertionError):
            chrome.assert_alone(fine.site)
