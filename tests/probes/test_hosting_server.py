"""Where a server listens, and how long it has to stop and to start."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from resilience import boot
from resilience.findings import Level
from resilience.probes import hosting_server as server, listening
from tests.gunicorns import is_listening
from tests.probes.hosting_parts import (
    FLY,
    HEROKU,
    KUBERNETES,
    RAILWAY,
    around,
    ids,
    process,
    run,
    write,
)
from tests.processes import serve
from tests.servers import HOST, free_port
from tests.waiting import until

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid inode\n"


def listens(root: Path, *rows: tuple[str, int], file: str = "tcp") -> None:
    """``/proc/net/tcp`` with these addresses as the kernel writes them, and their inodes."""
    lines = [
        f"   {n}: {address} 00000000:0000 0A 00000000:00000000 00:00000000 00000000  0  0 {inode} 1"
        for n, (address, inode) in enumerate(rows)
    ]
    write(root, f"proc/net/{file}", HEAD + "\n".join(lines) + "\n")


# ── ports ───────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def gunicorn(tmp_path: Path, monkeypatch) -> Path:
    """A container in which gunicorn listens on 0.0.0.0:8000."""
    monkeypatch.chdir(tmp_path)
    process(tmp_path, 1, "/venv/bin/python", "/venv/bin/gunicorn", "shop.wsgi", inodes=[7])
    listens(tmp_path, ("00000000:1F40", 7))
    return tmp_path


def test_a_server_on_another_port_gets_no_request(gunicorn):
    [found] = run([server.port], around(RAILWAY | {"PORT": "8080"}, gunicorn))
    assert (found.id, found.level) == ("hosting.port", Level.ERROR)
    assert "gunicorn listens on 8000" in found.summary
    [found] = run([server.port], around(KUBERNETES | {"PORT": "8080"}, gunicorn))
    assert found.level is Level.WARNING


@pytest.mark.parametrize("port", [{"PORT": "8000"}, {}, {"PORT": "tcp://10.0.0.1:80"}])
def test_a_server_on_another_port__twin(gunicorn, port):
    assert ids([server.port], around(RAILWAY | port, gunicorn)) == []


@pytest.mark.parametrize("port", ["abc", "0", "99999", "9" * 5000, "²", " 8000", "-1", "8000;x"])
def test_a_port_that_is_none_is_named_without_it(gunicorn, port):
    [found] = run([server.port], around(RAILWAY | {"PORT": port}, gunicorn))
    assert (found.id, found.level) == ("hosting.port", Level.ERROR)
    assert "PORT holds no number" in found.summary


@pytest.mark.parametrize("port", ["8000", "08000", "", "tcp://10.0.0.1:80"])
def test_a_port_that_is_none__twin(gunicorn, port):
    assert ids([server.port], around(RAILWAY | {"PORT": port}, gunicorn)) == []
    assert ids([server.port], around({"PORT": "abc"}, gunicorn.parent / "nothing")) == []


def test_a_web_server_before_the_app_answers_at_the_port(gunicorn):
    """An nginx of the same container or pod; the app's own server may stay on loopback."""
    listens(gunicorn, ("0100007F:1F40", 7), ("00000000:1F90", 8))
    assert ids([server.port], around(RAILWAY | {"PORT": "8080"}, gunicorn)) == []


def test_a_web_server_before_the_app__twin__it_is_not_reached_either(gunicorn):
    listens(gunicorn, ("0100007F:1F40", 7), ("0100007F:1F90", 8))
    found = ids([server.port], around(RAILWAY | {"PORT": "8080"}, gunicorn))
    assert found == ["hosting.port", "hosting.loopback"]


def test_a_server_on_another_port__twin__elsewhere_or_none(gunicorn, tmp_path):
    assert ids([server.port], around({"PORT": "8080"}, gunicorn)) == []
    process(tmp_path, 2, "sh", "-c", "true")
    (tmp_path / "proc/1/cmdline").unlink()
    assert ids([server.port], around(RAILWAY | {"PORT": "8080"}, gunicorn)) == []


