"""``python -m resilience.livecheck [URL]``: is the server alive? For a container's HEALTHCHECK.

It imports neither Django nor the project, so it takes a moment where ``manage.py`` takes seconds.
URL is ``http://127.0.0.1:$PORT/livez`` unless given. Exit status: 0 for a 200 within 2 s, 1 for
anything else, 2 if it cannot be asked. Redirects are not followed, and proxies of the environment
not used: neither is an answer of this server.
"""

from __future__ import annotations

import os
import sys
import threading
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import NoReturn
from urllib.parse import SplitResult, urlsplit

SECONDS = 2.0
"""For everything together: name, connection, answer."""
PORT = "8000"  # gunicorn's own, where PORT is not set
OK, NOT_LIVE, USAGE = 0, 1, 2

_FINE = 200
_USAGE = "usage: python -m resilience.livecheck [http://HOST:PORT/PATH]"


def main(arguments: list[str]) -> NoReturn:
    """Ask, and end the process."""
    if arguments[:1] in (["-h"], ["--help"]):
        sys.stdout.write(f"{_USAGE}\n")
        _leave(OK)
    try:
        url = _url(arguments)
    except ValueError as error:
        _leave(USAGE, f"{error} {_USAGE}")
    said: list[str] = []
    # No timeout of a socket bounds the whole: a name that is looked up, an answer that trickles.
    asking = threading.Thread(target=_ask, args=(url, said), daemon=True)
    asking.start()
    asking.join(SECONDS)
    where = f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path}"
    if not said:
        _leave(NOT_LIVE, f"{where} does not answer within {SECONDS:g} s.")
    _leave(OK if said[0] == str(_FINE) else NOT_LIVE, f"{where} {_sentence(said[0])}")


def _url(arguments: list[str]) -> SplitResult:
    """Raises ValueError with a sentence for what cannot be asked."""
    if len(arguments) > 1:
        raise ValueError("There is one URL at most.")
    port = os.environ.get("PORT") or PORT
    if not arguments and not (port.isascii() and port.isdigit()):
        raise ValueError("PORT is not a number.")
    text = arguments[0] if arguments else f"http://127.0.0.1:{port}/livez"
    try:
        url = urlsplit(text)
        if url.scheme in ("http", "https") and url.hostname and url.port != 0 and _is_plain(text):
            return url
    except ValueError:  # whose sentence would quote it
        pass
    raise ValueError("That is not the URL of a server.")


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text


def _ask(url: SplitResult, said: list[str]) -> None:
    """Put the status, or why there is none, into ``said``."""
    connect = HTTPSConnection if url.scheme == "https" else HTTPConnection
    try:
        connection = connect(str(url.hostname), url.port, timeout=SECONDS)
        path = url.path or "/"
        connection.request("GET", f"{path}?{url.query}" if url.query else path)
        said.append(str(connection.getresponse().status))
    except (OSError, HTTPException, ValueError) as error:
        said.append(f"{type(error).__name__}: {getattr(error, 'strerror', None) or 'no answer'}")


def _sentence(said: str) -> str:
    if not said.isdigit():
        return f"cannot be asked ({said})."
    return f"answered {said}." if said == str(_FINE) else f"answered {said} instead of {_FINE}."


def _leave(status: int, sentence: str = "") -> NoReturn:
    """At once: the thread may still wait for a name."""
    if sentence and status != OK:
        sys.stderr.write(f"{sentence}\n")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    main(sys.argv[1:])
