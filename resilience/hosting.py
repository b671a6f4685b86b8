"""Where this process runs, and the signals that say so.

The verdict changes the words of a report and which rules apply, never security or timing.
Detection reads variable names and a few marker files: no network, no metadata service.
"""

from __future__ import annotations

import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from resilience.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@dataclass(frozen=True)
class Platform:
    """One row of the detection table.

    ``kind`` is ``paas``, ``serverless``, ``orchestrator`` or ``container``. ``signals`` are
    alternatives: the first group whose variables are all set decides; ``NAME=value`` also asks
    for the value, ``NAME=prefix*`` for its beginning, ``/path`` for an existing file. ``instance``
    names the variable that tells one replica from another.
    """

    slug: str
    name: str
    kind: str
    signals: tuple[tuple[str, ...], ...]
    instance: str | None = None


# Order matters: a PaaS may run on Kubernetes, Kubernetes runs containers. Spring's CloudPlatform,
# the platforms' own variable references and the OTel resource detectors agree on these names.
PLATFORMS = (
    Platform(
        "railway",
        "Railway",
        "paas",
        (
            ("RAILWAY_ENVIRONMENT_ID", "RAILWAY_SERVICE_ID"),
            ("RAILWAY_ENVIRONMENT_NAME",),
            ("RAILWAY_ENVIRONMENT",),  # its older name, still injected
        ),
        "RAILWAY_REPLICA_ID",
    ),
    Platform("heroku", "Heroku", "paas", (("DYNO",),), "DYNO"),
    Platform(
        "render",
        "Render",
        "paas",
        (("RENDER=true",), ("RENDER_SERVICE_ID",)),
        "RENDER_INSTANCE_ID",
    ),
    Platform("fly", "Fly.io", "paas", (("FLY_APP_NAME",),), "FLY_MACHINE_ID"),
    Platform(
        "cloud-foundry", "Cloud Foundry", "paas", (("VCAP_APPLICATION",),), "CF_INSTANCE_INDEX"
    ),
    Platform(
        "azure-app-service",
        "Azure App Service",
        "paas",
        (
            (
                "WEBSITE_SITE_NAME",
                "WEBSITE_INSTANCE_ID",
                "WEBSITE_RESOURCE_GROUP",
                "WEBSITE_SKU",
            ),
        ),
        "WEBSITE_INSTANCE_ID",
    ),
    Platform(
        "cloud-run",
        "Google Cloud Run",
        "serverless",
        (("K_SERVICE", "K_REVISION"), ("CLOUD_RUN_JOB",)),
    ),
    Platform(
        "lambda",
        "AWS Lambda",
        "serverless",
        (("AWS_LAMBDA_FUNCTION_NAME",), ("AWS_EXECUTION_ENV=AWS_Lambda_*",)),
        "AWS_LAMBDA_LOG_STREAM_NAME",
    ),
    Platform(
        "ecs",
        "Amazon ECS",
        "orchestrator",
        (
            ("ECS_CONTAINER_METADATA_URI_V4",),
            ("ECS_CONTAINER_METADATA_URI",),
            ("AWS_EXECUTION_ENV=AWS_ECS_*",),
        ),
    ),
    Platform("nomad", "Nomad", "orchestrator", (("NOMAD_ALLOC_ID",),), "NOMAD_ALLOC_ID"),
    Platform(
        "kubernetes",
        "Kubernetes",
        "orchestrator",
        (
            ("KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"),
            ("/var/run/secrets/kubernetes.io/serviceaccount",),
        ),
        "HOSTNAME",
    ),
    Platform(
        "podman",
        "Podman",
        "container",
        (("/run/.containerenv",), ("container=podman",)),
        "HOSTNAME",
    ),
    Platform("docker", "Docker", "container", (("/.dockerenv",),), "HOSTNAME"),
    Platform(
        "container", "a container", "container", (("container",), ("/run/host/container-manager",))
    ),
)
NONE = Platform("none", "no platform", "none", ())
CHOICES = tuple(platform.slug for platform in (*PLATFORMS, NONE))

COMMITS = (
    "RAILWAY_GIT_COMMIT_SHA",  # docs.railway.com/variables/reference
    "RENDER_GIT_COMMIT",  # render.com/docs/environment-variables
    "HEROKU_BUILD_COMMIT",  # devcenter.heroku.com/articles/dyno-metadata
    "HEROKU_SLUG_COMMIT",  # its older name on the same page, stale after a pipeline's promotion
    "VERCEL_GIT_COMMIT_SHA",  # vercel.com/docs/environment-variables/system-environment-variables
    "CC_COMMIT_ID",  # clever-cloud.com/doc/develop/env-variables
    "GIT_REV",  # dokku.com/docs/deployment/methods/git
    "SOURCE_COMMIT",  # Docker Hub's automated builds, Coolify
    "SOURCE_VERSION",  # builds of Heroku and Scalingo
    "GIT_COMMIT",  # Jenkins, and what many images are built with, as the next two
    "GIT_SHA",
    "COMMIT_SHA",  # cloud.google.com/build/docs/configuring-builds/substitute-variable-values
)
"""Variables that hold the commit of the running code, the best first. Kubernetes sets none."""

