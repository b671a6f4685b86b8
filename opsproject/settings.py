"""The example project: every value that differs between machines comes from the environment."""

from pathlib import Path

from resilience import env

BASE_DIR = Path(__file__).resolve().parent.parent

SECRET_KEY = env.secret("SECRET_KEY")  # no default: scripts/run writes a random one into .env
DEBUG = env.bool("DEBUG", default=False)
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])

INSTALLED_APPS = [
    "resilience",
    "resilience.history",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
]

MIDDLEWARE = [
    "resilience.middleware.HealthMiddleware",  # first: nothing stands between a probe and it
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "opsproject.urls"
WSGI_APPLICATION = "opsproject.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "opsproject" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# State

DATABASES = {"default": env.db("DATABASE_URL", default="sqlite:///db.sqlite3")}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

CACHES = {
    "default": {
        "BACKEND": "resilience.cache.ResilientCache",
        "LOCATION": env.str("REDIS_URL", default=""),  # without it a cache of this process alone
        "KEY_PREFIX": "opsproject",
    },
}

# Sessions are rows of the database, with copies in a cache if every process shares it: while Redis
# is away everybody stays logged in, and whoever logs out stays logged out.
SESSION_ENGINE = "django.contrib.sessions.backends." + (
    "cached_db" if CACHES["default"]["LOCATION"] else "db"
)
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = LOGOUT_REDIRECT_URL = "account"

# Security: HTTPS everywhere but on a laptop

HTTPS = env.bool("HTTPS", default=not DEBUG)
SECURE_SSL_REDIRECT = HTTPS
SESSION_COOKIE_SECURE = HTTPS
CSRF_COOKIE_SECURE = HTTPS
SECURE_HSTS_SECONDS = env.int("HSTS_SECONDS", default=3600) if HTTPS else 0
# Right only behind an edge that sets this header on every request, as a container platform's edge
# does: without an edge clients could claim HTTPS; without this line every page redirects to itself.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

# Static files: no manifest, so that a page never fails because collectstatic did not run

STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedStaticFilesStorage"},
}

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True

# One plain stream, which every platform collects; Django's own default mails errors to ADMINS.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "plain": {"format": "{asctime} [{process}] {levelname} {name}: {message}", "style": "{"},
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "loggers": {"django": {"level": "INFO"}},
    "root": {"handlers": ["stderr"], "level": "INFO"},
}

# The four phases of opsproject.framework. They are only named here, and built when first used; one
# that misses something says what, and neither start-up nor any other page notices.

TRACED = env.bool("LANGSMITH_TRACING", default=False)

COMPONENTS: dict[str, dict[str, object]] = {
    "framework.gather": {"BACKEND": "opsproject.framework.gather.Gather"},
    "framework.reason": {
        "BACKEND": "langchain_openai.ChatOpenAI",
        "OPTIONS": {
            "model": env.str("OPENAI_MODEL", default="gpt-5"),
            "base_url": env.str("OPENAI_BASE_URL", default="https://api.openai.com/v1"),
            "api_key": env.ref("OPENAI_API_KEY"),
            "timeout": 20,  # seconds; gunicorn replaces a worker after 30
            "max_retries": 0,
        },
        "PACKAGES": ["langchain-openai>=1"],
        "REQUIRES": ["framework.gather", *(["langsmith"] if TRACED else [])],
        "PROBE": "opsproject.framework.probes.chat",
    },
    "framework.evaluate": {
        "BACKEND": "opsproject.framework.evaluate.Evaluate",
        "REQUIRES": ["framework.reason"],
    },
    "framework.learn": {
        "BACKEND": "opsproject.framework.learn.Learn",
        "REQUIRES": ["framework.evaluate"],
    },
}
if TRACED:
    COMPONENTS["langsmith"] = {
        "BACKEND": "resilience.components.langsmith.Client",
        "OPTIONS": {
            "api_url": env.str("LANGSMITH_ENDPOINT", default="https://api.smith.langchain.com"),
            "api_key": env.ref("LANGSMITH_API_KEY"),
            "enabled": True,
        },
        "PACKAGES": ["langsmith>=0.15"],
        "CLOSE": "close",
    }

RESILIENCE = {
    "COMPONENTS": COMPONENTS,
    # Opens the details of /readyz; without it nothing does.
    "STATUS_TOKEN": env.secret("STATUS_TOKEN", default=""),
}