@pytest.mark.parametrize(
    ("file", "address"),
    [
        ("tcp", "0100007F:1F40"),
        ("tcp6", "00000000000000000000000001000000:1F40"),
        ("tcp6", "0000000000000000FFFF00000100007F:1F40"),  # ::ffff:127.0.0.1
    ],
)
def test_a_server_on_loopback_is_not_reached(gunicorn, file, address):
    listens(gunicorn)
    listens(gunicorn, (address, 7), file=file)
    [found] = run([server.port], around(RAILWAY | {"PORT": "8000"}, gunicorn))
    assert (found.id, found.level) == ("hosting.loopback", Level.ERROR)


@pytest.mark.parametrize(
    ("environ", "command", "level"),
    [
        ({}, "manage.py runserver", Level.INFO),  # editors forward the ports of such a container
        ({}, "/venv/bin/gunicorn shop.wsgi", Level.WARNING),
        (KUBERNETES, "manage.py runserver", Level.WARNING),
        (RAILWAY, "manage.py runserver", Level.ERROR),
    ],
)
def test_runserver_on_loopback_is_development_except_on_a_platform(
    tmp_path, environ, command, level
):
    (tmp_path / ".dockerenv").touch()
    process(tmp_path, 1, "python", *command.split(), inodes=[7])
    listens(tmp_path, ("0100007F:1F40", 7))
    [found] = run([server.port], around(environ, tmp_path))
    assert (found.id, found.level) == ("hosting.loopback", level)


@pytest.mark.parametrize("address", ["00000000:1F40", "0200000A:1F40"])
def test_a_server_on_loopback__twin(gunicorn, address):
    listens(gunicorn, (address, 7))
    assert ids([server.port], around(RAILWAY | {"PORT": "8000"}, gunicorn)) == []


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["gunicorn: master [shop.wsgi]"], "gunicorn"),  # with setproctitle
        (["python", "-m", "gunicorn", "shop.wsgi"], "gunicorn"),
        (["/usr/bin/python3", "/venv/bin/uvicorn", "shop.asgi:application"], "uvicorn"),
        (["python", "manage.py", "runserver"], "runserver"),
        (["daphne", "shop.asgi:application"], "daphne"),
        (["python", "-u", "-m", "gunicorn", "shop.wsgi"], "gunicorn"),
        (["/venv/bin/python3.13", "-X", "dev", "-W", "error", "-um", "uvicorn"], "uvicorn"),
        (["python", "-u", "manage.py", "runserver"], "runserver"),
        (["python", "-c", "pass", "shop", "gunicorn"], ""),
        (["python", "-u"], ""),
        (["python", "manage.py", "checkdeploy"], ""),
        (["redis-server", "*:6379"], ""),
        ([], ""),
    ],
)
def test_servers_are_known_by_their_arguments(tmp_path, arguments, name):
    process(tmp_path, 5, *arguments, inodes=[7])
    listens(tmp_path, ("00000000:1F40", 7))
    assert [each.name for each in listening.servers(tmp_path)] == ([name] if name else [])


def test_a_socket_that_was_closed_meanwhile_hides_no_other(gunicorn):
    """Its link is still listed and leads nowhere."""
    for name in ("0", "1", "9"):
        (gunicorn / f"proc/1/fd/x{name}").write_text("no link")
    [found] = listening.servers(gunicorn)
    assert found.listening == (("0.0.0.0", 8000),)  # noqa: S104 - nobody binds it


@pytest.mark.parametrize("row", ["", "0: x:y z 0A", "0: zz:1F40 0:0 0A 0 0 0 0 0 9", "\x1b[2J"])
def test_a_row_that_is_no_kernels_hides_no_other(gunicorn, row):
    place = gunicorn / "proc/net/tcp"
    place.write_text(place.read_text().replace(HEAD, f"{HEAD}{row}\n"))
    assert listening.addresses(gunicorn) == {("0.0.0.0", 8000)}  # noqa: S104


