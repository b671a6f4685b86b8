"""Every id of TLS from a real server, and the same probe content once its hint was followed."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import certifi
import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

from resilience.findings import Finding, Level
from resilience.probes import runner, tls
from resilience.probes.base import Deadline
from resilience.probes.endpoints import Endpoint, parse
from resilience.probes.stores import Stores
from resilience.simulation.listener import Listener
from resilience.simulation.network import Garbage, Reset, Silence
from resilience.tls import lifetimes, policy, stores
from resilience.tls.certificate import Certificate
from resilience.tls.pinning import pin_of
from resilience.tls.policy import Policy
from resilience.tls.trust import Insecure
from tests.tls.pki import (
    DAY,
    MIDDLE,
    NOW,
    ROOT,
    ConnectProxy,
    Issued,
    Scripted,
    Web,
    issue,
    leaf,
    load,
    rsa_key,
    server_context,
    with_sha1,
)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    (folder / "0a1b2c3d.0").write_text(issue("Another Root", ca=True).pem)
    return folder


@pytest.fixture(autouse=True)
def small_store(monkeypatch: pytest.MonkeyPatch, small: Path) -> None:
    """No variable but the system's store, which has one authority: a whole one takes 60 ms."""
    for name in (*stores.READERS, "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SSL_CERT_DIR", str(small))
    monkeypatch.setenv("SSL_CERT_FILE", str(small / "0a1b2c3d.0"))


def endpoint(server: Listener, scheme: str = "https", host: str = "localhost") -> Endpoint:
    return parse(f"{scheme}://{host}:{server.port}")


def examine(*endpoints: Endpoint, seconds: float = 3.0) -> list[Finding]:
    return list(runner.run(tls.probes_of(endpoints), Deadline(seconds)))


def errors(findings: list[Finding]) -> list[str]:
    return [finding.id for finding in findings if finding.level is Level.ERROR]


def trusting(*roots: Issued, **more: Any) -> None:
    """What TLS_CA_BUNDLE or the setting CA does."""
    policy.use(Policy(ca="".join(root.pem for root in roots) or None, **more))


# ── certificates ────────────────────────────────────────────────────────────────────────────────

PIN = pin_of(ROOT.der)
UNKNOWN = x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4.5"), b"\x05\x00")
ONLY_OTHERS = x509.NameConstraints([x509.DNSName("example.com")], None)


RSA_ROOT = issue("RSA Root", ca=True, key=rsa_key(2048))


def chains(what: str) -> tuple[tuple[Issued, ...], tuple[Issued, ...]]:
    """The chain that a server shows, and the one that it shows once the hint was followed."""
    fine = (leaf(),)
    fake_ca = issue("No CA", ROOT, ca=False)
    short = issue("Short CA", ROOT, ca=True, path_length=0)
    below = issue("Below", short, ca=True)
    narrow = issue("Narrow CA", ROOT, ca=True, more=((ONLY_OTHERS, True),))
    weak = issue("Weak CA", ROOT, ca=True, key=rsa_key(1024))
    old = issue("Old Intermediate", ROOT, ca=True, ends=NOW - DAY / 2, begins=NOW - 9 * DAY)
    return {
        "expired": ((leaf(ends=NOW - DAY / 2, begins=NOW - 9 * DAY),), fine),
        "expired above": ((leaf(old), old), (leaf(MIDDLE), MIDDLE)),
        "not yet": ((leaf(begins=NOW + 9 * DAY),), fine),
        "wrong name": ((leaf(names=("shop.test", "www.shop.test")),), fine),
        "no name": ((leaf(names=()),), fine),
        "incomplete": ((leaf(MIDDLE, issuer_url=True),), (leaf(MIDDLE, issuer_url=True), MIDDLE)),
        "weak key": ((leaf(key=rsa_key(1024)),), (leaf(key=rsa_key(2048)),)),
        "weak ca": ((leaf(weak), weak), fine),
        "sha1": ((with_sha1(leaf(RSA_ROOT), RSA_ROOT),), (leaf(RSA_ROOT),)),
        "client's": ((leaf(usage=ExtendedKeyUsageOID.CLIENT_AUTH),), fine),
        "critical": ((leaf(more=((UNKNOWN, True),)),), fine),
        "no ca": ((leaf(fake_ca), fake_ca), (leaf(MIDDLE), MIDDLE)),
        "too long": ((leaf(below), below, short), (leaf(short), short)),
        "constraint": ((leaf(narrow), narrow), fine),
    }[what]


