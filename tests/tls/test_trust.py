"""Trust: three stores as one, block by block, against real handshakes."""

from __future__ import annotations

import base64
import os
import socket
import ssl
import stat
import sys
import threading
from contextlib import suppress
from dataclasses import FrozenInstanceError
from pathlib import Path

import certifi
import pytest
import requests
from hypothesis import HealthCheck, given, settings, strategies as st

from resilience.simulation.authority import Authority
from resilience.tls import reading
from resilience.tls.reading import Problem
from resilience.tls.trust import Source, Trust
from tests.processes import ROOT, run
from tests.tls.pki import Web


def certifis() -> int:
    """How many certifi has, now: some machines add their proxy's authority to a fresh bundle."""
    return Path(certifi.where()).read_text().count("-----BEGIN CERTIFICATE-----")


@pytest.fixture(scope="module")
def ours() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def theirs() -> Authority:
    return Authority()


@pytest.fixture(autouse=True)
def empty_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A system store that holds nothing, as in an image built from scratch; returns its folder."""
    folder = tmp_path / "store"
    folder.mkdir()
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SSL_CERT_DIR", str(folder))
    machine = ssl.get_default_verify_paths
    monkeypatch.setattr(
        ssl,
        "get_default_verify_paths",
        lambda: machine()._replace(openssl_cafile="", openssl_capath=str(folder)),
    )
    return folder


def shake(trust: Trust, server: Web, name: str = "localhost") -> None:
    with socket.create_connection(server.address, 2.0) as plain:
        with trust.context().wrap_socket(plain, server_hostname=name) as secured:
            assert secured.version() == "TLSv1.3"


# ── real handshakes ─────────────────────────────────────────────────────────────────────────────


def test_the_users_authority_is_trusted(ours):
    with Web(tls=ours.server_context("localhost")) as server:
        shake(Trust.load(ours.ca_pem.decode()), server)


def test_the_users_authority_is_trusted__twin__nobody_else_is(ours, theirs):
    with Web(tls=ours.server_context("localhost")) as server:
        for trust in (Trust.load(), Trust.load(theirs.ca_pem.decode())):
            with pytest.raises(ssl.SSLCertVerificationError) as refused:
                shake(trust, server)
            assert refused.value.verify_code in (18, 19, 20)


@pytest.mark.parametrize(
    ("name", "expired", "code"), [("127.0.0.1", False, 64), ("other", False, 62), (None, True, 10)]
)
def test_trust_is_no_reason_to_skip_the_other_checks(ours, name, expired, code):
    with Web(tls=ours.server_context("localhost", expired=expired)) as server:
        with pytest.raises(ssl.SSLCertVerificationError) as refused:
            shake(Trust.load(ours.ca_pem.decode()), server, name or "localhost")
    assert refused.value.verify_code == code


def test_the_systems_variables_reach_it(ours, monkeypatch, tmp_path):
    """SSL_CERT_FILE names our authority alone; certifi's stay, which OpenSSL would forget."""
    monkeypatch.setenv("SSL_CERT_FILE", str(ours.write_ca(tmp_path / "ca.pem")))
    trust = Trust.load()
    assert trust.sources == (Source("system", 1), Source("certifi", certifis()))
    with Web(tls=ours.server_context("localhost")) as server:
        shake(trust, server)
    assert ssl.create_default_context().cert_store_stats()["x509"] == 1


def test_a_library_that_takes_only_a_file(ours, monkeypatch):
    """What requests trusts with the bundle, and its twin without."""
    with Web(tls=ours.server_context("localhost")) as server:
        bundle = Trust.load(ours.ca_pem.decode()).bundle()
        assert requests.get(f"{server.origin}/info", verify=str(bundle), timeout=2).ok
        with pytest.raises(requests.exceptions.SSLError):
            requests.get(f"{server.origin}/info", timeout=2)


