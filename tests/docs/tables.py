"""The generated tables of docs/reference: ``scripts/docs tables`` writes them, a test compares.

A page marks the place of a table with ``<!-- table: NAME -->`` and ``<!-- end of table -->``. What
code knows comes from the code; what is here is the sentence that a reader needs besides.
"""

from __future__ import annotations

import argparse
import inspect
import os
import pkgutil
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields
from importlib import import_module
from itertools import groupby
from pathlib import Path
from typing import Any

import django
from django.core.management import load_command_class

import resilience
from resilience import catalogue, conf
from resilience.cache.options import Options
from resilience.probes.areas import AREAS
from resilience.probes.base import Probe
from resilience.tls.policy import Policy
from tests.docs import public, variables
from tests.packaging import surface
from tests.processes import ROOT

PAGES = ROOT / "docs" / "reference"
COMMANDS = ("checkdeploy", "checkredis", "checktls", "auditimports", "rehearse")
_PLACE = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end of table -->)", re.DOTALL)
# Every command of Django's has these; the page says what -v does.
_DJANGOS = frozenset(
    "help version verbosity settings pythonpath traceback no_color force_color".split()
)

RESILIENCE = {
    "COMPONENTS": "Clients and services by name, built on first use: [components](components.md)",
    "CRITICAL": "Subjects whose errors make `/readyz` answer 503, and whose silence is exit 3",
    "PLATFORM": "Force what is detected: `railway`, `kubernetes`, `none` …",
    "SILENCE": "Findings that do not count for a while, by `ID` or `ID:SUBJECT`: "
    '`{"redis.slow": {"reason": "moves in May", "until": "2027-05-31"}}`',
    "TLS": "Whom to trust besides the system and certifi: [below](#resiliencetls)",
    "STATUS_TOKEN": "Opens the details of `/readyz`, 16 characters or more; empty: nobody sees any",
    "BACKGROUND": "`False`: no background probes, heartbeat or keepalive, for platforms that put "
    "idle apps to sleep",
}
TLS = {
    "CA": "Path or PEM text of more authorities",
    "RELAX_STRICT": "Components or `HOST:PORT` without X.509 strictness of Python 3.13",
    "PINS": "Keys of servers, which take the place of issuer and name",
    "CLIENT_CERT": "Our certificate, or certificate and key, by component or `HOST:PORT`",
    "INSECURE": "Exceptions from verification, each with reason and last day",
}
CACHE = {
    "OPERATION_TIMEOUT": "s for one operation on Redis, all its round trips and waiting",
    "BULK_TIMEOUT": "s for one scan or many-key call as a whole",
    "CONNECT_TIMEOUT": "s for DNS, TCP, TLS and AUTH together, never in a request",
    "MAX_STALE": "s: how old a copy may be that is served in an outage",
    "L1_MAX_BYTES": "bytes of local copies per process and database; 0 keeps none",
    "MAX_CONNECTIONS": "connections per process, alias and server",
    "STRICT": "Patterns of keys that only Redis may answer for",
    "CLEAR_PATTERN": "Redis pattern of what `clear()` deletes, for a KEY_FUNCTION of your own",
    "HOT": 'Beginnings of the keys that HotCache reads without Redis; `["*"]` is every key',
}
AREA = {
    "env": "Variables, `.env` files and their sources",
    "hosting": "Rules of the platform: ports, proxies, health checks, files, limits",
    "cache": "Each alias of `CACHES`, as the app uses it",
    "redis": "Each Redis server, stage by stage",
    "tls": "Each TLS server that the settings name, and this process's stores",
    "langsmith": "Its variables, then its API",
    "components": "What is declared, and what blocks it",
    "audit": "The project's source: what runs at import",
    "database": "Each database, and its migrations",
    "deploy": "Django's `check --deploy`, sessions, rate limits, middleware",
}


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(
        f"| {' | '.join(each.replace('|', chr(92) + '|') for each in row)} |\n" for row in lines
    )


def _settings() -> str:
    return _keys(RESILIENCE, {each.name: _default(each) for each in fields(conf.Conf)})


def _tls() -> str:
    return _keys(TLS, {each.name.upper(): _default(each) for each in fields(Policy)})


def _cache() -> str:
    own = [each for each in fields(Options) if _default(each) is not inspect.Parameter.empty]
    return _keys(CACHE, {each.name.upper(): _default(each) for each in own})


def _default(field: object) -> object:
    """The default of a dataclass field; ``Parameter.empty`` if it has none."""
    none = inspect.Parameter.empty
    for given in (getattr(field, "default", none), getattr(field, "default_factory", none)):
        if type(given).__name__ != "_MISSING_TYPE":
            return given() if callable(given) else given
    return none


def _keys(meanings: dict[str, str], defaults: dict[str, object]) -> str:
    if set(meanings) != set(defaults):
        raise ValueError(f"meanings and code differ: {set(meanings) ^ set(defaults)}")
    rows = ([f"`{key}`", f"`{_shown(defaults[key])}`", said] for key, said in meanings.items())
    return table(("Key", "Default", "Meaning"), rows)