@pytest.mark.parametrize(
    ("what", "id", "words"),
    [
        ("expired", "tls.expired", "server's own certificate expired"),
        ("expired above", "tls.expired", "'Old Intermediate' expired"),
        ("not yet", "tls.not-yet-valid", "valid only from"),
        ("wrong name", "tls.wrong-name", "for shop.test, www.shop.test, not for localhost"),
        ("no name", "tls.wrong-name", "no SAN"),
        ("incomplete", "tls.missing-intermediate", "alone, without that of 'Our Intermediate'"),
        ("weak key", "tls.weak-key", "too short"),
        ("weak ca", "tls.weak-key", "too short"),
        ("sha1", "tls.weak-signature", "SHA-1"),
        ("client's", "tls.wrong-usage", "not meant for servers"),
        ("critical", "tls.wrong-usage", "critical extension"),
        ("no ca", "tls.not-a-ca", "not a CA"),
        ("too long", "tls.not-a-ca", "longer than"),
        ("constraint", "tls.name-constraint", "may not sign for this name"),
    ],
)
def test_a_certificate_that_does_not_verify(what, id, words):
    broken, mended = chains(what)
    trusting(ROOT, RSA_ROOT)
    with Web(*broken) as server:
        found = examine(endpoint(server))
    assert [finding.id for finding in found] == [id]
    assert words in found[0].summary
    assert found[0].hint
    assert found[0].facts["pin"] == pin_of(broken[0].der)
    assert str(found[0].facts["chain"]).startswith(
        broken[0].certificate.subject.rfc4514_string()[3:]
    )
    with Web(*mended) as server:
        assert errors(examine(endpoint(server))) == []


def test_an_address_instead_of_a_name():
    trusting(ROOT)
    with Web(leaf()) as server:
        (found,) = examine(endpoint(server, host="127.0.0.1"))
        assert (found.id, found.facts["verify_code"]) == ("tls.wrong-name", 64)
        assert "Connect by a host name" in found.hint
        assert errors(examine(endpoint(server))) == [], "the twin: by the name"


@pytest.mark.parametrize("sends_root", [True, False])
def test_an_authority_that_nobody_knows(sends_root, tmp_path, monkeypatch):
    with Web(leaf(), *([ROOT] if sends_root else [])) as server:
        (found,) = examine(endpoint(server))
        assert found.id == "tls.untrusted-root"
        assert "'Our Root'" in found.summary
        assert found.facts["store_system"] == "tls.untrusted-root"
        assert found.facts["store_requests"] == "tls.untrusted-root"
        assert "TLS_CA_BUNDLE=" in found.hint
        root = tmp_path / "root.pem"
        root.write_text(ROOT.pem)
        monkeypatch.setenv("TLS_CA_BUNDLE", str(root))
        assert errors(examine(endpoint(server))) == []


def test_an_authority_that_was_renewed():
    old = issue("Our Root", ca=True)
    trusting(old)
    with Web(leaf()) as server:
        (found,) = examine(endpoint(server))
        assert (found.id, "another key" in found.summary) == ("tls.untrusted-root", True)
        trusting(old, ROOT)
        assert errors(examine(endpoint(server))) == []


def test_a_store_that_another_library_has_is_named(tmp_path, monkeypatch):
    bundle = tmp_path / "aws.pem"
    bundle.write_text(ROOT.pem)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(bundle))
    with Web(leaf()) as server:
        (found,) = examine(endpoint(server))
    assert found.facts["store_AWS_CA_BUNDLE"] == "accepts"
    assert "The store of AWS_CA_BUNDLE has it." in found.summary


def test_a_certificate_that_signed_itself():
    alone = issue("alone", names=("localhost",))
    with Web(alone) as server:
        (found,) = examine(endpoint(server))
        assert (found.id, found.facts["verify_code"]) == ("tls.self-signed", 18)
        assert found.hint.startswith("Copy the server's certificate from the server itself")
        trusting(alone)
        assert errors(examine(endpoint(server))) == []


