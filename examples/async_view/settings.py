"""All settings of the project. `outbound_http` is the name of the library if pip has installed it."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

SECRET_KEY = os.environ["SECRET_KEY"]
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
TIME_ZONE = "UTC"
ROOT_URLCONF = "async_view.views"
INSTALLED_APPS = ["outbound_http.django"]
MIDDLEWARE = ["outbound_http.django.middleware.OperationsMiddleware"]  # serves /metrics and /healthz
METRICS_TOKENS = os.environ.get("METRICS_TOKENS", "").split()

GITHUB_API_URL = os.environ.get("GITHUB_API_URL", "https://api.github.com")
OUTBOUND_HTTP = {
    "upstreams": {
        "github": {
            "hosts": [urlsplit(GITHUB_API_URL).netloc],
            # The values of WEB_REQUEST, because a visitor waits for the response.
            "retries": 1,
            "backoff": 0.5,
            "attempt_timeout": 2,
            "total_timeout": 5,
            "circuit_breaker": {"open_for": float(os.environ.get("OPEN_FOR", "15"))},
        }
    }
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"style": "{", "format": "{asctime} {levelname} {name}: {message}"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "loggers": {"core.http": {"handlers": ["stderr"], "level": "INFO"}},
}
