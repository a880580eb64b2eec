"""The site's settings as the tests want them, whatever the environment of the machine says."""

import os

os.environ.update(
    {
        "ALLOWED_HOSTS": "testserver",
        "DEBUG": "false",
        "DATABASE_URL": os.environ.get("TEST_DATABASE_URL", "sqlite://:memory:"),
        "LOG_LEVEL": "DEBUG",
        "METRICS_TOKENS": "",
        "PYPI_URL": "https://pypi.test",
        "SECRET_KEY": "for tests only",
    }
)

from config.settings import *  # noqa: F403 - the environment above shapes them

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

WHITENOISE_AUTOREFRESH = True
"""Static files are looked up when asked for, not all of them for each test client; nobody ran collectstatic."""
