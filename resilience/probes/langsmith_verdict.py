"""What the API's answers mean: three questions, and the first wrong answer is the cause.

    GET  /info             without the key: is this the API, reached without a detour?
    GET  /sessions?limit=1 with the key: is it valid here, for this workspace?
    POST /runs/multipart   with the key and no run: may traces be sent?

The key goes to no address but the configured one, and never before that has answered as LangSmith
does: redirects are not followed, other regions are named and not asked.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Mapping
from typing import NoReturn
from urllib.parse import urljoin, urlsplit

from resilience.findings import Fact
from resilience.probes import network
from resilience.probes.exchange import Answer, Api, NoAnswer
from resilience.probes.langsmith_config import Config, assign
from resilience.probes.langsmith_static import REGIONS
from resilience.tls.diagnosis import diagnose

_ROOTS = ("/api/v1", "", "/api")
_PROXY = (407, 511)
_DENIED = (401, 403)
_NO_ROUTE = (404, 405, 501)
_NO_TENANT = (400, 422)
_BOUNDARY = "nothing"
_JSON = "application/json"
_OVERLOADED = {408: "the request took too long", 429: "too many requests"}
_SERVER = 500  # and above
_BAD_REQUEST = 400
_VERSION = re.compile(r"[\w.+-]{1,30}")
_LATER = (
    "See status.smith.langchain.com, or the log of a LangSmith of your own; until then no request "
    "waits for it, and traces are lost."
)
_NAME = re.compile(r"[\w.-]{1,253}")


class Verdict:
    """One examination; the first wrong answer ends it with StageFailed."""

    def __init__(
        self, subject: str, config: Config, api: Api, speaks_tls: Callable[[], bool]
    ) -> None:
        self._subject, self._config, self._api = subject, config, api
        self._speaks_tls = speaks_tls
        self._base = config.parts.path.rstrip("/")
        self._origin = config.url_from or "LANGSMITH_ENDPOINT"
        self._multipart = True  # the SDK itself asks /info; our client does not
        self.facts: dict[str, Fact] = {}

    def judge(self) -> None:
        """Ask all three. Raises StageFailed."""
        self._find_the_api()
        self._try_the_key()
        self._try_to_write()

    # ── is this the API? ────────────────────────────────────────────────────────────────────────

    def _find_the_api(self) -> None:
        answer = self._ask("GET", f"{self._base}/info")
        self.facts["info_ms"] = answer.took_ms
        self._detours(answer)
        if answer.status in _DENIED and not answer.is_html:
            return  # FF_INFO_ENDPOINT_AUTH_REQUIRED of one's own
        if answer.is_fine and _VERSION.fullmatch(answer.word("version")):
            self.facts["version"] = answer.word("version")
            ingest = answer.document.get("batch_ingest_config")
            self._multipart = not isinstance(ingest, dict) or ingest.get(
                "use_multipart_endpoint", True
            )
            return
        self._elsewhere(answer)

    def _elsewhere(self, answer: Answer) -> NoReturn:
        """It is not here: at another path of the same server, perhaps?"""
        where = self._config.where
        page = answer.is_html
        for root in _ROOTS:
            if root != self._base and self._ask("GET", f"{root}/info").word("version"):
                at = where.removesuffix(self._base) + root
                self._fail(
                    "langsmith.ui-host" if page else "langsmith.path",
                    f"{where} is {'the web page' if page else 'no address'} of this LangSmith"
                    f"{', which answers POST with 405' if page else ''}: its API is at {at}.",
                    f"{assign(self._origin, at)}.",
                    status=answer.status,
                )
        if page:
            self._fail(
                "langsmith.ui-host",
                f"A web page answers at {where}, and no LangSmith API (status {answer.status}).",
                f"Set {self._origin} to the API: api. before smith.langchain.com, /api/v1 behind "
                "the host of one of your own; if the page is a gateway's, have it let this host "
                "through.",
                status=answer.status,
            )
        self._fail(
            "langsmith.path",
            f"Something answers at {where}, but it is not LangSmith's API (status "
            f"{answer.status} for /info).",
            f"Correct host and path of {self._origin}: the cloud needs no path, one of your own "
            "/api/v1.",
            status=answer.status,
        )

    # ── is the key right? ───────────────────────────────────────────────────────────────────────

    def _try_the_key(self) -> None:
        answer = self._ask("GET", f"{self._base}/sessions?limit=1", self._headers())
        self.facts["sessions_ms"] = answer.took_ms
        self._detours(answer)
        if answer.is_fine:
            return
        self._refused(answer, "read")
        if answer.status in _NO_ROUTE and "version" in self.facts:
            self._too_old(answer, "/sessions")
        if "version" not in self.facts:
            self._elsewhere(answer)
        self._unexpected(answer, "/sessions")

    def _refused(self, answer: Answer, what: str) -> None:
        """401 and 403, and whose fault it is."""
        config = self._config
        if answer.status in _NO_TENANT and config.workspace:
            self._without_workspace(answer)
        if answer.status not in _DENIED:
            return
        if not config.key:
            self._fail(
                "langsmith.key-missing",
                f"{config.where} wants a key, and none is set.",
                f"Make a key in its settings and set {config.key_from or 'LANGSMITH_API_KEY'}.",
                status=answer.status,
            )
        if answer.status == _DENIED[0]:
            self._fail(
                "langsmith.key-invalid",
                f"LangSmith does not know the key of {config.key_from} (401): it was revoked, cut "
                "off when it was copied, or belongs to another LangSmith.",
                f"Make a new key in LangSmith's settings and set {config.key_from}.",
                status=answer.status,
            )
        if answer.word("error") == "org_scoped_key_requires_workspace":
            self._fail(
                "langsmith.workspace",
                f"The key of {config.key_from} is an organization's, and no workspace is named.",
                "Set LANGSMITH_WORKSPACE_ID to the ID in LangSmith's settings, Workspaces.",
                status=answer.status,
            )
        if config.workspace:
            self._without_workspace(answer)
        region = f" {REGIONS}" if config.is_cloud else ""
        other = "region, was revoked," if config.is_cloud else "workspace or LangSmith,"
        self._fail(
            "langsmith.key-forbidden",
            f"LangSmith knows no right of this key to {what} here (403): it belongs to another "
            f"{other} or lacks the right.",
            f"Set {self._origin} to the LangSmith that the key is from, or {config.key_from} to a "
            f"key of {config.where}.{region}",
            status=answer.status,
        )

    def _without_workspace(self, answer: Answer) -> None:
        """Whether the workspace alone is wrong."""
        headers = {name: text for name, text in self._headers().items() if name != "X-Tenant-Id"}
        alone = self._ask("GET", f"{self._base}/sessions?limit=1", headers)
        needs = alone.word("error") == "org_scoped_key_requires_workspace"
        if alone.is_fine or needs:
            name = self._config.workspace_from
            self._fail(
                "langsmith.workspace",
                f"The key may not use the workspace of {name} (status {answer.status}).",
                f"Set {name} to the ID of a workspace of this key"
                + (
                    " (LangSmith's settings, Workspaces)."
                    if needs
                    else f", or run unset {name}: the key has one of its own."
                ),
                status=answer.status,
            )

    # ── may it write? ───────────────────────────────────────────────────────────────────────────

    def _try_to_write(self) -> None:
        if not (self._multipart or self._config.component):
            return
        kind = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}
        body = f"--{_BOUNDARY}--\r\n".encode()  # no part, so no run
        path = f"{self._base}/runs/multipart"
        answer = self._ask("POST", path, {**self._headers(), **kind}, body)
        self.facts["post_ms"] = answer.took_ms
        self._detours(answer)
        if answer.status in _NO_ROUTE:
            self._too_old(answer, "/runs/multipart")
        if answer.status in _DENIED:
            self._refused(answer, "write")
        # 400 and 422 say that an empty body is none: the route is there, and lets this key in.

    # ── the same for all ────────────────────────────────────────────────────────────────────────

    def _headers(self) -> dict[str, str]:
        config = self._config
        headers = {"x-api-key": config.key, "X-Tenant-Id": config.workspace}
        return {name: text for name, text in headers.items() if text}

    def _ask(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Answer:
        try:
            return self._api.ask(method, path, {"Accept": _JSON, **(headers or {})}, body)
        except NoAnswer as failed:
            error = failed.error
        raise self._unanswered(error)

    def _unanswered(self, error: OSError | None) -> network.StageFailed:
        self._https_instead()
        where = self._config.where
        if isinstance(error, ssl.SSLError):  # TLS 1.3 says only now what it has against us
            found = diagnose(error)
            return self._failed(found.id, found.summary, found.hint)
        if error is None:
            return self._failed(
                "langsmith.endpoint-invalid",
                f"What answers at {where} is no web server.",
                f"Correct host and port of {self._origin}.",
            )
        said = "did not answer in time" if isinstance(error, TimeoutError) else "hung up"
        return self._failed(
            "langsmith.server-error", f"{where} took the connection and {said}.", _LATER
        )

    def _detours(self, answer: Answer) -> None:
        """What stands in for an answer of the API, or says that it cannot give one."""
        if answer.location:
            self._redirected(answer)
        if answer.status == _BAD_REQUEST and answer.is_html:
            self._https_instead()
        via = answer.header("Via") or answer.header("X-Squid-Error")
        if answer.status in _PROXY or (answer.is_html and answer.status in (_DENIED[1], 451)):
            self._proxy(f"answers with a page of its own (status {answer.status})", answer.status)
        if answer.status >= _SERVER and answer.is_html and via:
            self._proxy(f"could not reach LangSmith (status {answer.status})", answer.status)
        if answer.status in _OVERLOADED or answer.status >= _SERVER:
            self._unexpected(answer, "the request")

    def _https_instead(self) -> None:
        """Whether http:// speaks to a port that wants TLS, which says so in many ways."""
        parts = self._config.parts
        if parts.scheme == "http" and self._speaks_tls():
            at = f"https://{parts.netloc.rpartition('@')[2]}{parts.path}"
            self._fail(
                "langsmith.http-redirect",
                f"{self._config.where} speaks TLS, and the address begins with http://; what was "
                "sent there, went in clear text.",
                f"{assign(self._origin, at)}, and make a new key.",
            )

    def _redirected(self, answer: Answer) -> NoReturn:
        mine = self._config.parts
        try:
            theirs = urlsplit(urljoin(self._config.url + "/", answer.location))
            host = (theirs.hostname or "").lower()
            _ = theirs.port  # which is read only now
        except ValueError:
            host, theirs = "", urlsplit("")
        if mine.scheme == "http" and theirs.scheme == "https" and host == mine.hostname:
            shown = f"[{host}]" if ":" in host else host
            port = f":{theirs.port}" if theirs.port else ""
            at = f"https://{shown}{port}{self._base}"
            self._fail(
                "langsmith.http-redirect",
                f"{self._config.where} redirects to https://: that turns POST into GET, which is "
                "answered with 405, and sends the key in clear text first.",
                f"{assign(self._origin, at)}, and make a new key.",
                status=answer.status,
            )
        shown = host if _NAME.fullmatch(host) else "another address"
        if host == mine.hostname:
            self._fail(
                "langsmith.path",
                f"{self._config.where} redirects to another path, where POST ends with 405.",
                f"Correct the path of {self._origin}: the cloud needs none, one of your own "
                "/api/v1.",
                status=answer.status,
            )
        self._proxy(f"redirects to {shown}, as a gateway that wants a sign-in", answer.status)

    def _proxy(self, did: str, status: int) -> NoReturn:
        host = self._config.host
        self._fail(
            "langsmith.proxy",
            f"Somebody between this process and {host} {did}: it is no answer of LangSmith.",
            f"Have the proxy or gateway let {host} through without a sign-in, or name it in "
            f"NO_PROXY={host}.",
            status=status,
        )

    def _too_old(self, answer: Answer, route: str) -> NoReturn:
        version = self.facts.get("version", "unknown")
        self._fail(
            "langsmith.server-old",
            f"This LangSmith (version {version}) has no {route} (status {answer.status}), which "
            "the SDK asks for.",
            "Upgrade that LangSmith; its release notes say which SDK it needs.",
            status=answer.status,
        )

    def _unexpected(self, answer: Answer, what: str) -> NoReturn:
        why = _OVERLOADED.get(answer.status, "an error of its own")
        hint = (
            "Wait, then trace less: LANGSMITH_TRACING_SAMPLING_RATE=0.1."
            if answer.status == 429  # noqa: PLR2004 - Too Many Requests
            else _LATER
        )
        self._fail(
            "langsmith.server-error",
            f"{self._config.where} answered {what} with {answer.status}: {why}.",
            hint,
            status=answer.status,
        )

    def _fail(self, id: str, summary: str, hint: str, **facts: Fact) -> NoReturn:
        raise self._failed(id, summary, hint, **facts)

    def _failed(self, id: str, summary: str, hint: str, **facts: Fact) -> network.StageFailed:
        return network.failed(id, self._subject, summary, hint, **{**self.facts, **facts})
