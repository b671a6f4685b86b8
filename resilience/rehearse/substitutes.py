"""In a child: the settings as the project's own module makes them, with the stage's addresses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from resilience.rehearse import addresses, answers

MIDDLEWARE = "resilience.middleware.HealthMiddleware"
_SMTP = "django.core.mail.backends.smtp.EmailBackend"
_KEPT = (
    "ATOMIC_REQUESTS AUTOCOMMIT CONN_HEALTH_CHECKS CONN_MAX_AGE DISABLE_SERVER_SIDE_CURSORS "
    "TIME_ZONE"
).split()


def install(
    orders: Mapping[str, Any], note: Callable[..., None], step: Callable[[str], None]
) -> None:
    """Change settings as soon as they are loaded, whoever loads them; tell when that is."""
    from django.conf import Settings  # noqa: PLC0415 - a child's own

    kind: Any = Settings
    load = kind.__init__

    def __init__(self: Any, module: str) -> None:  # noqa: N807
        step(answers.IMPORTING)
        load(self, module)
        step(answers.IMPORTED)
        apply(self, orders)
        _watch_requests(note)

    kind.__init__ = __init__


def apply(settings: Any, orders: Mapping[str, Any]) -> None:
    """Replace every address of Redis, a database or a mail server in these settings."""
    for name in [name for name in vars(settings) if name.isupper()]:
        value = getattr(settings, name)
        changed = addresses.everywhere(value, orders)
        if changed != value:
            setattr(settings, name, changed)
    settings.CACHES = {alias: _cache(config) for alias, config in settings.CACHES.items()}
    if orders["databases"]:
        settings.DATABASES = {
            alias: _database(alias, config, orders)
            for alias, config in (settings.DATABASES or {}).items()
        }
    _mail(settings, int(orders["mail"]))
    if orders["token"] and MIDDLEWARE in settings.MIDDLEWARE:
        given = getattr(settings, "RESILIENCE", {})
        if isinstance(given, dict) and not given.get("STATUS_TOKEN"):
            settings.RESILIENCE = {**given, "STATUS_TOKEN": orders["token"]}


def _cache(config: Any) -> Any:
    if not isinstance(config, dict) or not _is_redis(config.get("LOCATION")):
        return config
    options = addresses.without_credentials(config.get("OPTIONS") or {})
    return {**config, "OPTIONS": options} if "OPTIONS" in config else config


def _is_redis(location: object) -> bool:
    first = location[0] if isinstance(location, list | tuple) and location else location
    return str(first).partition("://")[0].lower() in addresses.REDIS


def _database(alias: str, config: Any, orders: Mapping[str, Any]) -> Any:
    if not config:
        return config
    kept = {name: config[name] for name in _KEPT if name in config}
    server = orders["databases"].get("server")
    if server:
        name = orders["databases"]["names"].get(alias, "")
        return {**kept, **server, "ENGINE": config["ENGINE"], "NAME": name}
    file = Path(orders["databases"]["folder"]) / f"{alias}.sqlite3"
    return {**kept, "ENGINE": "django.db.backends.sqlite3", "NAME": str(file)}


def _mail(settings: Any, port: int) -> None:
    stage = {"HOST": "127.0.0.1", "PORT": port, "HOST_USER": "", "HOST_PASSWORD": ""}
    stage |= {"USE_TLS": False, "USE_SSL": False}
    mailers = getattr(settings, "MAILERS", None)
    if isinstance(mailers, dict) and mailers:
        options = {"host": "127.0.0.1", "port": port, "use_tls": False, "use_ssl": False}
        settings.MAILERS = {
            alias: {**each, "OPTIONS": options} if each.get("BACKEND", _SMTP) == _SMTP else each
            for alias, each in mailers.items()
        }
        return
    if "EMAIL_HOST" in vars(settings):
        for name, value in stage.items():
            setattr(settings, f"EMAIL_{name}", value)


def _watch_requests(note: Callable[..., None]) -> None:
    """Keep class and place of what views raise; never the message."""
    from django.core.signals import got_request_exception  # noqa: PLC0415 - as above

    def noted(**_: object) -> None:
        import sys  # noqa: PLC0415

        from resilience import places  # noqa: PLC0415

        error = sys.exc_info()[1]
        if error is not None:
            at = places.of_error(error) or ""
            kind = f"{type(error).__module__}.{type(error).__qualname__}"
            note("error", name=kind, at=at)

    got_request_exception.connect(noted, weak=False, dispatch_uid="resilience-rehearsal")