def test_a_row_that_is_no_kernels__twin__nothing_listens(gunicorn):
    listens(gunicorn)
    assert listening.addresses(gunicorn) == set()


@pytest.mark.parametrize(
    ("parents", "main"),
    [({9: 1}, True), ({9: 7, 7: 1}, True), ({9: 7, 7: 5, 5: 1}, False), ({9: 7}, False)],
)
def test_the_server_of_a_container_is_near_its_first_process(tmp_path, parents, main):
    """One that somebody starts in a shell of his own, to try something, says nothing."""
    process(tmp_path, 1, "tini")
    for pid, parent in parents.items():
        name = "gunicorn" if pid == 9 else "sh"
        process(tmp_path, pid, name, inodes=[7] if pid == 9 else [], parent=parent)
    listens(tmp_path, ("00000000:1F40", 7))
    found = ids([server.port], around(RAILWAY | {"PORT": "8080"}, tmp_path))
    assert found == (["hosting.port"] if main else [])


@pytest.fixture
def child(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """A real gunicorn on a port of its own: its process id and port."""
    (tmp_path / "shop.py").write_text("def application(environ, start): ...\n")
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "shop", "-b", f"{HOST}:{port}", "-c", os.devnull]
    with serve(command, log=tmp_path / "log", cwd=tmp_path) as started:
        assert until(lambda: is_listening(port), 10)
        yield started.pid, port


def test_a_real_server_is_found_with_its_port(child):
    pid, port = child
    found = {each.pid: each for each in listening.servers()}
    assert found[pid].name == "gunicorn"
    assert found[pid].listening == (("127.0.0.1", port),)


def test_a_real_server__twin__this_process_is_none(child):
    assert os.getpid() not in {each.pid for each in listening.servers()}


# ── the end ─────────────────────────────────────────────────────────────────────────────────────


def drained(seconds: str) -> dict[str, str]:
    return RAILWAY | {"RAILWAY_DEPLOYMENT_DRAINING_SECONDS": seconds}


@pytest.mark.parametrize(
    ("environ", "level"),
    [(drained("5"), Level.WARNING), (drained("0"), Level.WARNING), (RAILWAY, Level.INFO)],
)
def test_gunicorn_is_killed_before_it_is_done(gunicorn, environ, level):
    [found] = run([server.draining], around(environ, gunicorn))
    assert (found.id, found.level) == ("hosting.draining", level)
    assert "RAILWAY_DEPLOYMENT_DRAINING_SECONDS above 30 s" in found.hint


@pytest.mark.parametrize("environ", [drained("30"), drained("45")])
def test_gunicorn_is_killed__twin__it_has_the_time(gunicorn, environ):
    assert ids([server.draining], around(environ, gunicorn)) == []


@pytest.mark.parametrize("said", ["nan", "inf", "-5", "", "soon", "1e999"])
def test_a_time_that_is_none_leaves_the_default(gunicorn, said):
    [found] = run([server.draining], around(drained(said), gunicorn))
    assert (found.level, found.facts["stop_s"]) == (Level.INFO, 0.0)


def test_fly_sends_another_signal(gunicorn):
    [found] = run([server.draining], around(FLY, gunicorn))
    assert (found.id, found.level) == ("hosting.draining", Level.INFO)
    assert "SIGINT" in found.summary
    assert 'kill_signal = "SIGTERM" and kill_timeout = 35' in found.hint
    assert ids([server.draining], around(FLY, gunicorn, asked_for=False)) == []


def test_fly_sends_another_signal__twin__others_do_not(gunicorn):
    [found] = run([server.draining], around(KUBERNETES | drained("0"), gunicorn))
    assert "SIGINT" not in found.summary


