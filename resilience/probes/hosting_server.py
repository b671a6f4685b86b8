"""The web server beside this process: where it listens, how long it may finish, how it boots."""

from __future__ import annotations

import ast
import ipaddress
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

from resilience import boot
from resilience.findings import Finding, Level
from resilience.probes import listening
from resilience.probes.surroundings import SUBJECT, Surroundings

GUNICORNS_GRACE = 30.0
_CONFIGURATION = "gunicorn.conf.py"
_BOOT_MARGIN = 2.0  # the server and the first request come on top, and a cold disk


class Stop(NamedTuple):
    """What a platform lets pass between SIGTERM and SIGKILL: seconds, and where that is said.

    ``variable`` overrides it and is visible here; ``fixed`` means that nothing does.
    """

    seconds: float
    where: str
    variable: str = ""
    fixed: bool = False


# docs/explanation/platforms.md has the sources.
STOPS = {
    "railway": Stop(
        0.0, "RAILWAY_DEPLOYMENT_DRAINING_SECONDS", "RAILWAY_DEPLOYMENT_DRAINING_SECONDS"
    ),
    "heroku": Stop(30.0, "gunicorn's graceful_timeout", fixed=True),
    "render": Stop(30.0, "maxShutdownDelaySeconds in render.yaml"),
    "fly": Stop(5.0, "kill_timeout in fly.toml"),
    "cloud-run": Stop(10.0, "gunicorn's graceful_timeout", fixed=True),
    "ecs": Stop(30.0, "stopTimeout of the container definition"),
    "kubernetes": Stop(30.0, "terminationGracePeriodSeconds of the pod"),
    "docker": Stop(10.0, "stop_grace_period in compose.yaml, or docker stop --timeout"),
    "podman": Stop(10.0, "podman stop --time"),
}


def port(around: Surroundings) -> Iterator[Finding]:
    """The platform sends requests to $PORT, and the server listens elsewhere."""
    wanted = around.environ.get("PORT", "")
    found = listening.main_servers(around.root)
    if not found:
        return
    ports = sorted({each[1] for server in found for each in server.listening})
    names = ", ".join(sorted({server.name for server in found}))
    managed = around.hosting.on_platform or around.hosting.in_container
    if managed and wanted.isdigit() and int(wanted) not in ports:
        yield Finding(
            "hosting.port",
            Level.ERROR if around.hosting.kind in ("paas", "serverless") else Level.WARNING,
            SUBJECT,
            f"PORT says {wanted}, but {names} listens on {', '.join(map(str, ports))}: requests "
            "and health checks go to a port where nobody answers.",
            f"Bind the server to 0.0.0.0:$PORT; {_CONFIGURATION} reads it with os.environ['PORT'].",
        )
    if managed and all(_is_loopback(each[0]) for server in found for each in server.listening):
        yield Finding(
            "hosting.loopback",
            Level.ERROR if around.hosting.kind in ("paas", "serverless") else Level.WARNING,
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
    with suppress(ValueError):
        stop = stop._replace(seconds=float(said), fixed=True)
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
    file = Path.cwd() / _CONFIGURATION
    given = around.environ.get("GUNICORN_CMD_ARGS", "")
    if not running and not given and not file.is_file():
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
            with suppress(ValueError):
                found = float(value or following)
    return found


def _of_file(file: Path) -> float | None:
    """What the file assigns as a number; gunicorn's default without it, None for an expression."""
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return GUNICORNS_GRACE
    except (OSError, ValueError, SyntaxError):
        return None
    found: float | None = GUNICORNS_GRACE
    for node in tree.body:
        if not isinstance(node, ast.Assign):
            continue
        if "graceful_timeout" in (ast.unparse(target) for target in node.targets):
            value = node.value
            number = isinstance(value, ast.Constant) and isinstance(value.value, int | float)
            found = float(value.value) if number else None  # type: ignore[attr-defined]
    return found


def _is_loopback(address: str) -> bool:
    own = ipaddress.ip_address(address)
    mapped = getattr(own, "ipv4_mapped", None)
    return bool((mapped or own).is_loopback)
