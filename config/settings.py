"""Settings of the site. Values that differ between machines come from environment variables, or from the file `.env`.

docs/settings.md describes every variable.
"""

import logging
import re
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote, urlsplit

from django.core.exceptions import ImproperlyConfigured
from environs import Env

from config import environment

BASE_DIR = Path(__file__).resolve().parent.parent

env = Env()
env.read_env(BASE_DIR / ".env", recurse=False)


def _list(name: str, default: list[str]) -> list[str]:
    """Read a list separated by commas. Spaces around an item and empty items are ignored."""
    return [item.strip() for item in env.list(name, default) if item.strip()]


def _flag(name: str, default: bool) -> bool:
    """Read true or false. An empty variable counts as unset."""
    return env.bool(name, default) if env.str(name, "").strip() else default


DEBUG = _flag("DEBUG", False)
SECRET_KEY = env.str("SECRET_KEY", "")
if not SECRET_KEY:
    if not DEBUG:
        raise ImproperlyConfigured(
            "SECRET_KEY is not set. Set this environment variable to a long random value. "
            "For development, set DEBUG=true instead (`make run` writes a .env with it)."
        )
    SECRET_KEY = "only-for-a-working-copy-with-debug-on"  # noqa: S105 - never used without DEBUG
ALLOWED_HOSTS = _list("ALLOWED_HOSTS", ["localhost", "127.0.0.1", "[::1]"] if DEBUG else [])
CSRF_TRUSTED_ORIGINS = _list("CSRF_TRUSTED_ORIGINS", [])

INSTALLED_APPS = [
    "core.http.django",
    "package",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
]

MIDDLEWARE = [
    "core.http.django.middleware.OperationsMiddleware",
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
        "DIRS": [BASE_DIR / "config" / "templates"],
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
    "default": environment.database(
        "DATABASE_URL", env.str("DATABASE_URL", f"sqlite:///{quote(str(BASE_DIR / 'db.sqlite3'))}").strip()
    )
}
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    # With WAL, the site can read while a job writes. An immediate transaction waits for the write lock. A deferred
    # transaction fails if the database has changed before it needs the lock.
    DATABASES["default"]["OPTIONS"] = {
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
    }

_cache_url = env.str("CACHE_URL", "").strip()
if _cache_url:
    CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": environment.redis_address("CACHE_URL", _cache_url),
            "OPTIONS": {
                # With Django's default, pickle, anyone who can write to the server could run code in every process.
                "serializer": "core.http.django.json_serializer.JSONSerializer",
                # Without timeouts, every caller would hang for as long as the server hangs.
                "socket_connect_timeout": 0.5,
                "socket_timeout": 0.5,
            },
        }
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
    SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _flag("SECURE_COOKIES", True)
    SECURE_SSL_REDIRECT = _flag("SECURE_SSL_REDIRECT", False)
    SECURE_HSTS_SECONDS = env.int("SECURE_HSTS_SECONDS", 0) if env.str("SECURE_HSTS_SECONDS", "").strip() else 0
    if _flag("BEHIND_TLS_PROXY", False):
        SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": env.log_level("LOG_LEVEL", logging.INFO)},
}

# Settings that are specific to this site


def _server(name: str, default: str) -> str:
    return environment.web_address(name, env.str(name, default))


def _host(address: str) -> str:
    return urlsplit(address).netloc.rpartition("@")[2]


PYPI_URL = _server("PYPI_URL", "https://pypi.org")
PYPISTATS_URL = _server("PYPISTATS_URL", "https://pypistats.org")
GITHUB_API_URL = _server("GITHUB_API_URL", "https://api.github.com")
GITLAB_URL = _server("GITLAB_URL", "https://gitlab.com")
GITLAB_SERVERS = [environment.web_address("GITLAB_SERVERS", server) for server in _list("GITLAB_SERVERS", [])]
"""Addresses of the other GitLab servers."""
BITBUCKET_API_URL = _server("BITBUCKET_API_URL", "https://api.bitbucket.org/2.0")
CODEBERG_URL = _server("CODEBERG_URL", "https://codeberg.org")

GITHUB_TOKEN = env.str("GITHUB_TOKEN", "").strip()
GITLAB_TOKEN = env.str("GITLAB_TOKEN", "").strip()
BITBUCKET_TOKEN = env.str("BITBUCKET_TOKEN", "").strip()
CODEBERG_TOKEN = env.str("CODEBERG_TOKEN", "").strip()
"""Each token is sent only to the server in the setting with the same name above."""
_tokens = [item.partition("=") for item in _list("GITLAB_SERVER_TOKENS", [])]
if not all(host.strip() and token.strip() for host, _, token in _tokens):
    raise ImproperlyConfigured("GITLAB_SERVER_TOKENS: must be host=token; separate several with commas")
GITLAB_SERVER_TOKENS = {host.strip().lower(): token.strip() for host, _, token in _tokens}
"""Tokens for the other GitLab servers, by host. In the environment: `gitlab.example.org=…,git.example.com=…`."""

