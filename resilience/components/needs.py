"""What a component needs before it can be built, asked anew every time and never kept.

Packages are looked up in the metadata of what is installed: nothing is imported to find out.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from typing import Literal

from resilience import env, redact
from resilience.components.spec import Spec, refs
from resilience.env import sources
from resilience.errors import EnvError

# What backends of ours need, by module. Our requirements say it, so no declaration has to.
_EXTRAS = {"resilience.components.langsmith": "langsmith"}


@dataclass(frozen=True)
class Need:
    """One requirement, and what was found of it: an origin, a version, a state; never a value.

    ``problem`` says what is missing, as a sentence without its stop; it is empty where all is well.
    """

    kind: Literal["variable", "package", "component"]
    name: str
    found: str = ""
    problem: str = ""
    fix: str = ""
    location: str | None = None


def of(spec: Spec) -> list[Need]:
    """The variables and packages of a component, each with what is there now."""
    packages = [_package(text) for text in spec.packages]
    if not any(need.problem for need in packages):
        packages += _backend(spec)
    return [*_variables(spec), *packages]


def _variables(spec: Spec) -> Iterator[Need]:
    by_name: dict[str, env.Ref] = {}
    for ref in refs(spec.options):
        by_name.setdefault(str(ref.name), ref)
    yield from map(_variable, by_name.values())
    name = env.placeholder_in(spec.options)
    if name is not None:  # under the doctor, in the place of a variable that settings read
        places = {item.name: item.location for item in env.declared()}
        yield _missing(name, f"{name} is not set", f"Set {name}.", places.get(name))


def _variable(ref: env.Ref) -> Need:
    try:
        ref.resolve()
        found = sources.lookup(ref.name)
    except EnvError as error:
        location = ref.location or error.location
        return _missing(ref.name, error.problem, error.hint, location)
    except Exception as error:  # noqa: BLE001 - a name that is none; a status never raises
        problem = f"{ref!r} names no variable: {redact.exception(error)}"
        name = redact.printable(str(ref.name))
        return _missing(name, problem, 'Write env.ref("NAME").', ref.location or None)
    return Need("variable", ref.name, found.origin if found else "gone", location=ref.location)


def _missing(name: str, problem: str, fix: str, location: str | None) -> Need:
    where = f" (declared in {location})" if location else ""
    return Need("variable", name, "", f"{problem}{where}", fix, location)


def _package(text: str) -> Need:
    # The parser costs 10 ms at import, which only those pay who name versions.
    from packaging.requirements import InvalidRequirement, Requirement  # noqa: PLC0415

    try:
        wanted = Requirement(text)
        needed = wanted.marker is None or wanted.marker.evaluate()
    except (InvalidRequirement, ValueError):
        return Need("package", text, "", f"{text} is no package", "Write it as pip reads it.")
    install = f"Run pip install {shlex.quote(text)}, and add it to your requirements."
    if not needed:
        return Need("package", text, "not needed here")
    try:
        version = metadata.version(wanted.name)
    except metadata.PackageNotFoundError:
        problem = f"the package {wanted.name} is not installed"
        return Need("package", text, "", problem, install)
    if not wanted.specifier.contains(version, prereleases=True):
        problem = f"{wanted.name} {version} is installed, and {wanted.specifier} is needed"
        return Need("package", text, "", problem, install)
    return Need("package", text, version)


def _backend(spec: Spec) -> Iterator[Need]:
    """The top module of BACKEND: looking further down would import it."""
    extra = _EXTRAS.get(spec.backend.rpartition(".")[0], "")
    top = extra or spec.backend.partition(".")[0]
    if top in sys.modules:
        return
    try:
        found = find_spec(top)
    except (ImportError, ValueError):  # a finder that fails says nothing about the module
        return
    if found is None and extra:
        fix = f"Run pip install 'django-resilience-ops[{extra}]', and add it to your requirements."
        yield Need("package", top, "", f"the package {top} is not installed", fix)
    elif found is None:
        problem = f"the module {top} of its BACKEND is not installed"
        yield Need("package", top, "", problem, "Install the package that has it.")
