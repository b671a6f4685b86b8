"""The stages of a Redis examination that need redis-py, on a socket that is already connected."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from resilience import redact
from resilience.findings import Fact, Finding, Level
from resilience.probes import network, replies, targets
from resilience.probes.base import Deadline, elapsed_ms
from resilience.tls.diagnosis import diagnose

_MIB = 1 << 20
_KEY_SECONDS = 10
_RESP2 = 2
_NUMBER = re.compile("[0-9]{1,18}")


class Cut:
    """Ends what a socket does after some seconds in all: its own timeout is for each byte."""

    def __init__(self, sock: socket.socket, seconds: float) -> None:
        self.seconds = seconds
        self.happened = False
        # A socket of its own for the same connection: wrapping in TLS detaches the first one.
        self._sock = socket.fromfd(sock.fileno(), sock.family, sock.type)
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True

    def _cut(self) -> None:
        self.happened = True
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._timer.join()
        self._sock.close()


class Conversation:
    """AUTH, PING, SELECT, INFO and one key, with the trust and credentials of a target.

    Every method raises StageFailed with the finding that ends the examination.
    """

    def __init__(
        self, subject: str, target: targets.Target, sock: socket.socket, deadline: Deadline
    ) -> None:
        self._subject, self._target, self._deadline = subject, target, deadline
        self._sock = sock
        self._connection = _connection(target)

    def start_tls(self) -> None:
        """Wrap the socket with the trust of the client's own options, then hand it to redis-py."""
        if self._target.tls:
            allowed = self._deadline.stage()
            self._sock.settimeout(allowed)
            cut = Cut(self._sock, allowed)
            try:
                with cut:
                    self._sock = self._connection._wrap_socket_with_ssl(self._sock)  # noqa: SLF001
            except Exception as error:  # noqa: BLE001 - ssl, OS and redis-py's own; all are diagnosed
                raise self._tls_failure(TimeoutError() if cut.happened else error) from None
        self._connection._sock = self._sock  # noqa: SLF001
        self._connection._parser.on_connect(self._connection)  # noqa: SLF001

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

    def greet(self) -> dict[str, Fact]:
        """PING, timed, and SELECT of the URL's database."""
        began = time.perf_counter()
        reply = self._send("PING")
        took = elapsed_ms(began)
        if isinstance(reply, str) and not reply.startswith("NOPERM"):
            self._fail(reply, "PING")
        if not isinstance(reply, str) and reply != b"PONG":
            raise self._foreign()
        if self._target.db:
            self._expect("SELECT", str(self._target.db))
        return {"round_trip_ms": took}

    def inform(self) -> dict[str, Fact]:
        """Version, memory and role. Managed servers may hide INFO; the app does not need it."""
        reply = self._send("INFO")
        if isinstance(reply, str):
            if not reply.startswith(("NOPERM", "ERR unknown command")):
                self._fail(reply, "INFO")
            return {"info": "not allowed"}
        return _facts_of(reply)

    def use_key(self) -> None:
        """Write, read and delete one key, spelled as the cache's own; it expires by itself too."""
        key, value = f"{self._target.key}:{uuid.uuid4().hex}", uuid.uuid4().hex
        if self._target.writes:
            self._expect("SET", key, value, "EX", str(_KEY_SECONDS))
        read = self._expect("GET", key)
        if self._target.writes:
            self._expect("DEL", key)
            if read != value.encode():
                raise self._failed(
                    "redis.mismatch",
                    "A key that was just written reads differently.",
                    "The reads go to another server than the writes: look at the proxy or load "
                    "balancer in front of Redis.",
                )

    def close(self) -> None:
        self._connection.disconnect()
        self._sock.close()

    def _expect(self, *command: str) -> object:
        reply = self._send(*command)
        if isinstance(reply, str):
            self._fail(reply, command[0])
        return reply

    def _fail(self, reply: str, command: str) -> None:
        raise network.StageFailed(self._refused(reply, command))

    def _refused(self, reply: str, command: str) -> Finding:
        user = str(self._target.options.get("username") or "default")
        keys = self._target.key.removesuffix(targets.PROBE_KEY)
        return replies.to_finding(self._subject, reply, command, user=user, keys=keys)

    def _send(self, *command: str) -> object:
        """The reply, or an error reply as ``str`` (every other reply is bytes, int or None)."""
        from redis import exceptions  # noqa: PLC0415 - see targets.parse

        allowed = self._deadline.stage()
        self._sock.settimeout(allowed)
        cut = Cut(self._sock, allowed)
        try:
            with cut:
                self._connection.send_command(*command, check_health=False)
                return self._connection.read_response(timeout=allowed, disconnect_on_error=False)
        except exceptions.InvalidResponse:
            raise self._foreign() from None
        except exceptions.TimeoutError:
            raise self._silent(command[0], allowed) from None
        except exceptions.RedisError as error:
            reply = _error_reply(error)
            if reply is not None:
                return reply
            raise self._ended(error, cut, command[0]) from None
        except OSError as error:
            raise self._ended(error, cut, command[0]) from None

    def _ended(self, error: BaseException, cut: Cut, command: str) -> network.StageFailed:
        return self._silent(command, cut.seconds) if cut.happened else self._broken(error)

    def _broken(self, error: BaseException) -> network.StageFailed:
        """The connection ended in the middle: another protocol, or an alert of the TLS server."""
        cause = next((e for e in _chain(error) if isinstance(e, ssl.SSLError)), None)
        if cause is not None and self._target.tls:
            return self._tls_failure(cause)
        return self._plain_to_tls() or self._failed(
            "redis.wrong-service",
            f"{self._target.where} closed the connection instead of answering.",
            "Check that host and port are those of Redis and not of another service or a proxy.",
        )

    def _foreign(self) -> network.StageFailed:
        """Bytes that are no reply: a TLS alert, or another service."""
        return self._plain_to_tls() or self._failed(
            "redis.wrong-service",
            f"{self._target.where} answers, but does not speak Redis.",
            "Check host and port: this is another service (a web server, a database).",
        )

    def _plain_to_tls(self) -> network.StageFailed | None:
        if self._target.tls or self._target.path or not self._speaks_tls():
            return None
        return self._failed(
            "redis.plain-to-tls",
            f"The port {self._target.where} speaks TLS, and the URL says redis://.",
            "Write rediss:// instead of redis:// in the URL.",
        )

    def _silent(self, command: str, waited: float) -> network.StageFailed:
        return self._failed(
            "redis.silent",
            f"{self._target.where} accepts connections but did not answer {command} within "
            f"{waited:.1f} s.",
            "See whether Redis runs and answers on its own host (redis-cli PING, SLOWLOG GET); it "
            "may be stopped, swapping or busy, or another service listens there.",
        )

    def _tls_failure(self, error: BaseException) -> network.StageFailed:
        cause = next((e for e in _chain(error) if isinstance(e, ssl.SSLError | OSError)), error)
        found = diagnose(cause)
        maybe_plain = found.id in ("tls.handshake-timeout", "tls.plaintext-port", "tls.reset")
        if maybe_plain and _answers_plain(self._target.host, self._target.port, self._deadline):
            return self._failed(
                "redis.tls-to-plain",
                f"The Redis at {self._target.where} speaks plain TCP, and the URL says "
                "rediss://: both sides wait for each other.",
                "Write redis:// instead of rediss://, or use the server's TLS port. (On Railway's "
                "private network redis:// is right: that network itself is encrypted.)",
            )
        summary, hint = found.summary, found.hint
        if found.id in ("tls.untrusted-root", "tls.self-signed"):
            hint += " For redis-py: append ?ssl_ca_certs=/path/to/ca.pem to the URL."
        elif found.id.startswith("tls.client-cert"):
            hint += " For redis-py: append ?ssl_certfile=…&ssl_keyfile=… to the URL."
        elif found.id.startswith("tls.bundle"):
            summary += f" Named are: {', '.join(self._named_files())}."
        return self._failed(found.id, summary, hint, **_verify_facts(cause))

    def _named_files(self) -> list[str]:
        names = ("ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile")
        return [str(self._target.options[name]) for name in names if self._target.options.get(name)]

    def _speaks_tls(self) -> bool:
        """Whether the port answers a TLS hello. An untrusted certificate is an answer too."""
        allowed = self._deadline.stage()
        address = (self._target.host, self._target.port)
        try:
            with (
                socket.create_connection(address, allowed) as plain,
                ssl.create_default_context().wrap_socket(plain, server_hostname=address[0]),
            ):
                return True
        except ssl.SSLCertVerificationError:
            return True
        except ssl.SSLError as error:
            return "ALERT" in (error.reason or "")
        except (OSError, ValueError):
            return False

    def _failed(self, id: str, summary: str, hint: str, **facts: Fact) -> network.StageFailed:
        return network.failed(id, self._subject, summary, hint, **facts)