METRICS_TOKENS = _list("METRICS_TOKENS", [])
"""Bearer tokens that /metrics accepts. There may be several, so that a token can be replaced without downtime."""

_gitlab: dict[str, str] = {}
for _each in map(_host, GITLAB_SERVERS):
    _name = f"gitlab-{re.sub('[^a-z0-9]+', '-', _each.lower()).strip('-')}"
    while _gitlab.setdefault(_name, _each) != _each:  # the names of a.b and a-b would be equal
        _name = f"{_name}-"
_IMPATIENT = {"total_timeout": 50}
"""For hosts that may ask for a pause of a minute. With a total timeout below a minute, a call fails immediately instead
of waiting, and the run can fetch other data."""
_MIB = 2**20
_GITLAB = {
    "classify": "package.repos.gitlab.classify",
    "max_response_bytes": 4 * _MIB,  # 100 commits of 1 kB each, plus their messages
    **_IMPATIENT,
}
# max_response_bytes is at least twice the size of the largest response about a package that the site would list, and
# small enough for the memory of the update job. While a response is parsed, it takes up to nine times its size (one
# emoji makes its text four bytes per character, and there are two copies of the text) plus 45 MiB for objects
# (max_json_nodes). The process itself takes 70 MiB. With 8 MiB, the total is below 200 MiB. See docs/settings.md.
OUTBOUND_HTTP = {
    "default": {"max_concurrency": 4, "classify": "package.repos.refusals.classify"},
    "upstreams": {
        "pypi": {
            "hosts": [_host(PYPI_URL)],
            "max_concurrency": 8,  # served by a CDN
            "max_response_bytes": 8 * _MIB,  # django: 0.6 MB; not for Django: botocore 3.8 MB, checkov 5.7 MB
        },
        "pypistats": {"hosts": [_host(PYPISTATS_URL)], "max_response_bytes": _MIB // 16},  # 100 bytes
        "github": {
            "hosts": [_host(GITHUB_API_URL)],
            "requests_per_second": 14,  # GitHub's secondary limit is 900 a minute
            "classify": "package.repos.github.classify",
            "max_response_bytes": 2 * _MIB,  # 100 contributors of 1 kB each, or one commit
            **_IMPATIENT,
        },
        "gitlab": {"hosts": [_host(GITLAB_URL)], **_GITLAB},
        "bitbucket": {
            "hosts": [_host(BITBUCKET_API_URL)],
            "classify": "package.repos.bitbucket.classify",
            "max_response_bytes": 4 * _MIB,  # 100 commits of 3 kB each, plus three copies of each message
        },
        "codeberg": {
            "hosts": [_host(CODEBERG_URL)],
            "classify": "package.repos.forgejo.classify",
            "max_response_bytes": 2 * _MIB,  # 50 commits of 2 kB each, plus their messages
        },
        **{name: {"hosts": [host], **_GITLAB} for name, host in _gitlab.items()},
    },
    "shared_cache": "default" if _cache_url else None,
    "user_agent": env.str("OUTBOUND_USER_AGENT", "djangopackages (+https://djangopackages.org)"),
}

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
BATCH_JOBS: dict[str, float | None] = dict.fromkeys(
    ("update_packages", "cleanup_github_projects", "check_package_examples", "plan")
)
"""The jobs that have metrics, and the maximum seconds between two successes. None: no success is expected."""
for _job, _, _every in (item.partition("=") for item in _list("EXPECTED_JOBS", [])):
    _number, _unit = _every.strip()[:-1], _every.strip()[-1:]
    if _job.strip() not in BATCH_JOBS or not re.fullmatch("[1-9][0-9]{0,5}", _number) or _unit not in _UNITS:
        raise ImproperlyConfigured(
            f"EXPECTED_JOBS: {_job}={_every}: must be job=interval, such as update_packages=24h or plan=5m. The job is "
            f"one of {', '.join(BATCH_JOBS)}; the interval is how often it must succeed, in s, m, h or d"
        )
    BATCH_JOBS[_job.strip()] = float(_number) * _UNITS[_unit]

CELERY_BROKER_URL = environment.broker_address(
    "CELERY_BROKER_URL", env.str("CELERY_BROKER_URL", "").strip() or "redis://localhost:6379/0"
)
"""Used only with Celery."""
CELERY_BROKER_TRANSPORT_OPTIONS = {"socket_connect_timeout": 5, "socket_timeout": 30}
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_TASK_PUBLISH_RETRY_POLICY = {"max_retries": 3, "interval_start": 0, "interval_step": 1, "interval_max": 2}
CELERY_ACCEPT_CONTENT = ["json"]
"""Pickle is not accepted, because anyone who can write to the broker could run code in every worker."""
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_DEFAULT_QUEUE = "updates"
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BEAT_SCHEDULE = {
    "plan": {
        "task": "package.tasks.plan",
        "schedule": timedelta(minutes=5),
        "options": {"expires": 300},  # if no worker is free, old plans expire when the next one is sent
    }
}
