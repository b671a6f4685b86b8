"""What users may rely on, as lines of text: ``public_api.txt`` holds them, a test compares.

::

    python -m tests.packaging.surface > tests/packaging/public_api.txt    # after a decision

Everything of ``resilience`` that has no line here may change in any release.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PAGE = Path(__file__).with_name("public_api.txt")

# Module → its public names; empty: its ``__all__``. ``NAME: a b`` means only these members of it.
PYTHON: Mapping[str, tuple[str, ...]] = {
    "resilience.__main__": ("main",),
    "resilience.admin": ("register",),
    "resilience.audit": (),
    "resilience.cache": (),
    "resilience.cache.signing": ("SignedPickleSerializer",),
    "resilience.components": (
        "Status",
        "components: __contains__ __getitem__ __iter__ __len__ aget close register reset status",
        "override_component",
    ),
    "resilience.components.langsmith": ("Client: __init__ close flush",),
    "resilience.endpoints.draining": ("when",),
    "resilience.env": (),
    "resilience.errors": (
        "BrokenSource",
        "CacheUnavailable",
        "ComponentUnavailable",
        "EnvError",
        "InsecureExpired",
        "InvalidVariable",
        "MissingVariable",
        "ResilienceError",
        "UsageError",
    ),
    "resilience.findings": ("Finding", "Level", "Report"),
    "resilience.health.monitor": ("ask", "check_now", "snapshot"),
    "resilience.health.signals": ("subject_changed",),
    "resilience.health.states": ("Health", "Readiness", "Sample", "SubjectState"),
    "resilience.history.heartbeat": ("start",),
    "resilience.middleware": ("HealthMiddleware",),
    "resilience.redact": ("exception", "register", "text"),
    "resilience.simulation.authority": ("Authority",),
    "resilience.simulation.fake_redis": ("FakeRedis: __init__ address url",),
    "resilience.simulation.network": (
        "BlackHole: __init__ address",
        "Garbage: __init__ address",
        "Refused: __init__ address",
        "Reset: __init__ address",
        "Silence: __init__ address",
    ),
    "resilience.simulation.proxy": (),
    "resilience.simulation.redis_server": ("RedisServer",),
    "resilience.tls.policy": ("trust_of",),
    "resilience.tls.trust": ("Trust",),
}
COMMANDS = ("auditimports", "checkdeploy", "checkredis", "checktls", "rehearse")


class Name(NamedTuple):
    """A public name, and which of its members are; None: all without an underscore."""

    module: str
    name: str
    members: tuple[str, ...] | None

    @property
    def value(self) -> Any:
        return getattr(importlib.import_module(self.module), self.name)


def python() -> list[Name]:
    """Every public name of Python."""
    found = []
    for module, given in PYTHON.items():
        for text in given or importlib.import_module(module).__all__:
            name, chosen, members = text.partition(": ")
            found.append(Name(module, name, tuple(members.split()) if chosen else None))
    return found


def lines() -> Iterator[str]:
    """The whole surface, one thing per line, in sections."""
    yield "# What users may rely on. tests/packaging/surface.py writes this file."
    for title, section in (
        ("Python", _python()),
        ("Settings", _settings()),
        ("Commands", _commands()),
        ("Paths", _paths()),
        ("Metrics of /readyz", _metrics()),
        ("Signals", _signals()),
        ("Keys of resilience.cache.status()", _status()),
        ("Permissions and tables", _database()),
        ("Finding ids", _ids()),
    ):
        yield from ("", f"## {title}", "", *section)


# ── Python ──────────────────────────────────────────────────────────────────────────────────────


def _python() -> Iterator[str]:
    for name in python():
        yield from _described(f"{name.module}.{name.name}", name.value, name.members)
    from resilience.cache.extras import _ROWS

    for words, _ in _ROWS:
        yield from (
            f"resilience.cache.ResilientCache.{word}: django-redis" for word in words.split()
        )


def _described(path: str, value: Any, members: Iterable[str] | None) -> Iterator[str]:
    if inspect.isroutine(value):
        yield f"{path}{_signature(value)}"
        return
    if not inspect.isclass(value):
        yield f"{path}: {type(value).__name__}"
        yield from _members(path, type(value), members or ())
        return
    # Bases of ours that are not public themselves are nobody's business.
    bases = ", ".join(
        base.__name__
        for base in value.__bases__
        if base is not object and not re.match(r"resilience\.(?!errors)", base.__module__)
    )
    yield f"class {path}({bases})" if bases else f"class {path}"
    yield from (f"{path}.{text}" for text in _values(value))
    own = _ours(value)
    shown = [name for name in own if not name.startswith("_") and name not in _named(value)]
    first = ["__init__"] if "__init__" in own and not is_dataclass(value) else []
    yield from _members(path, value, [*first, *sorted(shown)] if members is None else members)


def _members(path: str, cls: type, names: Iterable[str]) -> Iterator[str]:
    for name in names:
        what = inspect.getattr_static(cls, name)
        if isinstance(what, property):
            yield f"{path}.{name}: {_signature(what.fget).rpartition('-> ')[2]}"
        elif callable(getattr(cls, name)):
            yield f"{path}.{name}{_signature(getattr(cls, name))}"
        else:
            yield f"{path}.{name}"


def _ours(cls: type) -> dict[str, Any]:
    """The members that classes of this package define, inherited ones included."""
    ours = [each for each in reversed(cls.__mro__) if each.__module__.startswith("resilience")]
    return {name: value for each in ours for name, value in vars(each).items()}


def _named(cls: Any) -> frozenset[str]:
    """Names that a tuple, an enumeration or a dataclass has as fields."""
    return frozenset(text.partition(":")[0].partition(" ")[0] for text in _values(cls))


def _values(cls: Any) -> Iterator[str]:
    """The fields of a tuple or dataclass with their types, the members of an enumeration."""
    if hasattr(cls, "__members__"):
        yield from (f"{name} = {member.value!r}" for name, member in cls.__members__.items())
    elif is_dataclass(cls):
        for each in fields(cls):
            given = each.default is not MISSING or each.default_factory is not MISSING
            if not each.name.startswith("_"):
                yield f"{each.name}: {each.type}{' = …' if given else ''}"
    else:
        types = inspect.get_annotations(cls)
        for name in getattr(cls, "_fields", ()):
            yield f"{name}: {getattr(types[name], '__forward_arg__', types[name])}"


def _signature(of: Any) -> str:
    """As it is written: without the quotes of annotations and the addresses of defaults."""
    bare = re.sub(r"(: |-> )(['\"])(.*?)\2(?=[,)=\s]|$)", r"\1\3", str(inspect.signature(of)))
    bare = re.sub(r"<object object at \w+>", "DEFAULT_TIMEOUT", bare)  # Django's
    return re.sub(r"<\S*\._Required object at \w+>", "REQUIRED", bare)


# ── the rest ────────────────────────────────────────────────────────────────────────────────────


def _settings() -> Iterator[str]:
    from resilience.cache import options
    from resilience.components import spec
    from resilience.conf import Conf
    from resilience.tls.policy import _KEYS as POLICY_KEYS, Policy

    for each in fields(Conf):
        value = getattr(Conf(), each.name)
        plain = dict(value) if isinstance(value, Mapping) else {} if value == Policy() else value
        yield f"RESILIENCE[{each.name!r}] = {plain!r}"
    yield from (f"RESILIENCE['TLS'][{key!r}]" for key in POLICY_KEYS)
    yield from (f"RESILIENCE['COMPONENTS'][NAME][{key!r}]" for key in spec.KEYS)
    defaults = {each.name.upper(): each.default for each in fields(options.Options)}
    for key in options._KEYS:
        yield f"CACHES[ALIAS]['OPTIONS']['RESILIENCE'][{key!r}] = {defaults[key]!r}"


def _commands() -> Iterator[str]:
    from django.core.management.base import BaseCommand

    djangos = {
        text for each in BaseCommand().create_parser("", "")._actions for text in _option(each)
    }
    for name in COMMANDS:
        command = importlib.import_module(f"resilience.management.commands.{name}").Command()
        for action in command.create_parser("manage.py", name)._actions:
            yield from (f"{name} {text}" for text in _option(action) if text not in djangos)
    yield "python -m resilience COMMAND …"
    yield "python -m resilience.livecheck [URL]"


def _option(action: argparse.Action) -> Iterator[str]:
    words = action.option_strings or [str(action.metavar or action.dest)]
    choices = f" {{{','.join(map(str, action.choices))}}}" if action.choices else ""
    takes = (
        "" if action.nargs == 0 or choices or not action.option_strings else f" {action.metavar}"
    )
    yield f"{' '.join(words)}{takes}{choices}"


def _paths() -> Iterator[str]:
    from django.contrib.admin import site

    from resilience import middleware
    from resilience.admin import ComponentStatusAdmin
    from resilience.models import ComponentStatus

    yield from sorted(middleware.LIVE | middleware.READY)

    yield from (
        f"admin:{each.name}" for each in ComponentStatusAdmin(ComponentStatus, site).get_urls()
    )


def _metrics() -> Iterator[str]:
    from resilience.render import openmetrics
    from tests.endpoints.test_formats import SOME, STATUS

    text = openmetrics.render(SOME, {"default": STATUS}, serving=True)
    units = dict(re.findall(r"^# UNIT (\S+) (\S+)$", text, re.MULTILINE))
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE):
        sample = re.search(rf"^{name}(?:{{(.*)}})? ", text, re.MULTILINE)
        labels = re.findall(r'(\w+)="', sample[1] or "") if sample else []
        yield " ".join([name, kind, units.get(name, ""), *labels]).replace("  ", " ").rstrip()


def _signals() -> Iterator[str]:
    from resilience.health.signals import Change

    source = (ROOT / "resilience" / "cache" / "state.py").read_text(encoding="utf-8")
    sent = re.findall(r"state_changed\.send_robust\(([^)]*)\)", source)
    assert len(sent) == 1
    said = [word for word in re.findall(r"(\w+)=", sent[0]) if word != "sender"]
    yield f"resilience.cache.state_changed {' '.join(said)}"
    yield f"resilience.health.signals.subject_changed {' '.join(Change._fields)}"


def _status() -> Iterator[str]:
    from django.test import override_settings

    from resilience.cache import status

    here = {"BACKEND": "resilience.cache.ResilientCache", "LOCATION": ""}
    with override_settings(CACHES={"default": here}):
        for key, value in status().items():
            yield " ".join([f"{key}:", *value]) if isinstance(value, dict) else key


def _database() -> Iterator[str]:
    from django.apps import apps

    for label in ("resilience", "resilience_history"):
        for model in apps.get_app_config(label).get_models():
            meta = model._meta
            words = [f"{word}_{meta.model_name}" for word in meta.default_permissions]
            for word in (*words, *(str(name) for name, _ in meta.permissions)):
                yield f"permission {label}.{word}"
            if meta.managed:
                yield f"table {meta.db_table}"


def _ids() -> Iterator[str]:
    from resilience import catalogue

    yield from catalogue.entries()


if __name__ == "__main__":
    import django
    from django.conf import settings

    contrib = (f"django.contrib.{name}" for name in ("admin", "auth", "contenttypes", "messages"))
    settings.configure(INSTALLED_APPS=[*contrib, "resilience", "resilience.history"])
    django.setup()
    sys.stdout.write("\n".join(lines()) + "\n")
