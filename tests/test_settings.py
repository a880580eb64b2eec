"""The site's settings: safe where nothing is said, and clear where something is wrong."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
from pathlib import Path
from unittest.mock import patch

import pytest
from django.core.exceptions import ImproperlyConfigured

from tests.servers.preloaded import run_python
from tests.site_settings import MINIMAL, ROOT, settings_with


def manage(*args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **MINIMAL, "DJANGO_SETTINGS_MODULE": "config.settings", **environment}
    return run_python(["manage.py", *args], env)


class TestSecretKey:
    """SECRET_KEY."""

    def test_must_be_given(self) -> None:
        """A site without a secret does not start, and names the missing variable."""
        with pytest.raises(ImproperlyConfigured, match="SECRET_KEY is not set"):
            settings_with(SECRET_KEY="")

    def test_must_be_given_to_every_command(self) -> None:
        """All that an operator sees is one line that names the variable."""
        done = manage("check", SECRET_KEY="")
        assert done.returncode == 1
        [line] = done.stderr.splitlines()
        assert "SECRET_KEY" in line

    def test_is_not_needed_under_debug(self) -> None:
        """A working copy runs without any set-up."""
        assert settings_with(SECRET_KEY="", DEBUG="true")["SECRET_KEY"]

    def test_is_that_of_the_environment(self) -> None:
        """With DEBUG and without."""
        for debug in ("true", "false"):
            assert settings_with(DEBUG=debug)["SECRET_KEY"] == "secret"


SERVERS = {
    "PYPI_URL": "pypi",
    "PYPISTATS_URL": "pypistats",
    "GITHUB_API_URL": "github",
    "GITLAB_URL": "gitlab",
    "BITBUCKET_API_URL": "bitbucket",
    "CODEBERG_URL": "codeberg",
}


@pytest.mark.parametrize("name", SERVERS)
class TestServers:
    """The addresses of sources: PYPI_URL and others."""

    @pytest.mark.parametrize(
        ("url", "host"),
        [
            ("https://mirror.example", "mirror.example"),
            ("https://mirror.example/", "mirror.example"),
            ("http://127.0.0.1:3141/index/", "127.0.0.1:3141"),
            ("https://user:password@mirror.example", "mirror.example"),
            (" https://mirror.example/2.0 ", "mirror.example"),
        ],
    )
    def test_are_upstreams_of_their_own(self, name: str, url: str, host: str) -> None:
        """Wherever a source is, its calls are counted as its own; the slash at the end does not matter."""
        settings = settings_with(**{name: url})
        assert settings["OUTBOUND_HTTP"]["upstreams"][SERVERS[name]]["hosts"] == [host]
        assert settings[name] == url.strip().rstrip("/")

    @pytest.mark.parametrize(
        "url", ["", "pypi.org", "ftp://pypi.org", "https://", "https:///x", "//pypi.org", "https://[::1"]
    )
    def test_that_make_no_sense_are_refused(self, name: str, url: str) -> None:
        """A mistake in an address is said at the start, by its name, not at the first call."""
        with pytest.raises(ImproperlyConfigured, match=name):
            settings_with(**{name: url})


class TestPyPIURL:
    """PYPI_URL, for all of them."""

    def test_is_refused_in_every_command(self) -> None:
        """The last line of the output names the variable and its allowed values."""
        done = manage("check", PYPI_URL="pypi.org")
        assert done.returncode != 0
        assert "PYPI_URL: must be an http or https address" in done.stderr.strip().splitlines()[-1]

    def test_with_an_odd_port_is_refused_by_its_name(self) -> None:
        """An operator who set PYPI_URL reads PYPI_URL, not the name of a setting made of it."""
        done = manage("check", PYPI_URL="https://pypi.org:https")
        assert done.returncode != 0
        assert "PYPI_URL" in done.stderr


class TestGitLabServers:
    """GITLAB_SERVERS and GITLAB_SERVER_TOKENS."""

    @staticmethod
    def hosts(value: str) -> dict[str, str]:
        """Return the names of the hosts that these servers add."""
        upstreams = settings_with(GITLAB_SERVERS=value)["OUTBOUND_HTTP"]["upstreams"]
        return {
            host: name for name, options in upstreams.items() for host in options["hosts"] if name.startswith("gitlab-")
        }

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ("", {}),
            ("https://git.example.org", {"git.example.org": "gitlab-git-example-org"}),
            (
                "https://git.example.org/, http://127.0.0.1:8080",
                {"git.example.org": "gitlab-git-example-org", "127.0.0.1:8080": "gitlab-127-0-0-1-8080"},
            ),
        ],
    )
    def test_are_upstreams_of_their_own(self, value: str, expected: dict[str, str]) -> None:
        """Each has a breaker, a gate and metrics of its own, named after its host."""
        assert self.hosts(value) == expected

    def test_are_distinguished(self) -> None:
        """Two hosts with similar names are different."""
        assert set(self.hosts("https://a.b.example,https://a-b.example")) == {"a.b.example", "a-b.example"}

    def test_pass_the_checks(self) -> None:
        """The names that are made of hosts are names that upstreams may have."""
        done = manage("check", GITLAB_SERVERS="https://Git.Example.org,http://127.0.0.1:8080,http://[2001:db8::1]:8080")
        assert done.returncode == 0, done.stderr

    @pytest.mark.parametrize("value", ["git.example.org", "https://git.example.org,ftp://x", "https://[::1"])
    def test_that_make_no_sense_are_refused(self, value: str) -> None:
        """Invalid values are refused with the name of the variable."""
        with pytest.raises(ImproperlyConfigured, match="GITLAB_SERVERS"):
            settings_with(GITLAB_SERVERS=value)

    @pytest.mark.parametrize(
        ("value", "tokens"),
        [
            ("", {}),
            ("git.example.org=abc", {"git.example.org": "abc"}),
            (" Git.Example.org = abc= , other:8080=x", {"git.example.org": "abc=", "other:8080": "x"}),
        ],
    )
    def test_have_tokens(self, value: str, tokens: dict[str, str]) -> None:
        """Tokens are set by host, in any spelling; a token may contain an equals sign."""
        assert settings_with(GITLAB_SERVER_TOKENS=value)["GITLAB_SERVER_TOKENS"] == tokens

    @pytest.mark.parametrize("value", ["s3cret", "git.example.org=abc,s3cret", "=s3cret"])
    def test_tokens_without_a_host_are_refused(self, value: str) -> None:
        """The error has the name of the variable, and no value that may be a token."""
        with pytest.raises(ImproperlyConfigured, match="GITLAB_SERVER_TOKENS") as caught:
            settings_with(GITLAB_SERVER_TOKENS=value)
        assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("name", ["GITHUB_TOKEN", "GITLAB_TOKEN", "BITBUCKET_TOKEN", "CODEBERG_TOKEN"])
def test_tokens_are_optional(name: str) -> None:
    """Without one a server is asked as anybody; a line break at its end, as from a file, is not part of it."""
    assert settings_with(**{name: ""})[name] == ""
    assert settings_with(**{name: " abc\n"})[name] == "abc"


class TestDefaults:
    """Defaults of variables that are not set."""

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

    def test_sqlite_is_in_the_checkout_for_any_path(self, tmp_path: Path) -> None:
        """The database is in the checkout, even below a directory with # or ? in its name."""
        checkout = tmp_path / "a#b?c%d"
        (checkout / "config").mkdir(parents=True)
        (checkout / "config" / "settings.py").write_text((ROOT / "config" / "settings.py").read_text())
        environment = {name: value for name, value in MINIMAL.items() if name != "DATABASE_URL"}
        with patch.dict(os.environ, environment):
            os.environ.pop("DATABASE_URL", None)
            settings = runpy.run_path(str(checkout / "config" / "settings.py"))
        assert settings["DATABASES"]["default"]["NAME"] == str(checkout / "db.sqlite3")

    def test_empty_variables_are_as_if_not_set(self) -> None:
        """Empty variables count as not set, because a deployment passes on unset ones as empty."""
        settings = settings_with(DEBUG="", SECURE_COOKIES="", SECURE_HSTS_SECONDS="")
        assert (settings["DEBUG"], settings["SESSION_COOKIE_SECURE"]) == (False, True)
        assert settings["SECURE_HSTS_SECONDS"] == 0

    def test_behind_a_proxy(self) -> None:
        """A proxy that ends TLS is trusted only where it is said to be there."""
        assert settings_with(BEHIND_TLS_PROXY="true")["SECURE_PROXY_SSL_HEADER"] == (
            "HTTP_X_FORWARDED_PROTO",
            "https",
        )


