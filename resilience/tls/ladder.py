"""What to do about a certificate that does not verify, the better steps before the worse ones.

fix the variable → install ca-certificates → add the root → mend the server → relax X509_STRICT
→ pin the key → insecure. Only the steps that help in this case are offered.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from resilience.tls.diagnosis import Diagnosis
from resilience.tls.stores import LIMITED

_TRUST = frozenset({"tls.untrusted-root", "tls.intercepted", "tls.empty-store"})
_ROOT = frozenset({"tls.untrusted-root", "tls.intercepted", "tls.self-signed"})
_CERTIFICATE = frozenset(
    {
        "tls.expired",
        "tls.missing-intermediate",
        "tls.name-constraint",
        "tls.not-a-ca",
        "tls.not-yet-valid",
        "tls.strict-only",
        "tls.weak-key",
        "tls.weak-signature",
        "tls.wrong-name",
        "tls.wrong-usage",
        *_TRUST,
        *_ROOT,
    }
)


class Distribution(NamedTuple):
    """How an image gets its store, and one more certificate in it: lines of a Dockerfile."""

    name: str
    install: str
    add: str


_DEBIAN = Distribution(
    "Debian",
    "RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates",
    "COPY root.crt /usr/local/share/ca-certificates/ and RUN update-ca-certificates",
)
_ALPINE = Distribution(
    "Alpine",
    "RUN apk add --no-cache ca-certificates",
    "COPY root.crt /usr/local/share/ca-certificates/ and RUN update-ca-certificates",
)
_FEDORA = Distribution(
    "Fedora or RHEL",
    "RUN dnf install -y ca-certificates",
    "COPY root.crt /etc/pki/ca-trust/source/anchors/ and RUN update-ca-trust",
)
_SUSE = Distribution(
    "SUSE",
    "RUN zypper install -y ca-certificates ca-certificates-mozilla",
    "COPY root.crt /etc/pki/trust/anchors/ and RUN update-ca-certificates",
)
_ARCH = Distribution(
    "Arch",
    "RUN pacman -S --noconfirm ca-certificates",
    "RUN trust anchor root.crt",
)
_BARE = Distribution(
    "an image without package manager",
    "COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/",
    "COPY root.pem /etc/ssl/",
)
_BY_ID = {
    **dict.fromkeys(("debian", "ubuntu"), _DEBIAN),
    **dict.fromkeys(("alpine", "wolfi", "chainguard"), _ALPINE),
    **dict.fromkeys(("rhel", "fedora", "centos", "amzn", "ol", "rocky", "almalinux"), _FEDORA),
    **dict.fromkeys(("suse", "opensuse", "sles"), _SUSE),
    "arch": _ARCH,
}


def distribution(root: Path = Path("/")) -> Distribution:
    """By os-release(5); distroless and scratch images have no shell to install anything."""
    rows = {}
    for path in ("etc/os-release", "usr/lib/os-release"):
        try:
            text = (root / path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        rows = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
        break
    words = f"{rows.get('ID', '')} {rows.get('ID_LIKE', '')}".replace('"', "").split()
    has_shell = any((root / shell).exists() for shell in ("bin/sh", "usr/bin/sh"))
    return next((_BY_ID[word] for word in words if word in _BY_ID and has_shell), _BARE)


class Case(NamedTuple):
    """What the steps depend on.

    ``broken`` says which variable to mend, ``system`` how many certificates the system's store has,
    ``pin`` is the server's key, ``ours`` whether this package makes the connection.
    """

    where: str
    component: str = ""
    broken: str = ""
    system: int = LIMITED
    pin: str = ""
    ours: bool = True


def climb(diagnosis: Diagnosis, case: Case) -> str:
    """The hint: the first step that helps, then the others."""
    first, *others = _steps(diagnosis, case)
    return f"{first} Otherwise, in this order: {'; '.join(others)}." if others else first


def _steps(diagnosis: Diagnosis, case: Case) -> list[str]:
    """Sentences for the first, clauses for the others; at least one."""
    id = diagnosis.id
    key = case.component or case.where
    image = distribution()
    found = []
    if id in _TRUST and case.broken:
        found.append(case.broken)
    if id in _TRUST and case.system < LIMITED:
        found.append(f"Install the authorities ({image.name}: {image.install}).")
    if id in _ROOT:
        found.append(_add(image, ours=case.ours, alone=id == "tls.self-signed"))
    if id in _CERTIFICATE - _TRUST - {"tls.self-signed", "tls.strict-only"} or not found:
        found.append(diagnosis.hint)
    if id == "tls.strict-only":
        found.append(f'RESILIENCE["TLS"]["RELAX_STRICT"] = ["{key}"], which relaxes only this')
    if id in _CERTIFICATE and case.pin:
        found.append(f'pin its key: RESILIENCE["TLS"]["PINS"] = {{"{key}": ["{case.pin}"]}}')
    if id in _CERTIFICATE:
        found.append('last, RESILIENCE["TLS"]["INSECURE"] with a reason and a date')
    first, *others = found
    return [first, *(each.rstrip(".")[:1].lower() + each.rstrip(".")[1:] for each in others)]


def _add(image: Distribution, *, ours: bool, alone: bool) -> str:
    what = "Get the root certificate from whoever runs that authority"
    if alone:
        what = "Copy the server's certificate from the server itself"
    if ours:
        return (
            f"{what}, not from this network, and "
            'set TLS_CA_BUNDLE=/path/root.pem (or RESILIENCE["TLS"]["CA"]); for other libraries '
            f"{image.name}: {image.add}."
        )
    return f"{what}, not from this network, and add it to the store ({image.name}: {image.add})."
