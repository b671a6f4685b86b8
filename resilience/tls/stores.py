"""The certificate stores of this process: which library reads which, and what is wrong with them.

One process has several. ``requests`` ignores SSL_CERT_FILE, ``ssl`` ignores REQUESTS_CA_BUNDLE, and
most of them say nothing when a variable points nowhere (measured on Python 3.11 to 3.13).
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from resilience.tls import policy
from resilience.tls.reading import Problem
from resilience.tls.trust import Trust

_SSL = "ssl, urllib, smtplib, redis-py, aiohttp, httpx"
READERS = {
    "SSL_CERT_FILE": _SSL,
    "SSL_CERT_DIR": _SSL,
    "REQUESTS_CA_BUNDLE": "requests, LangSmith's tracing",
    "CURL_CA_BUNDLE": "curl, requests",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": "grpc",
    "AWS_CA_BUNDLE": "boto3",
    "PGSSLROOTCERT": "libpq, psycopg",
    "TLS_CA_BUNDLE": "this package",
    "TLS_CA_PEM": "this package",
}
LIMITED = 50  # certificates; whole stores hold 110 to 150
_FOLDERS = ("SSL_CERT_DIR",)
_FILES_OR_FOLDERS = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


class Store(NamedTuple):
    """A store as the libraries that use it load it; ``context()`` raises OSError as they do."""

    name: str
    readers: str
    context: Callable[[], ssl.SSLContext]


class Fault(NamedTuple):
    """What is wrong with a variable or setting: the finding id, whose it is, and what to do.

    ``fatal``: nothing is left of that store.
    """

    id: str
    name: str
    said: str
    hint: str
    fatal: bool


def used() -> list[Store]:
    """The stores that libraries of this process choose by themselves."""
    found = [
        Store("system", _SSL, ssl.create_default_context),
        Store("requests", "requests, Sentry, LangSmith's tracing", _of_requests),
    ]
    for name in ("AWS_CA_BUNDLE", "PGSSLROOTCERT"):
        path = os.environ.get(name)
        if path:
            found.append(Store(name, READERS[name], _of_file(path)))
    return found


def audit() -> list[Fault]:
    """What is wrong with the variables and with the user's own CA. Files only, no network."""
    found = [fault for name in READERS for fault in _variable(name)]
    if policy.current().ca:
        name = 'RESILIENCE["TLS"]["CA"]'
        found += _faults(name, Trust.only(*policy.cas()), "Correct it in settings.")
    return found


def counts(trust: Trust) -> dict[str, int]:
    """How many certificates each source gave."""
    return {source.name: source.certificates for source in trust.sources}


def _of_requests() -> ssl.SSLContext:
    import certifi  # noqa: PLC0415 - as in trust

    names = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
    path = next(filter(None, map(os.environ.get, names)), None) or certifi.where()
    return _of_file(path)()


def _of_file(path: str) -> Callable[[], ssl.SSLContext]:
    def context() -> ssl.SSLContext:
        if Path(path).is_dir():
            return ssl.create_default_context(capath=path)
        return ssl.create_default_context(cafile=path)

    return context


def _variable(name: str) -> list[Fault]:
    value = os.environ.get(name)
    ignored = name in policy.CA_VARIABLES and policy.current().ca
    if value is None or ignored or (name, value) == ("PGSSLROOTCERT", "system"):
        return []
    unset = f"Unset {name}, or have it name a PEM file of the image ({READERS[name]} read it)."
    if not value.strip():
        said = f"{name} is set, but to nothing"
        return [Fault("tls.bundle-missing", name, said, unset, fatal=True)]
    if name == "TLS_CA_PEM":
        return _faults(name, Trust.only(policy.cas()[-1]), unset)
    if name in _FOLDERS or (name in _FILES_OR_FOLDERS and Path(value).is_dir()):
        return [fault for each in value.split(os.pathsep) for fault in _folder(name, each, unset)]
    return _faults(name, Trust.only(Path(value)), unset)


def _folder(name: str, folder: str, hint: str) -> list[Fault]:
    try:
        names = os.listdir(folder)  # noqa: PTH208 - only the names
    except OSError as error:
        said = f"{name} names {folder}: {error.strerror}"
        return [Fault("tls.bundle-missing", name, said, hint, fatal=True)]
    if any(re.fullmatch(r"[0-9a-f]{8}\.\d+", each) for each in names):
        return []
    said = f"{name} names {folder}, which has no certificate under its hash"
    return [Fault("tls.bundle-broken", name, said, f"Run openssl rehash {folder}.", fatal=True)]


def _faults(name: str, trust: Trust, hint: str) -> list[Fault]:
    fatal = not trust.certificates
    return [
        Fault(problem.id, name, f"{name}: {_sentence(problem)}", _repair(problem) or hint, fatal)
        for problem in trust.problems
    ]


def _sentence(problem: Problem) -> str:
    return f"{problem.where}: {problem.said}"


def _repair(problem: Problem) -> str:
    if "DER" in problem.said and _is_der(problem.where):
        where = problem.where
        return f"It is DER: openssl x509 -inform der -in {where} -out ca.pem, and name ca.pem."
    if "PRIVATE KEY" in problem.said:
        return "Take the private key out of this file: it is for certificates, and others read it."
    if "DER" in problem.said:
        return "Write the certificates into it as PEM blocks, BEGIN and END on lines of their own."
    if problem.id == "tls.bundle-broken":
        return (
            "Copy the block anew: BEGIN line, base64, END line, each on lines of their own; or "
            "remove it."
        )
    return ""


def _is_der(where: str) -> bool:
    """Whether it begins as a certificate does: a SEQUENCE with two bytes of length."""
    try:
        with Path(where).open("rb") as file:
            return file.read(2) == b"\x30\x82"
    except (OSError, ValueError):
        return False
