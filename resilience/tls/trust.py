"""Whom we trust: the system's certificates, certifi's and the user's, as one immutable object."""

from __future__ import annotations

import atexit
import hashlib
import logging
import os
import shutil
import ssl
import sys
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, NamedTuple

from resilience.errors import InsecureExpired
from resilience.tls import expiring, pinning
from resilience.tls.reading import Problem, Reading

logger = logging.getLogger("resilience.tls")

_folders: dict[int, Path] = {}  # process id -> where its bundle files are


class Source(NamedTuple):
    """One store that was asked: ``system``, ``certifi`` or ``user``, and how many it gave."""

    name: str
    certificates: int


class Insecure(NamedTuple):
    """For whom verification is off, why, and the last day of it."""

    name: str
    reason: str
    until: date

    def is_over(self, today: date | None = None) -> bool:
        """Whether ``until`` has passed, in UTC."""
        return (today or datetime.now(UTC).date()) > self.until

    def insist(self) -> None:
        """Raise InsecureExpired if it is over."""
        if self.is_over():
            raise InsecureExpired(
                f"TLS verification of {self.name} was switched off until {self.until}, which is "
                'over. Remove the entry from RESILIENCE["TLS"]["INSECURE"], and do what checktls '
                "says instead."
            )


@dataclass(frozen=True)
class Trust:
    """The certificates (DER, each once), where they came from, and what had to be skipped.

    Equal when they trust the same. Every call of ``context()`` gives a new object, because
    libraries change the one they are given.

    ``strict``: whether the rules of RFC 5280 are insisted on (VERIFY_X509_STRICT), None as this
    Python's default. ``pins``: keys that take the place of issuer and name. ``client_cert``: the
    files of a certificate and of its key, None if both are in one. ``insecure``: verification is
    off, with reason and date.
    """

    certificates: tuple[bytes, ...] = field(repr=False)
    sources: tuple[Source, ...] = field(compare=False)
    problems: tuple[Problem, ...] = field(compare=False)
    strict: bool | None = None
    pins: tuple[str, ...] = ()
    client_cert: tuple[str, str | None] | None = field(default=None, repr=False)
    insecure: Insecure | None = None

    @classmethod
    def load(cls, *cas: str | os.PathLike[str] | None) -> Trust:
        """Read the stores: those of the system, certifi's, and ``cas``, paths or PEM texts.

        SSL_CERT_FILE and SSL_CERT_DIR name the system's, as for OpenSSL. Never raises for what a
        file holds or that it is missing: that is in ``problems``.
        """
        read = Reading()
        sources = [Source("system", read.system()), Source("certifi", read.certifi())]
        given = [ca for ca in cas if ca is not None]
        if given:
            sources.append(Source("user", sum(map(read.user, given))))
        return cls(tuple(read.certificates), tuple(sources), tuple(read.problems))

    @classmethod
    def only(cls, *cas: str | os.PathLike[str]) -> Trust:
        """Nothing but these paths or PEM texts, as libpq trusts its ``sslrootcert``."""
        read = Reading()
        source = Source("user", sum(map(read.user, cas)))
        return cls(tuple(read.certificates), (source,), tuple(read.problems))

    def context(self) -> ssl.SSLContext:
        """Make a client's context that checks the certificate and the name, and trusts only this.

        As strict as ``ssl.create_default_context`` is on the same Python, unless ``strict`` says
        otherwise; a name that stands only in the subject (CN) counts on none. Raises
        InsecureExpired, and OSError or SSLError for a client certificate that cannot be loaded.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.hostname_checks_common_name = False
        if sys.version_info >= (3, 13):
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_STRICT
        self.add_to(context)
        return context

    def add_to(self, context: ssl.SSLContext) -> None:
        """Have somebody else's context trust this too, on top of what it trusts.

        For clients that build their own. What does not verify before does not verify after, unless
        there are pins. Raises as ``context()``.
        """
        if self.insecure is not None:
            self.insecure.insist()
        if self.certificates:
            context.load_verify_locations(cadata=b"".join(self.certificates))
        if self.strict is not None:
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
            context.verify_flags |= ssl.VERIFY_X509_STRICT if self.strict else 0
        if self.client_cert is not None:
            # A key with a passphrase would otherwise ask for it on the terminal.
            context.load_cert_chain(*self.client_cert, password="")
        if self.pins:
            pinning.demand(context, self.pins)
        elif self.insecure is not None:
            name, reason, until = self.insecure
            logger.warning("TLS of %s is not verified until %s: %s", name, until, reason)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            expiring.watch(context, self.insecure.insist)

    def redis_options(self) -> dict[str, Any]:
        """The same for redis-py, which takes options instead of a context.

        Raises ValueError for pins, which redis-py cannot compare, and InsecureExpired.
        """
        if self.pins:
            raise ValueError("redis-py knows no pins: use resilience.cache, or trust the root")
        options: dict[str, Any] = {"ssl_ca_data": self.pem() or None}
        if self.insecure is not None:
            self.context()  # refuses what is over, logs what is not
            options.update(ssl_cert_reqs="none", ssl_check_hostname=False)
        if self.strict is not None:
            side = "include" if self.strict else "exclude"
            options[f"ssl_{side}_verify_flags"] = [ssl.VerifyFlags.VERIFY_X509_STRICT]
        if self.client_cert is not None:
            certificate, key = self.client_cert
            options.update(ssl_certfile=certificate, ssl_keyfile=key or certificate)
        return options

    def pem(self) -> str:
        """All certificates as PEM text."""
        return "".join(map(ssl.DER_cert_to_PEM_cert, self.certificates))

    def bundle(self) -> Path:
        """The certificates as a file (mode 0600) that this process removes when it exits.

        For libraries that take only a path. Written once, whole or not at all; again if somebody
        emptied the temporary directory. Raises OSError where nothing can be written.
        """
        text = self.pem().encode()
        path = _folder() / f"{hashlib.sha256(text).hexdigest()[:16]}.pem"
        if not path.is_file():
            handle, unfinished = tempfile.mkstemp(dir=path.parent)
            with os.fdopen(handle, "wb") as file:
                file.write(text)
            Path(unfinished).replace(path)
        return path


def _folder() -> Path:
    pid = os.getpid()  # a child makes its own: the parent's goes when the parent does
    found = _folders.get(pid)
    if found is not None and not found.is_dir():  # cleaners of /tmp exist
        _folders.pop(pid, None)
        found = None
    if found is None:
        made = Path(tempfile.mkdtemp(prefix="ca-bundle-"))
        found = _folders.setdefault(pid, made)
        if found is made:
            atexit.register(_remove, pid, made)
        else:  # another thread was faster
            made.rmdir()
    return found


def _remove(pid: int, folder: Path) -> None:
    if pid == os.getpid():
        shutil.rmtree(folder, ignore_errors=True)
