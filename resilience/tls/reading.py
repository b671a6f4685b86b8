"""Reads certificates, each once, of the system's store, certifi's and the user's files.

Nothing is taken from a store as a whole. Certificates are loaded one by one, so a broken block
costs itself and not its file, and an image with a limited or empty store verifies all the same.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import ssl
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

from resilience.env import regular

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


class Problem(NamedTuple):
    """What was skipped: the finding id, ``FILE:LINE`` or the file, and what is wrong there."""

    id: str
    where: str
    said: str


class Reading:
    """What has been read so far: DER certificates in order, each once, and the problems.

    Whatever reads returns how many certificates it gave.
    """

    def __init__(self) -> None:
        self.certificates: dict[bytes, None] = {}
        self.problems: list[Problem] = []
        self._judge = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    def system(self) -> int:
        paths = ssl.get_default_verify_paths()
        file = self._variable(paths.openssl_cafile_env)
        folders = self._variable(paths.openssl_capath_env)
        given = 0
        if file or Path(paths.openssl_cafile).is_file():
            given = self._file(file or paths.openssl_cafile)
        for folder in (folders or paths.openssl_capath).split(os.pathsep):
            given += self._hashed(folder, named=folders is not None)
        if not (given or file or folders):
            found = next(filter(os.path.isfile, _ELSEWHERE), None)
            given = self._file(found) if found else 0
        return given

    def certifi(self) -> int:
        import certifi  # noqa: PLC0415 - it may extract a file from a zip when asked for its place

        return self._file(certifi.where())

    def user(self, ca: str | os.PathLike[str]) -> int:
        if isinstance(ca, str) and (_BEGIN.search(ca) or "\n" in ca or len(ca) > _LONGEST_PATH):
            return self._text(ca, "the CA given as text")
        return self._file(ca)

    def _broken(self, where: str, said: str) -> None:
        self.problems.append(Problem("tls.bundle-broken", where, said))

    def _file(self, path: str | os.PathLike[str]) -> int:
        where = os.fspath(path)
        try:
            content = regular.read(path)
        except (OSError, ValueError) as error:  # ValueError: a NUL byte in the path
            said = getattr(error, "strerror", None) or "not a path"
            self.problems.append(Problem("tls.bundle-missing", where, said))
            return 0
        return self._text(content.decode("ascii", errors="replace"), where)

    def _text(self, text: str, where: str) -> int:
        given = set()
        seen = False
        for line, label, der in _blocks(text):
            seen = True
            here = f"{where}:{line}"
            if label not in _CERTIFICATE:
                self._broken(here, f"a block {label}, not CERTIFICATE")
            elif der is None:
                self._broken(here, "the block has no end, or is not base64")
            elif der in self.certificates or self._is_certificate(der):
                self.certificates[der] = None
                given.add(der)
            else:
                self._broken(here, "the block is not a certificate")
        if not seen:
            self._broken(where, "no PEM block; a DER file must be converted")
        return len(given)

    def _is_certificate(self, der: bytes) -> bool:
        try:
            self._judge.load_verify_locations(cadata=der)
        except (ssl.SSLError, ValueError):  # ValueError: no bytes at all
            return False
        return True

    def _variable(self, name: str) -> str | None:
        value = os.environ.get(name)
        if value == "":  # OpenSSL would look nowhere
            self.problems.append(Problem("tls.bundle-missing", name, "set, but to nothing"))
        return value or None

    def _hashed(self, folder: str, *, named: bool) -> int:
        before = len(self.certificates)
        try:
            names = sorted(filter(_HASHED.fullmatch, os.listdir(folder)))  # noqa: PTH208 - as named
        except OSError as error:
            if named:
                said = error.strerror or "cannot be read"
                self.problems.append(Problem("tls.bundle-missing", folder, said))
            return 0
        for name in names:
            self._file(Path(folder, name))
        return len(self.certificates) - before


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
