"""As an application hands a context to requests."""

from __future__ import annotations

import ssl
from typing import Any

from requests.adapters import HTTPAdapter


class WithContext(HTTPAdapter):
    """A context and nothing else: certifi, which requests would add, stays out."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, ssl_context=self._context)

    def cert_verify(self, conn: Any, *_: Any) -> None:
        conn.cert_reqs, conn.ca_certs, conn.ca_cert_dir = "CERT_REQUIRED", None, None
