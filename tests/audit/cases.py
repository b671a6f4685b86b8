"""Modules with one fault each, and the same modules mended.

The line at fault ends in ``# <-``. ``SHOP_KEY`` is set where they are imported, ``SHOP_ABSENT``
is not. ``source`` is False where only the traced import can see it.
"""

from __future__ import annotations

from textwrap import dedent
from typing import NamedTuple


class Case(NamedTuple):
    """``bad`` does at import what ``id`` says, ``good`` does not."""

    name: str
    id: str
    bad: str
    good: str
    source: bool = True
    level: str = "warning"

    @property
    def line(self) -> int:
        """The line at fault, from 1."""
        return next(
            number for number, line in enumerate(self.text.splitlines(), 1) if "# <-" in line
        )

    @property
    def text(self) -> str:
        return dedent(self.bad).lstrip("\n")

    @property
    def mended(self) -> str:
        return dedent(self.good).lstrip("\n")


# Imported by the cases, as a project's own modules are.
HELPERS = {
    "shop_lib.py": """
import os, socket, threading
import redis

def setting(name):
    return os.environ[name]

def store():
    return redis.Redis()

def hello():
    with socket.create_connection(("192.0.2.1", 9), timeout=1):
        pass

def forever():
    threading.Thread(target=print, args=("",)).start()
""",
    "shop_mocks.py": "class MockChat:\n    pass\n",
}

READ = "audit.import-read"
UNSET = "audit.import-read-unset"
FROZEN = "audit.frozen-read"
CLIENT = "audit.import-client"
NETWORK = "audit.import-network"
THREAD = "audit.import-thread"
SWALLOWED = "audit.swallowed-import"

