"""The same for TLS, HTTP clients, LangSmith, OpenAI and PostgreSQL."""

from __future__ import annotations

import socket
import ssl
import subprocess
from pathlib import Path
from typing import Any

import httpx
import langsmith
import openai
import psycopg
import requests
from langsmith.utils import LangSmithError
from urllib3.util import Retry

from resilience.simulation.authority import Authority
from resilience.simulation.fake_langsmith import FORBIDDEN, NOT_ALLOWED, FakeLangSmith
from resilience.simulation.network import Garbage, Refused
from resilience.simulation.service import Answer, Request, Service
from tests.docs.provoked_redis import said_by
from tests.servers import PostgresServer

KEY = "lsv2_pt_throw_away"
HTTP = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"


class Fine(Service):
    def answer(self, request: Request) -> Answer:  # noqa: ARG002 - always the same
        return Answer(200, {})


def shaken(port: int, context: ssl.SSLContext, name: str = "localhost") -> str:
    """What ssl raises at this port."""

    def handshake() -> None:
        with socket.create_connection(("127.0.0.1", port), 2) as plain:
            with context.wrap_socket(plain, server_hostname=name) as line:
                line.recv(1)

    return said_by(handshake)


def expired(folder: Path) -> str:
    ours = Authority()
    with Fine(KEY, tls=ours.server_context("localhost", expired=True)) as fine:
        return shaken(fine.port, ours.client_context())


def another_name(folder: Path) -> str:
    ours = Authority()
    with Fine(KEY, tls=ours.server_context("redis.example")) as fine:
        return shaken(fine.port, ours.client_context(), "cache.internal")


def an_address(folder: Path) -> str:
    ours = Authority()
    with Fine(KEY, tls=ours.server_context("redis.example")) as fine:
        return shaken(fine.port, ours.client_context(), "127.0.0.1")


def unknown_issuer(folder: Path) -> str:
    with Fine(KEY, tls=Authority().server_context("localhost")) as fine:
        return shaken(fine.port, Authority().client_context())


def self_signed(folder: Path) -> str:
    key, cert = folder / "own.key", folder / "own.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "9", "-subj",
         "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", cert],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    with Fine(KEY, tls=context) as fine:
        return shaken(fine.port, Authority().client_context())


def root_in_the_chain(folder: Path) -> str:
    ours = Authority()
    chain, key = folder / "chain.pem", folder / "chain.key"
    ours.write_server(chain, key, "localhost")
    chain.write_bytes(chain.read_bytes() + ours.ca_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    with Fine(KEY, tls=context) as fine:
        return shaken(fine.port, Authority().client_context())


def tls_to_http(folder: Path) -> str:
    with Garbage(HTTP) as port:
        return shaken(port.port, Authority().client_context())


def cut_short(folder: Path) -> str:
    with Garbage(b"") as port:
        return shaken(port.port, Authority().client_context())


def without_certificate(folder: Path) -> str:
    ours = Authority()
    context = ours.server_context("localhost")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=ours.ca_pem.decode())
    with Fine(KEY, tls=context) as fine:
        return shaken(fine.port, ours.client_context())


def old_protocol(folder: Path) -> str:
    ours = Authority()
    old = ours.client_context()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    context = ours.server_context("localhost")
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    with Fine(KEY, tls=context) as fine:
        return shaken(fine.port, old)


def requests_untrusted(folder: Path) -> str:
    with Fine(KEY, tls=Authority().server_context("localhost")) as fine:
        return said_by(lambda: requests.get(f"https://localhost:{fine.port}/", timeout=2))


def requests_bundle(folder: Path) -> str:
    return said_by(lambda: requests.get("https://localhost/", verify="/etc/no.pem", timeout=2))


def requests_proxy(folder: Path) -> str:
    with Garbage(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n") as port:
        proxies = {"https": f"http://127.0.0.1:{port.port}"}
        return said_by(lambda: requests.get("https://api.invalid/", proxies=proxies, timeout=2))


def httpx_untrusted(folder: Path) -> str:
    with Fine(KEY, tls=Authority().server_context("localhost")) as fine:
        return said_by(lambda: httpx.get(f"https://localhost:{fine.port}/", timeout=2))


def httpx_redirected(folder: Path) -> str:
    with FakeLangSmith(KEY, moved_to="https://api.invalid") as fake:
        return said_by(lambda: httpx.get(f"{fake.url}/info", timeout=2).raise_for_status())


def _langsmith(fake: FakeLangSmith, key: str = KEY) -> str:
    options: dict[str, Any] = {
        "retry_config": Retry(total=0),
        "auto_batch_tracing": False,
        "info": {},
    }
    client = langsmith.Client(fake.url, api_key=key, **options)
    try:
        return said_by(lambda: list(client.list_projects()), LangSmithError)
    finally:
        client.close()


def langsmith_405(folder: Path) -> str:
    with FakeLangSmith(KEY, answers={"*": NOT_ALLOWED}) as fake:
        return _langsmith(fake)


def langsmith_401(folder: Path) -> str:
    with FakeLangSmith(KEY) as fake:
        return _langsmith(fake, "lsv2_pt_another")


def langsmith_403(folder: Path) -> str:
    with FakeLangSmith(KEY, answers={"*": FORBIDDEN}) as fake:
        return _langsmith(fake)


def langsmith_workspace(folder: Path) -> str:
    with FakeLangSmith(KEY, needs_workspace=True) as fake:
        return _langsmith(fake)


def openai_without_key(folder: Path) -> str:
    return said_by(lambda: openai.OpenAI(api_key=None))


def _postgres(server: PostgresServer, **wrong: Any) -> str:
    right: dict[str, Any] = {"host": server.host, "port": server.port, "user": server.user,
             "password": server.password, "dbname": server.database}  # fmt: skip
    return said_by(lambda: psycopg.connect(**(right | wrong), connect_timeout=5))


def postgres_refused(folder: Path, postgres: PostgresServer) -> str:
    with Refused() as port:
        return _postgres(postgres, port=port.port)


def postgres_password(folder: Path, postgres: PostgresServer) -> str:
    return _postgres(postgres, password="another")


def postgres_database(folder: Path, postgres: PostgresServer) -> str:
    return _postgres(postgres, dbname="shop")


def postgres_host(folder: Path, postgres: PostgresServer) -> str:
    return _postgres(postgres, host="postgres.railway.invalid")


def postgres_tls(folder: Path, postgres: PostgresServer) -> str:
    return _postgres(postgres, sslmode="require")
