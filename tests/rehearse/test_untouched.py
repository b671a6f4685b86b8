"""What settings and code point at is never reached: asserted at the socket that would see it."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from resilience.simulation.network import Silence
from tests.processes import ROOT
from tests.rehearse import naive
from tests.rehearse.test_projects import about, rehearse

REACH = """
import socket, subprocess
from contextlib import suppress

def everything():
    with suppress(OSError):
        socket.create_connection(("127.0.0.1", {code}), 1).close()
    with suppress(OSError):
        socket.create_connection(("192.0.2.1", 443), 1).close()
    with suppress(OSError):
        socket.getaddrinfo("billing.example.org", 443)
    with suppress(OSError), socket.socket(socket.AF_UNIX) as sock:
        sock.connect({unix!r})
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"x", ("127.0.0.1", {udp}))
    with suppress(OSError, subprocess.SubprocessError):
        subprocess.run(["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/{program}"],
                       stderr=subprocess.DEVNULL, timeout=5, check=False)
"""
VIEWS = """
from django.core import mail
from django.core.cache import cache
from django.http import HttpResponse
from shop import reach

def home(request):
    cache.set("seen", "yes", 60)
    mail.send_mail("subject", "text", "a@example.org", ["b@example.org"])
    reach.everything()
    return HttpResponse("home")
"""
SETTINGS = """
from shop import reach
reach.everything()
CACHES["default"]["LOCATION"] = "redis://:hunter22@127.0.0.1:{redis}/0"
DATABASES = {{"default": {{"ENGINE": "django.db.backends.postgresql", "NAME": "shop",
    "HOST": "127.0.0.1", "PORT": "{database}", "USER": "shop", "PASSWORD": "hunter22"}}}}
EMAIL_HOST, EMAIL_PORT = "127.0.0.1", {mail}
CELERY_BROKER_URL = "redis://127.0.0.1:{redis}/1"
"""
SERVICES = ("redis", "database", "mail", "code", "program")


class Witnesses:
    """Listeners on this machine, and how often each was reached."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._tcp = {name: stack.enter_context(Silence()) for name in SERVICES}
        self.path = folder / "service.sock"
        self._unix = stack.enter_context(socket.socket(socket.AF_UNIX))
        self._unix.bind(str(self.path))
        self._unix.listen()
        self._unix.settimeout(0)
        self._udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self._udp.bind(("127.0.0.1", 0))
        self._udp.settimeout(0)

    @property
    def places(self) -> dict[str, object]:
        ports = {name: each.port for name, each in self._tcp.items()}
        return {**ports, "unix": str(self.path), "udp": self._udp.getsockname()[1]}

    def reached(self) -> set[str]:
        found = {name for name, each in self._tcp.items() if each.connections}
        with suppress(BlockingIOError):
            self._unix.accept()[0].close()
            found.add("unix")
        with suppress(BlockingIOError):
            self._udp.recv(1)
            found.add("udp")
        return found


@contextmanager
def watched(folder: Path) -> Iterator[tuple[Witnesses, Path]]:
    with ExitStack() as stack:
        folder.mkdir()
        witnesses = Witnesses(stack, folder)
        places = witnesses.places
        settings = naive.MENDED["shop/settings.py"] + SETTINGS.format(**places)
        files = {
            **naive.MENDED,
            "shop/settings.py": settings,
            "shop/views.py": VIEWS,
            "shop/reach.py": REACH.format(**places),
        }
        dotenv = f"{naive.ENV}REDIS_URL=redis://127.0.0.1:{places['redis']}/0\n"
        yield witnesses, naive.write(folder / "shop-project", files, dotenv)


@pytest.mark.parametrize("namespace", ["on", "off"])
def test_nothing_reaches_what_is_configured(tmp_path, namespace):
    if namespace == "on" and not _has_namespaces():
        pytest.skip("this system allows no namespaces")
    with watched(tmp_path / "watched") as (witnesses, folder):
        ended = rehearse(
            *(folder, "--scenario", "redis-refused"), RESILIENCE_REHEARSAL_NAMESPACE=namespace
        )
        assert witnesses.reached() == set()
        port = witnesses.places["code"]
    assert ended.code == 0, ended.out
    denied = ended.find("rehearse.denied")["summary"]
    assert "192.0.2.1:443" in denied
    assert "billing.example.org" in denied
    assert "service.sock" in denied
    assert f"127.0.0.1:{port}" in denied
    assert ("program bash" in denied) == (namespace == "off")
    conditions = ended.find("rehearse.conditions")
    assert conditions["facts"]["isolated"] == (namespace == "on")
    told = "DNS and the CA store were broken for Python alone"
    assert (told in conditions["summary"]) == (not conditions["facts"]["mounts"])
    assert "hunter22" not in ended.out + ended.err
    facts = about(ended, "healthy")["rehearse.ok"]["facts"]
    assert facts["requests"] > 1, "and the project did its work all the same"


def test_the_same_project_reaches_everything_by_itself__twin(tmp_path):
    """The witnesses see it, so that their silence means something."""
    with watched(tmp_path / "watched") as (witnesses, folder):
        code = (
            "import os, django; os.environ['DJANGO_SETTINGS_MODULE'] = 'shop.settings'\n"
            "django.setup()\n"
            "from django.core import mail; from django.core.cache import cache\n"
            "from django.db import connection\n"
            "import socket; socket.setdefaulttimeout(0.3)\n"
            "cache.set('seen', 1)\n"
            "from contextlib import suppress\n"
            "with suppress(Exception): mail.send_mail('s', 't', 'a@b.org', ['c@d.org'])\n"
            "connection.settings_dict['OPTIONS'] = {'connect_timeout': 2}\n"
            "with suppress(Exception): connection.ensure_connection()\n"
            "import os; os._exit(0)\n"
        )
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=folder,
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)},
            check=True,
            timeout=60,
        )
        assert witnesses.reached() == {*SERVICES, "unix", "udp"}


def _has_namespaces() -> bool:
    """Asked in a process of its own: a fork of one with threads may hang."""
    code = "from resilience.simulation import isolation; print(isolation.works())"
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return ended.stdout.strip() == "True"
