"""The web server beside this process: where it listens, how long it may finish, how it boots."""

from __future__ import annotations

import ast
import ipaddress
import math
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

from resilience import boot
from resilience.env.discovery import is_file
from resilience.findings import Finding, Level
from resilience.probes import hosting_network as network, listening
from resilience.probes.surroundings import SUBJECT, Surroundings

GUNICORNS_GRACE = 30.0
_CONFIGURATION = "gunicorn.conf.py"
_GRACE = "graceful_timeout"
_LAST_PORT = 65535
_BOOT_MARGIN = 2.0  # the server and the first request come on top, and a cold disk


class Stop(NamedTuple):
    """What a platform lets pass between SIGTERM and SIGKILL: seconds, and where that is said.

    ``variable`` overrides it and is visible here; ``fixed`` means that nothing does. ``signal`` is
    what comes instead of SIGTERM.
    """

    seconds: float
    where: str
    variable: str = ""
    fixed: bool = False
    signal: str = ""


# docs/explanation/platforms.md has the sources.
STOPS = {
    "railway": Stop(
        0.0, "RAILWAY_DEPLOYMENT_DRAINING_SECONDS", "RAILWAY_DEPLOYMENT_DRAINING_SECONDS"
    ),
    "heroku": Stop(30.0, "gunicorn's graceful_timeout", fixed=True),
    "render": Stop(30.0, "maxShutdownDelaySeconds in render.yaml"),
    "fly": Stop(5.0, "kill_timeout in fly.toml", signal="SIGINT"),
    "cloud-run": Stop(10.0, "gunicorn's graceful_timeout", fixed=True),
    "ecs": Stop(30.0, "stopTimeout of the container definition"),
    "kubernetes": Stop(30.0, "terminationGracePeriodSeconds of the pod"),
    "docker": Stop(10.0, "stop_grace_period in compose.yaml, or docker stop -t"),
    "podman": Stop(10.0, "podman stop -t"),
}


def port(around: Surroundings) -> Iterator[Finding]:
    """The platform sends requests to $PORT, and the server listens elsewhere."""
    if not (around.hosting.on_platform or around.hosting.in_container):
        return
    given = around.environ.get("PORT", "")
    wanted = int(given) if re.fullmatch(r"[0-9]{1,5}", given) else 0
    level = Level.ERROR if around.hosting.kind in ("paas", "serverless") else Level.WARNING
    if given and not 0 < wanted <= _LAST_PORT and not network.LINK.fullmatch(given):
        yield Finding(
            "hosting.port",
            level,
            SUBJECT,
            "PORT holds no number from 1 to 65535: a server that is told to listen there does not "
            "start.",
            "Set PORT to the port that requests are sent to; a platform that sets it by itself "
            "needs no variable of yours.",
        )
        return
    found = listening.main_servers(around.root)
    # A web server before the app answers there, in this container or in this pod.
    reached = {each[1] for each in listening.addresses(around.root) if not _is_loopback(each[0])}
    if not found or wanted in reached:
        return
    ports = sorted({each[1] for server in found for each in server.listening})
    names = ", ".join(sorted({server.name for server in found}))
    if wanted and wanted not in ports:
        yield Finding(
            "hosting.port",
            level,
            SUBJECT,
            f"PORT says {wanted}, but {names} listens on {', '.join(map(str, ports))}: requests "
            "and health checks go to a port where nobody answers.",
            f"Bind the server to 0.0.0.0:$PORT; {_CONFIGURATION} reads it with os.environ['PORT'].",
        )
    if all(_is_loopback(each[0]) for server in found for each in server.listening):
        if not around.hosting.on_platform and {each.name for each in found} == {"runserver"}:
            level = Level.INFO  # in a container for development the editor forwards the port
        yield Finding(
            "hosting.loopback",
            level,
            SUBJECT,
            f"{names} listens on {found[0].listening[0][0]} only, which nobody outside this "
            "container reaches.",
            "Bind it to 0.0.0.0, or to [::] which takes IPv4 too; only with a proxy in the same "
            "pod or network is loopback right.",
        )


def draining(around: Surroundings) -> Iterator[Finding]:
    """The server may finish requests for longer than the platform waits before SIGKILL."""
    stop = STOPS.get(around.hosting.platform)
    grace = _graceful_timeout(around) if stop else None
    if stop is None or grace is None:
        return
    said = around.environ.get(stop.variable, "") if stop.variable else ""
    seconds = _seconds(said)
    if seconds is not None:
        stop = stop._replace(seconds=seconds, fixed=True)
    if stop.signal and around.asked_for:
        yield Finding(
            "hosting.draining",
            Level.INFO,
            SUBJECT,
            f"{around.hosting.name} by default sends {stop.signal}, at which gunicorn's workers "
            f"end without waiting, and kills after {stop.seconds:g} s: what is running then is cut "
            "off at each deploy.",
            f'Set kill_signal = "SIGTERM" and kill_timeout = {grace + 5:g} in fly.toml.',
            {"graceful_timeout_s": grace, "stop_s": stop.seconds},
        )
        return
    if stop.seconds >= grace or not (stop.fixed or around.asked_for):
        return
    known = "kills" if stop.fixed else "by default kills"
    yield Finding(
        "hosting.draining",
        Level.WARNING if stop.fixed else Level.INFO,
        SUBJECT,
        f"gunicorn lets requests finish for {grace:g} s after SIGTERM, {around.hosting.name} "
        f"{known} it after {stop.seconds:g} s: what is running then is cut off at each deploy.",
        f"Set {stop.where} above {grace:g} s; or graceful_timeout below {max(stop.seconds, 1):g}."
        if stop.variable or not stop.fixed
        else f"Set graceful_timeout = {stop.seconds - 5:g} in {_CONFIGURATION}.",
        {"graceful_timeout_s": grace, "stop_s": stop.seconds},
    )


