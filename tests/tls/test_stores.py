"""What is wrong with variables and files, in one sentence that names file and block."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from resilience.findings import Finding, Level
from resilience.probes.base import Deadline
from resilience.probes.stores import Stores
from resilience.tls import ladder, policy, stores
from resilience.tls.diagnosis import Diagnosis
from resilience.tls.policy import Policy
from tests.tls.pki import DAY, NOW, ROOT, issue


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    (folder / "0a1b2c3d.0").write_text(issue("Another Root", ca=True).pem)
    return folder


@pytest.fixture(autouse=True)
def small_store(monkeypatch: pytest.MonkeyPatch, small: Path) -> None:
    """No variable but the system's store, which has one authority: a whole one takes 60 ms."""
    for name in stores.READERS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SSL_CERT_DIR", str(small))
    monkeypatch.setenv("SSL_CERT_FILE", str(small / "0a1b2c3d.0"))


def found() -> list[Finding]:
    return list(Stores("tls").run(Deadline(1)))


FILES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE", "PGSSLROOTCERT", "TLS_CA_BUNDLE")
HALF = "\n".join(ROOT.pem.splitlines()[:4])
BAD = {
    "der": ("tls.bundle-broken", "no PEM block", "openssl x509 -inform der"),
    "truncated": ("tls.bundle-broken", ":1: the block has no end", "Copy the block anew"),
    "key": ("tls.bundle-broken", ":1: a block PRIVATE KEY", "Take the private key out"),
    "missing": ("tls.bundle-missing", "No such file or directory", "PEM file"),
    "empty": ("tls.bundle-broken", "no PEM block", "PEM"),
    "prose": ("tls.bundle-broken", "no PEM block", "PEM"),
}


def bad_file(what: str, folder: Path) -> Path:
    path = folder / f"{what}.pem"
    content = {
        "der": ROOT.der,
        "truncated": HALF.encode(),
        "key": ROOT.key_pem.encode(),
        "empty": b"",
        "prose": b"hello",
    }.get(what)
    if content is not None:
        path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("what", BAD)
def test_a_variable_that_names_a_bad_file(name, what, tmp_path, monkeypatch):
    path = bad_file(what, tmp_path)
    monkeypatch.setenv(name, str(path))
    fault = next(each for each in found() if each.level >= Level.WARNING)
    id, said, hint = BAD[what]
    assert (fault.id, fault.level, fault.subject) == (id, Level.ERROR, f"tls.{name}")
    assert str(path) in fault.summary
    assert said in fault.summary
    assert hint in fault.hint
    assert fault.facts["readers"] == stores.READERS[name]
    path.write_text(ROOT.pem)
    assert [each.id for each in found() if each.level is Level.ERROR] == []


