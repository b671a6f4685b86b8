"""LangSmith's client as a component: our trust in both its HTTP stacks, bounded, safe across fork.

The SDK talks through requests (traces, all older calls) and through httpx2 or httpx (the ``/v2``
resources), each with a trust store of its own. Its sending thread keeps a process alive and is
missing in a forked child. What is mended here:

- both stacks follow ``RESILIENCE["TLS"]`` for ``langsmith``, or for the HOST:PORT of the address:
  CA, RELAX_STRICT, PINS, CLIENT_CERT and INSECURE
- no redirect leads key or traces to another server
- no request waits longer than CONNECT and READ, and the stacks repeat none
- the thread is a daemon; what it has not sent is flushed at exit, for FLUSH seconds at most
- a client from before a fork is built anew in the child, in place, when it is used there

Tracing itself is the SDK's: ``@traceable`` and LangChain find the client, which installs itself.
To import this module is to import the SDK, up to 3 s: name it in BACKEND, import it nowhere.
"""

from __future__ import annotations

import atexit
import logging
import os
import ssl
import threading
import weakref
from dataclasses import replace
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import langsmith
import langsmith.utils
import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPSConnection

from resilience.errors import InsecureExpired
from resilience.tls import pinning, policy
from resilience.tls.trust import Trust

logger = logging.getLogger("resilience.components")

CONNECT = 2.0  # seconds for a TCP connection, and again for TLS
READ = 5.0  # seconds until the next bytes of an answer
FLUSH = 1.25  # seconds at exit, which shall take no more than 2 on a busy machine too
_POOL = 33  # connections: the SDK sends with 32 threads at most, and one for a caller
_HTTP, _HTTPS = 80, 443
_NO_COMPRESSION = "LANGSMITH_DISABLE_RUN_COMPRESSION"


class LeadsElsewhere(requests.ConnectionError):
    """Whoever answers redirects to another host, port or scheme (http to https is none)."""


class Client(langsmith.Client):
    """``langsmith.Client`` with other defaults; every keyword of it is an option.

    ``trust`` is whom to trust, by default what ``RESILIENCE["TLS"]`` says. ``timeout_ms`` is
    (connect, read), and bounds the SDK's own times too. ``enabled`` True or False switches tracing;
    None leaves it to LANGSMITH_TRACING, which the SDK takes for on only if it says exactly
    ``true``. Building one talks to nobody, and makes it the process's client. Raises OSError and
    SSLError for a client certificate that cannot be loaded.
    """

    def __init__(
        self, *, trust: Trust | None = None, enabled: bool | None = None, **options: Any
    ) -> None:
        self._given = trust
        self._contexts: _Contexts | None = None
        self._options = {"timeout_ms": (int(CONNECT * 1000), int(READ * 1000)), **options}
        self._foreign = False
        self._lock = threading.Lock()
        self._build()
        _clients.add(self)
        atexit.register(_close, weakref.ref(self))
        langsmith.configure(client=self)
        if enabled is not None:
            langsmith.configure(enabled=enabled)

    def _build(self) -> None:
        # Compressed traces would go through a thread pool that exit waits for without a bound.
        os.environ.setdefault(_NO_COMPRESSION, "true")
        utils: Any = langsmith.utils
        for cached in (utils.get_env_var, utils.get_tracer_project):
            cached.cache_clear()  # it may have been asked before .env was read
        self._closed = False
        session = _Session()
        # With any info given, the SDK's thread asks nobody for it: it has nothing to send yet.
        super().__init__(session=session, info={}, **self._options)
        try:  # only now the address is known: it may come from OPTIONS, a variable or a profile
            self._contexts = self._contexts or self._trusted()
        except BaseException:
            super().close(0)  # its thread
            raise
        session.verify = self._contexts.httpx  # type: ignore[assignment]  # handed on as it is
        for prefix, context in self._contexts.requests.items():
            self.session.mount(prefix, _Adapter(context, *self._timeout))

    def _trusted(self) -> _Contexts:
        """The policy of the address for the address, that of ``langsmith`` for everybody else.

        So an exception for one HOST:PORT does not follow a redirect to another.
        """
        parts = urlsplit(self.api_url)
        port = parts.port or (_HTTPS if parts.scheme == "https" else _HTTP)
        own = self._given or policy.trust_of("langsmith", parts.hostname or "", port)
        others = self._given or policy.trust_of("langsmith")
        # One for each stack: requests writes its ALPN into the one that it is given.
        mine = _context(own)
        shared = mine if own == others else _context(others)
        return _Contexts(
            _context(own),
            {"https://": shared, "http://": shared, f"{parts.scheme}://{parts.netloc}/": mine},
        )

    def _settle(self) -> None:
        """In a forked child, become this process's: what the parent had is the parent's."""
        if self._foreign:
            with self._lock:
                if self._foreign:
                    self._build()
                    self._foreign = False

    @property
    def _use_daemon_threads(self) -> bool:
        """True, whatever the SDK sets: exit would wait for every batch and its repetitions."""
        return True

    @_use_daemon_threads.setter
    def _use_daemon_threads(self, _: bool) -> None:
        pass

    def create_run(self, *args: Any, **kwargs: Any) -> None:
        """As the SDK's: queues the run, or drops it where the queue is full."""
        self._settle()
        super().create_run(*args, **kwargs)

    def update_run(self, *args: Any, **kwargs: Any) -> None:
        """As the SDK's: queues the end of a run."""
        self._settle()
        super().update_run(*args, **kwargs)

    def request_with_retries(self, *args: Any, **kwargs: Any) -> requests.Response:
        """As the SDK's: every call through requests."""
        self._settle()
        return super().request_with_retries(*args, **kwargs)

    def _get_langsmith_api(self) -> Any:
        self._settle()
        return self._bounded(super()._get_langsmith_api())

    def _get_langsmith_api_sync(self) -> Any:
        self._settle()
        return self._bounded(super()._get_langsmith_api_sync())

    def _bounded(self, api: Any) -> Any:
        api.max_retries = 0
        # httpx would take the key along, wherever that leads.
        api._client.follow_redirects = False  # noqa: SLF001 - its httpx client
        return api

    def flush(self, timeout: float | None = None) -> None:
        """Wait until all is sent that this process traced, for ``timeout`` seconds if given."""
        if not self._foreign:
            super().flush(timeout)

    def close(self, timeout: float | None = FLUSH) -> None:
        """Flush, for ``timeout`` seconds at most (None: until all is sent), and stop sending.

        Once: what the registry has closed waits no second time when the process exits.
        """
        if not (self._foreign or self._closed):
            self._closed = True
            super().close(timeout)