@pytest.mark.parametrize(
    ("missing", "code"), [(x509.KeyUsage, 92), (x509.SubjectKeyIdentifier, 86)]
)
def test_what_only_python_3_13_refuses(missing, code):
    lax = issue("Lax Root", ca=True, without=(missing,))
    trusting(lax)
    with Web(leaf(lax)) as server:
        where = endpoint(server)
        found = next(each for each in examine(where) if each.id == "tls.strict-only")
        assert found.level is (Level.ERROR if tls._STRICT_BY_DEFAULT else Level.WARNING)
        assert found.facts["verify_code"] in (code, 85)
        trusting(lax, relax_strict=frozenset({where.where}))
        assert [each.id for each in examine(where)] == ["tls.stores-disagree", "tls.ok"]
        trusting(ROOT, relax_strict=frozenset({where.where}))
        assert errors(examine(where)) == ["tls.untrusted-root"], "nothing else is relaxed"


# ── what is not the chain ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_certificate_that_is_asked_for(version, tmp_path):
    trusting(ROOT)
    context = server_context(leaf(), client_ca=ROOT.pem)
    context.minimum_version = context.maximum_version = version
    mine = issue("client", ROOT, usage=ExtendedKeyUsageOID.CLIENT_AUTH)
    files = tuple(map(str, load(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), tmp_path, mine)))
    with Web(tls=context) as server:
        where = endpoint(server)
        (found,) = examine(where)
        assert (found.id, found.level) == ("tls.client-cert-required", Level.ERROR)
        trusting(ROOT, client_cert={where.where: files})
        assert errors(examine(where)) == []


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_certificate_that_the_server_does_not_know(version, tmp_path):
    context = server_context(leaf(), client_ca=ROOT.pem)
    context.minimum_version = context.maximum_version = version
    others = issue("Other Root", ca=True)
    files = {}
    for name, by in (("strange", others), ("known", ROOT)):
        mine = issue("client", by, usage=ExtendedKeyUsageOID.CLIENT_AUTH)
        folder = tmp_path / name
        folder.mkdir()
        certificate, key = load(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), folder, mine)
        files[name] = (str(certificate), str(key))
    with Web(tls=context) as server:
        where = endpoint(server)
        trusting(ROOT, client_cert={where.where: files["strange"]})
        (found,) = examine(where)
        assert found.id == "tls.client-cert-rejected"
        trusting(ROOT, client_cert={where.where: files["known"]})
        assert errors(examine(where)) == []


def test_a_client_certificate_that_is_not_there(tmp_path):
    missing = str(tmp_path / "client.pem")
    with Web(leaf()) as server:
        where = endpoint(server)
        trusting(ROOT, client_cert={where.where: (missing, None)})
        (found,) = examine(where)
        assert (found.id, missing in found.summary) == ("tls.bundle-missing", True)
        (tmp_path / "client.pem").write_text("nothing")
        assert errors(examine(where)) == ["tls.bundle-broken"]
        trusting(ROOT)
        assert errors(examine(where)) == []


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_a_server_of_yesterday():
    trusting(ROOT)
    context = server_context(leaf())
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with Web(tls=context) as server:
        (found,) = examine(endpoint(server))
        assert found.id == "tls.protocol-version"
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        assert errors(examine(endpoint(server))) == []


def test_no_cipher_in_common():
    trusting(ROOT)
    context = server_context(leaf(), ciphers="AES256-SHA@SECLEVEL=0")  # RSA only, ours is EC
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with Web(tls=context) as server:
        (found,) = examine(endpoint(server))
        assert found.id == "tls.no-shared-cipher"
        context.set_ciphers("DEFAULT")
        assert errors(examine(endpoint(server))) == []


def test_a_name_that_the_server_does_not_serve():
    def choose(_socket: object, name: str, _context: object) -> int | None:
        return None if name == "localhost" else ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME

    trusting(ROOT)
    context = server_context(leaf())
    context.sni_callback = choose
    with Web(tls=context) as server, ConnectProxy(lambda _: server.address) as proxy:
        other = replace(
            parse(f"https://other.test:{server.port}"), proxy=f"http://127.0.0.1:{proxy.port}"
        )
        assert errors(examine(other)) == ["tls.sni"]
        assert errors(examine(endpoint(server))) == []


def test_a_port_without_tls_says_who_is_there():
    with Web() as server:
        (found,) = examine(endpoint(server), seconds=1.0)
        assert found.id == "tls.plaintext-port"
        assert "a web server (HTTP), without TLS" in found.summary
    trusting(ROOT)
    with Web(leaf()) as server:
        assert errors(examine(endpoint(server))) == []


