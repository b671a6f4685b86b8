"""What this process tells LangSmith's SDK: address, key, workspace, whether it traces.

Read as the SDK (0.15) reads it, which is not imported for it: LANGSMITH_ before LANGCHAIN_, a blank
value counts as none, spaces and quotes around a value are dropped. What a component with our client
is given in OPTIONS comes first.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from resilience import env, redact
from resilience.components import components
from resilience.errors import EnvError

CLOUD = "https://api.smith.langchain.com"
CLIENT = "resilience.components.langsmith.Client"
SPELLINGS = ("LANGSMITH", "LANGCHAIN")
# The first one that is set decides whether the SDK traces (its utils.tracing_is_enabled).
SWITCHES = (
    "LANGSMITH_TRACING_V2",
    "LANGCHAIN_TRACING_V2",
    "LANGSMITH_TRACING",
    "LANGCHAIN_TRACING",
)
_LOCAL = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Config:
    """What the SDK goes by; each ``…_from`` says where it stands, and is empty if nowhere.

    ``component`` is the one whose OPTIONS were read. ``switch`` is the variable that decides about
    ``tracing``, empty if OPTIONS do or none is set.
    """

    url: str = field(default=CLOUD, repr=False)  # somebody may have put a password into it
    url_from: str = ""
    key: str = field(default="", repr=False)
    key_from: str = ""
    workspace: str = field(default="", repr=False)
    workspace_from: str = ""
    tracing: bool = False
    switch: str = ""
    component: str = ""

    @property
    def in_use(self) -> bool:
        """Whether anybody would talk to LangSmith: it traces, or there is a key or an address."""
        return bool(self.tracing or self.key or self.url_from)

    @property
    def parts(self) -> SplitResult:
        """The address in pieces. Raises ValueError."""
        parts = urlsplit(self.url)
        _ = parts.port, parts.hostname  # which are read only now
        return parts

    @property
    def host(self) -> str:
        """Its host in lower case; empty if there is none."""
        try:
            return (self.parts.hostname or "").lower()
        except ValueError:
            return ""

    @property
    def is_cloud(self) -> bool:
        """LangChain's own, of any region."""
        return self.host == "smith.langchain.com" or self.host.endswith(".smith.langchain.com")

    @property
    def is_local(self) -> bool:
        return self.host in _LOCAL

    @property
    def where(self) -> str:
        """The address for people: without user, password and query."""
        try:
            parts = self.parts
        except ValueError:
            return "the address"
        host = parts.hostname or ""
        host = f"[{host}]" if ":" in host else host
        port = f":{parts.port}" if parts.port else ""
        return f"{parts.scheme}://{host}{port}{parts.path}"


def variable(name: str) -> tuple[str, str]:
    """A variable's value and its full name, as the SDK finds it; both empty if it does not."""
    for prefix in SPELLINGS:
        value = os.environ.get(f"{prefix}_{name}", "")
        if value.strip():
            return clean(value), f"{prefix}_{name}"
    return "", ""


def assign(origin: str, value: str) -> str:
    """The words of a hint: ``Set NAME=VALUE`` for a variable, ``Set … to VALUE`` for OPTIONS."""
    return f"Set {origin}{'=' if origin.isidentifier() else ' to '}{value}"


def clean(value: str) -> str:
    """Without the spaces and quotes that the SDK drops too."""
    return value.strip().strip('"').strip("'")


def read() -> Config:
    """As it is now. Never raises."""
    component, options = next(_declared(), ("", {}))
    values: dict[str, Any] = {"component": component}
    for attribute, option, name in (
        ("url", "api_url", "ENDPOINT"),
        ("key", "api_key", "API_KEY"),
        ("workspace", "workspace_id", "WORKSPACE_ID"),
    ):
        value, origin = _option(options.get(option), component, option, name)
        if not origin:
            value, origin = variable(name)
        if value or origin:
            values |= {attribute: value, f"{attribute}_from": origin}
    redact.register(values.get("key", ""))
    url = values.get("url", "")
    values["url"] = url.rstrip("/") or CLOUD
    if "://" in url:
        redact.register_url(url)
    enabled = options.get("enabled")
    switch = next((name for name in SWITCHES if os.environ.get(name, "").strip()), "")
    if isinstance(enabled, bool):
        values["tracing"] = enabled
    else:
        values |= {"tracing": os.environ.get(switch) == "true", "switch": switch}
    return Config(**values)


def placeholder() -> object:
    """The OPTIONS in which the placeholder of a missing variable may stand."""
    return [dict(options) for _, options in _declared()]


def has_profile() -> bool:
    """Whether the SDK's own file, which may hold a key and an address, lies on this machine."""
    named = os.environ.get("LANGSMITH_CONFIG_FILE")
    try:
        return Path(named or "~/.langsmith/config.json").expanduser().is_file()
    except (OSError, RuntimeError, ValueError):  # no home, or no path
        return False


def _declared() -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, spec in components.specs().items():
        if spec.backend == CLIENT and not spec.problem:
            yield name, spec.options


def _option(value: object, component: str, option: str, name: str) -> tuple[str, str]:
    """What OPTIONS say and where it stands: settings mostly take it from the SDK's own variable."""
    if isinstance(value, env.Ref):
        try:
            return clean(value.resolve()), value.name
        except EnvError:
            return "", value.name
    if isinstance(value, str) and value.strip():
        said, origin = variable(name)
        if said == clean(value):
            return said, origin
        return clean(value), f"OPTIONS[{option!r}] of components.{component}"
    return "", ""