CASES = [
    Case(
        "read_subscript",
        READ,
        'import os\nKEY = os.environ["SHOP_KEY"]  # <-\n',
        'import os\ndef key():\n    return os.environ["SHOP_KEY"]\n',
    ),
    Case(
        "read_getenv_alias",
        READ,
        'from os import getenv as g\nNAME = "SHOP_KEY"\nKEY = g(NAME, "")  # <-\n',
        'from resilience import env\nKEY = env.str("SHOP_KEY", default="")\n',
    ),
    Case(
        "read_second_name",
        READ,
        'import os\nE = os.environ\nclass Options:\n    key = E.get("SHOP_KEY")  # <-\n',
        'import os\nE = os.environ\nE.setdefault("SHOP_MODE", "live")\nE["SHOP_OTHER"] = "1"\n',
    ),
    Case(
        "read_default_argument",
        READ,
        'import os\ndef ask(q, key=os.environ["SHOP_KEY"]):  # <-\n    return q\n',
        'import os\ndef ask(q, key=None):\n    return key or os.environ["SHOP_KEY"]\n',
    ),
    Case(
        "read_decorator",
        READ,
        """
        import os
        def with_key(key):
            return lambda f: f
        @with_key(os.environ["SHOP_KEY"])
        def ask():  # <-
            pass
        """,
        """
        import os
        def with_key(key):
            return lambda f: f
        @with_key(lambda: os.environ["SHOP_KEY"])
        def ask():
            pass
        """,
    ),
    Case(
        "read_local_function",
        READ,
        """
        import os
        def setting(name):
            return os.environ[name]
        KEY = setting("SHOP_KEY")  # <-
        """,
        """
        import os
        from typing import TYPE_CHECKING
        def setting(name):
            return os.environ[name]
        if TYPE_CHECKING:
            KEY = setting("SHOP_KEY")
        if __name__ == "__main__":
            print(setting("SHOP_KEY"))
        """,
    ),
    Case(
        "read_local_class",
        READ,
        """
        import os
        class Options:
            def __init__(self):
                self.key = os.environ["SHOP_KEY"]
        OPTIONS = Options()  # <-
        """,
        """
        import os
        class Options:
            @property
            def key(self):
                return os.environ["SHOP_KEY"]
        OPTIONS = Options()
        """,
    ),
    Case(
        "read_whether_set",
        READ,
        'import os\nif "SHOP_KEY" in os.environ:  # <-\n    LIVE = True\n',
        'import os\ndef live():\n    return "SHOP_KEY" in os.environ\n',
    ),
    Case(
        "read_everything",
        READ,
        "import os\nBEFORE = dict(os.environ)  # <-\n",
        "import os\nBEFORE = dict(a=1)\ndef now():\n    return dict(os.environ)\n",
    ),
    Case(
        "read_django_environ",
        READ,
        'import environ\nread = environ.Env()\nKEY = read.str("SHOP_KEY")  # <-\n',
        'import environ\nread = environ.Env()\ndef key():\n    return read.str("SHOP_KEY")\n',
    ),
    Case(
        "read_other_module",
        READ,
        'from shop_lib import setting\nKEY = setting("SHOP_KEY")  # <-\n',
        'from shop_lib import setting\ndef key():\n    return setting("SHOP_KEY")\n',
        source=False,
    ),
    Case(
        "read_hidden_name",
        READ,
        'import os\nKEY = getattr(os, "envi" + "ron")["SHOP_KEY"]  # <-\n',
        'import os\nKEY = lambda: getattr(os, "envi" + "ron")["SHOP_KEY"]\n',
        source=False,
    ),
    Case(
        "unset_get",
        UNSET,
        'import os\nKEY = os.environ.get("SHOP_ABSENT")  # <-\n',
        'import os\nKEY = lambda: os.environ.get("SHOP_ABSENT")\n',
        source=False,
    ),
    Case(
        "unset_many_lines",
        UNSET,
        """
        import os
        OPTIONS = {  # <-
            "model": "gpt-5",
            "api_key": os.getenv("SHOP_ABSENT"),
        }
        """,
        """
        import os
        from resilience import env
        OPTIONS = {
            "model": "gpt-5",
            "api_key": env.str("SHOP_ABSENT", default=""),
        }
        """,
        source=False,
    ),
    Case(
        "unset_then_loaded",
        UNSET,
        """
        import io, os
        from dotenv import load_dotenv
        KEY = os.environ.get("SHOP_LATE")  # <-
        load_dotenv(stream=io.StringIO("SHOP_LATE=1"))
        """,
        """
        import io
        from dotenv import load_dotenv
        load_dotenv(stream=io.StringIO("SHOP_LATE=1"))
        """,
        source=False,
        level="error",
    ),
    Case(
        "frozen_function",
        FROZEN,
        """
        import os
        from functools import lru_cache
        @lru_cache(maxsize=None)
        def key():  # <-
            return os.environ["SHOP_KEY"]
        """,
        """
        import os
        def key():
            return os.environ["SHOP_KEY"]
        """,
    ),
    Case(
        "frozen_method",
        FROZEN,
        """
        import functools, os
        def read(name):
            return os.getenv(name)
        class Options:
            @staticmethod
            @functools.cache
            def key():  # <-
                return read("SHOP_KEY")
        """,
        """
        import functools, os
        class Options:
            @staticmethod
            @functools.cache
            def parsed(key):
                return key.split(",")
        def key():
            return Options.parsed(os.environ["SHOP_KEY"])
        """,
    ),
    Case(
        # Its cache is not the project's to mend: what the project's line does is reading.
        "cached_in_a_package",
        UNSET,
        'from langsmith.utils import get_env_var\nURL = get_env_var("SHOP_ABSENT")  # <-\n',
        'from langsmith.utils import get_env_var\nURL = lambda: get_env_var("SHOP_ABSENT")\n',
        source=False,
    ),
    Case(
        "client_global",
        CLIENT,
        "import redis\nstore = redis.Redis()  # <-\n",
        "import redis\ndef store():\n    return redis.Redis()\n",
    ),
    Case(
        "client_class_attribute",
        CLIENT,
        """
        from redis import from_url
        class Store:
            client = from_url("redis://localhost")  # <-
        """,
        """
        from redis import from_url
        class Store:
            def client(self):
                return from_url("redis://localhost")
        """,
    ),
    Case(
        "client_local_factory",
        CLIENT,
        """
        import httpx
        def make():
            return httpx.Client(timeout=2)
        http = make()  # <-
        """,
        """
        import httpx
        def make():
            return httpx.Client(timeout=2)
        make_http = make
        """,
    ),
    Case(
        "client_own_class",
        CLIENT,
        """
        import requests
        class Session(requests.Session):
            pass
        session = Session()  # <-
        """,
        """
        import requests
        class Session(requests.Session):
            pass
        def session():
            return Session()
        """,
    ),
    Case(
        "client_other_module",
        CLIENT,
        "import shop_lib\nstore = shop_lib.store()  # <-\n",
        "import shop_lib\nstore = shop_lib.store\n",
        source=False,
    ),
    Case(
        "client_with_its_key",
        CLIENT,
        """
        import os, httpx
        http = httpx.Client(  # <-
            headers={"X-Key": os.environ["SHOP_KEY"]},
        )
        """,
        """
        import os, httpx
        def http():
            return httpx.Client(headers={"X-Key": os.environ["SHOP_KEY"]})
        """,
    ),
    Case(
        "network_address",
        NETWORK,
        """
        import contextlib, socket
        with contextlib.suppress(OSError):
            socket.create_connection(("192.0.2.1", 9), timeout=1)  # <-
        """,
        """
        import socket
        connect = lambda: socket.create_connection(("192.0.2.1", 9), timeout=1)
        """,
        level="error",
    ),
    Case(
        "network_name",
        NETWORK,
        """
        import urllib.request
        try:
            urllib.request.urlopen("http://shop.invalid/")  # <-
        except OSError:
            pass
        """,
        """
        import urllib.request
        def rates():
            return urllib.request.urlopen("http://shop.invalid/")
        """,
        level="error",
    ),
    Case(
        "network_other_module",
        NETWORK,
        "import shop_lib\ntry:\n    shop_lib.hello()  # <-\nexcept OSError:\n    pass\n",
        "import shop_lib\nhello = shop_lib.hello\n",
        source=False,
        level="error",
    ),
    Case(
        "thread_function",
        THREAD,
        "import threading\nthreading.Thread(target=print, args=('',)).start()  # <-\n",
        "import threading\nworker = threading.Thread(target=print, args=('',))\n",
    ),
    Case(
        "thread_pool",
        THREAD,
        """
        from concurrent.futures import ThreadPoolExecutor
        pool = ThreadPoolExecutor(1)
        warm = pool.submit(int, "1")  # <-
        """,
        """
        from concurrent.futures import ThreadPoolExecutor
        pool = ThreadPoolExecutor(1)
        warm = lambda: pool.submit(int, "1")
        """,
    ),
    Case(
        "thread_other_module",
        THREAD,
        "import shop_lib\nshop_lib.forever()  # <-\n",
        "import shop_lib\nforever = shop_lib.forever\n",
        source=False,
    ),
    Case(
        "swallowed_class",
        SWALLOWED,
        """
        try:
            from shop_absent import Chat
        except ImportError:  # <-
            class Chat:
                def invoke(self, text):
                    return "ok"
        """,
        """
        try:
            from shop_absent import Chat
        except ImportError:
            Chat = None
        """,
    ),
    Case(
        "swallowed_magic_mock",
        SWALLOWED,
        """
        try:
            import shop_absent as chat
        except Exception:  # <-
            from unittest import mock
            chat = mock.MagicMock()
        """,
        """
        try:
            import tomllib as toml
        except ModuleNotFoundError:
            import tomli as toml
        """,
        level="error",
    ),
    Case(
        "swallowed_behind_a_flag",
        SWALLOWED,
        """
        try:
            import shop_absent
            HAS_CHAT = True
        except ImportError:  # <-
            HAS_CHAT = False
        from shop_mocks import MockChat
        chat = shop_absent.Chat() if HAS_CHAT else MockChat()
        """,
        """
        try:
            import shop_absent
            HAS_CHAT = True
        except ImportError:
            HAS_CHAT = False
        def chat():
            if not HAS_CHAT:
                raise RuntimeError("install shop-absent")
            return shop_absent.Chat()
        """,
        level="error",
    ),
    Case(
        "swallowed_lambda_in_a_function",
        SWALLOWED,
        """
        def tokens(text):
            try:
                from shop_absent import count
            except (ImportError, AttributeError):  # <-
                count = lambda text: len(text) // 4
            return count(text)
        """,
        """
        def tokens(text):
            try:
                from shop_absent import count
            except (ImportError, AttributeError) as error:
                raise RuntimeError("install shop-absent") from error
            return count(text)
        """,
    ),
    Case(
        "swallowed_imported_mock",
        SWALLOWED,
        """
        try:
            from shop_absent import Chat
        except:  # <-
            from shop_mocks import MockChat as Chat
        """,
        """
        try:
            from shop_absent import Chat
        except ImportError:
            class Chat:
                def __init__(self):
                    raise RuntimeError("install shop-absent")
        """,
        level="error",
    ),
    Case(
        "client_with_an_imported_stand_in",
        CLIENT,
        """
        try:
            from redis import Redis
        except ImportError:
            from shop_lib import Queue as Redis
        store = Redis()  # <-
        """,
        """
        try:
            from redis import Redis
        except ImportError:
            from shop_lib import Queue as Redis
        def store():
            return Redis()
        """,
    ),
    Case(
        "swallowed_from_above",
        SWALLOWED,
        """
        class FakeChat: pass
        Chat = FakeChat
        try:
            from shop_absent import Chat
        except ImportError:  # <-
            pass
        """,
        """
        Chat = None
        try:
            from shop_absent import Chat
        except ImportError:
            pass
        """,
        level="error",
    ),
]
