"""What a process sees in the place of the machine's files, and who it is: in one of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from resilience.simulation import ca_store, mounts, name_server
from resilience.simulation.authority import Authority
from resilience.simulation.mounts import View
from tests.processes import ROOT

NOBODY = 65534
HEAD = "import json, os, socket, ssl, subprocess, sys\nfrom resilience.simulation import *\n"
HEAD += "from resilience.simulation import isolation, mounts, name_server, privileges\n"
HEAD += "sys.stdout.reconfigure(line_buffering=True)\n"


def said_by(code: str, *, python: str = sys.executable, user: int | None = None) -> str:
    """What a Python of its own prints."""
    command = [python, "-B", "-c", HEAD + code]
    ended = subprocess.run(
        command,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
    )
    assert not ended.returncode, ended.stderr
    return ended.stdout.strip()


@pytest.fixture(scope="module", autouse=True)
def possible() -> None:
    if said_by("print(mounts.View(emptied=('/srv',)).works())") != "True":
        pytest.skip("this system allows no mounts of one's own")


@pytest.fixture
def shop(tmp_path) -> Iterator[Path]:
    """A project below folders that only their owner may enter, and secrets beside it."""
    inner = tmp_path / "home" / "inner"
    (inner / "shop").mkdir(parents=True)
    (inner / "shop" / "file").write_text("shop")
    (inner / "secret").write_text("secret")
    (inner / "link").symlink_to("shop")
    for folder in (tmp_path, tmp_path / "home", inner):
        folder.chmod(0o700)
    yield inner / "shop"
    assert (inner / "secret").read_text() == "secret", "the machine's own is as it was"


def test_folders_are_emptied_and_files_replaced(shop):
    view = View(
        emptied=(str(shop.parent / "link"), str(shop.parent / "secret"), "/nowhere"),
        replaced={"/etc/hosts": str(shop / "file"), "/nowhere/else": str(shop / "file")},
    )
    code = (
        f"mounts.{view!r}.enter()\n"
        f"print(os.listdir({str(shop)!r}), os.path.isfile({str(shop.parent / 'secret')!r}))\n"
        "subprocess.run(['cat', '/etc/hosts'])"
    )
    assert said_by(code) == "[] False\nshop"
    assert (shop / "file").read_text() == "shop"


OPEN = """
{enter}
os.setgroups([])
os.setresgid({nobody}, {nobody}, {nobody})
os.setresuid({nobody}, {nobody}, {nobody})
def read(path):
    try:
        return open(path).read()
    except OSError as error:
        return type(error).__name__
print([read(path) for path in ({shop!r} + "/file", {link!r} + "/file", {secret!r})])
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("opened", [True, False], ids=["opened", "twin"])
def test_a_closed_folder_holds_nothing_but_what_is_needed(shop, opened):
    assert mounts.closed(str(shop)) in [str(each) for each in shop.parents]
    link, secret = str(shop.parent / "link"), str(shop.parent / "secret")
    view = View(opened=(str(shop), link, sys.base_prefix, sys.prefix))
    enter = f"mounts.{view!r}.enter()" if opened else ""
    code = OPEN.format(enter=enter, nobody=NOBODY, shop=str(shop), link=link, secret=secret)
    expected = ["shop", "shop", "FileNotFoundError"] if opened else ["PermissionError"] * 3
    assert said_by(code) == str(expected)


@pytest.mark.parametrize(
    ("mode", "readable"), [(0o755, True), (0o711, False), (0o744, False), (0o700, False)]
)
def test_whether_everybody_may_read_a_folder(tmp_path, mode, readable):
    (tmp_path / "x").mkdir(mode=0o777)
    (tmp_path / "x").chmod(mode)
    assert mounts.is_readable(str(tmp_path / "x")) == readable
    assert mounts.is_readable(str(tmp_path / "nothing"))


