"""A LangSmith in this process, in the state that a test wants.

It takes runs as the SDK sends them, and knows every way in which the real one says no. The texts of
the errors are the real API's.
"""

from __future__ import annotations

import json
from email.parser import BytesParser
from typing import TYPE_CHECKING, Any

from resilience.simulation.service import HTML, Answer, Request, Service

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping
    from email.message import Message

UI_PAGE = '<!doctype html><html><head><title>LangSmith</title></head><div id="root"></div></html>'
UI_REFUSAL = "<html><h1>405 Not Allowed</h1><hr>nginx</html>"
NOT_FOUND = Answer(404, {"detail": "Not Found"})
NOT_ALLOWED = Answer(405, {"detail": "Method Not Allowed"})
FORBIDDEN = Answer(403, {"error": "Forbidden"})
NEEDS_WORKSPACE = Answer(403, {"error": "org_scoped_key_requires_workspace"})

_AGENTS = "/api/v1/agents"  # which the SDK asks through httpx, whatever the path of the address
_ROUTES = {
    ("GET", "/info"): Answer(200, {"version": "0.16.14"}),
    ("GET", "/sessions"): Answer(200, []),
    ("POST", "/runs/multipart"): Answer(202, {}),
    ("GET", _AGENTS): Answer(200, {"items": []}),
}


class FakeLangSmith(Service):
    """LangSmith's API, as much of it as tracing needs.

    ::

        with FakeLangSmith("lsv2_pt_x", tls=authority.server_context("localhost")) as fake:
            langsmith.Client(fake.url, api_key="lsv2_pt_x").list_projects()
            fake.answers["/sessions"] = FORBIDDEN  # from now on

    ``runs`` are those that arrived, by id. ``url`` is what belongs into LANGSMITH_ENDPOINT.

    ``prefix``       where the API is, ``/api/v1`` of a self-hosted one; a web page is elsewhere
    ``answers``      path without the prefix → an ``Answer`` instead; ``"*"`` is every path
    ``workspace``    the only one that the key may use; another one is forbidden
    ``needs_workspace``  the key is the organization's and wants an X-Tenant-Id
    ``info_needs_key``   ``/info`` is as closed as everything else
    ``moved_to``     an origin that every request is redirected to, as http to https

    All may be changed in the block. The rest is the Service's: ``key``, ``delay``, ``status``.
    """

    def __init__(  # noqa: PLR0913 - each is one independent aspect, by keyword
        self,
        key: str,
        *,
        prefix: str = "",
        answers: Mapping[str, Answer] | None = None,
        workspace: str | None = None,
        needs_workspace: bool = False,
        info_needs_key: bool = False,
        moved_to: str = "",
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(key, host=host, port=port, tls=tls)
        self.prefix = prefix
        self.answers: dict[str, Answer] = dict(answers or {})
        self.workspace = workspace
        self.needs_workspace = needs_workspace
        self.info_needs_key = info_needs_key
        self.moved_to = moved_to
        self.runs: dict[str, dict[str, Any]] = {}

    @property
    def url(self) -> str:
        """The address of the API."""
        return self.origin + self.prefix

    def answer(self, request: Request) -> Answer:
        path = request.path.partition("?")[0]
        if self.moved_to:
            return Answer(301, "", HTML, {"Location": self.moved_to + request.path})
        if self.status != 200:  # noqa: PLR2004 - fine
            return Answer(self.status, {"detail": "The server had an error."})
        if not path.startswith(f"{self.prefix}/"):
            return _page(request)
        return self._of_api(request, path.removeprefix(self.prefix if path != _AGENTS else ""))

    def _of_api(self, request: Request, route: str) -> Answer:
        for name in (route, "*"):
            if name in self.answers:
                return self.answers[name]
        found = _ROUTES.get((request.method, route))
        if found is None:
            return NOT_ALLOWED if any(route == each for _, each in _ROUTES) else NOT_FOUND
        refused = self._refused(request, route)
        if refused is None and request.method == "POST":
            self._keep(request)
        return refused or found

    def _refused(self, request: Request, route: str) -> Answer | None:
        if route == "/info" and not self.info_needs_key:
            return None
        if request.headers.get("x-api-key") != self.key:
            return Answer(401, {"detail": "Invalid token"})
        workspace = request.headers.get("x-tenant-id")
        if self.needs_workspace and not workspace:
            return NEEDS_WORKSPACE
        if self.workspace and workspace and workspace != self.workspace:
            return FORBIDDEN
        return None

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


def _page(request: Request) -> Answer:
    """What the web server of the UI says: its page to whoever reads, and no to whoever writes."""
    if request.method == "GET":
        return Answer(200, UI_PAGE, HTML)
    return Answer(405, UI_REFUSAL, HTML)


def _parts(request: Request) -> list[tuple[str, Any]]:
    """Name and JSON of every part of a multipart body."""
    head = f"Content-Type: {request.headers.get('content-type', '')}\r\n\r\n".encode()
    message = BytesParser().parsebytes(head + request.body)
    return [
        (str(part.get_param("name", header="content-disposition")), json.loads(_content(part)))
        for part in message.walk()
        if not part.is_multipart() and part.get_param("name", header="content-disposition")
    ]


def _content(part: Message) -> bytes:
    content = part.get_payload(decode=True)
    return content if isinstance(content, bytes) else b""