def test_a_port_that_says_nothing():
    """Its hint is to compare the ports: the server's own port for TLS passes."""
    trusting(ROOT)
    with Silence() as plain, Web(leaf()) as tls_port:
        (found,) = examine(endpoint(plain), seconds=0.6)
        assert (found.id, "server's TLS port" in found.hint) == ("tls.handshake-timeout", True)
        assert errors(examine(endpoint(tls_port))) == []


def test_a_port_that_hangs_up():
    trusting(ROOT)
    with Reset() as plain, Scripted(lambda _: False) as closing, Web(leaf()) as tls_port:
        for server in (plain, closing):
            (found,) = examine(endpoint(server))
            assert (found.id, "server's TLS port" in found.hint) == ("tls.reset", True)
        assert errors(examine(endpoint(tls_port))) == []


def test_a_mysql_is_named_and_not_taken_for_broken_tls():
    greeting = b"\x4a\x00\x00\x00\x0a8.0.36\x00"
    with Garbage(greeting, greet=True) as server:
        (found,) = examine(endpoint(server, "tls"))
    assert found.id == "tls.plaintext-port"
    assert "answers MySQL or MariaDB, without TLS" in found.summary
    assert "mysql --ssl-mode=VERIFY_IDENTITY" in found.hint


def test_a_process_that_trusts_nobody(monkeypatch, tmp_path):
    """No store at all: neither the system's nor certifi's. Then its hint: the authorities."""
    (tmp_path / "empty.pem").touch()
    monkeypatch.setattr(certifi, "where", lambda: str(tmp_path / "empty.pem"))
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name)
    nothing = ssl.get_default_verify_paths()._replace(
        openssl_cafile=str(tmp_path / "none"), openssl_capath=str(tmp_path)
    )
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: nothing)
    monkeypatch.setattr("resilience.tls.reading._ELSEWHERE", ())
    with Web(leaf()) as server:
        (found,) = examine(endpoint(server))
        assert (found.id, "Not one certificate" in found.summary) == ("tls.empty-store", True)
        assert "Install the authorities" in found.hint
        (tmp_path / "0a1b2c3d.0").write_text(ROOT.pem)  # as the package ca-certificates does
        policy.reset()
        assert errors(examine(endpoint(server))) == []


def test_nobody_listens():
    with Web(leaf()) as server:
        where = endpoint(server)
    assert errors(examine(where)) == ["tcp.refused"]
    assert errors(examine(parse("https://name.invalid"))) == ["dns.failed"]


# ── pins, and no verification at all ────────────────────────────────────────────────────────────


def test_a_pin_takes_the_place_of_the_issuer():
    mine, others = leaf(names=("elsewhere.test",), ends=NOW - DAY / 2), leaf()
    with Web(mine) as server:
        where = endpoint(server)
        (before,) = examine(where)
        pin = str(before.facts["pin"])
        assert pin in before.hint
        trusting(pins={where.where: (pin,)})
        found = examine(where)
        assert errors(found) == ["tls.expires-soon"], "a report says that it has ended"
        trusting(pins={where.where: (pin_of(others.der),)})
        (refused,) = examine(where)
    assert refused.id == "tls.pin-mismatch"
    assert pin in refused.summary


def test_insecure_has_a_date_and_is_a_warning():
    with Web(leaf()) as server:
        where = endpoint(server)
        entry = Insecure(where.where, "the root comes on Friday", date(2999, 1, 1))
        trusting(insecure={where.where: entry})
        found = [*Stores("tls").run(Deadline(1)), *examine(where)]
        warnings = [each for each in found if each.level is Level.WARNING]
        assert [each.id for each in warnings] == ["tls.insecure", "tls.insecure"]
        assert "the root comes on Friday" in warnings[0].summary
        assert "tls.untrusted-root" in warnings[1].summary
        trusting(insecure={where.where: entry._replace(until=date(2020, 1, 1))})
        found = [*Stores("tls").run(Deadline(1)), *examine(where)]
        assert "tls.insecure-expired" in errors(found)
        trusting(ROOT)
        found = [*Stores("tls").run(Deadline(1)), *examine(where)]
        assert {each.id for each in found} == {"tls.ok", "tls.stores-disagree"}


