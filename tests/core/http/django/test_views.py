"""/metrics and /healthz, as Prometheus and load balancers call them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import responses as responses_library
from django.db import DatabaseError, InterfaceError, OperationalError, connection
from django.test import Client

from core import http
from tests.servers.common import cannot
from tests.servers.program import ROOT


@pytest.fixture
def scrape(client: Client) -> Callable[..., Any]:
    """Call /metrics, with an Authorization header or none."""

    def call(authorization: str | None = None, **kwargs: Any) -> Any:
        headers = {} if authorization is None else {"Authorization": authorization}
        return client.get("/metrics", headers={**headers, **kwargs})

    return call


class TestAccess:
    """Access to /metrics."""

    def test_closed_without_tokens(self, scrape: Callable[..., Any]) -> None:
        """Without METRICS_TOKENS, /metrics shows nothing."""
        response = scrape()
        assert response.status_code == 403
        assert b"METRICS_TOKENS" in response.content
        assert b"outbound_http" not in response.content

    def test_closed_without_tokens_for_any_header(self, scrape: Callable[..., Any]) -> None:
        """Without METRICS_TOKENS, no token is accepted."""
        assert scrape("Bearer ").status_code == 403
        assert scrape("Bearer x").status_code == 403

    def test_open_under_debug(self, scrape: Callable[..., Any], settings: Any) -> None:
        """In a working copy one looks at them without any set-up."""
        settings.DEBUG = True
        assert scrape().status_code == 200

    @pytest.mark.parametrize("authorization", ["Bearer first", "bearer first", "BEARER second", "Bearer  second "])
    def test_open_with_a_token(self, scrape: Callable[..., Any], settings: Any, authorization: str) -> None:
        """Every token of the list opens, so that they can be changed without a gap."""
        settings.METRICS_TOKENS = ["first", "second"]
        assert scrape(authorization).status_code == 200

    @pytest.mark.parametrize(
        "authorization",
        [
            None,
            "",
            "Bearer",
            "Bearer ",
            "Bearer wrong",
            "Bearer firs",
            "Bearer first second",
            "Bearer first,second",
            "first",
            "Basic first",
            "Basic Zmlyc3Q6",
            "Token first",
            "Bearer f\xefrst",
        ],
    )
    @pytest.mark.parametrize("debug", [False, True])
    def test_closed_without_the_right_token(
        self, scrape: Callable[..., Any], settings: Any, authorization: str | None, debug: bool
    ) -> None:
        """Once there are tokens nothing else opens, DEBUG least of all."""
        settings.METRICS_TOKENS, settings.DEBUG = ["first", "second"], debug
        assert scrape(authorization).status_code == 403

    @pytest.mark.parametrize("authorization", ["Bearer", "Bearer ", "Bearer  "])
    def test_an_empty_token_opens_nothing(self, scrape: Callable[..., Any], settings: Any, authorization: str) -> None:
        """METRICS_TOKENS="secret," with its comma too many does not open the metrics to everybody."""
        settings.METRICS_TOKENS = ["secret", ""]
        assert scrape(authorization).status_code == 403

    @pytest.mark.parametrize("token", ["s", "secret"])
    def test_a_text_instead_of_a_list_opens_nothing(
        self, scrape: Callable[..., Any], settings: Any, token: str
    ) -> None:
        """METRICS_TOKENS = "secret" is not used as six tokens of one letter; `manage.py check` reports it."""
        settings.METRICS_TOKENS = "secret"
        assert scrape(f"Bearer {token}").status_code == 403

    def test_tokens_may_be_any_text(self, scrape: Callable[..., Any], settings: Any) -> None:
        """A token outside ASCII is compared, not an error."""
        settings.METRICS_TOKENS = ["schlüssel"]
        assert scrape("Bearer x").status_code == 403


class TestMetrics:
    """The answers of /metrics."""

    @pytest.fixture(autouse=True)
    def _open(self, settings: Any) -> None:
        settings.METRICS_TOKENS = ["secret"]

    @pytest.fixture
    def responses(self) -> Iterator[responses_library.RequestsMock]:
        with responses_library.RequestsMock() as mock:
            yield mock

    def test_counts_a_call(self, scrape: Callable[..., Any], responses: responses_library.RequestsMock) -> None:
        """A call of the site is counted in the next scrape."""
        responses.get("https://pypi.test/pypi/x/json", json={})
        before = calls_to_pypi(scrape)
        http.get("https://pypi.test/pypi/x/json")
        assert calls_to_pypi(scrape) == before + 1

    def test_every_series_is_there_before_the_first_call(self, scrape: Callable[..., Any]) -> None:
        """A series that begins with its first failure hides that failure from increase()."""
        text = scrape("Bearer secret").text
        assert 'outbound_http_calls_total{outcome="failure",reason="timeout",upstream="pypi"}' in text
        assert 'upstream="other"' in text

    def test_speaks_the_format_that_is_asked_for(self, scrape: Callable[..., Any]) -> None:
        """Prometheus gets OpenMetrics when it asks for it, and the plain format otherwise."""
        assert scrape("Bearer secret")["Content-Type"].startswith("text/plain")
        openmetrics = scrape("Bearer secret", Accept="application/openmetrics-text; version=1.0.0")
        assert openmetrics["Content-Type"].startswith("application/openmetrics-text")
        assert openmetrics.text.endswith("# EOF\n")

    def test_shows_all_processes_where_they_share_a_directory(
        self, scrape: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """Under several workers the scrape is of all of them, by role: here of a command that has ended."""
        environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
        subprocess.run(
            [sys.executable, "manage.py", "check"], cwd=ROOT, env=environment, capture_output=True, check=True
        )
        monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
        response = scrape("Bearer secret")
        assert response.status_code == 200
        for role in ("web", "worker", "job"):
            series = f'outbound_http_calls_total{{outcome="success",reason="",role="{role}",upstream="pypi"}}'
            assert f"{series} 0.0" in response.text

    def test_keeps_to_the_customs_of_metrics(
        self, scrape: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """`promtool check metrics` has nothing to say to names, units and help texts, of one process and of several."""
        promtool = shutil.which("promtool") or cannot("promtool is not there; Debian's package prometheus has it")
        texts = [scrape("Bearer secret").text]
        environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
        subprocess.run(
            [sys.executable, "manage.py", "check"], cwd=ROOT, env=environment, capture_output=True, check=True
        )
        monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
        texts.append(scrape("Bearer secret").text)
        for text in texts:
            assert "outbound_http_calls_total" in text
            done = subprocess.run(
                [promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False
            )
            assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    @pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
    @pytest.mark.parametrize("path", ["/metrics", "/healthz"])
    def test_is_for_reading(self, client: Client, method: str, path: str) -> None:
        """Other methods than GET and HEAD are refused."""
        assert getattr(client, method)(path).status_code == 405


def calls_to_pypi(scrape: Callable[..., Any]) -> float:
    found = re.search(
        r'^outbound_http_calls_total\{outcome="success",reason="",upstream="pypi"\} (\S+)$',
        scrape("Bearer secret").text,
        re.MULTILINE,
    )
    assert found
    return float(found[1])


@pytest.mark.parametrize(("path", "status"), [("/metrics", 403), ("/healthz", 200)])
class TestMachines:
    """Machines call a process by its address and over plain HTTP."""

    @pytest.mark.django_db
    def test_any_host_will_do(self, client: Client, path: str, status: int) -> None:
        """A Host that is not in ALLOWED_HOSTS is no mistake of a load balancer's."""
        assert client.get(path, headers={"Host": "10.0.0.7:8000"}).status_code == status
        assert client.get("/", headers={"Host": "10.0.0.7:8000"}).status_code == 400

    @pytest.mark.django_db
    def test_no_redirect_to_https(self, client: Client, settings: Any, path: str, status: int) -> None:
        """A site that redirects its visitors to https answers its own machines at once."""
        settings.SECURE_SSL_REDIRECT = True
        assert client.get(path).status_code == status
        assert client.get("/").status_code == 301

    @pytest.mark.django_db
    def test_head_is_answered(self, client: Client, path: str, status: int) -> None:
        """Some probes ask with HEAD."""
        assert client.head(path).status_code == status


