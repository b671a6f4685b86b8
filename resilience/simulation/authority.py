"""A certificate authority for one test: nobody trusts it until told to."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

try:
    import trustme
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "resilience.simulation.authority needs trustme: "
        "pip install 'django-resilience-ops[rehearse]'",
        name="trustme",
    ) from error

if TYPE_CHECKING:
    from os import PathLike


class Authority:
    """A CA made on the spot, its key only in memory.

    ::

        authority = Authority()
        with FakeRedis(tls=authority.server_context("localhost", "127.0.0.1")) as fake:
            redis.Redis.from_url(fake.url, ssl_ca_data=authority.ca_pem.decode()).ping()

    A certificate names exactly what is asked for: host names, wildcards, IP addresses. Another
    name gives ``tls.wrong-name``, another Authority ``tls.untrusted-root``, ``expired=True`` a
    certificate that was valid until yesterday.
    """

    def __init__(self) -> None:
        self._ca = trustme.CA()

    @property
    def ca_pem(self) -> bytes:
        """The CA's certificate: what a client has to trust."""
        return self._ca.cert_pem.bytes()

    def write_ca(self, path: str | PathLike[str]) -> Path:
        """Write ``ca_pem`` to a file and return its path."""
        target = Path(path)
        target.write_bytes(self.ca_pem)
        return target

    def server_context(self, *names: str, expired: bool = False) -> ssl.SSLContext:
        """Make a server's context, with a fresh certificate for these names."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._issue(names, expired=expired).configure_cert(context)
        return context

    def client_context(self) -> ssl.SSLContext:
        """Make a client's context that verifies as usual and trusts this CA alone."""
        return ssl.create_default_context(cadata=self.ca_pem.decode())

    def write_server(
        self,
        cert_path: str | PathLike[str],
        key_path: str | PathLike[str],
        *names: str,
        expired: bool = False,
    ) -> None:
        """Write a fresh certificate chain and its key (mode 0600) for a server that wants files."""
        issued = self._issue(names, expired=expired)
        Path(cert_path).write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        key = Path(key_path)
        key.touch(mode=0o600)
        key.write_bytes(issued.private_key_pem.bytes())

    def _issue(self, names: tuple[str, ...], *, expired: bool) -> trustme.LeafCert:
        # trustme raises ValueError for no name at all
        yesterday = datetime.now(UTC) - timedelta(days=1)
        return self._ca.issue_cert(*names, not_after=yesterday if expired else None)