def test_an_exception_of_ours_helps_no_client_that_does_not_know_it():
    entry = Insecure("email", "old server", date(2999, 1, 1))
    with Web(leaf()) as server:
        ours = replace(endpoint(server), component="email")
        trusting(insecure={"email": entry}, pins={"redis": (PIN,)})
        assert errors(examine(ours)) == []
        assert errors(examine(replace(ours, stores=("system",)))) == ["tls.untrusted-root"]
        assert errors(examine(replace(ours, component="redis", stores=("system",)))) == [
            "tls.untrusted-root"
        ]


def test_the_store_of_the_client_itself_decides(tmp_path, monkeypatch):
    """Smtplib takes the system's alone: what this package trusts besides does not help it."""
    trusting(ROOT)
    with Web(leaf()) as server:
        mail = replace(endpoint(server), stores=("system",), origins=("email",))
        found = {each.id: each for each in examine(mail)}
        assert found["tls.stores-disagree"].level is Level.ERROR
        assert "SSL_CERT_FILE" in found["tls.stores-disagree"].hint
        bundle = tmp_path / "all.pem"
        bundle.write_text(policy.trust_of().pem())
        monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
        assert [each.id for each in examine(mail)] == ["tls.ok"]


def test_a_client_that_does_not_verify():
    with Web(leaf()) as server:
        careless = replace(endpoint(server), verifies=False, origins=("caches.default",))
        found = examine(careless)
        assert [each.id for each in found] == ["tls.insecure", "tls.insecure"]
        assert "caches.default" in found[0].summary
        trusting(ROOT)
        assert [each.id for each in examine(replace(careless, verifies=True))] == ["tls.ok"]


# ── dates and clocks ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("lifetime", "left", "level"),
    [
        (90, 31, Level.OK),  # renewed with a third left
        (90, 20, Level.WARNING),
        (90, 6, Level.ERROR),
        (47, 12, Level.OK),
        (47, 10, Level.WARNING),
        (47, 4, Level.ERROR),
        (6, 2, Level.OK),
        (3650, 31, Level.OK),
        (3650, 29, Level.WARNING),
        (3650, 6, Level.ERROR),
    ],
)
def test_how_near_its_end_depends_on_its_own_lifetime(lifetime, left, level):
    issued = leaf(begins=NOW - (lifetime - left) * DAY, ends=NOW + left * DAY)
    assert lifetimes.judge(Certificate.read(issued.der), NOW) is level


def test_a_certificate_near_its_end_is_reported():
    trusting(ROOT)
    with Web(leaf(begins=NOW - 80 * DAY, ends=NOW + 10 * DAY)) as server:
        found = next(each for each in examine(endpoint(server)) if each.id == "tls.expires-soon")
    assert found.level is Level.WARNING
    assert found.facts["days_left"] in (9, 10)
    with Web(leaf()) as server:
        assert "tls.expires-soon" not in {each.id for each in examine(endpoint(server))}


def test_a_clock_that_is_wrong_is_named_by_the_other_servers():
    """A certificate of two days ago, and a server that says it is three days ago."""
    trusting(ROOT)
    over = leaf(begins=NOW - 9 * DAY, ends=NOW - 2 * DAY)
    with Web(over) as expired, Web(leaf(), ahead=-3 * DAY) as other:
        both = {each.subject: each for each in examine(endpoint(expired), endpoint(other))}
        named = both[endpoint(expired).subject]
        assert (named.id, named.level) == ("tls.clock-skew", Level.ERROR)
        assert "72.0 h fast" in named.summary
        assert errors(examine(endpoint(expired))) == ["tls.expired"], "the twin: nobody says so"
        skewed = next(each for each in examine(endpoint(other)) if each.id == "tls.clock-skew")
        assert skewed.level is Level.WARNING


def test_a_clock__twin__the_others_agree_with_ours():
    trusting(ROOT)
    over = leaf(begins=NOW - 9 * DAY, ends=NOW - 2 * DAY)
    with Web(over) as expired, Web(leaf()) as other:
        assert errors(examine(endpoint(expired), endpoint(other))) == ["tls.expired"]


# ── somebody in between ─────────────────────────────────────────────────────────────────────────


def through(proxy: ConnectProxy, *hosts: str) -> list[Endpoint]:
    return [
        replace(parse(f"https://{host}"), proxy=f"http://127.0.0.1:{proxy.port}") for host in hosts
    ]


