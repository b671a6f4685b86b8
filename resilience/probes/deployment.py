"""Is what was deployed what answers there, and as it should? Asked from outside, over HTTP.

For ``checkdeploy --url``. The token of STATUS_TOKEN goes to this host alone, encrypted or over
loopback, and no redirect is followed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from resilience.errors import UsageError
from resilience.findings import Fact, Finding, Level
from resilience.probes import deployment_details as details, deployment_page, network, tls
from resilience.probes.base import Deadline, Probe
from resilience.probes.discovery import through_proxy
from resilience.probes.exchange import Answer, NoAnswer
from resilience.probes.http import Client, Site

SAMPLES = 3
"""How often the commit is asked for: behind a load balancer, perhaps of several replicas."""

_OK, _REFUSED, _MISSING, _BUSY = 200, 401, 404, 503
_WORDS = ("ready", "degraded", "not-ready", "starting", "draining")
_MIDDLEWARE = 'Put "resilience.middleware.HealthMiddleware" first in MIDDLEWARE'


def probes_of(site: Site, commit: str, token: str) -> list[Probe]:
    """The deployment, and before it the certificate it stands on."""
    found: list[Probe] = []
    needs: tuple[str, ...] = ()
    if site.secure:
        found += tls.probes_of([through_proxy(site.endpoint)])
        needs = (site.endpoint.subject,)
    plain = None
    if site.secure and site.endpoint.port == 443:  # noqa: PLR2004 - of HTTPS
        plain = Site(False, replace(site.endpoint, port=80), site.path, site.subject)  # noqa: FBT003
    return [
        *found,
        Deployment(site.subject, needs, site=site, plain=plain, commit=commit, token=token),
    ]


def read_commit(word: str) -> str:
    """A commit, or the beginning of one. Raises UsageError."""
    if not details.COMMIT.fullmatch(word):
        raise UsageError("a commit is 7 to 64 hexadecimal digits")
    return word.lower()


@dataclass(frozen=True)
class Deployment(Probe):
    """One site. ``plain`` is where it would be reached without TLS; ``commit`` what is expected."""

    area = "deploy"

    site: Site = field(kw_only=True)
    plain: Site | None = field(kw_only=True, default=None)
    commit: str = field(kw_only=True, default="")
    token: str = field(kw_only=True, default="", repr=False)

    def run(self, deadline: Deadline) -> Iterator[Finding]:
        try:
            client = Client(self.site)
            front = client.ask(self.site.path, deadline)
        except network.StageFailed as failed:
            yield replace(failed.finding, subject=self.subject)
            return
        except NoAnswer as said:
            yield self._unhealthy(f"{self.site.origin} {said}.")
            return
        found = list(self._all(front, client, deadline))
        yield from found
        if not any(finding.level >= Level.ERROR for finding in found):
            facts: dict[str, Fact] = {"status": front.status, "answer_ms": front.took_ms}
            yield Finding(
                "deploy.ok",
                Level.OK,
                self.subject,
                f"{self.site.origin}{self.site.path} answers {front.status} in "
                f"{front.took_ms:.0f} ms"
                + (f", and runs commit {self.commit[:12]}." if self.commit else "."),
                facts=facts,
            )

    def _all(self, front: Answer, client: Client, deadline: Deadline) -> Iterator[Finding]:
        if front.status >= 500 or front.status == 400:  # noqa: PLR2004 - HTTP's own numbers
            yield self._unhealthy(
                f"{self.site.origin}{self.site.path} answers {front.status}.",
                "Add this host to ALLOWED_HOSTS; the app's log names it."
                if front.status == 400  # noqa: PLR2004
                else "Look at the app's log: the traceback stands there.",
            )
        yield from deployment_page.rules(self.subject, self.site, front)
        for about in (self._debug, self._stranger, self._to_https, self._live, self._ready):
            try:
                yield from about(client, deadline)
            except NoAnswer as said:
                yield self._unhealthy(f"{self.site.origin} {said}.")
                return
            except network.StageFailed as failed:
                yield replace(failed.finding, subject=self.subject)
                return

    # ── the app ─────────────────────────────────────────────────────────────────────────────────

    def _debug(self, client: Client, deadline: Deadline) -> Iterator[Finding]:
        answer = client.ask("/checkdeploy-asks-for-what-is-not-there", deadline)
        if answer.status == _MISSING and b"DEBUG = True" in answer.body:
            yield Finding(
                "deploy.debug-live",
                Level.ERROR,
                self.subject,
                "DEBUG is on out there: an error shows everybody settings, paths and source.",
                "Set DEBUG to false in the deployment's environment.",
            )

    def _stranger(self, client: Client, deadline: Deadline) -> Iterator[Finding]:
        name = "checkdeploy.invalid"
        try:
            answer = client.ask(self.site.path, deadline, host=name)
        except NoAnswer:
            return  # which is an answer to a stranger
        if answer.status < 300 or name in answer.header("Location"):  # noqa: PLR2004
            yield Finding(
                "deploy.any-host",
                Level.WARNING,
                self.subject,
                "A request with a Host of anybody's choice is answered: absolute links, those of "
                "password mails included, then lead there.",
                "List the app's own names in ALLOWED_HOSTS instead of a star.",
            )

    def _to_https(self, client: Client, deadline: Deadline) -> Iterator[Finding]:  # noqa: ARG002 - it asks another port
        if self.plain is None:
            return
        try:
            answer = Client(self.plain).ask(self.plain.path, deadline)
        except (NoAnswer, network.StageFailed):
            return  # no HTTP at all is as good
        location = answer.header("Location")
        if answer.status < 300 or not location.lower().startswith("https://"):  # noqa: PLR2004
            yield Finding(
                "deploy.plain-http",
                Level.WARNING,
                self.subject,
                f"{self.plain.origin} answers {answer.status} without a redirect to HTTPS.",
                "Switch the redirect on at the edge, or set SECURE_SSL_REDIRECT = True with "
                "SECURE_PROXY_SSL_HEADER.",
            )

    # ── its health ──────────────────────────────────────────────────────────────────────────────

    def _live(self, client: Client, deadline: Deadline) -> Iterator[Finding]:
        answer = client.ask("/livez", deadline)
        if answer.status == _MISSING:
            return  # /readyz says it for both
        if answer.status != _OK:
            yield self._unhealthy(
                f"/livez answers {answer.status}, which a platform takes for a dead process.",
                f"{_MIDDLEWARE}: what stands before it answers in its place.",
            )

    def _ready(self, client: Client, deadline: Deadline) -> Iterator[Finding]:
        answer = client.ask("/readyz", deadline, headers={"Accept": "application/json"})
        word = answer.document.get("status")
        if word not in _WORDS:
            yield from self._no_endpoint(answer)
            return
        if set(answer.document) > {"status"}:
            yield Finding(
                "deploy.details-public",
                Level.ERROR,
                self.subject,
                "/readyz tells its details to everybody who asks.",
                "See what stands before the app: something adds the token to every request.",
            )
        document = yield from self._details(client, deadline)
        roots = details.roots(document)
        if answer.status != _OK:
            yield self._unhealthy(
                f"/readyz answers {answer.status}, {word}{details.because(roots)}.",
                "Do what this says: checkdeploy in the deployment itself names the cause"
                + ("." if document else "; with its STATUS_TOKEN here, so does this report."),
            )
        elif word == "degraded":
            yield Finding(
                "deploy.url-degraded",
                Level.WARNING,
                self.subject,
                f"/readyz says degraded: requests are answered, with something missing"
                f"{details.because(roots)}.",
                "Run checkdeploy in the deployment, which names causes and fixes.",
            )
        yield from self._commits(document, client, deadline)

    def _no_endpoint(self, answer: Answer) -> Iterator[Finding]:
        elsewhere = details.shown(answer.header("Location"))
        said = f"{answer.status}" + (f" to {elsewhere}" if elsewhere else "")
        if answer.status >= 500 and answer.status != _BUSY:  # noqa: PLR2004
            yield self._unhealthy(f"/readyz answers {said}.")
        else:
            yield Finding(
                "deploy.no-endpoint",
                Level.WARNING,
                self.subject,
                f"/readyz answers {said}, and not as the health endpoint does: whether the app is "
                "ready cannot be seen from here.",
                f"{_MIDDLEWARE}.",
            )
        if self.commit:
            yield self._unknown("there is no health endpoint")

    def _details(self, client: Client, deadline: Deadline) -> Any:
        """What ``/readyz?verbose`` tells to whoever has the token; nothing without one."""
        if not self.token or not self.site.keeps_secrets:
            return {}
        answer = self._ask_verbose(client, deadline)
        if answer.status == _REFUSED:
            yield Finding(
                "deploy.token-refused",
                Level.WARNING,
                self.subject,
                "The deployment does not take the token in STATUS_TOKEN.",
                "Set STATUS_TOKEN here and there to the same value, without quotes or blanks.",
            )
            return {}
        return answer.document

    def _ask_verbose(self, client: Client, deadline: Deadline) -> Answer:
        return client.ask(
            "/readyz?verbose",
            deadline,
            headers={"Accept": "application/json", "Authorization": f"Bearer {self.token}"},
        )

    # ── its code ────────────────────────────────────────────────────────────────────────────────

    def _commits(
        self, document: dict[str, Any], client: Client, deadline: Deadline
    ) -> Iterator[Finding]:
        if not self.commit:
            return
        if not document:
            why = "STATUS_TOKEN is not set here, or not taken there"
            if self.token and not self.site.keeps_secrets:
                why = "the token is not sent over plain HTTP"
            yield self._unknown(why)
            return
        seen = {details.commit_of(document)}
        with suppress(NoAnswer, network.StageFailed):  # one answer is enough
            for _ in range(SAMPLES - 1):
                seen.add(details.commit_of(self._ask_verbose(client, deadline).document))
        if "" in seen:
            yield self._unknown("the deployment has no variable that names its commit")
        others = sorted(each for each in seen if each and not details.same(each, self.commit))
        if others:
            known = any(each and details.same(each, self.commit) for each in seen)
            also = ", others the expected one" if known else ""
            yield Finding(
                "deploy.commit-mismatch",
                Level.ERROR,
                self.subject,
                f"Commit {self.commit[:12]} is expected; processes there run "
                f"{', '.join(each[:12] for each in others)}{also}.",
                "Wait for the deploy to end (--wait 300). If it has ended, it failed or went "
                "elsewhere: look at the platform's log.",
                {"expected": self.commit, "seen": ", ".join(sorted(filter(None, seen)))},
            )

    def _unknown(self, why: str) -> Finding:
        return Finding(
            "deploy.commit-unknown",
            Level.ERROR,
            self.subject,
            f"Which commit answers cannot be seen: {why}.",
            "Set the deployment's STATUS_TOKEN here too. Where the platform names no commit, give "
            "the image one: ARG GIT_SHA and ENV GIT_SHA=$GIT_SHA.",
        )

    def _unhealthy(self, summary: str, hint: str = "") -> Finding:
        return Finding(
            "deploy.url-unhealthy",
            Level.ERROR,
            self.subject,
            summary,
            hint or "Look at the deployment's log, and whether it is running at all.",
        )