def test_a_configuration_that_is_no_file_is_none(gunicorn, tmp_path):
    (tmp_path / "gunicorn.conf.py").mkdir()
    [found] = run([server.draining], around(RAILWAY, gunicorn))
    assert found.facts["graceful_timeout_s"] == server.GUNICORNS_GRACE


def test_a_folder_that_is_gone_is_no_crash(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert ids([server.draining], around(RAILWAY)) == []


def test_what_cannot_be_seen_is_told_only_to_who_asks(gunicorn):
    assert ids([server.draining], around(RAILWAY, gunicorn, asked_for=False)) == []
    assert ids([server.draining], around({}, gunicorn)) == []


@pytest.mark.parametrize(
    ("source", "cut"),
    [
        ("graceful_timeout = 25\n", False),
        ("graceful_timeout = 60\n", True),
        ("timeout = 9\n", False),  # the default is Heroku's limit
        ("graceful_timeout = 25 * 4\n", False),  # not understood, so nothing is claimed
        ("graceful_timeout = (", False),
        ("\ufeffgraceful_timeout = 60\r\n", True),
        ("# coding: utf-8\ngraceful_timeout: int = 60\n", True),
        ("graceful_timeout = timeout = 60\n", True),
        ("graceful_timeout: int = 20\n", False),
        ("if True:\n    graceful_timeout = 60\n", False),  # who knows
        ("graceful_timeout = 60\nif True:\n    graceful_timeout = 9\n", False),
        ("from base import *\n", False),
        (f"x = {'-' * 20000}1\n", False),
        ("graceful_timeout = 60\0", False),
    ],
)
def test_the_time_stands_in_gunicorns_file(tmp_path, monkeypatch, source, cut):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gunicorn.conf.py").write_text(source)
    found = run([server.draining], around(HEROKU))
    assert [each.level for each in found] == ([Level.WARNING] if cut else [])
    assert not cut or "graceful_timeout = 25 in gunicorn.conf.py" in found[0].hint


@pytest.mark.parametrize(
    ("arguments", "cut"),
    [
        ("--graceful-timeout 60", True),
        ("--graceful-timeout=60", True),
        ("--graceful-timeout 9", False),
        ("--graceful-timeout x", False),
        ("--graceful-timeout nan", False),
        ("--graceful-timeout inf", False),
        ("--graceful-timeout -1", False),
        ("'", False),
        ("--workers 2", False),
    ],
)
def test_the_time_stands_in_gunicorns_variable(tmp_path, monkeypatch, arguments, cut):
    monkeypatch.chdir(tmp_path)
    found = ids([server.draining], around(HEROKU | {"GUNICORN_CMD_ARGS": arguments}))
    assert found == (["hosting.draining"] if cut else [])


def test_without_gunicorn_there_is_nothing_to_say(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert ids([server.draining], around(drained("0"))) == []


# ── the beginning ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("took", "late"), [(6.0, True), (4.9, False), (None, False)])
def test_a_boot_that_the_health_check_does_not_wait_for(monkeypatch, took, late):
    monkeypatch.setattr(boot, "_seconds", took)
    environ = RAILWAY | {"RAILWAY_HEALTHCHECK_TIMEOUT_SEC": "10"}
    assert ids([server.boot_time], around(environ)) == (["hosting.boot-time"] if late else [])
    assert ids([server.boot_time], around(RAILWAY)) == []


def test_the_boot_of_a_process_is_measured():
    code = (
        "import time; time.sleep(0.3)\n"
        "from resilience import boot; boot.note_ready(); time.sleep(0.2); boot.note_ready()\n"
        "print(boot.seconds())"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 0.3 <= float(ended.stdout) < 5
    assert boot.seconds() is None or boot.seconds() > 0  # type: ignore[operator]


def test_railway_does_not_watch():
    assert ids([server.unmonitored], around(RAILWAY)) == ["hosting.unmonitored"]
    assert ids([server.unmonitored], around(RAILWAY, asked_for=False)) == []
    assert ids([server.unmonitored], around(KUBERNETES)) == []
