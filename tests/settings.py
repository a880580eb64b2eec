"""The site's settings for the tests, independent of the environment of the machine."""

import os

os.environ.update(
    {
        "ALLOWED_HOSTS": "testserver",
        "CACHE_URL": "",
        "DEBUG": "false",
        "DATABASE_URL": os.environ.get("TEST_DATABASE_URL", "sqlite://:memory:"),
        "LOG_LEVEL": "DEBUG",
        "METRICS_TOKENS": "",
        "PYPI_URL": "https://pypi.test",
        "PYPISTATS_URL": "https://pypistats.test",
        "GITHUB_API_URL": "https://api.github.test",
        "GITLAB_URL": "https://gitlab.test",
        "GITLAB_SERVERS": "https://gitlab.example.org",
        "BITBUCKET_API_URL": "https://api.bitbucket.test/2.0",
        "CODEBERG_URL": "https://codeberg.test",
        **dict.fromkeys(
            ("GITHUB_TOKEN", "GITLAB_TOKEN", "BITBUCKET_TOKEN", "CODEBERG_TOKEN", "GITLAB_SERVER_TOKENS"), ""
        ),
        "SECRET_KEY": "for tests only",
    }
)

from config.settings import *  # noqa: F403 - the environment above shapes them

OUTBOUND_HTTP = {**OUTBOUND_HTTP, "default": {}}  # noqa: F405 - it is there
"""The library is tested with defaults of its own."""

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

WHITENOISE_AUTOREFRESH = True
"""Static files are looked up on request, not all of them for each test client, as collectstatic did not run."""