_COMMIT = re.compile(r"[0-9a-fA-F]{7,64}")
_CI = ("GITHUB_ACTIONS", "GITLAB_CI", "CIRCLECI", "BUILDKITE", "JENKINS_URL", "TF_BUILD", "CI")
_MANAGED_KINDS = ("paas", "serverless", "orchestrator")
_MEMORY_LIMITS = ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes")
# cgroup v1 says "no limit" with a huge page-aligned number.
_UNLIMITED = 1 << 60
_FIELDS = 5  # of a line of mountinfo up to the mount point
_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True)
class Hosting:
    """What was detected: the platform, the names of the signals that led to it, and the limits.

    ``commit`` is the running code's as a variable of ``COMMITS`` names it ("": none does).
    ``processes`` is how many web processes the variables ask for (None: nobody said),
    ``memory_limit`` the container's limit in bytes (None: none found), ``in_container`` whether
    this file system is a container's.
    """

    platform: str = "none"
    name: str = NONE.name
    kind: str = "none"
    signals: tuple[str, ...] = ()
    forced: bool = False
    instance: str = ""
    ci: str | None = None
    commit: str = ""
    processes: int | None = None
    processes_source: str | None = None
    memory_limit: int | None = None
    in_container: bool = False

    @property
    def on_platform(self) -> bool:
        """Whether platform rules apply: a PaaS, serverless or orchestrator, or one forced by hand.

        A bare container and CI change words only.
        """
        return self.kind in _MANAGED_KINDS or (self.forced and self.platform != "none")


def detect(
    *,
    forced: str | None = None,
    environ: Mapping[str, str] | None = None,
    root: Path = Path("/"),
) -> Hosting:
    """Detect the platform of this process, or take ``forced`` (a slug of ``CHOICES``) for it.

    Raises UsageError for an unknown slug.
    """
    variables = os.environ if environ is None else environ
    if forced is not None:
        platform = by_slug(forced)
        signals: tuple[str, ...] = ("RESILIENCE['PLATFORM']",)
    else:
        platform, signals = _first_match(variables, root)
    processes, source = _processes(variables)
    return Hosting(
        platform=platform.slug,
        name=platform.name,
        kind=platform.kind,
        signals=signals,
        forced=forced is not None,
        instance=variables.get(platform.instance or "", "") or socket.gethostname(),
        ci=next((name for name in _CI if variables.get(name)), None),
        commit=_commit(variables),
        processes=processes,
        processes_source=source,
        memory_limit=_memory_limit(root),
        in_container=_in_container(root),
    )


def by_slug(slug: str) -> Platform:
    """The platform of this slug, ``NONE`` for ``"none"``. Raises UsageError for another word."""
    for platform in (*PLATFORMS, NONE):
        if platform.slug == slug:
            return platform
    raise UsageError(f"there is no platform {slug!r}.{did_you_mean(slug, CHOICES)}")


def _first_match(environ: Mapping[str, str], root: Path) -> tuple[Platform, tuple[str, ...]]:
    for platform in PLATFORMS:
        for group in platform.signals:
            if all(_present(signal, environ, root) for signal in group):
                return platform, tuple(signal.partition("=")[0] for signal in group)
    return NONE, ()


def _present(signal: str, environ: Mapping[str, str], root: Path) -> bool:
    if signal.startswith("/"):
        try:
            return (root / signal[1:]).exists()
        except OSError:
            return False
    name, asked, wanted = signal.partition("=")
    value = environ.get(name, "")
    if wanted.endswith("*"):
        return value.startswith(wanted[:-1])
    return value == wanted if asked else bool(value)


def _in_container(root: Path) -> bool:
    """Whether a marker file says so, or the root file system is a container runtime's overlay."""
    if any(_present(marker, {}, root) for marker in ("/.dockerenv", "/run/.containerenv")):
        return True
    return any(point == "/" and kind == "overlay" for point, kind in mounts(root))


def mounts(root: Path = Path("/")) -> Iterator[tuple[str, str]]:
    """Mount point and file system type of every mount of this process (proc(5))."""
    try:
        raw = (root / "proc/self/mountinfo").read_bytes()
    except OSError:
        return
    for line in os.fsdecode(raw).split("\n"):
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) >= _FIELDS:
            # Blanks and the like are written as \040.
            point = _OCTAL.sub(lambda found: chr(int(found[1], 8)), fields[_FIELDS - 1])
            yield point, after.split(" ")[0]


def _commit(environ: Mapping[str, str]) -> str:
    values = (environ.get(name, "").strip() for name in COMMITS)
    return next((value for value in values if _COMMIT.fullmatch(value)), "")


def _processes(environ: Mapping[str, str]) -> tuple[int | None, str | None]:
    """How many web processes the server is told to start. gunicorn lets its arguments win."""
    arguments = environ.get("GUNICORN_CMD_ARGS", "")
    found = re.findall(r"(?:^|\s)(?:-w\s*|--workers(?:\s+|=))(\d+)", arguments)
    source = "GUNICORN_CMD_ARGS" if found else "WEB_CONCURRENCY"
    try:
        number = int(found[-1] if found else environ.get("WEB_CONCURRENCY", ""))
    except ValueError:
        return None, None
    return (number, source) if number > 0 else (None, None)


def _memory_limit(root: Path) -> int | None:
    for path in _MEMORY_LIMITS:
        try:
            limit = int((root / path).read_text())
        except (OSError, ValueError):  # absent, or the word "max"
            continue
        return limit if 0 < limit < _UNLIMITED else None
    return None