def _connection(target: targets.Target) -> Any:
    """A redis-py connection of the right class that never dials, retries or sends a handshake."""
    from redis.backoff import NoBackoff  # noqa: PLC0415 - see targets.parse
    from redis.connection import Connection, SSLConnection  # noqa: PLC0415
    from redis.retry import Retry  # noqa: PLC0415

    kept = {name: value for name, value in target.options.items() if name.startswith("ssl_")}
    cls, extra = (SSLConnection, kept) if target.tls else (Connection, {})
    return cls(host=target.host, port=target.port, retry=Retry(NoBackoff(), 0), protocol=2, **extra)


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


def _error_reply(error: BaseException) -> str | None:
    """The server's own line: redis-py cuts the code off some of its messages and keeps others."""
    from redis import exceptions  # noqa: PLC0415 - see targets.parse

    code, text = getattr(error, "status_code", None), str(error)
    if code:
        return text if text.startswith(code) else f"{code} {text}"
    return text if isinstance(error, exceptions.ResponseError) else None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _verify_facts(error: BaseException) -> dict[str, Fact]:
    if isinstance(error, ssl.SSLCertVerificationError):
        return {"verify_code": error.verify_code}
    return {}


def _answers_plain(host: str, port: int, deadline: Deadline) -> bool:
    """Whether the port answers an unencrypted PING as Redis does."""
    try:
        # Half a stage: whoever waited for TLS has used a whole one already.
        allowed = deadline.stage() / 2
        with socket.create_connection((host, port), allowed) as sock:
            sock.settimeout(allowed)
            sock.sendall(b"PING\r\n")
            # An error is an answer too: -NOAUTH, -DENIED, -LOADING, -MISCONF, -BUSY.
            return sock.recv(64).startswith((b"+PONG", b"-"))
    except OSError:
        return False


def _facts_of(reply: object) -> dict[str, Fact]:
    text = reply.decode(errors="replace") if isinstance(reply, bytes) else ""
    rows = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    facts: dict[str, Fact] = {}
    version = rows.get("valkey_version") or rows.get("redis_version")
    if version:
        facts["version"] = version
    if _NUMBER.fullmatch(rows.get("used_memory", "")):
        facts["used_memory_mib"] = round(int(rows["used_memory"]) / _MIB, 1)
    if _NUMBER.fullmatch(rows.get("maxmemory", "")):
        facts["max_memory_mib"] = round(int(rows["maxmemory"]) / _MIB, 1)
    if "maxmemory_policy" in rows:
        facts["eviction_policy"] = rows["maxmemory_policy"]
    if "role" in rows:
        facts["role"] = rows["role"]
    return facts