class _Contexts(NamedTuple):
    """One for httpx, and one for each prefix of an address for requests."""

    httpx: ssl.SSLContext
    requests: dict[str, ssl.SSLContext]


def _context(trust: Trust) -> ssl.SSLContext:
    """With verification on again where an exception is over: tracing fails then, nothing else."""
    try:
        return trust.context()
    except InsecureExpired as over:
        logger.error("LangSmith is verified again: %s", over)  # noqa: TRY400 - it says everything
        return replace(trust, insecure=None).context()


class _Session(requests.Session):
    """requests, which takes ``x-api-key`` and the traces along to whomever a server names."""

    def rebuild_auth(
        self, prepared_request: requests.PreparedRequest, response: requests.Response
    ) -> None:
        """Called before each redirect is followed. Raises LeadsElsewhere for another host."""
        mine, theirs = str(response.request.url), str(prepared_request.url)
        if self.should_strip_auth(mine, theirs):  # type: ignore[no-untyped-call]
            raise LeadsElsewhere(
                f"{urlsplit(mine).hostname} redirects ({response.status_code}) to another server, "
                "where neither key nor traces go. Set LANGSMITH_ENDPOINT to the API itself."
            )
        super().rebuild_auth(prepared_request, response)  # type: ignore[no-untyped-call]


class _Adapter(HTTPAdapter):
    """requests with one context and nothing else: no certifi, no REQUESTS_CA_BUNDLE, no retry."""

    def __init__(self, context: ssl.SSLContext, connect: float, read: float) -> None:
        self._context = context
        self._times = connect, read
        super().__init__(pool_maxsize=_POOL)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options, ssl_context=self._context)

    def proxy_manager_for(self, *args: Any, **options: Any) -> Any:
        return super().proxy_manager_for(*args, **options, ssl_context=self._context)

    def cert_verify(self, conn: Any, *_: Any) -> None:
        """Undo what requests wants to add to the context: another bundle, or no verification."""
        # urllib3 sets the mode of the context to this: off only where the policy has it off, and
        # for pins, which are compared in the handshake instead.
        conn.cert_reqs = self._context.verify_mode
        conn.ca_certs = conn.ca_cert_dir = None
        if pinning.demands(self._context):
            conn.ConnectionCls = _PinnedConnection

    def send(self, *args: Any, **options: Any) -> requests.Response:
        """Send within our times; the SDK asks for longer ones when it sends traces."""
        asked = options.get("timeout")
        connect, read = asked if isinstance(asked, tuple) else (asked, asked)
        options["timeout"] = _least(connect, self._times[0]), _least(read, self._times[1])
        return super().send(*args, **options)


class _PinnedConnection(HTTPSConnection):
    """Says that it knows whom it talks to, which urllib3 warns about otherwise."""

    def connect(self) -> None:
        super().connect()  # raises if the key is another one
        self.is_verified = True


def _least(wanted: float | None, most: float) -> float:
    return most if wanted is None else min(wanted, most)


_clients: weakref.WeakSet[Client] = weakref.WeakSet()


def _close(client: weakref.ref[Client]) -> None:
    found = client()
    if found is not None:
        found.close()


def _after_fork() -> None:
    for client in list(_clients):
        client._lock = threading.Lock()  # noqa: SLF001 - another thread may have held it
        client._foreign = True  # noqa: SLF001


os.register_at_fork(after_in_child=_after_fork)
