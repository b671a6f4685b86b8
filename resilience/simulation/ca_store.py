"""The certificates of authorities that an image has: with one more, or none at all.

Both as ``mounts`` shows files to a process, so that a library in C sees the same. ``empty()`` is
for a process without mounts of its own: there OpenSSL's defaults are nothing to Python, and the
files are hidden by whoever guards the process. A bundle that a library brings along, as certifi's,
or that a variable names, is there with an empty store as before.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any

import certifi
from cryptography import x509

_FOLDERS = (
    "/etc/ssl/certs",
    "/etc/pki",
    "/usr/lib/ssl/certs",
    "/usr/local/share/ca-certificates",
    "/usr/share/ca-certificates",
)
_FILES = (
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
    "/usr/lib/ssl/cert.pem",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
)
_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_HEADER = 2  # bytes of DER before a name's content of less than 128


def paths() -> tuple[str, ...]:
    """Where this system, and the OpenSSL of this Python, keep them."""
    known = ssl.get_default_verify_paths()
    return (*_FOLDERS, *_FILES, known.openssl_cafile, known.openssl_capath)


def extended(folder: Path, pem: bytes) -> dict[str, str]:
    """Copies of all stores and of certifi's bundle with one more authority, by what they replace.

    ``folder`` is made for them. Files that variables of this process name are among them.
    """
    folder.mkdir()
    made: dict[str, str] = {}
    for path in _folders():
        copy = folder / f"store{len(made)}"
        shutil.copytree(path, copy, symlinks=True, copy_function=_copied)
        (copy / _hashed(pem)).write_bytes(pem)
        for bundle in copy.glob("*.crt"):
            if not bundle.is_symlink():
                bundle.write_bytes(bundle.read_bytes() + b"\n" + pem)
        made[path] = str(copy)
    for path in _files():
        if not path.startswith(tuple(f"{each}{os.sep}" for each in made)):
            copy = folder / f"store{len(made)}.pem"
            copy.write_bytes(Path(path).read_bytes() + b"\n" + pem)
            made[path] = str(copy)
    return made


def empty() -> None:
    """From now on nobody's default store has anything in it, in this Python."""

    def nothing(*_: Any, **__: Any) -> None:
        return None

    context: Any = ssl.SSLContext
    context.load_default_certs = nothing
    context.set_default_verify_paths = nothing


def _copied(source: str, target: str) -> None:
    """What may not be read is nobody's store."""
    with suppress(PermissionError):
        shutil.copy2(source, target)


def _folders() -> dict[str, None]:
    """The folders that OpenSSL looks into by a name's hash."""
    asked = ("/etc/ssl/certs", ssl.get_default_verify_paths().openssl_capath)
    return dict.fromkeys(os.path.realpath(each) for each in asked if Path(each).is_dir())


def _files() -> dict[str, None]:
    named = (os.environ.get(each, "") for each in _VARIABLES)
    asked = (*_FILES, ssl.get_default_verify_paths().openssl_cafile, certifi.where(), *named)
    return dict.fromkeys(os.path.realpath(each) for each in asked if Path(each).is_file())


def _hashed(pem: bytes) -> str:
    """The file name by which OpenSSL finds an authority in a folder (c_rehash(1))."""
    subject = x509.load_pem_x509_certificate(pem).subject
    folded = x509.Name(
        x509.NameAttribute(each.oid, " ".join(str(each.value).lower().split())) for each in subject
    )
    content = folded.public_bytes()[_HEADER:]
    digest = hashlib.sha1(content, usedforsecurity=False).digest()
    return f"{int.from_bytes(digest[:4], 'little'):08x}.0"
