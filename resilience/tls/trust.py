"""Whom we trust: the system's certificates, certifi's and the user's, as one immutable object.

Nothing is taken from a store as a whole. Certificates are loaded one by one, so a broken block
costs itself and not its file, and an image with a limited or empty store verifies all the same.
"""

from __future__ import annotations

import atexit
import base64
import binascii
import hashlib
import logging
import os
import re
import shutil
import ssl
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from resilience.env import regular
from resilience.errors import InsecureExpired
from resilience.tls import expiring, pinning

logger = logging.getLogger("resilience.tls")

# Where distributions keep their bundle, for a Python that was built on another one.
_ELSEWHERE = (
    "/etc/ssl/cert.pem",  # Alpine, Arch, Fedora 34 and later
    "/etc/pki/tls/cert.pem",  # RHEL 9 and older
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu
    "/etc/ssl/ca-bundle.pem",  # SUSE
)
_HASHED = re.compile(r"[0-9a-f]{8}\.\d+")  # what OpenSSL reads of a directory
_BEGIN = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----")
_CERTIFICATE = ("CERTIFICATE", "X509 CERTIFICATE")
_LONGEST_PATH = 4096  # characters, PATH_MAX on Linux

_folders: dict[int, Path] = {}  # process id -> where its bundle files are


class Source(NamedTuple):
    """One store that was asked: ``system``, ``certifi`` or ``user``, and how many it gave."""

    name: str
    certificates: int


class Problem(NamedTuple):
    """What was skipped: the finding id, ``FILE:LINE`` or the file, and what is wrong there."""

    id: str
    where: str
    said: str


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
        reading = _Reading()
        sources = []
        for name, read in (("system", _system), ("certifi", _certifi)):
            sources.append(Source(name, read(reading)))
        given = [ca for ca in cas if ca is not None]
        if given:
            sources.append(Source("user", sum(_user(reading, ca) for ca in given)))
        return cls(tuple(reading.certificates), tuple(sources), tuple(reading.problems))

    @classmethod
    def only(cls, *cas: str | os.PathLike[str]) -> Trust:
        """Nothing but these paths or PEM texts, as libpq trusts its ``sslrootcert``."""
        reading = _Reading()
        source = Source("user", sum(_user(reading, ca) for ca in cas))
        return cls(tuple(reading.certificates), (source,), tuple(reading.problems))

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


class _Reading:
    """What has been read so far: DER certificates in order, each once, and the problems."""

    def __init__(self) -> None:
        self.certificates: dict[bytes, None] = {}
        self.problems: list[Problem] = []
        self._judge = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    def broken(self, where: str, said: str) -> None:
        self.problems.append(Problem("tls.bundle-broken", where, said))

    def file(self, path: str | os.PathLike[str]) -> int:
        """Take a file in; returns how many certificates it gave."""
        where = os.fspath(path)
        try:
            content = regular.read(path)
        except (OSError, ValueError) as error:  # ValueError: a NUL byte in the path
            said = getattr(error, "strerror", None) or "not a path"
            self.problems.append(Problem("tls.bundle-missing", where, said))
            return 0
        return self.text(content.decode("ascii", errors="replace"), where)

    def text(self, text: str, where: str) -> int:
        """Take PEM text in; returns how many certificates it gave."""
        given = set()
        seen = False
        for line, label, der in _blocks(text):
            seen = True
            here = f"{where}:{line}"
            if label not in _CERTIFICATE:
                self.broken(here, f"a block {label}, not CERTIFICATE")
            elif der is None:
                self.broken(here, "the block has no end, or is not base64")
            elif der in self.certificates or self._is_certificate(der):
                self.certificates[der] = None
                given.add(der)
            else:
                self.broken(here, "the block is not a certificate")
        if not seen:
            self.broken(where, "no PEM block; a DER file must be converted")
        return len(given)

    def _is_certificate(self, der: bytes) -> bool:
        try:
            self._judge.load_verify_locations(cadata=der)
        except (ssl.SSLError, ValueError):  # ValueError: no bytes at all
            return False
        return True


def _blocks(text: str) -> Iterator[tuple[int, str, bytes | None]]:
    """Line, label and content of every block; None for a content that cannot be read.

    A block ends at its own END line or where the next one begins, so one without an end, or an
    END and a BEGIN on one line, does not take its neighbour along.
    """
    begins = list(_BEGIN.finditer(text))
    ends = [begin.start() for begin in begins[1:]]
    for begin, ends_at in zip_longest(begins, ends):
        line = text.count("\n", 0, begin.start()) + 1
        rest = text[begin.end() : ends_at]
        content, end, _ = rest.partition(f"-----END {begin[1]}-----")
        try:
            der = base64.b64decode("".join(content.split()), validate=True) if end else None
        except binascii.Error:
            der = None
        yield line, begin[1], der


def _system(reading: _Reading) -> int:
    paths = ssl.get_default_verify_paths()
    file = _variable(reading, paths.openssl_cafile_env)
    folders = _variable(reading, paths.openssl_capath_env)
    given = 0
    if file or Path(paths.openssl_cafile).is_file():
        given = reading.file(file or paths.openssl_cafile)
    for folder in (folders or paths.openssl_capath).split(os.pathsep):
        given += _hashed(reading, folder, named=folders is not None)
    if not (given or file or folders):
        found = next(filter(os.path.isfile, _ELSEWHERE), None)
        given = reading.file(found) if found else 0
    return given


def _variable(reading: _Reading, name: str) -> str | None:
    value = os.environ.get(name)
    if value == "":  # OpenSSL would look nowhere
        reading.problems.append(Problem("tls.bundle-missing", name, "set, but to nothing"))
    return value or None


def _hashed(reading: _Reading, folder: str, *, named: bool) -> int:
    before = len(reading.certificates)
    try:
        names = sorted(filter(_HASHED.fullmatch, os.listdir(folder)))  # noqa: PTH208 - as named
    except OSError as error:
        if named:
            said = error.strerror or "cannot be read"
            reading.problems.append(Problem("tls.bundle-missing", folder, said))
        return 0
    for name in names:
        reading.file(Path(folder, name))
    return len(reading.certificates) - before


def _certifi(reading: _Reading) -> int:
    import certifi  # noqa: PLC0415 - it may extract a file from a zip when asked for its place

    return reading.file(certifi.where())


def _user(reading: _Reading, ca: str | os.PathLike[str]) -> int:
    if isinstance(ca, str) and (_BEGIN.search(ca) or "\n" in ca or len(ca) > _LONGEST_PATH):
        return reading.text(ca, "the CA given as text")
    return reading.file(ca)


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