class TestCache:
    """CACHE_URL."""

    def test_is_shared_by_all_processes(self) -> None:
        """Given one, it is Django's cache and the one that outbound calls share; it cannot hang."""
        settings = settings_with(CACHE_URL="redis://:secret@cache.example:6379/0")
        (cache,) = settings["CACHES"].values()
        assert cache["LOCATION"] == "redis://:secret@cache.example:6379/0"
        assert cache["OPTIONS"]["socket_timeout"] <= 1
        assert cache["OPTIONS"]["socket_connect_timeout"] <= 1
        assert settings["OUTBOUND_HTTP"]["shared_cache"] == "default"

    def test_is_optional(self) -> None:
        """Without one nothing is shared."""
        settings = settings_with()
        assert "CACHES" not in settings
        assert settings["OUTBOUND_HTTP"]["shared_cache"] is None

    def test_of_another_kind_is_refused(self) -> None:
        """The error has the name of the variable, and no value that may contain a password."""
        with pytest.raises(ImproperlyConfigured, match="CACHE_URL") as caught:
            settings_with(CACHE_URL="memcached://user:secret@host")
        assert "secret" not in str(caught.value)


class TestLists:
    """Lists are separated by commas."""

    @pytest.mark.parametrize("value", ["a,b", "a, b", "a,b,", " a , b "])
    @pytest.mark.parametrize("name", ["METRICS_TOKENS", "ALLOWED_HOSTS"])
    def test_spaces_and_a_comma_too_many_do_not_matter(self, name: str, value: str) -> None:
        """Spaces around tokens and empty tokens are ignored."""
        assert settings_with(**{name: value})[name] == ["a", "b"]


