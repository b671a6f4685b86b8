"""A Redis in this process, in the state that a test wants.

A toy with honest edges: a dictionary and a dozen commands, and whatever else it is asked is an
error, never an invented success. For Redis's own behaviour use a real redis-server.
"""

from __future__ import annotations

import re
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple

from resilience.simulation import keys
from resilience.simulation.keys import NOT_A_NUMBER, Keys, integer
from resilience.simulation.listener import Listener
from resilience.simulation.resp import (
    RESP3,
    ErrorReply,
    ProtocolError,
    Reply,
    encode,
    read_command,
)

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable, Mapping

VERSION = "7.0.15"  # the one whose wording this is
DATABASES = 16

# Commands whose first argument is a name too: "CLIENT SETINFO".
CONTAINER = re.compile(
    "ACL|CLIENT|CLUSTER|COMMAND|CONFIG|FUNCTION|LATENCY|MEMORY|MODULE|OBJECT|PUBSUB|SCRIPT|SLOWLOG"
    "|XGROUP|XINFO"
)
NAME = re.compile(rb"[A-Za-z][A-Za-z0-9._-]{0,31}")

INFO = """\
# Server
redis_version:7.0.15
redis_mode:standalone
# Clients
connected_clients:1
maxclients:10000
# Memory
used_memory:1048576
maxmemory:0
maxmemory_policy:noeviction
# Persistence
loading:0
rdb_last_bgsave_status:ok
# Replication
role:master
connected_slaves:0
"""

UNKNOWN: Final = ErrorReply("ERR unknown command")


@dataclass
class _Session:
    """What one connection agreed on."""

    number: int
    protocol: int = 2
    database: int = 0


class _Command(NamedTuple):
    fewest: int  # arguments, the name aside
    most: int
    run: Callable[[FakeRedis, _Session, list[bytes]], Reply]


def _on_keys(run: keys.Run) -> Callable[[FakeRedis, _Session, list[bytes]], Reply]:
    return lambda fake, session, arguments: run(fake._keys, session.database, arguments)  # noqa: SLF001 - its own


