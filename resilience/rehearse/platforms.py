"""What each platform gives to a process: variables and bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_GIB = 1 << 30


@dataclass(frozen=True)
class Platform:
    """``variables`` as its reference lists them, ``memory`` in bytes of address space.

    A public domain is not among them: only the project knows its own. ``bounded`` says that
    processes run as nobody, with few descriptors.
    """

    variables: Mapping[str, str]
    memory: int | None = None
    files: int | None = None
    bounded: bool = True


_RAILWAY = {
    "RAILWAY_ENVIRONMENT": "production",
    "RAILWAY_ENVIRONMENT_NAME": "production",
    "RAILWAY_ENVIRONMENT_ID": "00000000-0000-4000-8000-000000000001",
    "RAILWAY_PROJECT_NAME": "rehearsal",
    "RAILWAY_PROJECT_ID": "00000000-0000-4000-8000-000000000002",
    "RAILWAY_SERVICE_NAME": "web",
    "RAILWAY_SERVICE_ID": "00000000-0000-4000-8000-000000000003",
    "RAILWAY_DEPLOYMENT_ID": "00000000-0000-4000-8000-000000000004",
    "RAILWAY_REPLICA_ID": "00000000-0000-4000-8000-000000000005",
    "RAILWAY_REPLICA_REGION": "us-west2",
    "RAILWAY_PRIVATE_DOMAIN": "web.railway.internal",
    "RAILWAY_GIT_COMMIT_SHA": "0" * 40,
    "RAILWAY_GIT_BRANCH": "main",
}
_KUBERNETES = {
    "KUBERNETES_SERVICE_HOST": "10.96.0.1",
    "KUBERNETES_SERVICE_PORT": "443",
    "KUBERNETES_SERVICE_PORT_HTTPS": "443",
    "KUBERNETES_PORT": "tcp://10.96.0.1:443",
    "HOSTNAME": "web-6d4cf56db6-x2x7q",
}
# More than any of them guarantees: what does not fit here fits nowhere.
_MEMORY, _FILES = 4 * _GIB, 1024

PLATFORMS: Mapping[str, Platform] = {
    "railway": Platform(_RAILWAY, _MEMORY, _FILES),
    "kubernetes": Platform(_KUBERNETES, _MEMORY, _FILES),
    "docker": Platform({"container": "docker"}, _MEMORY, _FILES),
    "none": Platform({}, bounded=False),
}