class TestHealthz:
    """/healthz: whether this process can serve requests."""

    @pytest.mark.django_db
    def test_alive(self, client: Client) -> None:
        """A process that reaches its database is alive."""
        response = client.get("/healthz")
        assert (response.status_code, response.content) == (200, b"ok\n")

    @pytest.mark.django_db
    @pytest.mark.parametrize("error", [OperationalError, DatabaseError, InterfaceError])
    def test_without_its_database(self, client: Client, error: type[Exception]) -> None:
        """Without its database, a process reports itself as not ready, without the database's address."""

        def broken(*args: object) -> None:
            raise error("connection to 10.0.0.9 refused")

        with connection.execute_wrapper(broken):
            response = client.get("/healthz")
        assert response.status_code == 503
        assert b"10.0.0.9" not in response.content

    @pytest.mark.django_db
    def test_asks_for_nothing_else(self, client: Client, django_assert_num_queries: Any) -> None:
        """A probe every few seconds costs one trivial query, no session and no user."""
        with django_assert_num_queries(1):
            client.get("/healthz")


@pytest.mark.django_db
def test_wsgi_application_answers() -> None:
    """Gunicorn finds an application that answers at config.wsgi."""
    from config.wsgi import application  # noqa: PLC0415 - made when it is imported

    statuses: list[str] = []
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/healthz",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "8000",
        "wsgi.input": BytesIO(),
        "wsgi.url_scheme": "http",
    }
    body = b"".join(application(environ, lambda status, _: statuses.append(status)))
    assert (statuses, body) == (["200 OK"], b"ok\n")