@pytest.mark.parametrize("named", ["variable", "ca", "folder"])
def test_what_is_no_regular_file_is_not_waited_for(
    ours, monkeypatch, tmp_path, empty_system, named
):
    """The twin is a file of that name, which is read."""
    path = empty_system / "0123abcd.0" if named == "folder" else tmp_path / "ca.pem"
    if named == "variable":
        monkeypatch.setenv("SSL_CERT_FILE", str(path))
    ca = str(path) if named == "ca" else None
    os.mkfifo(path)
    trust = Trust.load(ca)
    assert trust.problems == (Problem("tls.bundle-missing", str(path), "not a regular file"),)
    assert len(trust.certificates) == certifis()
    path.unlink()
    ours.write_ca(path)
    assert (len(Trust.load(ca).certificates), Trust.load(ca).problems) == (certifis() + 1, ())


# ── the union ───────────────────────────────────────────────────────────────────────────────────


def test_an_empty_system_store_leaves_certifi(monkeypatch, tmp_path):
    trust = Trust.load()
    assert trust.sources == (Source("system", 0), Source("certifi", certifis()))
    assert trust.problems == ()
    assert trust.context().cert_store_stats()["x509_ca"] == certifis()
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    assert Trust.load() == trust
    assert ssl.create_default_context().cert_store_stats()["x509"] == 0, "the twin: OpenSSL's own"


def test_every_certificate_counts_once(ours, monkeypatch, tmp_path, empty_system):
    monkeypatch.setenv("SSL_CERT_FILE", certifi.where())
    ours.write_ca(empty_system / "0a1b2c3d.0")
    ours.write_ca(empty_system / "not-a-hash.pem")
    trust = Trust.load(ours.ca_pem.decode())
    assert trust.sources == (
        Source("system", certifis() + 1),
        Source("certifi", certifis()),
        Source("user", 1),
    )
    assert len(trust.certificates) == len(set(trust.certificates)) == certifis() + 1


def test_a_directory_of_the_system_is_read_by_hash_names_only(theirs, empty_system):
    theirs.write_ca(empty_system / "theirs.pem")
    assert Trust.load().sources[0] == Source("system", 0)
    (empty_system / "theirs.pem").rename(empty_system / "0a1b2c3d.12")
    assert Trust.load().sources[0] == Source("system", 1)


def test_another_distributions_place_is_found(ours, monkeypatch, tmp_path):
    """A Python that was built elsewhere looks where this image keeps nothing."""
    bundle = ours.write_ca(tmp_path / "bundle.pem")
    monkeypatch.setattr(reading, "_ELSEWHERE", (str(tmp_path / "none.pem"), str(bundle)))
    assert Trust.load().sources[0] == Source("system", 0), "SSL_CERT_DIR says where to look"
    monkeypatch.delenv("SSL_CERT_DIR")
    assert Trust.load().sources[0] == Source("system", 1)


def test_it_does_not_change(ours):
    trust = Trust.load(ours.ca_pem.decode())
    with pytest.raises(FrozenInstanceError):
        trust.certificates = ()  # type: ignore[misc]
    first, second = trust.context(), trust.context()
    first.check_hostname = False
    first.verify_mode = ssl.CERT_NONE
    first.set_alpn_protocols(["http/1.1"])
    assert (second.check_hostname, second.verify_mode) == (True, ssl.CERT_REQUIRED)
    assert trust == Trust.load(ours.ca_pem.decode())
    assert trust != Trust.load()
    assert len(repr(trust)) < 200


def test_it_is_as_strict_as_python_itself():
    ours_, pythons = Trust.load().context(), ssl.create_default_context()
    assert ours_.verify_flags == pythons.verify_flags
    assert ours_.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert not ours_.hostname_checks_common_name


# ── broken blocks ───────────────────────────────────────────────────────────────────────────────

