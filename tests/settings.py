"""Settings for the tests that run inside pytest: nothing outside this process."""

SECRET_KEY = "only-for-the-tests-of-this-project-0123456789-abcdefghij"
INSTALLED_APPS = [
    "resilience",
    "resilience.history",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
ROOT_URLCONF = "tests.urls"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
RESILIENCE: dict[str, object] = {}
