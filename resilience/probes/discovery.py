"""Which TLS servers the settings name: caches, databases, mail, HTTPS, files, brokers."""

from __future__ import annotations

import os
import urllib.request
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connections

from resilience import env
from resilience.errors import UsageError
from resilience.probes import langsmith_config, targets
from resilience.probes.endpoints import SCHEMES, Endpoint, parse

_VERIFYING = ("verify-ca", "verify-full")
_ENCRYPTING = ("require", *_VERIFYING)
_SMTP = "django.core.mail.backends.smtp.EmailBackend"
_S3 = "storages.backends.s3"
_OFF = ("none", "0", "cert_none")


def endpoints() -> list[Endpoint]:
    """Every TLS server that the settings name, each once.

    What does not parse, or holds the placeholder of a missing variable, is left out: its own area
    says what is wrong with it.
    """
    found: dict[str, Endpoint] = {}
    for each in (*_caches(), *_databases(), *_mail(), *_web(), *_broker()):
        known = found.get(each.where)
        merged = replace(known, origins=(*known.origins, *each.origins)) if known else each
        found[each.where] = merged
    return list(found.values())


def unexamined() -> Iterator[tuple[str, str]]:
    """Where TLS is configured that nothing here can look at, and why."""
    for alias in connections:
        config: Mapping[str, Any] = connections.settings[alias]
        options = config.get("OPTIONS") or {}
        if "mysql" in str(config.get("ENGINE", "")) and any("ssl" in name for name in options):
            said = (
                "Not examined: MySQL begins TLS inside its own protocol. Whether it connects, the "
                "area database says; whether it verifies, its options ssl_mode and ssl."
            )
            yield f"databases.{alias}", said


def through_proxy(endpoint: Endpoint) -> Endpoint:
    """With the proxy that the usual HTTP clients take: HTTPS_PROXY, ALL_PROXY, not NO_PROXY's."""
    if endpoint.protocol != "http":
        return endpoint
    proxies = urllib.request.getproxies_environment()
    proxy = proxies.get("https") or proxies.get("all", "")
    bypassed = urllib.request.proxy_bypass_environment(endpoint.where)  # type: ignore[attr-defined]
    return replace(endpoint, proxy=proxy) if proxy and not bypassed else endpoint


def _parsed(url: object, origin: str, **more: Any) -> Iterator[Endpoint]:
    """None for a URL without TLS, or one that is none."""
    if env.placeholder_in(str(url)):
        return
    with suppress(UsageError):
        endpoint = parse(str(url)) if "://" in str(url) else None
        if endpoint is not None:
            yield through_proxy(replace(endpoint, origins=(origin,), **more))


def _caches() -> Iterator[Endpoint]:
    for location in targets.locations():
        with suppress(targets.InvalidTarget):
            target = location.target()
            if not target.tls or location.sentinel or env.placeholder_in(location.url):
                continue
            options = target.options
            ours = targets.redis_kind(str(settings.CACHES[location.alias]["BACKEND"]))
            yield Endpoint(
                target.host,
                target.port,
                "redis",
                component="redis",
                origins=(target.origin,),
                stores=() if ours == targets.OURS else ("system",),
                ca=_named(options, "ssl_ca_certs", "ssl_ca_data"),
                client_cert=_pair(options.get("ssl_certfile"), options.get("ssl_keyfile")),
                verifies=str(options.get("ssl_cert_reqs", "required")).lower() not in _OFF,
            )


