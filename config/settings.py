"""Settings of the site. What differs between machines comes from the environment, or from a file `.env`.

Every variable is described in docs/settings.md.
"""

import logging
from pathlib import Path
from urllib.parse import urlsplit

import dj_database_url
from django.core.exceptions import ImproperlyConfigured
from environs import Env

BASE_DIR = Path(__file__).resolve().parent.parent

env = Env()
env.read_env(BASE_DIR / ".env", recurse=False)


def _list(name: str, default: list[str]) -> list[str]:
    """Read names separated by commas; spaces around them and commas too many do not count."""
    return [item.strip() for item in env.list(name, default) if item.strip()]


DEBUG = env.bool("DEBUG", False)
SECRET_KEY = env.str("SECRET_KEY", "")
if not SECRET_KEY:
    if not DEBUG:
        raise ImproperlyConfigured(
            "SECRET_KEY is not set. Put a long random value into the environment, "
            "or DEBUG=true in a working copy (`make run` writes a .env that does)."
        )
    SECRET_KEY = "only-for-a-working-copy-with-debug-on"  # noqa: S105 - never used without DEBUG
ALLOWED_HOSTS = _list("ALLOWED_HOSTS", ["localhost", "127.0.0.1", "[::1]"] if DEBUG else [])
CSRF_TRUSTED_ORIGINS = _list("CSRF_TRUSTED_ORIGINS", [])

INSTALLED_APPS = [
    "core",
    "package",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
]

MIDDLEWARE = [
    "core.middleware.OperationsMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
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

DATABASES = {
    "default": dj_database_url.parse(
        env.str("DATABASE_URL", f"sqlite:///{BASE_DIR / 'db.sqlite3'}"),
        conn_max_age=60,
        conn_health_checks=True,
    )
}
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    # WAL lets the site read while a job writes; an immediate transaction waits for its turn instead of failing.
    DATABASES["default"]["OPTIONS"] = {
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
    }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = "admin:login"

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
WHITENOISE_USE_FINDERS = True

if not DEBUG:
    SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = env.bool("SECURE_COOKIES", True)
    SECURE_SSL_REDIRECT = env.bool("SECURE_SSL_REDIRECT", False)
    SECURE_HSTS_SECONDS = env.int("SECURE_HSTS_SECONDS", 0)
    if env.bool("BEHIND_TLS_PROXY", False):
        SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": env.log_level("LOG_LEVEL", logging.INFO)},
}

# The site's own settings

PYPI_URL = env.str("PYPI_URL", "https://pypi.org").rstrip("/")
"""Where PyPI is, without a slash at the end."""
try:
    _pypi = urlsplit(PYPI_URL)
    _is_address = _pypi.scheme in {"http", "https"} and bool(_pypi.hostname) and _pypi.port != 0
except ValueError:
    _is_address = False
if not _is_address:
    raise ImproperlyConfigured(f"PYPI_URL={PYPI_URL!r}: must be an http or https address such as https://host")

METRICS_TOKENS = _list("METRICS_TOKENS", [])
"""Bearer tokens that open /metrics; several, so that they can be changed without a gap."""

OUTBOUND_HTTP = {
    "upstreams": {
        "pypi": {"hosts": [_pypi.netloc.rpartition("@")[2]]},
    },
    "user_agent": env.str("OUTBOUND_USER_AGENT", "djangopackages (+https://djangopackages.org)"),
}
