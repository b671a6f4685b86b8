"""The project of the production report: all that it did wrong, and the same with each mended.

django-redis with its defaults, a client built at import, an environment read at import, a mock in
the place of what fails, ``.env`` read by settings.
"""

from __future__ import annotations

from pathlib import Path

from tests.processes import ROOT

MANAGE = """
import os, sys
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
"""
WSGI = """
import os
from django.core.wsgi import get_wsgi_application
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
application = get_wsgi_application()
"""
_SETTINGS = """
BASE = Path(__file__).resolve().parent.parent
DEBUG = False
ALLOWED_HOSTS = ["shop.example.org"]
ROOT_URLCONF = "shop.urls"
WSGI_APPLICATION = "shop.wsgi.application"
INSTALLED_APPS = ["resilience", "shop"]
MIDDLEWARE = []
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE / "db.sqlite3"}}
USE_TZ = True
SECURE_HSTS_SECONDS = 3600
"""
NAIVE = {
    "shop/__init__.py": "",
    "shop/settings.py": """
import os
from pathlib import Path
from dotenv import load_dotenv
"""
    + _SETTINGS
    + """
if (BASE / ".env").exists():
    load_dotenv(BASE / ".env")
SECRET_KEY = os.environ["SECRET_KEY"]
CACHES = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": os.environ.get("REDIS_URL", "redis://localhost:6379/0"),
    }
}
""",
    "shop/clients.py": """
import os
import redis
CLIENT = redis.Redis.from_url(os.environ.get("REDIS_URL", "redis://localhost:6379/0"))
""",
    "shop/chat.py": """
import os
if not os.environ.get("OPENAI_API_KEY"):
    raise ImportError("the framework needs OPENAI_API_KEY")

class Phases:
    def run(self):
        return "four phases"
""",
    "shop/views.py": """
from unittest.mock import Mock
from django.core.cache import cache
from django.http import HttpResponse
from shop.clients import CLIENT
try:
    from shop.chat import Phases
except ImportError:
    Phases = Mock

def home(request):
    CLIENT.incr("visits")
    cache.set("seen", "yes", 60)
    return HttpResponse(f"{cache.get('seen')} {Phases().run()}")
""",
}
MENDED = {
    "shop/__init__.py": "from resilience import env\nenv.load()\n",
    "shop/settings.py": """
from pathlib import Path
from resilience import env
"""
    + _SETTINGS
    + """
SECRET_KEY = env.secret("SECRET_KEY")
CACHES = {
    "default": {
        "BACKEND": "resilience.cache.ResilientCache",
        "LOCATION": env.str("REDIS_URL", default="redis://localhost:6379/0"),
        "KEY_PREFIX": "shop",
    }
}
RESILIENCE = {
    "COMPONENTS": {
        "phases": {
            "BACKEND": "shop.chat.Phases",
            "OPTIONS": {"key": env.ref("OPENAI_API_KEY")},
        }
    }
}
""",
    "shop/chat.py": """
class Phases:
    def __init__(self, key):
        self.key = key

    def run(self):
        return "four phases"
""",
    "shop/views.py": """
from django.core.cache import cache
from django.http import HttpResponse
from resilience.components import components
from resilience.errors import ComponentUnavailable

def home(request):
    cache.set("seen", "yes", 60)
    try:
        said = components["phases"].run()
    except ComponentUnavailable as error:
        said = str(error)
    return HttpResponse(f"{cache.get('seen')} {said}")
""",
}
URLS = """
from django.urls import path
from shop import views
urlpatterns = [path("", views.home)]
"""
ENV = "SECRET_KEY=tests-only-0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefgh\n"


def write(folder: Path, files: dict[str, str], dotenv: str = ENV) -> Path:
    """The project in a folder, which is returned."""
    every = {"manage.py": MANAGE, "shop/wsgi.py": WSGI, "shop/urls.py": URLS, ".env": dotenv}
    for name, text in {**every, **files}.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    folder.chmod(0o755)
    return folder


VARIABLES = {"PYTHONPATH": str(ROOT), "DJANGO_SETTINGS_MODULE": "shop.settings"}
