"""The stages of a Redis examination on a socket that is already connected.

What ends one is a StageFailed with its finding: a refusal in the server's words, or who it is that
listens there instead.
"""

from __future__ import annotations

import ssl
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NoReturn

from resilience import redact
from resilience.findings import Fact, Finding, Level
from resilience.probes import info, network, railway, replies, rights, services, targets, wire
from resilience.probes.base import Deadline, elapsed_ms
from resilience.tls.diagnosis import diagnose

_RESP2 = 2
_PINGS = 10
_PINGING_SECONDS = 0.5  # for all of them
_MAYBE_PLAIN = ("tls.handshake-timeout", "tls.plaintext-port", "tls.reset")


class Conversation:
    """AUTH, PING, SELECT, INFO and one key, with the trust and credentials of a target."""

    def __init__(
        self, subject: str, target: targets.Target, line: wire.Wire, deadline: Deadline
    ) -> None:
        self._subject, self._target, self._deadline = subject, target, deadline
        self._wire = line

    def start(self) -> None:
        """TLS where the URL asks for it; then commands may follow."""
        if self._target.tls:
            try:
                self._wire.start_tls()
            except Exception as error:  # noqa: BLE001 - ssl, OS and redis-py's own; all are diagnosed
                raise self._tls_failure(error) from None
        self._wire.start()

    def authenticate(self) -> Iterator[Finding]:
        """AUTH, where there are credentials. A needless password is a warning, not the end."""
        credentials = _credentials(self._target.options)
        if not credentials:
            return
        reply = self._send("AUTH", *credentials)
        if isinstance(reply, str) and "wrong number of arguments" in reply.lower():
            reply = self._send("AUTH", credentials[-1])  # Redis < 6 knows no user names
        if isinstance(reply, str):
            finding = self._refused(reply, "AUTH")
            if (
                finding.id != "redis.auth-unneeded"
                or self._target.options.get("protocol") == _RESP2
            ):
                raise network.StageFailed(replace(finding, level=Level.ERROR))
            yield finding

    def ping(self) -> list[float]:
        """How many milliseconds each of a few PINGs took.

        Empty where PING is forbidden, which no cache needs, and under MISCONF, which refuses PING
        and writes alone.
        """
        took: list[float] = []
        while len(took) < _PINGS and sum(took) < _PINGING_SECONDS * 1000:
            began = time.perf_counter()
            reply = self._send("PING")
            if isinstance(reply, str):
                if not reply.startswith(("NOPERM", "MISCONF")):
                    self._fail(reply, "PING")
                return []
            if reply != b"PONG":
                raise self._foreign()
            took.append(elapsed_ms(began))
        return took

    def select(self) -> None:
        """The database of the URL."""
        if self._target.db:
            self._expect("SELECT", str(self._target.db))

    def inform(self) -> info.Info | None:
        """What INFO says. Managed servers may hide it; the app does not need it."""
        reply = self._send("INFO")
        if isinstance(reply, str):
            if not reply.startswith(("NOPERM", "ERR unknown command")):
                self._fail(reply, "INFO")
            return None
        return info.Info.read(reply)

    def explained(self, failure: Finding) -> Finding:
        """A refusal with what INFO adds to it, where that still answers."""
        try:
            reply = self._send("INFO")
        except network.StageFailed:
            return failure
        return failure if isinstance(reply, str) else info.Info.read(reply).explain(failure)

    def ask_cluster(self) -> None:
        """CLUSTER INFO, which a single server refuses."""
        reply = self._expect("CLUSTER", "INFO")
        if isinstance(reply, bytes) and b"cluster_state:fail" in reply:
            self._fail("CLUSTERDOWN", "CLUSTER INFO")

    def use_key(self) -> Iterator[Finding]:
        """Write, read and delete one key, spelled as the cache's own; it expires by itself too.

        With it every right that the cache needs, all in one round trip.
        """
        asked = rights.commands(
            f"{self._target.key}:{uuid.uuid4().hex}",
            uuid.uuid4().hex,
            kind=self._target.kind,
            writes=self._target.writes,
        )
        known = self._dry_run(asked)
        # Who may be asked what is allowed need not try the rest.
        tried = {
            name: words
            for name, words in asked.items()
            if known is None or (name in rights.ALWAYS_TRIED and name not in known)
        }
        answers = dict(zip(tried, self._exchange(list(tried.values())), strict=True))
        refused = {**(known or {}), **rights.refused(answers)}
        for name, reply in answers.items():
            if isinstance(reply, str) and name not in refused:
                self._fail(reply, name)
        found = list(rights.findings(self._subject, self._target, refused, asked))
        for finding in found:
            if finding.level >= Level.ERROR:
                raise network.StageFailed(finding)
        if "SET" in answers and answers["GET"] != asked["SET"][2].encode():
            raise self._failed(
                "redis.mismatch",
                "A key that was just written reads differently.",
                "The reads go to another server than the writes: look at the proxy or load "
                "balancer in front of Redis.",
            )
        yield from found

    def close(self) -> None:
        self._wire.close()

    def _dry_run(self, asked: rights.Commands) -> dict[str, str] | None:
        """The refusals that ACL DRYRUN foretells; None where it may not, or cannot, be asked."""
        user = self._send("ACL", "WHOAMI")
        if not isinstance(user, bytes):
            return None
        questions = [("ACL", "DRYRUN", user.decode(), *words) for words in asked.values()]
        answers = dict(zip(asked, self._exchange(questions), strict=True))
        return rights.foretold(answers)

    def _expect(self, *command: str) -> object:
        reply = self._send(*command)
        if isinstance(reply, str):
            self._fail(reply, command[0])
        return reply

    def _fail(self, reply: str, command: str) -> NoReturn:
        raise network.StageFailed(self._refused(reply, command))

    def _refused(self, reply: str, command: str) -> Finding:
        if command == "SELECT" and reply.startswith("NOPERM"):
            refused = {command: reply}
            return next(rights.findings(self._subject, self._target, refused, {command: ()}))
        return replies.to_finding(self._subject, reply, command)

    def _send(self, *command: str) -> object:
        return self._exchange([command])[0]

    def _exchange(self, commands: Sequence[wire.Command]) -> list[object]:
        try:
            return self._wire.exchange(commands)
        except wire.Silent as silent:
            raise self._silent(silent) from None
        except wire.Foreign:
            raise self._foreign() from None
        except wire.Ended as ended:
            raise self._ended(ended) from None

    def _ended(self, error: wire.Ended) -> network.StageFailed:
        """The connection ended in the middle: another protocol, or an alert of the TLS server."""
        cause = next((e for e in _chain(error) if isinstance(e, ssl.SSLError)), None)
        if cause is not None and self._target.tls:
            return self._tls_failure(cause)
        return self._plain_to_tls() or self._wrong_service(
            f"{self._target.where} closed the connection instead of answering"
        )

    def _foreign(self) -> network.StageFailed:
        """Bytes that are no reply: a TLS alert, or another service."""
        return self._plain_to_tls() or self._wrong_service(
            f"{self._target.where} answers, but does not speak Redis"
        )

    def _wrong_service(self, what: str, service: str | None = None) -> network.StageFailed:
        if service is None and not (self._target.path or self._target.tls):
            service = services.identify(self._wire.peer, self._deadline)
        facts: dict[str, Fact] = {}
        if service not in (None, services.REDIS):
            what += f": this is {service}"
            facts["service"] = str(service)
        return self._failed(
            "redis.wrong-service",
            f"{what}.",
            "Check that host and port are those of Redis and not of another service or a proxy.",
            **facts,
        )

    def _plain_to_tls(self) -> network.StageFailed | None:
        target = self._target
        if target.tls or target.path:
            return None
        facts = services.tls_facts(self._wire.peer, target.host, self._deadline)
        if facts is None:
            return None
        speaks = facts.get("tls_version") or "TLS"
        names = facts.get("certificate_names")
        certificate = f", with a certificate for {names}" if names else ""
        return self._failed(
            "redis.plain-to-tls",
            f"The port {target.where} speaks {speaks}{certificate}, and the URL says redis://.",
            "Write rediss:// instead of redis:// in the URL.",
            **facts,
        )

    def _silent(self, error: wire.Silent) -> network.StageFailed:
        if error.received:
            return self._failed(
                "redis.silent",
                f"{self._target.where} trickles: {error.received} bytes of its answer to "
                f"{error.command} in {error.waited:.1f} s, and no end.",
                "Look at what lies in between, a proxy or a congested link (ping, retransmissions "
                "in ss -ti); then whether the server swaps.",
                received_bytes=error.received,
            )
        return self._failed(
            "redis.silent",
            f"{self._target.where} accepts connections but did not answer {error.command} within "
            f"{error.waited:.1f} s.",
            "See whether Redis runs and answers on its own host (redis-cli PING, SLOWLOG GET); it "
            "may be stopped, swapping or busy, or another service listens there.",
        )

    def _tls_failure(self, error: BaseException) -> network.StageFailed:
        cause = next((e for e in _chain(error) if isinstance(e, ssl.SSLError | OSError)), error)
        found = diagnose(cause)
        if found.id in _MAYBE_PLAIN:
            target = self._target
            service = services.identify(self._wire.peer, self._deadline)
            if service == services.REDIS:
                return self._tls_to_plain()
            if service is not None:
                return self._wrong_service(f"{target.where} does not speak TLS", service)
        summary, hint = found.summary, found.hint
        if found.id in ("tls.untrusted-root", "tls.self-signed"):
            hint += " For redis-py: append ?ssl_ca_certs=/path/to/ca.pem to the URL."
        elif found.id.startswith("tls.client-cert"):
            hint += " For redis-py: append ?ssl_certfile=…&ssl_keyfile=… to the URL."
        elif found.id.startswith("tls.bundle"):
            summary += f" Named are: {', '.join(self._named_files())}."
        return self._failed(found.id, summary, hint, **_verify_facts(cause))

    def _tls_to_plain(self) -> network.StageFailed:
        return self._failed(
            "redis.tls-to-plain",
            f"The Redis at {self._target.where} speaks plain TCP, and the URL says rediss://: "
            "both sides wait for each other.",
            "Write redis:// instead of rediss://, or use the server's TLS port. "
            + railway.about_tls(self._target.host),
        )

    def _named_files(self) -> list[str]:
        names = ("ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile")
        return [str(self._target.options[name]) for name in names if self._target.options.get(name)]

    def _failed(self, id: str, summary: str, hint: str, **facts: Fact) -> network.StageFailed:
        return network.failed(id, self._subject, summary, hint, **facts)


def _credentials(options: Any) -> tuple[str, ...]:
    provider = options.get("credential_provider")
    if provider is not None:
        credentials = tuple(provider.get_credentials())
        redact.register(str(credentials[-1]))
        return credentials
    username, password = options.get("username"), options.get("password")
    if username:
        return (username, password or "")
    return (password,) if password else ()


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _verify_facts(error: BaseException) -> dict[str, Fact]:
    if isinstance(error, ssl.SSLCertVerificationError):
        return {"verify_code": error.verify_code}
    return {}
