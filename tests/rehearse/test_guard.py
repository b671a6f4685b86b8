"""What a child sees and reaches, asked in a process that is guarded, and in one that is not."""

from __future__ import annotations

import json
import socket
import subprocess
import sys

import pytest

from resilience.rehearse import guard
from tests.processes import ROOT

LOOK = """
import json, os, sys
from pathlib import Path
from resilience.env import dotenv
from resilience.rehearse import guard
root, events, watched = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "guarded"
if watched:
    note = guard.notes(os.open(events, os.O_WRONLY | os.O_CREAT))
    orders = {"ports": [], "isolated": False, "asks": False, "folder": "/stage", "root": str(root),
              "hidden": [".env", ".env.local"]}
    guard.Guard(orders, note, (str(root / "store"),)).watch()
os.chdir(root / "below")
def opens(path):
    try:
        open(path).close()
    except FileNotFoundError:
        return False
    return True
def lists(path):
    try:
        return bool(os.listdir(path))
    except FileNotFoundError:
        return False
print(json.dumps({
    "exists": (root / ".env").exists(),
    "is_file": os.path.isfile(root / ".env.local"),
    "access": os.access(str(root / ".env"), os.R_OK),
    "open": opens("../.env"),
    "bytes": os.path.exists(os.fsencode(root / ".env")),
    "dotenv": bool(dotenv.read(root / ".env")[0]),
    "store": lists(root / "store") or opens(root / "store" / "ca.pem"),
    "example": opens(root / ".env.example"),
    "outside": opens(root.parent / ".env"),
}))
"""


@pytest.mark.parametrize("how", ["guarded", "twin"])
def test_files_that_a_platform_would_not_have(tmp_path, how):
    root = tmp_path / "project"
    (root / "below").mkdir(parents=True)
    (root / "store").mkdir()
    for file in (".env", ".env.local", ".env.example", "store/ca.pem"):
        (root / file).write_text("A=1\n")
    (tmp_path / ".env").write_text("A=1\n")
    ended = subprocess.run(
        [sys.executable, "-c", LOOK, str(root), str(tmp_path / "events"), how],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    there = json.loads(ended.stdout)
    assert there.pop("example"), "it is no .env of a laptop"
    assert there.pop("outside"), "it is not the project's"
    assert set(there.values()) == {how == "twin"}


def test_a_port_is_held_while_somebody_listens():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert guard.is_held(port)
    assert not guard.is_held(port)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.bind(("127.0.0.1", 0))
        assert guard.is_held(datagrams.getsockname()[1])
    assert not guard.is_held("")
