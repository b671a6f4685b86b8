"""The environment, loaded before anything reads it, and declared with types.

::

    # <project>/__init__.py, line 1: before settings, celery, wsgi, asgi, manage.py and pytest
    from resilience import env
    env.load()

    # settings.py
    SECRET_KEY = env.secret("SECRET_KEY")
    DEBUG = env.bool("DEBUG", default=False)
    OPTIONS = {"api_key": env.ref("OPENAI_API_KEY")}  # read when it is needed

A value comes from the first of: the process environment · the file that ``NAME_FILE`` points to ·
a secret directory (``/run/secrets``, ``$CREDENTIALS_DIRECTORY``) · ``.env.local`` ·
``.env.<RESILIENCE_ENV>`` · ``.env`` · the default. No error, log or repr ever holds a value.

Importing this package imports no Django and reads nothing.
"""

from resilience.env.collect import collecting
from resilience.env.declare import (
    bool_ as bool,  # noqa: A004 - read as env.bool
    db,
    float_ as float,  # noqa: A004
    int_ as int,  # noqa: A004
    list_ as list,  # noqa: A004
    reset,
    secret,
    str_ as str,  # noqa: A004
    url,
)
from resilience.env.ledger import Declared, declared
from resilience.env.loading import Snapshot, load, snapshot
from resilience.env.placeholders import placeholder_in
from resilience.env.reference import Ref, ref

__all__ = [
    "Declared",
    "Ref",
    "Snapshot",
    "bool",
    "collecting",
    "db",
    "declared",
    "float",
    "int",
    "list",
    "load",
    "placeholder_in",
    "ref",
    "reset",
    "secret",
    "snapshot",
    "str",
    "url",
]