def _databases() -> Iterator[Endpoint]:
    """PostgreSQL's, where the settings ask for TLS: libpq's default takes it or leaves it."""
    for alias in connections:
        config: Mapping[str, Any] = connections.settings[alias]
        options = config.get("OPTIONS") or {}
        mode = str(options.get("sslmode") or os.environ.get("PGSSLMODE") or "")
        host = str(config.get("HOST") or "")
        engine = str(config.get("ENGINE", ""))
        if not engine.endswith(("postgresql", "postgis")) or mode not in _ENCRYPTING:
            continue
        if not host or host.startswith(("/", "@")):  # a socket, which has no TLS
            continue
        if env.placeholder_in(config):
            continue
        root = str(options.get("sslrootcert") or os.environ.get("PGSSLROOTCERT") or "")
        root = root or str(Path("~/.postgresql/root.crt").expanduser())
        yield Endpoint(
            host,
            int(config.get("PORT") or 5432),
            "postgres",
            starttls=True,
            component="database",
            origins=(f"databases.{alias}",),
            only_ca=root if mode in _VERIFYING and root != "system" else None,
            stores=("system",) if root == "system" else (),
            client_cert=_pair(options.get("sslcert"), options.get("sslkey")),
            verifies=mode in _VERIFYING or root == "system",
        )


def _mail() -> Iterator[Endpoint]:
    for origin, options in mailers():
        host, port = options.get("host"), options.get("port")
        if env.placeholder_in([host, port]):
            continue
        starttls = bool(options.get("use_tls"))
        if host and port and (starttls or options.get("use_ssl")):
            yield Endpoint(
                str(host),
                int(port),
                "smtp",
                starttls=starttls,
                component="email",
                origins=(origin,),
                stores=("system",),
                client_cert=_pair(options.get("ssl_certfile"), options.get("ssl_keyfile")),
            )


def mailers() -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Where mail goes by SMTP: an origin, and options as MAILERS has them."""
    found = getattr(settings, "MAILERS", None)  # Django 6.1
    if isinstance(found, Mapping) and found:
        for alias, mailer in found.items():
            if mailer.get("BACKEND", _SMTP) == _SMTP:
                yield f"mailers.{alias}", mailer.get("OPTIONS") or {}
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # reading a deprecated setting warns
        if getattr(settings, "EMAIL_BACKEND", "") == _SMTP:
            names = ("HOST", "PORT", "USE_TLS", "USE_SSL", "SSL_CERTFILE", "SSL_KEYFILE")
            yield (
                "email",
                {name.lower(): getattr(settings, f"EMAIL_{name}", None) for name in names},
            )


def _web() -> Iterator[Endpoint]:
    yield from _parsed(_setting("SENTRY_DSN"), "SENTRY_DSN", stores=("requests",))
    langsmith = langsmith_config.read()
    if langsmith.in_use:
        yield from _parsed(langsmith.url, "langsmith", component="langsmith")
    for alias, config in (getattr(settings, "STORAGES", None) or {}).items():
        if str(config.get("BACKEND", "")).startswith(_S3):
            options = config.get("OPTIONS") or {}
            region = options.get("region_name") or _setting("AWS_S3_REGION_NAME")
            address = options.get("endpoint_url") or _setting("AWS_S3_ENDPOINT_URL")
            regional = (
                f"https://s3.{region}.amazonaws.com" if region else "https://s3.amazonaws.com"
            )
            store = ("AWS_CA_BUNDLE",) if os.environ.get("AWS_CA_BUNDLE") else ("requests",)
            yield from _parsed(address or regional, f"storages.{alias}", stores=store)
    proxy = urllib.request.getproxies_environment().get("https", "")
    if proxy.startswith("https://"):
        for endpoint in _parsed(proxy, "HTTPS_PROXY"):
            yield replace(endpoint, proxy="")


def _broker() -> Iterator[Endpoint]:
    for name in ("CELERY_BROKER_URL", "BROKER_URL", "CELERY_RESULT_BACKEND"):
        for url in str(_setting(name) or "").split(";"):
            if url.partition("://")[0] in SCHEMES:
                yield from _parsed(url, name, stores=("system",))


def _setting(name: str) -> Any:
    return getattr(settings, name, None) or os.environ.get(name)


def _named(options: Mapping[str, Any], *names: str) -> tuple[str, ...]:
    return tuple(str(options[name]) for name in names if options.get(name))


def _pair(certificate: object, key: object) -> tuple[str, str | None] | None:
    return (str(certificate), str(key) if key else None) if certificate else None
