"""The two services that the example project talks to, over real HTTP and on this machine.

Context managers on a free port. They speak as much of the protocols as the real clients need, check
keys as the real ones do, and keep every request, so that a test sees what left the process.
"""

from __future__ import annotations

import json
import ssl
import threading
import time
from email.message import Message
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler
from typing import Any, NamedTuple

from resilience.simulation.listener import Listener


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
    """A status and what becomes its JSON body."""

    status: int
    body: object


class _Service(Listener):
    """An HTTP server; ``answer()`` says what it answers, ``requests`` what it was asked."""

    def __init__(self, key: str, *, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(tls=tls)
        self.key = key
        self.requests: list[Request] = []
        self.delay = 0.0  # seconds before every answer
        self.status = 200  # another one is an error of the service
        self.changed = threading.Condition()

    @property
    def origin(self) -> str:
        return f"{'http' if self.tls is None else 'https'}://localhost:{self.port}"

    def answer(self, request: Request) -> Answer:
        raise NotImplementedError

    def handle(self, connection: Any) -> None:
        _Conversation(connection, self.address, self)  # type: ignore[arg-type]

    def take(self, request: Request) -> Answer:
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
    server: _Service  # type: ignore[assignment]

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if len(body) < length:
            return  # the client has given up in the middle
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.server.take(Request(self.command, self.path, headers, body))
        content = json.dumps(answer.body).encode()
        self.send_response(answer.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PATCH = _answer  # noqa: N815 - the names that http.server asks for

    def log_message(self, *_: object) -> None:
        """Say nothing: the test reads ``requests``."""


class OpenAI(_Service):
    """Chat completions. ``reply`` and ``finish_reason`` are what the model says next."""

    reply = "Blue, because short waves scatter most."
    finish_reason = "stop"

    @property
    def base_url(self) -> str:
        return f"{self.origin}/v1"

    @property
    def prompts(self) -> list[str]:
        """What the model was told, one text for each call."""
        return [
            "\n".join(message["content"] for message in request.json["messages"])
            for request in self.asked("/v1/chat/completions")
        ]

    def answer(self, request: Request) -> Answer:
        if request.headers.get("authorization") != f"Bearer {self.key}":
            return _openai_error(401, "Incorrect API key provided.", "invalid_api_key")
        if self.status != 200:
            return _openai_error(self.status, "The server had an error.", "server_error")
        if (request.method, request.path) == ("GET", "/v1/models"):
            return Answer(200, {"object": "list", "data": []})
        if (request.method, request.path) != ("POST", "/v1/chat/completions"):
            return _openai_error(404, f"Invalid URL ({request.method} {request.path})", "none")
        message = {"role": "assistant", "content": self.reply, "refusal": None}
        choice = {"index": 0, "message": message, "finish_reason": self.finish_reason}
        return Answer(
            200,
            {
                "id": f"chatcmpl-{len(self.requests)}",
                "object": "chat.completion",
                "created": int(time.time()),
                "model": request.json["model"],
                "choices": [{**choice, "logprobs": None}],
                "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
            },
        )


def _openai_error(status: int, message: str, code: str) -> Answer:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    return Answer(status, {"error": error})


_LANGSMITH = {
    ("GET", "/info"): Answer(200, {"version": "0.16.14"}),
    ("GET", "/sessions"): Answer(200, []),
    ("GET", "/api/v1/agents"): Answer(200, {"items": []}),  # which the SDK asks through httpx
    ("POST", "/runs/multipart"): Answer(202, {}),
}


class LangSmith(_Service):
    """Takes runs in batches of parts, has no project and no agent. ``runs`` are those by id."""

    def __init__(self, key: str, *, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(key, tls=tls)
        self.runs: dict[str, dict[str, Any]] = {}

    def answer(self, request: Request) -> Answer:
        asked = request.method, request.path.partition("?")[0]
        if self.status != 200:
            return Answer(self.status, {"detail": "The server had an error."})
        if request.headers.get("x-api-key") != self.key and asked != ("GET", "/info"):
            return Answer(401, {"detail": "Invalid token"})
        if asked == ("POST", "/runs/multipart"):
            self._keep(request)
        return _LANGSMITH.get(asked, Answer(404, {"detail": "Not Found"}))

    def _keep(self, request: Request) -> None:
        """Put the parts of every run together: they are named post.ID, patch.ID, post.ID.inputs."""
        parts = _parts(request)
        with self.changed:
            for name, content in parts:
                _, run, *field = name.split(".")
                part = {field[0]: content} if field else content
                self.runs.setdefault(run, {}).update(part)

    def named(self, name: str, within: float = 5.0, **inputs: object) -> list[dict[str, Any]]:
        """The ended runs of this name that were given these inputs, as soon as there is one.

        None after ``within`` seconds.
        """

        def ended() -> list[dict[str, Any]]:
            return [
                run
                for run in self.runs.values()
                if run.get("name") == name
                and run.get("end_time")
                and inputs.items() <= run.get("inputs", {}).items()
            ]

        with self.changed:
            self.changed.wait_for(ended, within)
            return ended()


def _parts(request: Request) -> list[tuple[str, Any]]:
    """Name and JSON of every part of a multipart body."""
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
    message = BytesParser().parsebytes(head + request.body)
    return [
        (str(part.get_param("name", header="content-disposition")), json.loads(_content(part)))
        for part in message.walk()
        if not part.is_multipart()
    ]


def _content(part: Message) -> bytes:
    content = part.get_payload(decode=True)
    assert isinstance(content, bytes)
    return content
