"""Loads settings that pages show, each in a fork: they leave nothing behind, and Django is warm."""

from __future__ import annotations

import json
import os
import sys
import types
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.core import checks
from django.core.cache import caches
from django.test import override_settings

_TEMPLATE = "conf/project_template/project_name/settings.py-tpl"
_URLS = "docs_urls"


def main() -> None:
    """One JSON list on standard output: a sentence for each source that does not do, else empty."""
    sources: list[str] = json.loads(sys.argv[1])
    stock = _of_a_new_project()
    given = {name: value for name, value in stock.items() if name.isupper()}
    settings.configure(**given | {"INSTALLED_APPS": ["resilience", *given["INSTALLED_APPS"]]})
    django.setup()
    checks.run_checks()
    sys.stdout.write(json.dumps([_in_a_fork(stock, source) for source in sources]))


def _in_a_fork(stock: dict[str, Any], source: str) -> str:
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        try:
            said = _judge(stock, source)
        except BaseException as error:  # noqa: BLE001 - it is the answer
            said = f"{type(error).__name__}: {error}"
        os.write(writing, said.encode()[:4000])
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read().decode()
    _, status = os.waitpid(child, 0)
    return said or ("" if status == 0 else f"ended with {status}")


def _judge(stock: dict[str, Any], source: str) -> str:
    """What ``manage.py check`` and the first use of each cache say."""
    values = dict(stock)
    exec(compile(source, "settings.py", "exec"), values)  # noqa: S102 - the pages are ours
    shown = {name: value for name, value in values.items() if name.isupper()}
    for name, value in shown.items():
        if isinstance(value, list) and ... in value:
            at = value.index(...)
            others = [each for each in stock.get(name, []) if each not in value]
            shown[name] = [*value[:at], *others, *value[at + 1 :]]
    if "resilience" not in shown["INSTALLED_APPS"]:
        shown["INSTALLED_APPS"] = ["resilience", *shown["INSTALLED_APPS"]]
    override_settings(**{k: v for k, v in shown.items() if v is not stock.get(k)}).enable()
    for alias in settings.CACHES:
        caches[alias]
    wrong = [each for each in checks.run_checks() if each.level >= checks.WARNING]
    return "; ".join(map(str, wrong))


def _of_a_new_project() -> dict[str, Any]:
    """What ``startproject`` writes into settings.py, by running it."""
    text = (Path(django.__file__).parent / _TEMPLATE).read_text()
    for name, value in {
        "project_name": "shop",
        "secret_key": "docs-only-" * 8,
        "django_version": django.get_version(),
        "docs_version": "stable",
    }.items():
        text = text.replace("{{ " + name + " }}", value)
    urls = types.ModuleType(_URLS)
    urls.urlpatterns = []  # type: ignore[attr-defined]
    sys.modules[_URLS] = urls
    values: dict[str, Any] = {"__file__": str(Path.cwd() / "shop" / "settings.py")}
    exec(compile(text, _TEMPLATE, "exec"), values)  # noqa: S102 - Django's own
    return values | {"ROOT_URLCONF": _URLS}