@pytest.mark.parametrize("what", [*BAD, "folder"])
def test_the_setting_names_a_bad_file(what, tmp_path):
    path = tmp_path if what == "folder" else bad_file(what, tmp_path)
    policy.use(Policy(ca=str(path)))
    (fault,) = (each for each in found() if each.level is Level.ERROR)
    assert 'RESILIENCE["TLS"]["CA"]' in fault.summary
    assert str(path) in fault.summary
    assert fault.hint


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may read everything, so it becomes somebody else for a moment."""
    me = os.geteuid()
    if me == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(me)


def test_a_file_that_may_not_be_read(tmp_path):
    path = tmp_path / "ca.pem"
    path.write_text(ROOT.pem)
    path.chmod(0)
    policy.use(Policy(ca=str(path)))
    with as_nobody():
        said = [each for each in found() if str(path) in each.summary]
    assert [each.id for each in said] == ["tls.bundle-missing"]
    assert "Permission denied" in said[0].summary
    assert said[0].hint
    path.chmod(0o644)
    os.utime(path, (0, 0))
    assert not [each for each in found() if str(path) in each.summary]


@pytest.mark.parametrize("name", [*FILES, "SSL_CERT_DIR", "TLS_CA_PEM"])
def test_a_variable_that_is_set_to_nothing(name, monkeypatch):
    monkeypatch.setenv(name, "")
    fault = next(each for each in found() if each.level is Level.ERROR)
    assert (fault.id, fault.summary) == ("tls.bundle-missing", f"{name} is set, but to nothing.")
    assert fault.hint.startswith(f"Unset {name}")


def test_one_bad_block_among_good_ones_is_a_warning(tmp_path, monkeypatch):
    path = tmp_path / "ca.pem"
    path.write_text(f"{ROOT.pem}{HALF}\n{issue('Another', ca=True).pem}")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))
    fault = next(each for each in found() if each.level >= Level.WARNING)
    line = ROOT.pem.count("\n") + 1
    assert (fault.level, fault.id) == (Level.WARNING, "tls.bundle-broken")
    assert f"{path}:{line}:" in fault.summary


def test_a_folder_needs_hashed_names(tmp_path, monkeypatch):
    monkeypatch.setenv("SSL_CERT_DIR", f"{tmp_path}{os.pathsep}/nowhere/at/all")
    ids = [(each.id, each.level) for each in found() if each.subject == "tls.SSL_CERT_DIR"]
    assert ids == [("tls.bundle-broken", Level.ERROR), ("tls.bundle-missing", Level.ERROR)]
    (tmp_path / "0a1b2c3d.0").write_text(ROOT.pem)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    assert [each for each in found() if each.subject == "tls.SSL_CERT_DIR"] == []


def test_an_authority_of_ones_own_near_its_end():
    for ends, id, level in (
        (NOW + 20 * DAY, "tls.expires-soon", Level.WARNING),
        (NOW + 3 * DAY, "tls.expires-soon", Level.ERROR),
        (NOW - DAY / 2, "tls.expired", Level.ERROR),
        (NOW + 2000 * DAY, "tls.ok", Level.OK),
    ):
        policy.use(Policy(ca=issue("Ours", ca=True, begins=NOW - 900 * DAY, ends=ends).pem))
        first = found()[0]
        assert (first.id, first.level) == (id, level)


def test_nothing_wrong_is_counted(monkeypatch):
    policy.use(Policy(ca=ROOT.pem))
    (fine,) = found()
    assert (fine.id, fine.facts["user"]) == ("tls.ok", 1)
    assert f"{len(policy.trust_of().certificates)} authorities" in fine.summary


# ── the ladder ──────────────────────────────────────────────────────────────────────────────────

STEPS = ("Unset X", "nstall the auth", "root certificate", "PINS", "INSECURE")
UNKNOWN = Diagnosis("tls.untrusted-root", "It ends nowhere.", "Add the root.")


def test_the_better_steps_stand_before_the_worse_ones():
    hint = ladder.climb(UNKNOWN, ladder.Case("a:1", "redis", "Unset X.", 3, "sha256//abc"))
    places = [hint.index(step) for step in STEPS]
    assert places == sorted(places)
    assert hint.startswith("Unset X. Otherwise, in this order: install")
    strict = ladder.climb(Diagnosis("tls.strict-only", "s", "Reissue."), ladder.Case("a:1"))
    assert strict.index("RELAX_STRICT") < strict.index("INSECURE")


def test_only_the_steps_that_help_are_offered():
    hint = ladder.climb(UNKNOWN, ladder.Case("a:1"))
    assert "Unset" not in hint
    assert "Install" not in hint
    timeout = Diagnosis("tls.handshake-timeout", "s", "Compare the ports.")
    assert ladder.climb(timeout, ladder.Case("a:1", pin="sha256//abc")) == "Compare the ports."


@pytest.mark.parametrize(
    ("os_release", "shell", "install"),
    [
        ("ID=debian\n", True, "apt-get"),
        ('ID=linuxmint\nID_LIKE="ubuntu debian"\n', True, "apt-get"),
        ("ID=alpine\n", True, "apk add"),
        ('ID="rhel"\n', True, "dnf"),
        ('ID="opensuse-leap"\nID_LIKE="suse opensuse"\n', True, "zypper"),
        ("ID=arch\n", True, "pacman"),
        ("ID=debian\n", False, "COPY --from=build"),  # distroless says that it is Debian
        (None, False, "COPY --from=build"),
    ],
)
def test_the_fix_is_this_distributions(os_release, shell, install, tmp_path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "bin").mkdir()
    if os_release is not None:
        (tmp_path / "etc/os-release").write_text(os_release)
    if shell:
        (tmp_path / "bin/sh").touch()
    assert install in ladder.distribution(tmp_path).install
