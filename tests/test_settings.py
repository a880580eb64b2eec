"""The site's settings: safe where nothing is said, and clear where something is wrong."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from django.core.exceptions import ImproperlyConfigured

ROOT = Path(__file__).resolve().parents[1]
# Empty rather than absent: a .env in the working copy fills only what is absent.
UNSET = {"ALLOWED_HOSTS": "", "DATABASE_URL": "sqlite://:memory:", "DEBUG": "false", "METRICS_TOKENS": ""}
MINIMAL = {**UNSET, "PYPI_URL": "https://pypi.org", "SECRET_KEY": "secret"}


def settings_with(**environment: str) -> dict[str, Any]:
    """Read the settings in this environment."""
    with patch.dict(os.environ, {**MINIMAL, **environment}):
        return runpy.run_path(str(ROOT / "config" / "settings.py"))


def manage(*args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **MINIMAL, "DJANGO_SETTINGS_MODULE": "config.settings", **environment}
    command = [sys.executable, "manage.py", *args]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)


class TestSecretKey:
    """SECRET_KEY."""

    def test_must_be_given(self) -> None:
        """A site without a secret does not start, and says what it needs."""
        with pytest.raises(ImproperlyConfigured, match="SECRET_KEY is not set"):
            settings_with(SECRET_KEY="")

    def test_must_be_given_to_every_command(self) -> None:
        """The last line that an operator sees names the variable."""
        done = manage("check", SECRET_KEY="")
        assert done.returncode != 0
        assert "SECRET_KEY" in done.stderr.strip().splitlines()[-1]

    def test_is_not_needed_under_debug(self) -> None:
        """A working copy runs without any set-up."""
        assert settings_with(SECRET_KEY="", DEBUG="true")["SECRET_KEY"]

    def test_is_that_of_the_environment(self) -> None:
        """With DEBUG and without."""
        for debug in ("true", "false"):
            assert settings_with(DEBUG=debug)["SECRET_KEY"] == "secret"


class TestPyPIURL:
    """PYPI_URL."""

    @pytest.mark.parametrize(
        ("url", "host"),
        [
            ("https://pypi.org", "pypi.org"),
            ("https://pypi.org/", "pypi.org"),
            ("http://127.0.0.1:3141/index/", "127.0.0.1:3141"),
            ("https://user:password@mirror.example", "mirror.example"),
        ],
    )
    def test_is_an_upstream_of_its_own(self, url: str, host: str) -> None:
        """Wherever PyPI is, its calls are counted as PyPI's; the slash at the end does not matter."""
        settings = settings_with(PYPI_URL=url)
        assert settings["OUTBOUND_HTTP"]["upstreams"]["pypi"]["hosts"] == [host]
        assert settings["PYPI_URL"] == url.rstrip("/")

    @pytest.mark.parametrize(
        "url", ["", "pypi.org", "ftp://pypi.org", "https://", "https:///x", "//pypi.org", "https://[::1"]
    )
    def test_that_makes_no_sense_is_refused(self, url: str) -> None:
        """A mistake in the address is said at the start, by its name, not at the first call."""
        with pytest.raises(ImproperlyConfigured, match="PYPI_URL"):
            settings_with(PYPI_URL=url)

    def test_is_refused_in_every_command(self) -> None:
        """The last line that an operator sees names the variable and its value."""
        done = manage("check", PYPI_URL="pypi.org")
        assert done.returncode != 0
        assert "PYPI_URL='pypi.org'" in done.stderr.strip().splitlines()[-1]

    def test_with_an_odd_port_is_refused_by_its_name(self) -> None:
        """An operator who set PYPI_URL reads PYPI_URL, not the name of a setting made of it."""
        done = manage("check", PYPI_URL="https://pypi.org:https")
        assert done.returncode != 0
        assert "PYPI_URL" in done.stderr


class TestDefaults:
    """What holds where nothing is said."""

    def test_are_safe(self) -> None:
        """Without DEBUG: no hosts, cookies for https only, no metrics for anybody."""
        settings = settings_with()
        assert settings["DEBUG"] is False
        assert settings["ALLOWED_HOSTS"] == []
        assert settings["SESSION_COOKIE_SECURE"] is True
        assert settings["CSRF_COOKIE_SECURE"] is True
        assert settings["METRICS_TOKENS"] == []
        assert "SECURE_PROXY_SSL_HEADER" not in settings

    def test_of_a_working_copy(self) -> None:
        """Under DEBUG plain http works: a cookie for https only would keep everybody out."""
        settings = settings_with(DEBUG="true")
        assert "SESSION_COOKIE_SECURE" not in settings

    def test_sqlite_is_shared_between_site_and_jobs(self) -> None:
        """Readers and writers wait for each other instead of failing."""
        options = settings_with(DATABASE_URL="sqlite:////srv/site.sqlite3")["DATABASES"]["default"]["OPTIONS"]
        assert "WAL" in options["init_command"]
        assert options["timeout"] > 0

    def test_postgresql_by_url(self) -> None:
        """DATABASE_URL chooses the database; SQLite's options stay away from others."""
        database = settings_with(DATABASE_URL="postgres://u:p@db.example:5433/name")["DATABASES"]["default"]
        assert database["ENGINE"].endswith("postgresql")
        assert (database["HOST"], database["PORT"], database["NAME"]) == ("db.example", 5433, "name")
        assert "init_command" not in database.get("OPTIONS", {})

    def test_behind_a_proxy(self) -> None:
        """A proxy that ends TLS is trusted only where it is said to be there."""
        assert settings_with(BEHIND_TLS_PROXY="true")["SECURE_PROXY_SSL_HEADER"] == (
            "HTTP_X_FORWARDED_PROTO",
            "https",
        )


class TestLists:
    """Lists are separated by commas."""

    @pytest.mark.parametrize("value", ["a,b", "a, b", "a,b,", " a , b "])
    @pytest.mark.parametrize("name", ["METRICS_TOKENS", "ALLOWED_HOSTS"])
    def test_spaces_and_a_comma_too_many_do_not_matter(self, name: str, value: str) -> None:
        """A blank after a comma is not part of a token, and an empty token is none."""
        assert settings_with(**{name: value})[name] == ["a", "b"]


def test_the_site_passes_the_checks_for_deployment() -> None:
    """Nothing that Django warns of at deployment is wrong in a site set up as it should be."""
    done = manage(
        "check",
        "--deploy",
        "--fail-level=ERROR",
        ALLOWED_HOSTS="site.example",
        SECRET_KEY="long-and-random-" * 5 + "0123456789",
        SECURE_SSL_REDIRECT="true",
        SECURE_HSTS_SECONDS="3600",
    )
    assert done.returncode == 0, done.stderr
