"""What the kernel says of a container: signals, memory, processor time, the user, variables."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from resilience import env
from resilience.findings import Level
from resilience.probes import hosting_network as network, hosting_process as container, listening
from resilience.probes.surroundings import Surroundings
from tests.env.test_dotenv import as_nobody
from tests.probes.hosting_parts import (
    KUBERNETES,
    OVERLAY,
    RAILWAY,
    around,
    ids,
    process,
    run,
    write,
)

SIGTERM = "0000000000004000"
NONE = "0000000000000000"


def first_process(root: Path, *arguments: str, caught: str = NONE, blocked: str = NONE) -> None:
    write(root, "proc/self/mountinfo", OVERLAY)  # a container
    process(root, 1, *arguments)
    write(root, "proc/1/status", f"Name:\tx\nSigBlk:\t{blocked}\nSigCgt:\t{caught}\n")


# ── process 1 ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["sh", "/bin/bash", "/usr/local/bin/python3.13", "dash"])
def test_process_1_that_handles_no_sigterm_keeps_it_from_the_server(tmp_path, name):
    first_process(tmp_path, name, "-c", "gunicorn shop.wsgi")
    [found] = run([container.pid_one], around({}, tmp_path))
    assert (found.id, found.level) == ("hosting.pid-one", Level.WARNING)
    assert 'CMD ["gunicorn"' in found.hint


@pytest.mark.parametrize(
    ("arguments", "masks"),
    [
        (["python", "/venv/bin/gunicorn"], {"caught": SIGTERM}),
        (["sh", "-c", "trap stop TERM"], {"caught": SIGTERM}),
        (["python", "init.py"], {"blocked": SIGTERM}),  # waits for it
        (["/sbin/docker-init", "--"], {}),  # not known well enough to judge
    ],
)
def test_process_1__twin(tmp_path, arguments, masks):
    first_process(tmp_path, *arguments, **masks)
    assert ids([container.pid_one], around({}, tmp_path)) == []


def test_process_1__twin__on_a_laptop_or_unseen(tmp_path):
    first_process(tmp_path, "sh")
    (tmp_path / "proc/1/status").unlink()
    assert ids([container.pid_one], around({}, tmp_path)) == []
    first_process_elsewhere = tmp_path / "elsewhere"
    first_process(first_process_elsewhere, "sh")
    (first_process_elsewhere / "proc/self/mountinfo").unlink()
    assert ids([container.pid_one], around({}, first_process_elsewhere)) == []


@pytest.mark.parametrize(
    ("others", "said"),
    [({}, False), ({20: 10}, False), ({20: 1}, True), ({20: 0}, True)],  # its child; others
)
def test_a_container_for_this_command_has_no_server_to_tell(tmp_path, others, said):
    """As a pre-deploy command or a Job: ``sh -c 'migrate && checkdeploy'``."""
    first_process(tmp_path, "sh", "-c", "python manage.py migrate && python manage.py checkdeploy")
    for pid, parent in ({10: 1} | others).items():
        process(tmp_path, pid, "python", "manage.py", parent=parent)
    (tmp_path / "proc/self").joinpath("mountinfo").unlink()
    (tmp_path / "proc/self").rmdir()
    (tmp_path / "proc/self").symlink_to("10")
    assert ids([container.pid_one], around(RAILWAY, tmp_path)) == (
        ["hosting.pid-one"] if said else []
    )


def test_who_cannot_tell_is_not_alone(tmp_path):
    assert not listening.is_alone(Path("/nonexistent"))
    process(tmp_path, 10, "python", parent=1)
    assert not listening.is_alone(tmp_path)


# ── processes ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("0", "nobody answers"),
        ("-1", "does not start"),
        ("", "does not start"),
        ("two", "does not start"),
        ("1.5", "does not start"),
        ("9" * 5000, "does not start"),
    ],
)
def test_a_number_of_processes_that_is_none(value, words):
    [found] = run([container.processes], around(RAILWAY | {"WEB_CONCURRENCY": value}))
    assert (found.id, found.level) == ("hosting.processes", Level.WARNING)
    assert words in found.summary


@pytest.mark.parametrize("value", ["1", "2", " 4 ", "0010"])
def test_a_number_of_processes__twin(value):
    assert ids([container.processes], around(RAILWAY | {"WEB_CONCURRENCY": value})) == []
    assert ids([container.processes], around(RAILWAY)) == []
    assert ids([container.processes], around({"WEB_CONCURRENCY": "0"})) == []  # a laptop


@pytest.mark.parametrize(
    ("value", "starts"), [("", False), ("two", False), ("-1", False), ("0", True), ("1", True)]
)
def test_what_gunicorn_makes_of_such_a_number(value, starts):
    words = ("-m", "gunicorn", "--no-control-socket", "--check-config", "-c", os.devnull)
    ended = subprocess.run(
        [sys.executable, *words, "wsgiref.simple_server:demo_app"],
        env={"PATH": os.environ["PATH"], "WEB_CONCURRENCY": value},
        capture_output=True,
        check=False,
    )
    assert (ended.returncode == 0) is starts, ended.stderr


def test_the_masks_of_a_real_process_are_read(tmp_path):
    """The form of ``status``, from the kernel: this process handles SIGINT, and Python no TERM."""
    status = Path("/proc/self/status").read_text()
    write(tmp_path, "proc/1/status", status)
    assert container._signals(tmp_path) is not None


# ── memory and time ─────────────────────────────────────────────────────────────────────────────


def limited(root: Path, processes: int, mib: int) -> Surroundings:
    write(root, "sys/fs/cgroup/memory.max", str(mib << 20))
    pages = (200 << 20) // os.sysconf("SC_PAGE_SIZE")
    write(root, "proc/self/statm", f"99999 {pages} 1 1 0 1 0\n")
    return around({"WEB_CONCURRENCY": str(processes)}, root)


def test_more_processes_than_the_limit_has_room_for(tmp_path):
    [found] = run([container.memory], limited(tmp_path, 3, 512))
    assert (found.id, found.level) == ("hosting.memory", Level.WARNING)
    assert "WEB_CONCURRENCY=1 " in found.hint
    assert found.facts == {"own_mib": 200, "limit_mib": 512}


@pytest.mark.parametrize(("processes", "mib"), [(2, 512), (3, 601)])
def test_more_processes_than_the_limit__twin(tmp_path, processes, mib):
    assert ids([container.memory], limited(tmp_path, processes, mib)) == []


def test_more_processes_than_the_limit__twin__nobody_tells(tmp_path):
    known = limited(tmp_path, 9, 512)
    for hosting in (
        replace(known.hosting, processes=None),
        replace(known.hosting, memory_limit=None),
    ):
        assert ids([container.memory], replace(known, hosting=hosting)) == []
    (tmp_path / "proc/self/statm").unlink()
    assert ids([container.memory], known) == []


@pytest.mark.parametrize(("killed", "said"), [(2, ["hosting.oom-killed"]), (0, [])])
def test_the_kernel_counts_whom_it_killed(tmp_path, killed, said):
    events = f"low 0\nhigh 0\nmax 9\noom 5\noom_kill {killed}\noom_group_kill 0\n"
    write(tmp_path, "sys/fs/cgroup/memory.events", events)
    assert ids([container.oom_killed], around({}, tmp_path)) == said


@pytest.mark.parametrize(
    ("periods", "throttled", "said"),
    [
        (1000, 400, ["hosting.cpu-throttled"]),
        (1000, 249, []),
        (500, 500, []),  # the start alone
        (0, 0, []),
    ],
)
def test_the_kernel_counts_when_it_held_the_container_back(tmp_path, periods, throttled, said):
    stat = f"usage_usec 5\nnr_periods {periods}\nnr_throttled {throttled}\nthrottled_usec 7\n"
    write(tmp_path, "sys/fs/cgroup/cpu.stat", stat)
    assert ids([container.cpu_throttled], around({}, tmp_path)) == said


def test_without_a_control_group_there_is_nothing_to_say(tmp_path):
    write(tmp_path, "proc/self/mountinfo", OVERLAY)
    assert ids([container.oom_killed, container.cpu_throttled], around({}, tmp_path)) == []


# ── the user ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be root here")
def test_root_is_named():
    [found] = run([container.root_user], around(KUBERNETES))
    assert (found.id, found.level) == ("hosting.root-user", Level.WARNING)
    [found] = run([container.root_user], around(RAILWAY))
    assert found.level is Level.INFO
    assert ids([container.root_user], around(RAILWAY, asked_for=False)) == []
    assert ids([container.root_user], around({})) == []


def test_root_is_named__twin__somebody_else():
    with as_nobody():
        assert ids([container.root_user], around(KUBERNETES)) == []


# ── variables and names ─────────────────────────────────────────────────────────────────────────


def test_a_service_of_the_same_name_takes_a_variable():
    linked = {"REDIS_PORT": "tcp://10.0.0.1:6379", "REDIS_SERVICE_HOST": "10.0.0.1"}
    [found] = run([network.service_links], around(linked))
    assert (found.id, found.subject) == ("hosting.service-links", "REDIS_PORT")
    assert "enableServiceLinks: false" in found.hint


@pytest.mark.parametrize(
    "environ",
    [
        {"REDIS_PORT": "6379"},
        {"BILLING_PORT": "tcp://10.0.0.1:80"},  # nobody here reads that
        {"REDIS_PORT_6379_TCP": "tcp://10.0.0.1:6379"},
    ],
)
def test_a_service_of_the_same_name__twin(environ):
    assert ids(network.RULES, around(environ)) == []


def test_a_service_takes_a_variable_that_the_project_declares(monkeypatch):
    environ = {"BILLING_PORT": "tcp://10.0.0.1:80"}
    monkeypatch.setenv("BILLING_PORT", "8080")
    env.int("BILLING_PORT")
    assert ids(network.RULES, around(environ)) == ["hosting.service-links"]


RESOLV = "nameserver 10.96.0.10\nsearch shop.svc.cluster.local svc.cluster.local\noptions {}\n"


@pytest.mark.parametrize(
    ("options", "said"), [("ndots:5", ["hosting.ndots"]), ("ndots:1", []), ("rotate", [])]
)
def test_names_are_looked_up_in_every_domain_first(tmp_path, options, said):
    write(tmp_path, "etc/resolv.conf", RESOLV.format(options))
    assert ids([network.ndots], around(KUBERNETES, tmp_path)) == said
    assert ids([network.ndots], around(KUBERNETES, tmp_path, asked_for=False)) == []
    assert ids([network.ndots], around(RAILWAY, tmp_path)) == []


@pytest.mark.parametrize(
    ("host", "said"), [("smtp.example.com", ["hosting.smtp"]), ("localhost", [])]
)
@pytest.mark.filterwarnings("ignore:.*EMAIL_")  # deprecated in Django 6.1, and still used
def test_railway_lets_mail_out_on_some_plans(settings, host, said):
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST = host
    assert ids([network.smtp], around(RAILWAY)) == said
    settings.EMAIL_BACKEND = "anymail.backends.mailgun.EmailBackend"
    assert ids([network.smtp], around(RAILWAY)) == []