class TestExpectedJobs:
    """EXPECTED_JOBS says which jobs must succeed, and how often."""

    def test_without_it_no_job_is_expected(self) -> None:
        """Without a schedule, no job is expected, but the first run of each is counted."""
        assert set(settings_with()["BATCH_JOBS"].values()) == {None}

    def test_units(self) -> None:
        """Seconds, minutes, hours, days."""
        jobs = settings_with(EXPECTED_JOBS="plan=5m, update_packages = 36h,cleanup_github_projects=30d")["BATCH_JOBS"]
        assert jobs["plan"] == 300
        assert jobs["update_packages"] == 36 * 3600
        assert jobs["cleanup_github_projects"] == 30 * 86400
        assert jobs["check_package_examples"] is None

    @pytest.mark.parametrize(
        "value", ["plan", "plan=", "plan=5", "plan=m", "plan=-5m", "plan=0m", "plan=5w", "plna=5m"]
    )
    def test_invalid_values_are_refused(self, value: str) -> None:
        """The error has the name of the variable and its allowed values."""
        with pytest.raises(ImproperlyConfigured, match=r"EXPECTED_JOBS: .*such as .*one of update_packages, "):
            settings_with(EXPECTED_JOBS=value)


def test_the_site_passes_the_checks_for_deployment() -> None:
    """`manage.py check --deploy` reports nothing for a site with the documented settings."""
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


class TestCommands:
    """An error that an operator can fix is one line, and a traceback with --traceback."""

    @pytest.mark.parametrize(
        ("environment", "said"),
        [
            ({"DATABASE_URL": "postgres://u:secret@127.0.0.1:1/name"}, "Cannot connect to the .*DATABASE_URL"),
            ({"DATABASE_URL": "sqlite:////nowhere/site.sqlite3"}, "Cannot connect to the database: .*DATABASE_URL"),
            ({"DATABASE_URL": "sqlite://:memory:"}, "The database lacks tables.*`manage.py migrate`"),
            ({"DATABASE_URL": ""}, "DATABASE_URL: must be the address of a database"),
            ({"DEBUG": "perhaps"}, '"DEBUG" invalid'),
        ],
        ids=["down", "no file", "not migrated", "no address", "no truth value"],
    )
    def test_say_it_in_one_line(self, environment: dict[str, str], said: str) -> None:
        """The error is one line, and does not contain the password."""
        done = manage("update_packages", "--all", **environment)
        assert done.returncode == 1
        [line] = done.stderr.splitlines()
        assert re.search(said, line)
        assert "secret@" not in line

    def test_traceback(self) -> None:
        """Django's own option shows where it came from."""
        done = manage("update_packages", "--all", "--traceback", DATABASE_URL="sqlite:////nowhere/site.sqlite3")
        assert "Traceback" in done.stderr