def boot_time(around: Surroundings) -> Iterator[Finding]:
    """The health check gives up before the app is there."""
    took, allowed = boot.seconds(), around.environ.get("RAILWAY_HEALTHCHECK_TIMEOUT_SEC", "")
    if (
        took is None
        or not re.fullmatch(r"\d{1,6}", allowed)
        or around.hosting.platform != "railway"
    ):
        return
    if took * _BOOT_MARGIN > int(allowed):
        yield Finding(
            "hosting.boot-time",
            Level.WARNING,
            SUBJECT,
            f"Django took {took:.1f} s to be ready in this process, and the health check gives up "
            f"after {allowed} s.",
            "Raise RAILWAY_HEALTHCHECK_TIMEOUT_SEC (300 by default); python -X importtime "
            "manage.py check shows which imports take the time.",
            {"boot_s": round(took, 1)},
        )


def unmonitored(around: Surroundings) -> Iterator[Finding]:
    """Railway asks the health check at a deploy and never again."""
    if around.hosting.platform == "railway" and around.asked_for:
        yield Finding(
            "hosting.unmonitored",
            Level.INFO,
            SUBJECT,
            "Railway asks the health check until a deploy is live, and never again.",
            "Let a monitor ask /readyz, for example a scheduled checkdeploy --url.",
        )


STATIC = (unmonitored,)
LIVE = (port, draining, boot_time)


# ── gunicorn ────────────────────────────────────────────────────────────────────────────────────


def _graceful_timeout(around: Surroundings) -> float | None:
    """gunicorn's, None if nothing says that the server is gunicorn.

    Its arguments win over GUNICORN_CMD_ARGS, and these over its file, of which only a plain number
    is understood: it is not run here.
    """
    running = [each for each in listening.main_servers(around.root) if each.name == "gunicorn"]
    file = Path(_CONFIGURATION)
    given = around.environ.get("GUNICORN_CMD_ARGS", "")
    if not running and not given and not is_file(file):
        return None
    try:
        of_variable = shlex.split(given)
    except ValueError:
        of_variable = []
    for words in (*(each.arguments for each in running[:1]), of_variable):
        found = _option(words)
        if found is not None:
            return found
    return _of_file(file)


def _option(words: Sequence[str]) -> float | None:
    found: float | None = None
    for word, following in zip_longest(words, words[1:], fillvalue=""):
        name, _, value = word.partition("=")
        if name == "--graceful-timeout":
            found = _seconds(value or following)
    return found


def _seconds(word: str) -> float | None:
    """A number of seconds, None for anything else."""
    with suppress(ValueError):
        number = float(word)
        if math.isfinite(number) and number >= 0:
            return number
    return None


def _of_file(file: Path) -> float | None:
    """What the file assigns as a number; gunicorn's default without it, None for an expression."""
    if not is_file(file):
        return GUNICORNS_GRACE
    try:
        # Bytes: the file may begin with a mark of their order, or name another encoding.
        tree = ast.parse(file.read_bytes())
        nodes = list(ast.walk(tree))
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError):
        return None
    names = [node for node in nodes if isinstance(node, ast.Name) and node.id == _GRACE]
    if not names and not any(isinstance(node, ast.ImportFrom) and _stars(node) for node in nodes):
        return GUNICORNS_GRACE
    found = [value for node in tree.body for value in _assigned(node)]
    # Set anywhere else too, in a branch for one, it may be anything.
    return found[-1] if found and len(found) == len(names) else None


def _stars(node: ast.ImportFrom) -> bool:
    return any(each.name == "*" for each in node.names)


def _assigned(node: ast.stmt) -> Iterator[float | None]:
    """The number that a line gives to graceful_timeout, None for what is none."""
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, ast.AnnAssign):
        targets = [node.target]
    else:
        return
    for target in targets:
        if isinstance(target, ast.Name) and target.id == _GRACE:
            value = node.value.value if isinstance(node.value, ast.Constant) else None
            yield float(value) if isinstance(value, int | float) else None


def _is_loopback(address: str) -> bool:
    own = ipaddress.ip_address(address)
    mapped = getattr(own, "ipv4_mapped", None)
    return bool((mapped or own).is_loopback)
