"""Each sentence of docs/troubleshooting.md is what the library itself prints.

``PROVOKED`` has one function per sentence that makes the library say it. What only a platform, a
browser or another version of a server says is in ``NOT_HERE``, with the reason.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import NamedTuple

import django
import pytest

from resilience import catalogue
from tests.docs import provoked_others as others, provoked_redis as redis, provoked_site as site
from tests.docs.blocks import is_said
from tests.processes import ROOT

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
COMMANDS = ("python manage.py ", "python -m resilience ", "kubectl ")

PROVOKED: dict[str, Callable[..., str]] = {
    "Authentication required.": redis.no_password,
    "HELLO must be called with the client already authenticated": redis.no_password_with_hello,
    "invalid username-password pair or user is disabled.": redis.wrong_password,
    "AUTH <password> called without any password configured": redis.needless_password,
    "this user has no permissions to run the '…' command": redis.forbidden,
    "max number of clients reached": redis.too_many_clients,
    "Too many connections": redis.pool_used_up,
    "Redis is loading the dataset in memory": redis.loading,
    "You can't write against a read only replica.": redis.replica,
    "Link with MASTER is down and replica-serve-stale-data is set to 'no'.": redis.primary_away,
    "NOREPLICAS Not enough good replicas to write.": redis.too_few_replicas,
    "MISCONF Redis is configured to save RDB snapshots, but it's currently unable "
    "to persist to disk.": redis.unable_to_save,
    "command not allowed when used memory > 'maxmemory'.": redis.full,
    "BUSY Redis is busy running a script.": redis.busy,
    "Hash slot not served": redis.no_slots,
    "DB index is out of range": redis.no_such_database,
    "unknown command '…'": redis.renamed,
    "Error 111 connecting to …. Connection refused.": redis.refused,
    "Redis ConnectionError: Error 111 connecting to …. Connection refused.": redis.django_redis,
    "Error -2 connecting to …. Name or service not known.": redis.unknown_host,
    "Timeout connecting to server": redis.tls_to_plain,
    "Timeout reading from socket": redis.silent,
    "Error while reading from … : (104, 'Connection reset by peer')": redis.plain_to_tls,
    'Protocol error, got "H" as reply type byte': redis.another_service,
    "Redis URL must specify one of the following schemes (redis://, rediss://, "
    "unix://)": redis.no_scheme,
    "Port could not be cast to integer value as '…'": redis.slash_in_password,
    "got an unexpected keyword argument 'family'": redis.family,
    "needs Redis, and Redis does not answer": redis.lock_in_an_outage,
    "read falls back: …": redis.log_line,
    "RESILIENCE has an unknown key '…'": redis.misspelt_option,
    "certificate verify failed: unable to get local issuer certificate": others.unknown_issuer,
    "certificate verify failed: self-signed certificate": others.self_signed,
    "certificate verify failed: self-signed certificate in certificate "
    "chain": others.root_in_the_chain,
    "certificate verify failed: certificate has expired": others.expired,
    "certificate verify failed: Hostname mismatch, certificate is not valid for "
    "'…'": others.another_name,
    "certificate verify failed: IP address mismatch, certificate is not valid for "
    "'…'": others.an_address,
    "[SSL: WRONG_VERSION_NUMBER] wrong version number": others.tls_to_http,
    "EOF occurred in violation of protocol": others.cut_short,
    "tlsv13 alert certificate required": others.without_certificate,
    "tlsv1 alert protocol version": others.old_protocol,
    "Max retries exceeded with url: … (Caused by SSLError(SSLCertVerificationError(1, "
    "'[SSL: CERTIFICATE_VERIFY_FAILED]": others.requests_untrusted,
    "Could not find a suitable TLS CA certificate bundle, invalid path: …": others.requests_bundle,
    "Tunnel connection failed: 407 Proxy Authentication Required": others.requests_proxy,
    "httpx.ConnectError: [SSL: CERTIFICATE_VERIFY_FAILED]": others.httpx_untrusted,
    "405 Client Error: Method Not Allowed for url: …": others.langsmith_405,
    "Authentication failed for /sessions. HTTPError('401 Client Error: "
    "Unauthorized": others.langsmith_401,
    "HTTPError('403 Client Error: Forbidden for url: …": others.langsmith_403,
    "This API key is org-scoped and requires workspace specification.": others.langsmith_workspace,
    "Missing credentials. Please pass an `api_key`": others.openai_without_key,
    'connection to server at "…", port … failed: Connection refused': others.postgres_refused,
    'FATAL:  password authentication failed for user "…"': others.postgres_password,
    'FATAL:  database "…" does not exist': others.postgres_database,
    "failed to resolve host '…'": others.postgres_host,
    "server does not support SSL, but SSL was required": others.postgres_tls,
    "no such table: …": site.django_table,
    "unable to open database file": site.django_no_folder,
    "Error loading psycopg2 or psycopg module": site.django_driver,
    "The SECRET_KEY setting must not be empty.": site.django_secret_key,
    "is not set (secret, no default)": site.missing_variable,
    "Your MAILERS setting uses a development-only email backend in the '…' "
    "entry": site.django_mailer,
    "Component '…' is blocked: …": site.blocked_component,
    "Invalid HTTP_HOST header: '…'. You may need to add '…' to ALLOWED_HOSTS.": site.django_host,
    "Origin checking failed - https://… does not match any trusted origins.": site.django_origin,
    "Missing staticfiles manifest entry for '…'": site.django_manifest,
    "Reason: Worker failed to boot.": site.gunicorn_boot,
    "WORKER TIMEOUT (pid:…)": site.gunicorn_timeout,
    "was sent SIGKILL! Perhaps out of memory?": site.gunicorn_killed,
    "Connection in use: ('…', …)": site.gunicorn_port,
}
NOT_HERE = {
    "DENIED Redis is running in protected mode": "asks for a client from another host",
    "MOVED …": "asks for a cluster of several nodes",
    "Error -3 connecting to …. Temporary failure in name resolution.": "asks for a broken resolver",
    "consumer: Cannot connect to redis://…": "a worker's log; test_how_to_servers.py reads it",
    "ERR_TOO_MANY_REDIRECTS": "a browser's page",
    "Application failed to respond": "Railway's page",
    "Healthcheck failure": "Railway's deployment view",
    "Readiness probe failed: HTTP probe failed with statuscode: 400": "an event of the kubelet",
    "Readiness probe failed: HTTP probe failed with statuscode: 503": "an event of the kubelet",
    "CrashLoopBackOff": "a state of the kubelet",
    "OOMKilled": "a state of the kubelet",
    "Error R10 (Boot timeout)": "Heroku's router",
}
# The first Django that says it.
SINCE = {"Your MAILERS setting uses a development-only email backend in the '…' entry": (6, 1)}


class Entry(NamedTuple):
    """What stands under one sentence."""

    sentence: str
    body: str


def entries(page: str) -> list[Entry]:
    found = re.findall(r"^### (`+)(.+?)\1\n\n(.+?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL)
    return [Entry(sentence, body) for _, sentence, body in found]


ENTRIES = entries(PAGE)


def broken(sentence: str) -> str:
    """The same sentence with its longest word misspelt."""
    word = max(re.findall(r"[A-Za-z]{3,}", sentence), key=len)
    return sentence.replace(word, word[:-1] + "~" + word[-1])


@pytest.mark.parametrize("sentence", PROVOKED)
def test_the_library_says_it(sentence, request, tmp_path):
    since = SINCE.get(sentence, (0, 0))
    if since > django.VERSION:
        pytest.skip(f"Django {'.'.join(map(str, since))} is the first that says it")
    provoke = PROVOKED[sentence]
    wanted = list(inspect.signature(provoke).parameters)[1:]
    printed = provoke(tmp_path, *(request.getfixturevalue(name) for name in wanted))
    assert is_said(sentence, printed), printed
    assert not is_said(broken(sentence), printed)


def test_every_sentence_of_the_page_is_accounted_for():
    sentences = [entry.sentence for entry in ENTRIES]
    assert len(sentences) == len(set(sentences)) == PAGE.count("\n### ")
    assert set(sentences) == PROVOKED.keys() | NOT_HERE.keys()
    assert not PROVOKED.keys() & NOT_HERE.keys()


def test_another_sentence_is_noticed__twin():
    changed = PAGE.replace("### `Authentication required.`", "### `Authentication needed.`")
    assert {entry.sentence for entry in entries(changed)} != PROVOKED.keys() | NOT_HERE.keys()


def unknown_ids(entry: Entry) -> list[str]:
    """The ids that no finding has; AssertionError if the entry names none."""
    named = re.findall(r"\[`([a-z]+\.[a-z0-9-]+)`\]\(findings\.md#([a-z0-9-]+)\)", entry.body)
    assert named, entry.sentence
    known = catalogue.entries()
    return [id_ for id_, anchor in named if id_ not in known or anchor != id_.replace(".", "")]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.sentence[:40])
def test_every_entry_has_a_command_a_known_finding_and_a_fix(entry):
    assert unknown_ids(entry) == []
    command = re.search(r"^- Run: `(.+?)`$", entry.body, re.MULTILINE)
    assert command is not None
    assert command[1].startswith(COMMANDS)
    assert "- Fix: " in entry.body


def test_an_id_that_does_not_exist_is_noticed__twin():
    entry = ENTRIES[0]
    wrong = Entry(entry.sentence, entry.body.replace("redis.auth-missing", "redis.auth-mising"))
    assert unknown_ids(wrong) == ["redis.auth-mising"]


GUIDES = [ROOT / "docs" / "troubleshooting.md", *sorted((ROOT / "docs" / "how-to").glob("*.md"))]


def unknown_links(page: str) -> list[str]:
    """The findings that a page links to and that no entry explains."""
    anchors = {each.replace(".", "") for each in catalogue.entries()}
    areas = {each.partition(".")[0] for each in catalogue.entries()}
    return [
        name
        for name in re.findall(r"findings\.md#([a-z0-9-]+)", page)
        if name not in anchors | areas
    ]


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.stem)
def test_every_finding_that_a_guide_links_to_exists(guide):
    assert unknown_links(guide.read_text(encoding="utf-8")) == []


def test_a_link_to_no_finding_is_noticed__twin():
    assert unknown_links(PAGE.replace("#redisoom", "#redisom")) == ["redisom"]
