"""An HTTP service on threads: the base of every fake that clients speak HTTP to."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, NamedTuple

from resilience.simulation.listener import Listener

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

JSON = "application/json"
HTML = "text/html"


class Request(NamedTuple):
    """What arrived: header names in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Answer(NamedTuple):
    """A status, a body, which is text where ``kind`` is not JSON, and more headers."""

    status: int
    body: object
    kind: str = JSON
    headers: Mapping[str, str] = {}


class Service(Listener):
    """An HTTP server; ``answer()`` says what it answers, ``requests`` what it was asked.

    ``key`` is what it lets in, ``delay`` are seconds before every answer, and a ``status`` other
    than 200 is an error of the service. All three may be changed in the block.
    """

    def __init__(
        self,
        key: str,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(host=host, port=port, tls=tls)
        self.key = key
        self.requests: list[Request] = []
        self.delay: float = 0.0
        self.status = 200
        self.changed: threading.Condition = threading.Condition()

    @property
    def origin(self) -> str:
        """Scheme, ``localhost`` and port."""
        return f"{'http' if self.tls is None else 'https'}://localhost:{self.port}"

    def answer(self, request: Request) -> Answer:
        """What a request is answered; called on the thread of its connection."""
        raise NotImplementedError

    def handle(self, connection: Any) -> None:
        _Conversation(connection, self.address, self)  # type: ignore[arg-type]

    def take(self, request: Request) -> Answer:
        """Answer a request, and keep it."""
        answer = self.answer(request)
        with self.changed:
            self.requests.append(request)
            self.changed.notify_all()
        self.pause(self.delay)
        return answer

    def asked(self, path: str) -> list[Request]:
        """The requests for a path, so far."""
        return [request for request in self.requests if request.path.partition("?")[0] == path]


class _Conversation(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections stay, as those of the real services do
    server: Service  # type: ignore[assignment]

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if len(body) < length:
            return  # the client has given up in the middle
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.server.take(Request(self.command, self.path, headers, body))
        text = json.dumps(answer.body) if answer.kind == JSON else str(answer.body)
        content = text.encode()
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PATCH = _answer  # noqa: N815 - the names that http.server asks for

    def log_message(self, *_: object) -> None:
        """Say nothing: whoever asks reads ``requests``."""
