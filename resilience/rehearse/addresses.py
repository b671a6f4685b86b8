"""Addresses of outside services in variables and settings, and what takes their place."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

REDIS = ("redis", "rediss")
_DATABASES = (
    "postgres postgresql postgis pgsql psql mysql mysql2 mysqlgis mssql mssqlms oracle oraclegis "
    "cockroach sqlite sqlite3 spatialite timescale timescalegis redshift"
).split()
ENGINE = "<engine>"  # stands for the scheme of the user's own
_MAIL = "smtp smtps smtp+tls smtp+ssl submission".split()
# Credentials and trust of the real server: the one of the stage has its own.
_DROPPED = ("password", "username", "credential_provider", "auth")


def replaced(value: str, orders: Mapping[str, Any]) -> str:
    """The value of a variable or setting with its address of a service, if it is one, replaced."""
    scheme = value.partition("://")[0].lower()
    if scheme in REDIS:
        return redis(value, orders["redis"])
    if "://" in value and scheme in _DATABASES:
        return str(orders["database"]).replace(ENGINE, scheme)
    if "://" in value and scheme in _MAIL:
        return f"smtp://127.0.0.1:{orders['mail']}"
    return value


def redis(url: str, stage: Mapping[str, Any]) -> str:
    """A Redis URL on the stage: database and options stay, credentials and trust do not.

    ``stage`` has ``host``, ``port``, ``scheme`` (empty: as it is) and ``ca``, a path or empty.
    """
    try:
        parts = urlsplit(url)
    except ValueError:  # which checkdeploy tells; here the stage's address alone is left
        parts = urlsplit("redis:")
    path = parts.path if re.fullmatch(r"/?\d*", parts.path) else ""  # else of a password with "/"
    options = [each for each in parse_qsl(parts.query) if _is_kept(each[0])]
    scheme = stage["scheme"] or parts.scheme
    if scheme == "rediss" and stage["ca"]:
        options.append(("ssl_ca_certs", stage["ca"]))
    address = f"{stage['host']}:{stage['port']}"
    return urlunsplit((str(scheme), address, path, urlencode(options), ""))


def without_credentials(options: Any) -> Any:
    """Options of a Redis client, at any depth, without what belongs to the real server."""
    if isinstance(options, Mapping):
        return {
            name: without_credentials(value) for name, value in options.items() if _is_kept(name)
        }
    return options


def everywhere(value: Any, orders: Mapping[str, Any]) -> Any:
    """The same value with Redis URLs replaced at any depth of lists and mappings."""
    if isinstance(value, str):
        is_redis = value.partition("://")[0].lower() in REDIS and "://" in value
        return redis(value, orders["redis"]) if is_redis else value
    if type(value) is dict:
        return {name: everywhere(each, orders) for name, each in value.items()}
    if type(value) in (list, tuple):
        return type(value)(everywhere(each, orders) for each in value)
    return value


def _is_kept(name: object) -> bool:
    return not (str(name).lower() in _DROPPED or str(name).lower().startswith("ssl_"))