def test_one_authority_for_unrelated_names_is_somebody_in_between():
    names = ("shop.example.com", "api.example.org", "langsmith.test", "api.smith.langchain.com")
    with Web(leaf(names=names)) as server, ConnectProxy(lambda _: server.address) as proxy:
        both = examine(*through(proxy, "shop.example.com", "api.example.org"))
        assert errors(both) == ["tls.intercepted", "tls.intercepted"]
        known = examine(*through(proxy, "api.smith.langchain.com"))
        assert errors(known) == ["tls.intercepted"], "nobody else signs for that one"
        related = examine(*through(proxy, "shop.example.com", "www.example.com"))
        assert set(errors(related)) <= {"tls.untrusted-root", "tls.wrong-name"}
        private = examine(*through(proxy, "shop.example.com", "langsmith.test"))
        assert errors(private) == ["tls.untrusted-root", "tls.untrusted-root"]
        trusting(ROOT)
        assert errors(examine(*through(proxy, "shop.example.com", "api.example.org"))) == []


# ── proxies and STARTTLS ────────────────────────────────────────────────────────────────────────


def test_a_proxy_that_lets_nobody_through():
    trusting(ROOT)
    with Web(leaf(names=("shop.test",))) as server:
        for status, words in (
            ("407 Proxy Authentication Required", "user and a password"),
            ("403 Forbidden", "with 403"),
        ):
            with ConnectProxy(lambda _: server.address, status=status) as proxy:
                (found,) = examine(*through(proxy, "shop.test"))
                assert found.id == "tls.proxy"
                assert words in found.summary
                proxy._status = "200 OK"  # what the hint has the proxy do
                assert errors(examine(*through(proxy, "shop.test"))) == []
        with ConnectProxy(lambda _: server.address) as proxy:
            (where,) = through(proxy, "shop.test")
            with_password = replace(where, proxy=f"http://me:geheim%21@127.0.0.1:{proxy.port}")
            assert errors(examine(with_password)) == []
            assert "Basic bWU6Z2VoZWltIQ==" in proxy.asked[0]
    assert "geheim" not in repr(with_password)


@pytest.mark.parametrize("scheme", ["https", "socks5", "socks5h"])
def test_a_proxy_that_is_not_followed_is_said(scheme):
    """It may work for the application, so it is neither an error nor passed over."""
    trusting(ROOT)
    with Web(leaf(names=("shop.test",))) as server, ConnectProxy(lambda _: server.address) as proxy:
        (where,) = through(proxy, "shop.test")
        other = replace(where, proxy=f"{scheme}://me:geheim@127.0.0.1:{proxy.port}")
        (found,) = examine(other)
        assert (found.id, found.level, found.skipped) == ("tls.not-examined", Level.INFO, True)
        assert "geheim" not in found.summary
        assert proxy.asked == []
        assert errors(examine(where)) == []


SMTP = {b"": b"220 mail.test ESMTP\r\n", b"EHLO": b"250-mail.test\r\n250 STARTTLS\r\n"}


def smtp(starttls: bytes) -> Callable[[Any], bool]:
    def script(connection: Any) -> bool:
        connection.sendall(SMTP[b""])
        connection.recv(1024)
        connection.sendall(SMTP[b"EHLO"])
        connection.recv(1024)
        connection.sendall(starttls)
        return starttls.startswith(b"220")

    return script


def postgres(answer: bytes) -> Callable[[Any], bool]:
    def script(connection: Any) -> bool:
        assert connection.recv(8) == b"\x00\x00\x00\x08\x04\xd2\x16/"
        connection.sendall(answer)
        return answer == b"S"

    return script


@pytest.mark.parametrize(
    ("scheme", "refuses", "agrees"),
    [
        ("smtp", smtp(b"454 not now\r\n"), smtp(b"220 go ahead\r\n")),
        ("postgres", postgres(b"N"), postgres(b"S")),
    ],
)
def test_tls_that_has_to_be_asked_for(scheme, refuses, agrees):
    trusting(ROOT)
    context = server_context(leaf())
    with Scripted(refuses) as server:
        (found,) = examine(endpoint(server, scheme))
        assert found.id == "tls.no-starttls"
    with Scripted(agrees, context) as server:
        assert errors(examine(endpoint(server, scheme))) == []
        policy.use(Policy())
        assert errors(examine(endpoint(server, scheme))) == ["tls.untrusted-root"]
