"""What changes a process for good, each in one of its own: bounds, DNS, CA store, network."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.processes import ROOT


def said_by(code: str) -> str:
    """What a Python of its own prints, or the name of the error that ended it."""
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    last = ended.stderr.strip().splitlines()[-1:] if ended.returncode else []
    return ended.stdout.strip() or "".join(last).partition(":")[0]


BOUNDED = "from resilience.simulation.constrained import *\nConstraints({bounds}).apply()\n"


@pytest.mark.parametrize(
    ("bounds", "code", "said"),
    [
        ("memory=500_000_000", "bytearray(600_000_000)\nprint('fine')", "MemoryError"),
        ("", "bytearray(600_000_000)\nprint('fine')", "fine"),
        ("files=20", "print(len([open('/dev/null') for _ in range(30)]))", "OSError"),
        ("", "print(len([open('/dev/null') for _ in range(30)]))", "30"),
    ],
)
def test_bounds_hold__and_twins(bounds, code, said):
    assert said_by(BOUNDED.format(bounds=bounds) + code) == said


def test_root_becomes_nobody():
    code = (
        "from resilience.simulation.constrained import *\n"
        "import os\n"
        "found = nobody()\n"
        "if found: Constraints(uid=found[0], gid=found[1]).apply()\n"
        "print(found == (os.geteuid(), os.getegid()) and not os.getgroups() if found else True)"
    )
    assert said_by(code) == "True"


DNS = """
import socket
from resilience.simulation import resolver
paused = []
resolver.hang(7.0, sleep=paused.append)
for host in ("127.0.0.1", "localhost", "::1"):
    socket.getaddrinfo(host, 80)
assert paused == []
for ask in (lambda: socket.create_connection(("a.example.org", 80)),
            lambda: socket.gethostbyname("b.example.org")):
    try:
        ask()
    except socket.gaierror as error:
        assert error.errno == socket.EAI_AGAIN
print(paused)
"""


def test_names_hang_and_addresses_do_not():
    assert said_by(DNS) == "[7.0, 7.0]"


@pytest.mark.parametrize("emptied", [True, False])
def test_the_default_store_is_empty_and_a_bundle_is_not(emptied, tmp_path):
    code = (
        "import certifi, os, ssl\n"
        "os.environ['SSL_CERT_FILE'] = certifi.where()\n"
        "from resilience.simulation import ca_store\n"
        f"if {emptied}: ca_store.empty()\n"
        "context = ssl.create_default_context()\n"
        "named = ssl.create_default_context(cafile=certifi.where())\n"
        "print(bool(context.get_ca_certs()), bool(named.get_ca_certs()))"
    )
    assert said_by(code) == f"{not emptied} True"


NAMESPACE = """
import os, socket
from resilience.simulation import isolation
outside = socket.create_server(("127.0.0.1", 0))
port = outside.getsockname()[1]
if not isolation.works():
    print("not here")
    os._exit(0)
isolation.enter()
pid = isolation.fork_within()
if pid == 0:
    assert os.getpid() == 1
    inside = socket.create_server(("127.0.0.1", port))
    socket.create_connection(inside.getsockname(), 1).close()
    try:
        socket.create_connection(("192.0.2.1", 80), 1)
    except OSError as error:
        print(error.strerror, flush=True)
    os._exit(0)
os.waitpid(pid, 0)
outside.settimeout(0.1)
try:
    outside.accept()
except TimeoutError:
    print("nobody came")
"""


def test_a_namespace_leads_nowhere():
    said = said_by(NAMESPACE)
    assert said in ("Network is unreachable\nnobody came", "not here")
