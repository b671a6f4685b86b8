"""A real Chromium without a window, and the questions that the tests ask of a page."""

from __future__ import annotations

import base64
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import selenium_axe_python
from selenium.webdriver import ActionChains, Chrome, ChromeOptions, ChromeService, Keys
from selenium.webdriver.remote.webelement import WebElement

from tests.page.site import Site

AXE = Path(selenium_axe_python.__file__).parent / "axe-core" / "axe.min.js"
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--hide-scrollbars", "--window-size=1360,900",
)  # fmt: skip
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


class Browser:
    """One Chromium, used by one test after the other."""

    def __init__(self, driver: Chrome, pictures: Path) -> None:
        self.driver = driver
        self._pictures = pictures
        self._width = 0

    def sign_in(self, site: Site, who: str = "operator") -> None:
        """Nobody else's cookies remain."""
        self._cdp("Network.clearBrowserCookies")
        self.driver.get(f"{site.origin}/livez")
        if who:
            self.driver.add_cookie({"name": "sessionid", "value": site.sessions[who]})

    def open(self, url: str) -> None:
        self.logs()
        self.driver.get(url)

    def find(self, selector: str) -> WebElement:
        return self.driver.find_element("css selector", selector)

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements("css selector", selector)

    def text(self, selector: str = "body") -> str:
        return self.find(selector).text

    def press(self, selector: str) -> None:
        """Click what leads to another document, and wait for that."""
        self.run("window.left = true")
        self.find(selector).click()
        ends = time.monotonic() + 15
        while self.run("return window.left || document.readyState !== 'complete'"):
            assert time.monotonic() < ends, "no other document came"
            time.sleep(0.05)

    def press_key(self, name: str) -> None:
        """One key, wherever the focus is."""
        ActionChains(self.driver).send_keys(getattr(Keys, name)).perform()

    def allow_clipboard(self, origin: str) -> None:
        for name in ("clipboard-read", "clipboard-write"):
            permission = {"name": name}
            self._cdp(
                "Browser.setPermission", permission=permission, setting="granted", origin=origin
            )

    def read_clipboard(self) -> str:
        return str(
            self.driver.execute_async_script(
                "navigator.clipboard.readText().then(arguments[0], e => arguments[0](String(e)))"
            )
        )

    def run(self, script: str, *arguments: object) -> Any:
        return self.driver.execute_script(script, *arguments)

    # ── what it is like ─────────────────────────────────────────────────────────────────────────

    @contextmanager
    def like(
        self, *, width: int = 1360, dark: bool = False, script: bool = True
    ) -> Iterator[Browser]:
        """As wide as a screen of that many pixels, in the dark, or without JavaScript."""
        self._width = width
        self._cdp(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=900, deviceScaleFactor=1, mobile=width < 700,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._cdp("Emulation.setEmulatedMedia", features=[scheme])
        self._cdp("Emulation.setScriptExecutionDisabled", value=not script)
        try:
            yield self
        finally:
            self._cdp("Emulation.setScriptExecutionDisabled", value=False)
            self._cdp("Emulation.setEmulatedMedia", features=[])
            self._cdp("Emulation.clearDeviceMetricsOverride")

    def picture(self, name: str) -> Path:
        """The whole page, for people to look at."""
        self.run("return document.readyState")  # waits for a navigation, as a screenshot does not
        shot = self._cdp("Page.captureScreenshot", captureBeyondViewport=True, format="png")
        path = self._pictures / f"{name}.png"
        path.write_bytes(base64.b64decode(shot["data"]))
        return path

    def _cdp(self, command: str, **parameters: object) -> dict[str, Any]:
        return dict(self.driver.execute_cdp_cmd(command, parameters))

    # ── what is wrong with it ───────────────────────────────────────────────────────────────────

    def complaints(self, inside: str = "html") -> list[str]:
        """What axe-core finds, one line for each element."""
        if not self.run("return typeof axe === 'object'"):
            self.run(AXE.read_text(encoding="utf-8"))
        found = self.driver.execute_async_script(
            "const done = arguments[arguments.length - 1];"
            "axe.run(arguments[1], {runOnly: arguments[0]})"
            ".then(r => done({violations: r.violations, passes: r.passes.length}),"
            "      e => done({error: String(e)}));",
            RULES,
            inside,
        )
        assert found.get("passes", 0) > 20, f"axe looked at nothing: {found}"
        return [
            f"{violation['id']}: {node['target']} {node.get('failureSummary', '')}"
            for violation in found["violations"]
            for node in violation["nodes"]
        ]

    def sideways(self) -> int:
        """How many pixels anything is wider than the screen; the admin would cut it off."""
        widest = self.run(
            "return Math.max(document.documentElement.scrollWidth, ..."
            "Array.from(document.querySelectorAll('main *:not(.ro-scroll *):not(.ro-only-read)'))"
            ".map(each => { const box = each.getBoundingClientRect();"
            " return Math.ceil(Math.max(box.right, box.left + each.scrollWidth)); }))"
        )
        return int(widest) - self._width

    def logs(self) -> tuple[list[str], list[str]]:
        """Where requests went since the last call, and what the console complained about."""
        asked = []
        for entry in self.driver.get_log("performance"):  # type: ignore[no-untyped-call]
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                asked.append(message["params"]["request"]["url"])
        said = [entry["message"] for entry in self.driver.get_log("browser")]  # type: ignore[no-untyped-call]
        return asked, said

    def assert_alone(self, site: Site) -> None:
        """No request went anywhere else, and the policy had nothing to refuse."""
        asked, said = self.logs()
        hosts = {urlsplit(url).netloc for url in asked if not url.startswith(("data:", "blob:"))}
        assert hosts <= {urlsplit(site.origin).netloc}
        # Chromium itself notes a 503, which is how the page of a broken deployment arrives.
        assert [line for line in said if "Failed to load resource" not in line] == []


def folder() -> Path:
    """Where the pictures go: ``SCREENSHOTS``, or beside the tests, ignored by git."""
    found = Path(os.environ.get("SCREENSHOTS") or Path(__file__).parent / "screenshots")
    found.mkdir(parents=True, exist_ok=True)
    return found


@contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    """Start Debian's, with a fresh profile; RuntimeError if it is not installed."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        raise RuntimeError("no Chromium here: run scripts/test, or install chromium-driver")
    options = ChromeOptions()
    options.binary_location = program
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    running = Chrome(options=options, service=ChromeService(driver))
    try:
        running.set_page_load_timeout(20)
        running.command_executor.client_config.timeout = 25  # type: ignore[union-attr]
        yield Browser(running, folder())
    finally:
        running.quit()
