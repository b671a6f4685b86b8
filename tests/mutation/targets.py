"""What is mutated, by which tests it is judged, and which mutants are no faults."""

from __future__ import annotations

from typing import NamedTuple

from tests.mutation.mutants import Mutant


class Target(NamedTuple):
    """A file and the tests that are about it: quick ones, for each runs once per mutant."""

    path: str
    tests: tuple[str, ...]


CACHE, PROBES = "resilience/cache", "resilience/probes"

MODULES: dict[str, tuple[Target, ...]] = {
    "breaker": (Target(f"{CACHE}/breaker.py", ("tests/cache/test_breaker.py",)),),
    "journal": (Target(f"{CACHE}/journal.py", ("tests/cache/test_journal.py",)),),
    "deadline": (
        Target(f"{CACHE}/connection.py", ("tests/cache/test_connection.py",)),
        Target(f"{CACHE}/pool.py", ("tests/cache/test_link.py",)),
        Target(f"{PROBES}/base.py", ("tests/probes/test_base.py",)),
    ),
    "redact": (Target("resilience/redact.py", ("tests/test_redact.py",)),),
    "diagnosis": (
        Target("resilience/tls/diagnosis.py", ("tests/tls/test_diagnosis.py",)),
        Target("resilience/tls/causes.py", ("tests/tls/test_causes.py",)),
        Target(f"{PROBES}/replies.py", ("tests/probes/test_replies.py",)),
    ),
}


class Harmless(NamedTuple):
    """A mutant that no test can tell: the line, what becomes of it, and why that is no fault."""

    path: str
    before: str
    after: str
    why: str

    def makes(self, mutant: Mutant) -> bool:
        """Whether this is it; white space and comments aside."""
        lines = [
            " ".join(text.partition("  #")[0].split()) for text in (mutant.before, mutant.after)
        ]
        return lines == [self.before, self.after]


HARMLESS = (
    Harmless(
        f"{CACHE}/breaker.py",
        "for begun in range(max(self._second + 1, second - WINDOW + 1), second + 1):",
        "for begun in range(max(self._second + 1, (second - WINDOW - 1)), second + 1):",
        "some buckets are emptied twice",
    ),
    Harmless(
        f"{CACHE}/connection.py",
        """LINGER_NONE = struct.pack("ii", 1, 0)""",
        """LINGER_NONE = struct.pack("ii", 2, 0)""",
        "to the kernel every number but 0 is yes",
    ),
    Harmless(
        f"{CACHE}/connection.py",
        "super().__init__(message)",
        "pass",
        "Exception has kept the message before; where there is a cause besides, a test tells",
    ),
    Harmless(
        f"{CACHE}/connection.py",
        "self._sock.recv(1)",
        "self._sock.recv(2)",
        "whatever comes is too much",
    ),
    *(
        Harmless(
            f"{CACHE}/connection.py",
            before,
            before.replace("True", "False"),
            "redis-py's signature",
        )
        for before in (
            "check_health: bool = True,",
            "retry_socket_connect: bool = True,",
            "def send_packed_command(self, command: Any, check_health: bool = True) -> None:",
        )
    ),
    Harmless(
        f"{CACHE}/pool.py",
        "def disconnect(self, inuse_connections: bool = True) -> None:",
        "def disconnect(self, inuse_connections: bool = False) -> None:",
        "redis-py's signature",
    ),
    Harmless(
        f"{CACHE}/pool.py",
        """_ends: ContextVar[float | None] = ContextVar("resilience_cache_ends", default=None)""",
        """_ends: ContextVar[float | None] = ContextVar('XX', default=None)""",
        "a name for debuggers",
    ),
    Harmless(
        f"{CACHE}/journal.py",
        "for flight in {mask.mark.flight for _, mask in taken if mask.mark is not None}:",
        "for flight in ({mask.mark.flight for _, mask in taken}):",
        "take() gives marks only; the condition is for type checkers",
    ),
    Harmless(
        "resilience/redact.py",
        """for safe in ("/", ""):""",
        """for safe in ("/", 'XX'):""",
        "letters are never quoted",
    ),
    Harmless(
        "resilience/tls/diagnosis.py",
        """reason = getattr(error, "reason", None) or \"\"""",
        """reason = getattr(error, "reason", None) or 'XX'""",
        "no mnemonic ends so",
    ),
    Harmless(
        "resilience/tls/diagnosis.py",
        "passed_on = (error.errno or 0) & _WITHOUT_FLAGS",
        "passed_on = (error.errno or 1) & _WITHOUT_FLAGS",
        "1 is as little the number of a library as 0",
    ),
    Harmless(
        "resilience/tls/causes.py",
        "alike = tuple(der for der in trust.certificates if top.issuer_der in der)",
        "alike = tuple((der for der in trust.certificates))",
        "saves time, and cryptography's warnings about others",
    ),
)


def is_harmless(path: str, mutant: Mutant) -> bool:
    return any(path == each.path and each.makes(mutant) for each in HARMLESS)
