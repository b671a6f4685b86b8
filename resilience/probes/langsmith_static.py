"""What is wrong with LangSmith's variables by themselves. Nobody is asked."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from resilience.components import components
from resilience.errors import UsageError
from resilience.findings import Fact, Finding, Level
from resilience.probes import endpoints
from resilience.probes.components import blocked
from resilience.probes.langsmith_config import (
    CLOUD,
    SPELLINGS,
    SWITCHES,
    Config,
    assign,
    clean,
    has_profile,
)

_ON = frozenset("true 1 yes on y t enabled enable".split())
_OFF = frozenset("false 0 no off n f disabled disable none".split())
_TWICE = ("API_KEY", "ENDPOINT", "PROJECT", "WORKSPACE_ID")
_UI = re.compile(r"(?:([a-z0-9-]+)\.)?smith\.langchain\.com")
_API_ROOT = "/api/v1"
_PRINTABLE = re.compile(r"[\x21-\x7e]+")
REGIONS = (
    "The address where you sign in tells the region: smith.langchain.com is "
    "https://api.smith.langchain.com, eu.smith.langchain.com is "
    "https://eu.api.smith.langchain.com, apac.smith.langchain.com is "
    "https://apac.api.smith.langchain.com."
)


def found(config: Config, subject: str) -> list[Finding]:
    """Every fault; one of the address or the key that no request survives is an error.

    While nothing is traced they are warnings, since nobody waits for LangSmith.
    """
    level = Level.ERROR if config.tracing else Level.WARNING
    return [
        *_names(config, subject),
        *_both_endpoints(subject, level),
        *_tracing(config, subject),
        *list(_address(config, subject, level))[:1],
        *_key(config, subject, level),
        *_workspace(config, subject, level),
    ]


def stops(findings: list[Finding]) -> bool:
    """Whether it makes no sense to ask anybody: the answer could only repeat one of them."""
    fatal = (
        "langsmith.endpoint-invalid langsmith.ui-host langsmith.http-redirect langsmith.path "
        "langsmith.key-missing langsmith.key-invalid langsmith.workspace"
    ).split()
    return any(finding.id in fatal for finding in findings)


# ── names ───────────────────────────────────────────────────────────────────────────────────────


def _names(config: Config, subject: str) -> Iterator[Finding]:
    """Two spellings of one variable that say different things."""
    both = {name: [os.environ.get(f"{each}_{name}", "") for each in SPELLINGS] for name in _TWICE}
    differ = [name for name, texts in both.items() if len(set(filter(None, map(clean, texts)))) > 1]
    if differ:
        ours = ", ".join(f"LANGSMITH_{name}" for name in differ)
        theirs = " ".join(f"LANGCHAIN_{name}" for name in differ)
        yield Finding(
            "langsmith.names-conflict",
            Level.WARNING,
            subject,
            f"{theirs.replace(' ', ', ')} says something else than {ours}, which the SDK takes.",
            f"Keep the right value in {ours}, and run unset {theirs}.",
        )
    switches = {name: _means(os.environ.get(name, "")) for name in SWITCHES}
    said = {name: meaning for name, meaning in switches.items() if meaning is not None}
    first = next(iter(said), "")
    others = [name for name, meaning in said.items() if meaning is not said[first]]
    if others:
        wins = f"{first} wins over {', '.join(others)}, which says the opposite"
        if not config.switch:  # OPTIONS decide, whatever the variables say
            wins = f"{first} and {', '.join(others)} contradict each other, and OPTIONS['enabled'] "
            wins += f"of components.{config.component} overrides both"
        yield Finding(
            "langsmith.names-conflict",
            Level.WARNING,
            subject,
            f"{wins}: it {'traces' if config.tracing else 'does not trace'}.",
            f"Keep LANGSMITH_TRACING alone: unset {' '.join(set(said) - {'LANGSMITH_TRACING'})}.",
        )


def _both_endpoints(subject: str, level: Level) -> Iterator[Finding]:
    replicas = os.environ.get("LANGSMITH_RUNS_ENDPOINTS")
    alone = next((f"{e}_ENDPOINT" for e in SPELLINGS if os.environ.get(f"{e}_ENDPOINT")), "")
    if replicas and alone:
        yield Finding(
            "langsmith.names-conflict",
            level,
            subject,
            f"{alone} and LANGSMITH_RUNS_ENDPOINTS are both set: the SDK refuses to make a client.",
            f"Run unset {alone}, or unset LANGSMITH_RUNS_ENDPOINTS.",
        )


def _means(value: str) -> bool | None:
    word = clean(value).lower()
    return True if word in _ON else False if word in _OFF else None


def _tracing(config: Config, subject: str) -> Iterator[Finding]:
    value = os.environ.get(config.switch, "")
    if not config.switch or value == "true" or _means(value) is False:
        return
    meant = _means(value)
    # A word of the list is no secret; anything else may be.
    shown = f"{value!r}" if meant else "neither true nor false"
    yield Finding(
        "langsmith.tracing-value",
        Level.WARNING,
        subject,
        f"{config.switch} is {shown}: the SDK traces only if it is exactly true, in small letters.",
        f"Set {config.switch}=true (or =false, if nothing is to be traced).",
        {"tracing": "off"},
    )


# ── address ─────────────────────────────────────────────────────────────────────────────────────


def _address(config: Config, subject: str, level: Level) -> Iterator[Finding]:
    """What is wrong with it, the worst first."""
    origin = config.url_from or "LANGSMITH_ENDPOINT"

    def fault(id: str, summary: str, hint: str, **facts: Fact) -> Finding:
        return Finding(id, level, subject, f"{origin} {summary}", hint, facts)

    wrong = _unusable(config)
    if wrong:
        yield fault(
            "langsmith.endpoint-invalid",
            wrong,
            f"{assign(origin, CLOUD)}, or https://<host>{_API_ROOT} for one of your own.",
        )
        return
    parts = config.parts
    ui = _UI.fullmatch(config.host)
    if ui and ui[1] != "api":
        api = f"https://{f'{ui[1]}.' if ui[1] else ''}api.smith.langchain.com"
        yield fault(
            "langsmith.ui-host",
            f"names {config.host}, where people sign in: it answers POST with 405.",
            f"{assign(origin, api)}.",
        )
    if parts.scheme == "http" and config.is_cloud:
        yield fault(
            "langsmith.http-redirect",
            "begins with http://: LangSmith redirects to https://, which turns POST into GET "
            "(405), and the key went over the network in clear text.",
            f"{assign(origin, f'https://{parts.netloc}{parts.path}')}, and make a new key.",
        )
    elif parts.scheme == "http" and not config.is_local:
        yield Finding(
            "tls.insecure",
            Level.WARNING,
            subject,
            f"{origin} begins with http://: key and traces go over the network in clear text.",
            "Give that LangSmith a certificate (its reverse proxy), and write https://.",
        )
    if _API_ROOT * 2 in parts.path:
        path = parts.path.replace(_API_ROOT * 2, _API_ROOT)
        yield fault(
            "langsmith.path",
            f"has {_API_ROOT} twice in its path.",
            f"{assign(origin, f'{parts.scheme}://{parts.netloc}{path}')}.",
        )


def _unusable(config: Config) -> str:
    """Why no client can use the address, as a sentence that does not repeat it."""
    scheme, _, rest = config.url.partition("://")
    if scheme.lower() not in ("http", "https") or not rest:
        return "does not begin with https://, so the SDK refuses it."
    if not _PRINTABLE.fullmatch(config.url) or re.search(r"[?#\\]", rest):
        return "has more than scheme, host and path."
    try:
        endpoints.parse(f"https://{rest}")
    except UsageError as error:
        return f"cannot be used. {error}"
    return ""


# ── key ─────────────────────────────────────────────────────────────────────────────────────────


def _key(config: Config, subject: str, level: Level) -> Iterator[Finding]:
    if config.key and not _PRINTABLE.fullmatch(config.key):
        yield Finding(
            "langsmith.key-invalid",
            level,
            subject,
            f"{config.key_from} holds a space or a letter that no header can carry.",
            f"Copy the key anew into {config.key_from}: one word that begins with lsv2_.",
        )
    if config.key or not (config.in_use or config.switch):
        return
    if config.tracing and not (config.is_cloud or config.key_from):
        return  # one of one's own may need none; it is asked
    quiet = not config.tracing or has_profile()
    name = config.key_from or "LANGSMITH_API_KEY"
    why = "no key is set, so nothing can be sent to LangSmith"
    if config.tracing and has_profile():
        why += ", unless the profile in ~/.langsmith has one, which goes into no image"
    elif not config.tracing:
        why += ". It does not trace either"
    yield Finding(
        "langsmith.key-missing",
        Level.INFO if quiet else Level.ERROR,
        subject,
        f"{why[0].upper()}{why[1:]}.",
        f"Make a key in LangSmith's settings and set {name}; or set LANGSMITH_TRACING=false.",
        cause=None if quiet else _of_component(config),
    )


def _workspace(config: Config, subject: str, level: Level) -> Iterator[Finding]:
    if config.workspace and not _PRINTABLE.fullmatch(config.workspace):
        yield Finding(
            "langsmith.workspace",
            level,
            subject,
            f"{config.workspace_from} holds a space, a line break or a letter that no header can "
            "carry.",
            f"Set {config.workspace_from} to the ID in LangSmith's settings, Workspaces: one word.",
        )


def _of_component(config: Config) -> Finding | None:
    """The component that waits for this very key has said so already."""
    if not config.component or not config.key_from:
        return None
    status = components.status(config.component)
    if status.state != "blocked":
        return None
    told = blocked(status)
    return told if told.level is Level.ERROR else None
