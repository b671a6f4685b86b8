"""What the kernel says of this container: signals, memory, processor time, the user."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePath

from resilience.findings import Finding, Level
from resilience.probes import listening
from resilience.probes.surroundings import SUBJECT, Surroundings

_SHELLS = ("sh", "bash", "dash", "ash", "zsh", "busybox")
_SIGTERM = 1 << 14  # the bit of signal 15
_CGROUP = Path("sys/fs/cgroup")
_MIB = 1 << 20
_THROTTLED = 0.25  # of the periods: from here on it is felt as latency
_PERIODS = 600  # a minute of them, so that the start alone does not count


def pid_one(around: Surroundings) -> Iterator[Finding]:
    """Process 1 gets the SIGTERM; the kernel drops it if nothing there handles it."""
    if not (around.hosting.in_container or around.hosting.on_platform):
        return
    arguments = listening.arguments_of(1, around.root)
    name = PurePath(arguments[0]).name if arguments else ""
    known = name in _SHELLS or re.fullmatch(r"python[\d.]*", name)
    handled = _signals(around.root)
    # An init such as tini blocks the signal and waits for it instead.
    if not known or handled is None or handled & _SIGTERM:
        return
    if listening.is_alone(around.root):  # a container for this command: no server to be told
        return
    yield Finding(
        "hosting.pid-one",
        Level.WARNING,
        SUBJECT,
        f"Process 1 of this container is {name}, which does not handle SIGTERM: the server never "
        "hears of a stop, and is killed with its requests when the time is over.",
        'Start the server itself: CMD ["gunicorn", …] in brackets, exec gunicorn … in a script; '
        "or an init before it (docker run --init).",
    )


def processes(around: Surroundings) -> Iterator[Finding]:
    """WEB_CONCURRENCY is read by the servers themselves, gunicorn and uvicorn for two."""
    given = around.environ.get("WEB_CONCURRENCY")
    if given is None or not (around.hosting.in_container or around.hosting.on_platform):
        return
    try:
        wanted = int(given)  # as they do
    except ValueError:
        wanted = None
    if wanted is not None and wanted > 0:
        return
    yield Finding(
        "hosting.processes",
        Level.WARNING,
        "WEB_CONCURRENCY",
        "WEB_CONCURRENCY asks for no process: gunicorn starts, and nobody answers."
        if wanted == 0
        else "WEB_CONCURRENCY holds no number of processes: gunicorn does not start with it.",
        "Set WEB_CONCURRENCY to 1 or more, or remove it: an empty one counts as set.",
    )


def oom_killed(around: Surroundings) -> Iterator[Finding]:
    """The kernel has killed processes here for want of memory."""
    killed = _counter(around.root, "memory.events", "oom_kill")
    if killed:
        limit = around.hosting.memory_limit
        yield Finding(
            "hosting.oom-killed",
            Level.WARNING,
            SUBJECT,
            f"The kernel has killed processes of this container {killed} times, because its memory "
            + (f"({limit // _MIB} MiB) was used up." if limit else "was used up."),
            "Start fewer processes (WEB_CONCURRENCY), raise the limit, or recycle workers: "
            "max_requests = 1000 in gunicorn.conf.py.",
            {"oom_kills": killed},
        )


def memory(around: Surroundings) -> Iterator[Finding]:
    """More processes than the limit has room for, each as large as this one is now."""
    limit, processes = around.hosting.memory_limit, around.hosting.processes
    own = _resident(around.root)
    if not limit or not processes or not own or own * processes <= limit:
        return
    yield Finding(
        "hosting.memory",
        Level.WARNING,
        SUBJECT,
        f"{around.hosting.processes_source} asks for {processes} processes. This one has "
        f"{own // _MIB} MiB before its first request, and the limit is {limit // _MIB} MiB.",
        f"Set WEB_CONCURRENCY={max(1, limit // (own * 2))} and more threads, or raise the limit.",
        {"own_mib": own // _MIB, "limit_mib": limit // _MIB},
    )


def cpu_throttled(around: Surroundings) -> Iterator[Finding]:
    """The container's share of processor time is mostly used up, and everything waits."""
    periods = _counter(around.root, "cpu.stat", "nr_periods")
    throttled = _counter(around.root, "cpu.stat", "nr_throttled")
    if periods < _PERIODS or throttled < periods * _THROTTLED:
        return
    share = round(100 * throttled / periods)
    yield Finding(
        "hosting.cpu-throttled",
        Level.WARNING,
        SUBJECT,
        f"In {share} % of its periods this container had used up its processor time and stood "
        "still: answers are late for no other reason.",
        "Raise or drop the CPU limit (Kubernetes: resources.limits.cpu; the request stays), or "
        "start fewer processes and threads.",
        {"throttled_percent": share},
    )


def root_user(around: Surroundings) -> Iterator[Finding]:
    """Root in the container is what a break-out begins with."""
    orchestrated = around.hosting.kind == "orchestrator"
    inside = around.hosting.in_container or around.hosting.on_platform
    if os.geteuid() != 0 or not inside or not (orchestrated or around.asked_for):
        return
    yield Finding(
        "hosting.root-user",
        Level.WARNING if orchestrated else Level.INFO,
        SUBJECT,
        "This process is root in its container, and clusters with the restricted Pod Security "
        "Standard start no such pod."
        if orchestrated
        else "This process is root in its container.",
        "End the Dockerfile with USER 10001:10001, a number so that runAsNonRoot can check it.",
    )


RULES = (pid_one, processes, oom_killed, memory, cpu_throttled, root_user)


def _signals(root: Path) -> int | None:
    """The signals that process 1 catches or blocks, as the mask of proc_pid_status(5)."""
    try:
        status = (root / "proc/1/status").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    found = re.findall(r"^Sig(?:Cgt|Blk):\s*([0-9a-f]+)$", status, re.MULTILINE)
    return sum(int(mask, 16) & _SIGTERM for mask in found) and _SIGTERM if found else None


def _counter(root: Path, file: str, name: str) -> int:
    """A number of the control group (version 2), 0 if it is not there."""
    try:
        text = (root / _CGROUP / file).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return 0
    found = re.search(rf"^{name} (\d+)$", text, re.MULTILINE)
    return int(found[1]) if found else 0


def _resident(root: Path) -> int:
    """Bytes of this process in memory, 0 where nobody tells."""
    try:
        pages = int((root / "proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