@pytest.mark.skipif(os.geteuid() != 0, reason="a user without rights must be made first")
def test_without_root_it_takes_a_user_namespace_and_gives_its_rights_back():
    code = (
        "mounts.View(emptied=('/etc/ssl',)).enter()\n"
        "print(os.getuid(), os.listdir('/etc/ssl'))\n"
        "subprocess.run(['grep', 'CapEff', '/proc/self/status'])\n"
    )
    python = _python_of_nobody()
    if python is None:
        pytest.skip("no Python here that nobody can run")
    said = said_by(code, python=python, user=NOBODY)
    assert said.splitlines() == ["65534 []", "CapEff:\t0000000000000000"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has rights to lose")
@pytest.mark.parametrize("dropped", [True, False], ids=["dropped", "twin"])
def test_root_without_capabilities(tmp_path, dropped):
    (tmp_path / "theirs").write_text("theirs")
    os.chown(tmp_path / "theirs", NOBODY, NOBODY)
    (tmp_path / "theirs").chmod(0o600)
    code = (
        f"if {dropped}: privileges.drop()\n"
        f"ended = subprocess.run(['cat', {str(tmp_path / 'theirs')!r}], stdout=-3, stderr=-3)\n"
        "print(ended.returncode, os.getuid())"
    )
    said = said_by(code)
    assert said.splitlines()[-1] == ("1 0" if dropped else "0 0")


@pytest.mark.skipif(os.geteuid() != 0, reason="as the name says")
def test_who_may_become_somebody_else():
    code = "print(privileges.may_become(65534, 65534))"
    assert said_by(code) == "True"
    assert said_by(f"privileges.drop()\n{code}") == "False"


RESOLVE = """
isolation.enter()
with {server}:
    mounts.View(replaced={files!r}).enter()
    try:
        ended = subprocess.run(
            [sys.executable, "-c", "import ctypes; print(ctypes.CDLL(None).getaddrinfo("
             "b'shop.example.org', b'80', None, ctypes.byref(ctypes.c_void_p())))"],
            capture_output=True, text=True, timeout={limit}, check=False)
        print(ended.stdout.strip())
    except subprocess.TimeoutExpired:
        print("waits")
"""


def test_libc_has_no_name_server(tmp_path):
    """Without one on the port every question fails at once: EAI_AGAIN."""
    files = name_server.written(tmp_path)
    code = RESOLVE.format(server="open('/dev/null')", files=files, limit=4)
    assert said_by(code) == "-3"


def test_libc_waits_for_one_that_is_silent__twin(tmp_path):
    files = name_server.written(tmp_path)
    code = RESOLVE.format(server="name_server.SilentNameServer()", files=files, limit=0.7)
    assert said_by(code) == "waits"


def test_a_silent_name_server_takes_questions():
    import socket

    with name_server.SilentNameServer(port=0) as server:
        assert not server.was_asked
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"who?", (name_server.HOST, server.port))
            client.settimeout(0.1)
            with pytest.raises(TimeoutError):
                client.recv(1)
        assert server.was_asked


def test_one_more_authority_in_every_store(tmp_path, authority: Authority):
    """For OpenSSL in C, which reads files by itself: by hash, and as a bundle."""
    stores = ca_store.extended(tmp_path / "stores", authority.ca_pem)
    found = {path: Path(copy) for path, copy in stores.items()}
    assert any(path.endswith("cacert.pem") for path in found), "certifi's"
    for copy in found.values():
        if copy.is_file():
            assert authority.ca_pem in copy.read_bytes()
    code = (
        "import certifi\n"
        f"mounts.View(replaced={stores!r}).enter()\n"
        f"print({authority.ca_pem!r} in open(certifi.where(), 'rb').read())"
    )
    assert said_by(code) == "True"


SHAKE = """
{enter}
def shakes(context):
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain({chain!r}, {key!r})
    to, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = context.wrap_bio(back, to, server_hostname="localhost")
    theirs = server.wrap_bio(to, back, server_side=True)
    for _ in range(4):
        for side in (ours, theirs):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLCertVerificationError as error:
                return error.verify_message
            except ssl.SSLError:
                pass
    return "verified"
default = ssl.create_default_context()
print(shakes(default))
"""


@pytest.mark.parametrize("how", ["extended", "emptied", "twin"])
def test_openssl_finds_it_by_its_name_or_not_at_all(tmp_path, authority: Authority, how):
    """Nothing of Python's is changed: OpenSSL looks into the folder for each name."""
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    authority.write_server(chain, key, "localhost")
    stores = ca_store.extended(tmp_path / "stores", authority.ca_pem)
    view = View(replaced=stores)
    if how == "emptied":
        view = View(emptied=ca_store.paths())
    enter = "" if how == "twin" else f"mounts.{view!r}.enter()"
    said = said_by(SHAKE.format(enter=enter, chain=str(chain), key=str(key)))
    assert (said == "verified") == (how == "extended"), said


def _python_of_nobody() -> str | None:
    """A Python that everybody can reach, for a user without rights."""
    python = "/usr/bin/python3"
    runs = [python, "-c", "import sys; assert sys.version_info >= (3, 11)"]
    if not Path(python).exists() or mounts.closed(str(ROOT / "resilience")):
        return None
    return None if subprocess.run(runs, check=False).returncode else python