def _shown(default: object) -> str:
    """As it is written in settings."""
    if isinstance(default, tuple | frozenset):
        return str(list(default)).replace("'", '"')
    if isinstance(default, str):
        return f'"{default}"'
    return repr(default) if default is None or isinstance(default, bool | int | float) else "{}"


def _commands() -> str:
    """A section per command: its options, their choices and defaults, as argparse has them."""
    parts = []
    for name in COMMANDS:
        command = load_command_class("resilience", name)
        parser = command.create_parser("manage.py", name)
        rows = [_option(each) for each in parser._actions if each.dest not in _DJANGOS]
        parts.append(f"## {name}\n\n{command.help}\n\n{table(('Option', 'Meaning'), rows)}")
    return "\n".join(parts)


def _option(action: argparse.Action) -> list[str]:
    names = ", ".join(f"`{each}`" for each in action.option_strings) or f"`{action.metavar}`"
    value = "" if action.nargs == 0 or not action.option_strings else str(action.metavar or "")
    if action.choices:
        value = " ".join(map(str, action.choices))
    # argparse fills in what a help text asks for.
    said = (action.help or "") % {"default": action.default, "prog": "manage.py"}
    return [f"{names} {value}".strip(), said]


def _findings() -> str:
    """A section per area: every id, its levels and its first sentence."""
    parts: dict[str, list[list[str]]] = {}
    for identifier, entry in catalogue.entries().items():
        levels, said = first_sentences(entry)
        anchor = identifier.replace(".", "")
        row = [f"[`{identifier}`](../findings.md#{anchor})", levels, said]
        parts.setdefault(identifier.partition(".")[0], []).append(row)
    head = ("Finding", "Level", "What is true")
    return "\n".join(f"## {area}\n\n{table(head, rows)}" for area, rows in parts.items())


def first_sentences(entry: str) -> tuple[str, str]:
    """The levels that an entry begins with, and what it says next."""
    words = " ".join(re.split(r"^(?:Fix:|```)", entry, maxsplit=1, flags=re.MULTILINE)[0].split())
    levels, _, rest = words.partition(". ")
    said = re.split(r"(?<=[.!?])\s+(?=[A-Z`])", rest, maxsplit=1)[0]
    return levels, said


def _areas() -> str:
    rows = []
    for area, probes in _probes().items():
        static = sum(not each.live for each in probes)
        build = "no" if not static else "yes" if static == len(probes) else "in part"
        rows.append([f"`{area}`", AREA[area], build])
    return table(("Area", "What is asked", "With `--stage build`"), rows)


def _probes() -> dict[str, list[type[Probe]]]:
    """Every kind of probe that an area has of its own."""
    for module in pkgutil.iter_modules([str(Path(resilience.__file__).parent / "probes")]):
        import_module(f"resilience.probes.{module.name}")
    found: dict[str, list[type[Probe]]] = {area: [] for area in AREAS}
    for each in _below(Probe):
        area = getattr(each, "area", "")
        if (
            area in found
            and each.__module__.startswith("resilience.")
            and not inspect.isabstract(each)
        ):
            found[area].append(each)
    return found


def _below(kind: type[Any]) -> Iterator[type[Any]]:
    for each in kind.__subclasses__():
        yield each
        yield from _below(each)


def _variables() -> str:
    parts = []
    for title, known in variables.KNOWN.items():
        rows = [[f"`{name}`", said] for name, said in known.items()]
        parts.append(f"## {title}\n\n{table(('Variable', 'What for'), rows)}")
    return "\n".join(parts)


def _public() -> str:
    parts = []
    for module, names in groupby(surface.python(), key=lambda each: each.module):
        if module in public.ELSEWHERE:
            continue
        rows = [[f"`{each.name}`", _first_line(module, each.name)] for each in names]
        parts.append(f"## {module}\n\n{table(('Name', 'What it is'), rows)}")
    return "\n".join(parts)


def _first_line(module: str, name: str) -> str:
    """The first sentence of the docstring, or of the class's of an object."""
    found = getattr(import_module(module), name)
    said = public.SAID.get(f"{module}.{name}") or inspect.getdoc(found) or ""
    line = " ".join(said.partition("\n\n")[0].split()).replace("``", "`")
    if not line:
        raise ValueError(f"{module}.{name} has no docstring")
    return re.split(r"(?<=\.)\s", line, maxsplit=1)[0]


TABLES: dict[str, Callable[[], str]] = {
    "settings": _settings,
    "tls": _tls,
    "cache": _cache,
    "commands": _commands,
    "variables": _variables,
    "findings": _findings,
    "areas": _areas,
    "public": _public,
}


def renewed(text: str) -> str:
    """A page with its tables as they should be. Raises KeyError for a table that nobody makes."""
    return _PLACE.sub(lambda found: f"{found[1]}\n{TABLES[found[2]]()}\n{found[3]}", text)


def pages() -> list[Path]:
    """Those with a table."""
    return [path for path in sorted(PAGES.glob("*.md")) if _PLACE.search(path.read_text())]


def main() -> None:
    """Write every table anew."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    for page in pages():
        page.write_text(renewed(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