class FakeRedis(Listener):
    """A small Redis server.

    SET GET MGET EXISTS DEL UNLINK PTTL PEXPIRE PERSIST SCAN PING AUTH SELECT HELLO CLIENT INFO.

    ::

        with FakeRedis(errors={"PING": "LOADING Redis is loading the dataset in memory"}) as fake:
            redis.Redis(port=fake.port).ping()  # BusyLoadingError
            fake.errors.clear()                 # loaded

    It never asks for a password and takes any; ``errors={"*": "NOAUTH Authentication required."}``
    is a server that wants one. Values live as long as the object, across restarts.

    ``replies``   command name → what to answer instead: ``str`` simple, ``bytes`` bulk, ``int``,
                  ``None`` null, a sequence, a mapping, an ``ErrorReply``
    ``default``   the answer to a command neither in ``replies`` nor implemented
    ``errors``    command name → error text, code first; ``"*"`` is every command. An error wins
                  over a reply, and AUTH also counts when it comes inside HELLO
    ``delay``     seconds between doing a command and its reply
    ``resp3``     False: HELLO is unknown, as before Redis 6.0
    ``clock``     seconds, for expiry; the rest is the Listener's

    Names match in any case, ``"CLIENT TRACKING"`` before ``"CLIENT"``. ``replies``, ``errors`` and
    ``delay`` are read at every command: a test may change them in the block (upper case then).

    ``commands`` lists the names of the commands received, upper case and in order, with the second
    word where that is a name too (``"CLIENT SETINFO"``), ``"?"`` for what cannot be a name. Never
    arguments: they may be secrets.
    """

    def __init__(  # noqa: PLR0913 -- each is one independent aspect, by keyword
        self,
        replies: Mapping[str, Reply] | None = None,
        *,
        default: Reply = UNKNOWN,
        errors: Mapping[str, str] | None = None,
        delay: float = 0.0,
        resp3: bool = True,
        clock: Callable[[], float] = time.monotonic,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(host=host, port=port, tls=tls)
        said = (replies or {}).items()
        self.replies: dict[str, Reply] = {name.upper(): reply for name, reply in said}
        self.default = default
        self.errors: dict[str, str] = {name.upper(): text for name, text in (errors or {}).items()}
        self.delay = delay
        self.resp3 = resp3
        self.commands: list[str] = []
        self._data_lock = threading.Lock()
        self._data: dict[tuple[int, bytes], tuple[bytes, float | None]] = {}
        self._keys = Keys(self._data, clock)

    @property
    def url(self) -> str:
        """The URL of database 0."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'redis' if self.tls is None else 'rediss'}://{host}:{self.port}/0"

    def handle(self, connection: socket.socket) -> None:
        session = _Session(self.connections)
        with connection.makefile("rb") as stream:
            while True:
                try:
                    words = read_command(stream)
                except ProtocolError as error:
                    connection.sendall(encode(ErrorReply(f"ERR Protocol error: {error}"), 2))
                    self.hang_up(connection)
                    return
                if words is None:
                    return
                if not words:
                    continue
                reply = self._answer(session, words)
                self.pause(self.delay)
                connection.sendall(encode(reply, session.protocol))

    def _answer(self, session: _Session, words: list[bytes]) -> Reply:
        first, arguments = _name(words[0]), words[1:]
        full = first
        if arguments and CONTAINER.fullmatch(first):
            full = f"{first} {_name(arguments[0])}"
        self.commands.append(full)
        for name in (full, first, "*"):
            if name in self.errors:
                return ErrorReply(self.errors[name])
        for name in (full, first):
            if name in self.replies:
                return self.replies[name]
        command = self._commands.get(first)
        unknown = ErrorReply(f"{UNKNOWN.text} '{first}'")
        if first == "HELLO" and not self.resp3:
            return unknown
        if command is None:
            return unknown if self.default is UNKNOWN else self.default
        if not command.fewest <= len(arguments) <= command.most:
            return ErrorReply(f"ERR wrong number of arguments for '{first.lower()}' command")
        with self._data_lock:
            return command.run(self, session, arguments)

    # ── the commands, called with the lock held ─────────────────────────────────────────────────

    def _ping(self, _: _Session, arguments: list[bytes]) -> Reply:
        return arguments[0] if arguments else "PONG"

    def _auth(self, _: _Session, __: list[bytes]) -> Reply:
        return "OK"

    def _select(self, session: _Session, arguments: list[bytes]) -> Reply:
        index = integer(arguments[0])
        if index is None:
            return NOT_A_NUMBER
        if not 0 <= index < DATABASES:
            return ErrorReply("ERR DB index is out of range")
        session.database = index
        return "OK"

    def _hello(self, session: _Session, arguments: list[bytes]) -> Reply:
        if arguments:
            version = integer(arguments[0])
            if version not in (2, RESP3):
                return ErrorReply("NOPROTO unsupported protocol version")
            if "AUTH" in self.errors and b"AUTH" in (word.upper() for word in arguments[1:]):
                return ErrorReply(self.errors["AUTH"])
            session.protocol = version
        return {
            "server": b"redis",
            "version": VERSION.encode(),
            "proto": session.protocol,
            "id": session.number,
            "mode": b"standalone",
            "role": b"master",
            "modules": [],
        }

    def _client(self, session: _Session, arguments: list[bytes]) -> Reply:
        match _name(arguments[0]):
            case "SETINFO" | "SETNAME" | "NO-EVICT" | "NO-TOUCH":
                return "OK"
            case "ID":
                return session.number
            case "GETNAME":
                return None
            case name:  # TRACKING too: a fake that never invalidates must not say that it tracks
                return ErrorReply(f"ERR unknown subcommand '{name}'. Try CLIENT HELP.")

    def _info(self, _: _Session, __: list[bytes]) -> Reply:
        return INFO.replace("\n", "\r\n").encode()

    _commands: ClassVar = {
        "AUTH": _Command(1, 2, _auth),
        "CLIENT": _Command(1, 64, _client),
        "HELLO": _Command(0, 6, _hello),
        "INFO": _Command(0, 64, _info),
        "PING": _Command(0, 1, _ping),
        "SELECT": _Command(1, 1, _select),
        **{
            name: _Command(row.fewest, row.most, _on_keys(row.run))
            for name, row in keys.COMMANDS.items()
        },
    }


def _name(word: bytes) -> str:
    """Spell a command's name as Redis lists it; bytes that are no name may be a secret: ``?``."""
    return word.decode().upper() if NAME.fullmatch(word) else "?"