KEY = "-----BEGIN PRIVATE KEY-----\nMC4CAQ==\n-----END PRIVATE KEY-----\n"
BROKEN = {
    "no end": "-----BEGIN CERTIFICATE-----\nMIIB\n",
    "not base64": "-----BEGIN CERTIFICATE-----\nMI?B\n-----END certifis()CATE-----\n",
    "empty": "-----BEGIN CERTIFICATE-----\n-----END certifis()CATE-----\n",
    "no certificate": "-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END certifis()CATE-----\n",
    "a key": KEY,
    "a list": "-----BEGIN X509 CRL-----\nMAMCAQE=\n-----END X509 CRL-----\n",
    "another end": "-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END PUBLIC KEY-----\n",
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_block_costs_only_itself(what, ours, theirs, tmp_path):
    first, last = ours.ca_pem.decode(), theirs.ca_pem.decode()
    path = tmp_path / "ca.pem"
    path.write_text(f"# our authorities\n{first}{BROKEN[what]}{last}")
    trust = Trust.load(path)
    assert trust.sources[-1] == Source("user", 2)
    line = 2 + first.count("\n")
    assert [(each.id, each.where) for each in trust.problems] == [
        ("tls.bundle-broken", f"{path}:{line}")
    ]
    assert "MI" not in trust.problems[0].said


def test_a_broken_block__twin__openssl_loses_the_rest(ours, theirs, tmp_path):
    path = tmp_path / "ca.pem"
    path.write_bytes(ours.ca_pem + BROKEN["not base64"].encode() + theirs.ca_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with suppress(ssl.SSLError):
        context.load_verify_locations(path)
    assert context.cert_store_stats()["x509"] < 2


@pytest.mark.parametrize(
    "change",
    [
        lambda pem: pem,
        lambda pem: "\ufeff" + pem,
        lambda pem: pem.replace("\n", "\r\n"),
        lambda pem: "subject=CN: an authority\n\n" + pem + "\n\n# end",
        lambda pem: pem.replace("-----\n-----", "----------"),
        lambda pem: pem.replace("certifis()CATE", "X509 certifis()CATE"),
        lambda pem: pem.rstrip("\n"),
    ],
)
def test_how_people_and_editors_write_pem(change, ours, theirs, tmp_path):
    path = tmp_path / "ca.pem"
    path.write_bytes(change((ours.ca_pem + theirs.ca_pem).decode()).encode())
    trust = Trust.load(path)
    assert (trust.sources[-1], trust.problems) == (Source("user", 2), ())


def test_what_is_no_pem_at_all_is_said(ours, tmp_path):
    der = ssl.PEM_cert_to_DER_cert(ours.ca_pem.decode())
    files = {"der": der, "empty": b"", "prose": b"hello\n", "utf-16": b"\xff\xfe-\0-\0"}
    for name, content in files.items():
        path = tmp_path / name
        path.write_bytes(content)
        trust = Trust.load(path)
        assert trust.problems[0][:2] == ("tls.bundle-broken", str(path))
        assert trust.sources == (
            Source("system", 0),
            Source("certifi", certifis()),
            Source("user", 0),
        )


def test_what_is_not_there_is_said(monkeypatch, tmp_path):
    missing = str(tmp_path / "none.pem")
    assert Trust.load(missing).problems == (
        Problem("tls.bundle-missing", missing, "No such file or directory"),
    )
    assert Trust.load(tmp_path).problems[0].said == "Is a directory"
    assert Trust.load("\0").problems[0] == Problem("tls.bundle-missing", "\0", "not a path")
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        for value in (missing, ""):
            with monkeypatch.context() as patch:
                patch.setenv(name, value)
                found = Trust.load()
            where = value or name
            assert [each[:2] for each in found.problems] == [("tls.bundle-missing", where)]
            assert found.sources[1].certificates == certifis()


def test_text_that_is_no_certificate_is_not_repeated():
    canary = "canary" * 1000
    trust = Trust.load(canary)
    assert [each.id for each in trust.problems] == ["tls.bundle-broken"]
    assert "canary" not in repr(trust)


def test_without_any_certificate_nothing_is_trusted(ours, monkeypatch, tmp_path):
    """Certifi's file missing too, as a slimmed image may have it."""
    monkeypatch.setattr(certifi, "where", lambda: str(tmp_path / "cacert.pem"))
    trust = Trust.load()
    assert trust.certificates == ()
    assert trust.problems[0].id == "tls.bundle-missing"
    assert trust.context().cert_store_stats()["x509"] == 0
    with Web(tls=ours.server_context("localhost")) as server:
        with pytest.raises(ssl.SSLCertVerificationError):
            shake(trust, server)


POOL = [Authority().ca_pem.decode() for _ in range(4)]
PIECES = st.one_of(
    st.sampled_from(POOL), st.sampled_from(sorted(BROKEN.values())), st.just("# a comment\n")
)


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(PIECES, max_size=8))
def test_any_mixture_gives_the_good_ones_in_order_and_names_the_rest(pieces):
    """A block without an end ends where the next one begins."""
    text = "\n".join(["", *pieces])
    good = list(dict.fromkeys(piece for piece in pieces if piece in POOL))
    broken = [piece for piece in pieces if piece in BROKEN.values()]
    trust = Trust.load(text)
    known = set(Trust.load().certificates)
    added = [der for der in trust.certificates if der not in known]
    assert added == [ssl.PEM_cert_to_DER_cert(piece) for piece in good]
    assert len(trust.problems) == (len(broken) or (0 if good else 1))


# ── the file ────────────────────────────────────────────────────────────────────────────────────


def test_the_bundle_is_whole_private_and_written_once(ours):
    trust = Trust.load(ours.ca_pem.decode())
    path = trust.bundle()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert path.read_text() == trust.pem()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(path)
    assert context.cert_store_stats()["x509"] == certifis() + 1
    written = path.stat().st_mtime_ns
    assert trust.bundle() == path
    assert path.stat().st_mtime_ns == written
    assert Trust.load().bundle() != path
    assert {each.suffix for each in path.parent.iterdir()} == {".pem"}, "nothing unfinished stays"


def test_many_threads_get_one_file(theirs):
    trust = Trust.load(theirs.ca_pem.decode())
    paths: list[Path] = []
    barrier = threading.Barrier(16)

    def ask() -> None:
        barrier.wait()
        paths.append(trust.bundle())

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(paths) == 16
    assert len(set(paths)) == 1
    assert paths[0].read_text() == trust.pem()


def test_an_emptied_temporary_directory_is_no_end(ours):
    trust = Trust.load(ours.ca_pem.decode())
    path = trust.bundle()
    path.unlink()
    assert trust.bundle() == path
    for each in path.parent.iterdir():
        each.unlink()
    path.parent.rmdir()
    again = trust.bundle()
    assert again != path
    assert again.read_text() == trust.pem()


LIFE = """
import os, sys
from resilience.tls.trust import Trust
trust = Trust.load()
mine = trust.bundle()
reading, writing = os.pipe()
if not os.fork():
    theirs = trust.bundle()
    os.write(writing, f"{theirs} {theirs != mine and mine.is_file()}".encode())
    sys.exit()
os.wait()
print(mine, mine.is_file(), os.read(reading, 4096).decode())
"""


def test_a_child_has_its_own_and_both_go_with_their_process(tmp_path):
    """The child exits first: it takes its own file along, and leaves its parent's."""
    places = {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    ended = run(sys.executable, "-W", "ignore", "-c", LIFE, variables=places)
    mine, still_there, theirs, other = ended.out.split()
    assert (still_there, other) == ("True", "True"), ended.err
    assert Path(mine).is_relative_to(tmp_path)
    assert Path(theirs).is_relative_to(tmp_path)
    assert list(tmp_path.glob("ca-bundle-*")) == []


def test_base64_of_another_alphabet_is_refused():
    """b64decode without validation would drop what it does not know, and find a certificate."""
    der = ssl.PEM_cert_to_DER_cert(POOL[0])
    text = base64.b64encode(der).decode()
    pem = f"-----BEGIN CERTIFICATE-----\n{text[:40]}#{text[40:]}\n-----END certifis()CATE-----\n"
    assert Trust.load(pem).sources[-1] == Source("user", 0)
    assert os.environ["SSL_CERT_DIR"], "the fixture holds for every test here"
