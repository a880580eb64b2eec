"""The state of the upstreams, on a terminal and in the admin."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
import responses as responses_library
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from django.urls import reverse

from core import http
from core.http import process
from core.http.django.status_text import rows
from core.http.events import BreakerState
from core.http.process import ProcessRegistry
from core.http.registry import Config
from core.http.shared.records import key_of
from core.http.shared.upstream_diagnostics import Allowance, Failure
from core.http.shared.upstream_diagnostics import key_of as news_of
from core.http.status import StatusReport, UpstreamStatus, status_report
from tests.core.http.shared.fleet import FakeCache
from tests.pages import ROOT

NOW = 1_700_000_000.0  # 2023-11-14 22:13:20 UTC
LONG = "https://" + "very-long-name." * 15 + "test"
HEALTHY: dict[str, Any] = {
    "name": "pypi",
    "origin": "",
    "breaker": BreakerState.CLOSED,
    "has_breaker": True,
    "since": None,
    "next_probe": None,
    "gate_closed": False,
    "closed_until": None,
    "asked_until": None,
    "quotas": {},
    "last_error": None,
}
ERROR = Failure(NOW - 8, "http_5xx", 503, "GET", "https", "pypi.org", "/pypi/[red]/:fire:/json")
SHOWN = StatusReport(
    NOW,
    True,
    None,
    (
        UpstreamStatus(
            **{**HEALTHY, "breaker": BreakerState.OPEN, "since": NOW - 240, "next_probe": NOW + 15, "last_error": ERROR}
        ),
        UpstreamStatus(**{**HEALTHY, "name": "github", "quotas": {"core": Allowance(NOW, 5000, 12, NOW + 1200)}}),
        UpstreamStatus(
            **{**HEALTHY, "name": "other", "origin": LONG, "last_error": ERROR._replace(path="", status=None)}
        ),
    ),
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the command and the page see the same three upstreams."""
    for where in ("core.http.django.management.commands.upstreams", "core.http.django.admin"):
        monkeypatch.setattr(f"{where}.status_report", lambda registry: SHOWN)


@pytest.fixture
def share(monkeypatch: pytest.MonkeyPatch) -> Callable[[FakeCache], None]:
    def share(cache: FakeCache) -> None:
        made = ProcessRegistry(Config(upstreams={"pypi": http.Policy()}, shared_cache=cache))
        monkeypatch.setattr(process, "current", lambda: made)

    return share


def ran(*args: str, out: io.StringIO | None = None) -> tuple[str, str, int]:
    """Run the command. Returns its stdout, its stderr and its exit status."""
    out, err, status = out or io.StringIO(), io.StringIO(), 0
    try:
        call_command("upstreams", *args, stdout=out, stderr=err)
    except SystemExit as exc:
        status = int(str(exc.code))
    return out.getvalue(), err.getvalue(), status


class TestWords:
    """The texts of both the command and the page."""

    @pytest.mark.parametrize(
        ("standing", "words"),
        [
            ({"has_breaker": False, "breaker": None}, "off"),
            ({"breaker": None}, "unknown"),
            ({}, "closed"),
            ({"since": NOW - 90_000}, "closed since 2023-11-13 21:13:20 UTC (1 d)"),
            (
                {"breaker": BreakerState.OPEN, "since": NOW - 240, "next_probe": NOW + 15},
                "open since 22:09:20 UTC (4 min), next probe at 22:13:35 UTC (in 15 s)",
            ),
            (
                {"breaker": BreakerState.HALF_OPEN, "since": NOW - 7300},
                "half-open, down since 20:11:40 UTC (2 h): the next call is the probe, or a probe is in flight",
            ),
        ],
    )
    def test_breaker(self, standing: dict[str, Any], words: str) -> None:
        """Times have their zone, and their date where it is not today."""
        (row,) = rows(StatusReport(NOW, True, None, (UpstreamStatus(**{**HEALTHY, **standing}),)))
        assert row.breaker == words

    @pytest.mark.parametrize(
        ("closed", "closed_until", "asked_until", "words"),
        [
            (None, None, None, "unknown"),
            (False, None, None, "no pause"),
            (True, 60, 60, "calls wait until 22:14:20 UTC (in 1 min)"),
            (
                True,
                3600,
                7200,
                "calls wait until 23:13:20 UTC (in 1 h); the upstream asked for a pause until 2023-11-15 00:13:20 UTC",
            ),
            (False, None, 600, "one call at a time until 22:23:20 UTC (in 10 min)"),
        ],
    )
    def test_gate(self, closed: bool | None, closed_until: float, asked_until: float, words: str) -> None:
        """The requested pause is shown if it is longer than the applied one."""
        times = [None if seconds is None else NOW + seconds for seconds in (closed_until, asked_until)]
        gate = {"gate_closed": closed, "closed_until": times[0], "asked_until": times[1]}
        (row,) = rows(StatusReport(NOW, True, None, (UpstreamStatus(**{**HEALTHY, **gate}),)))
        assert row.gate == words

    @pytest.mark.parametrize(
        ("resource", "quota", "words"),
        [
            ("core", (NOW, 5000, 12, NOW + 1200), "core: 12 of 5000 left, full again at 22:33:20 UTC (in 20 min)"),
            ("", (NOW - 30, None, 12, None), "12 of ? left 30 s ago"),
            ("", (NOW - 300, 60, 0, NOW - 20), "full again since 22:13:00 UTC; before that, 0 of 60 left"),
        ],
    )
    def test_quota(self, resource: str, quota: tuple[Any, ...], words: str) -> None:
        """One whose time is up is full again, and does not look used up."""
        standing = UpstreamStatus(**{**HEALTHY, "quotas": {resource: Allowance(*quota)}})
        assert rows(StatusReport(NOW, True, None, (standing,)))[0].quotas == (words,)


class TestCommand:
    """`manage.py upstreams`."""

    @pytest.mark.usefixtures("shown")
    def test_a_line_for_each_where_there_is_no_terminal(self) -> None:
        """Without a terminal, each upstream is one line for grep, of any length; brackets and colons stay unchanged."""
        out, err, status = ran()
        heading, pypi, github, other = out.splitlines()
        assert heading == "Upstreams at 2023-11-14 22:13:20 UTC"
        assert pypi == (
            "pypi: breaker open since 22:09:20 UTC (4 min), next probe at 22:13:35 UTC (in 15 s) | gate no pause | "
            "quota none announced | last error http_5xx (503) at 22:13:12 UTC (8 s ago): "
            "GET https://pypi.org/pypi/[red]/:fire:/json"
        )
        assert github.startswith("github: breaker closed | gate no pause | quota core: 12 of 5000 left, full again")
        assert other.startswith(f"other: {LONG}: breaker closed")
        assert (err, status) == ("", 0)

    @pytest.mark.usefixtures("shown")
    def test_a_block_for_each_on_a_terminal(self) -> None:
        """On a terminal, each property is a short line, at any width, and no text is cut off."""
        out, _, status = ran(out=Terminal())
        plain = re.sub(r"\x1b\[[0-9;]*m", "", out)
        assert status == 0
        heading, pypi, _github, other = plain.split("\n\n")
        assert heading == "Upstreams at 2023-11-14 22:13:20 UTC"
        assert pypi.splitlines() == [
            "pypi",
            "  breaker     open since 22:09:20 UTC (4 min), next probe at 22:13:35 UTC (in 15 s)",
            "  gate        no pause",
            "  quota       none announced",
            "  last error  http_5xx (503) at 22:13:12 UTC (8 s ago)",
            "              GET https://pypi.org/pypi/[red]/:fire:/json",
        ]
        assert other.startswith(f"other: {LONG}\n")

    @pytest.mark.usefixtures("shown")
    def test_json(self) -> None:
        """One object, with dates that jq reads, and null for what is unknown."""
        out, err, status = ran("--json")
        told = json.loads(out)
        assert (err, status) == ("", 0)
        assert {key: value for key, value in told.items() if key != "upstreams"} == {
            "at": "2023-11-14T22:13:20Z",
            "shared": True,
            "problem": None,
        }
        pypi, github, other = told["upstreams"]
        assert pypi == {
            "upstream": "pypi",
            "origin": None,
            "untrusted": False,
            "partition": None,
            "breaker": {"state": "open", "since": "2023-11-14T22:09:20Z", "next_probe": "2023-11-14T22:13:35Z"},
            "gate": {"closed": False, "closed_until": None, "asked_until": None},
            "quotas": [],
            "last_error": {
                "at": "2023-11-14T22:13:12Z",
                "reason": "http_5xx",
                "status": 503,
                "method": "GET",
                "scheme": "https",
                "host": "pypi.org",
                "path": "/pypi/[red]/:fire:/json",
            },
        }
        assert github["quotas"] == [
            {
                "resource": "core",
                "limit": 5000,
                "remaining": 12,
                "reset": "2023-11-14T22:33:20Z",
                "seen": "2023-11-14T22:13:20Z",
            }
        ]
        assert (other["origin"], other["last_error"]["path"], other["last_error"]["status"]) == (LONG, None, None)

    @pytest.mark.usefixtures("shown")
    def test_each_key_is_documented(self) -> None:
        """docs/operations.md describes each key."""

        def keys(value: Any) -> set[str]:
            inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
            return set(value if isinstance(value, dict) else ()).union(*map(keys, inner))

        page = (ROOT / "docs" / "operations.md").read_text()
        section = page[page.index("## Looking at upstreams") :].partition("\n## ")[0]
        assert {key for key in keys(json.loads(ran("--json")[0])) if f"`{key}`" not in section} == set()

    def test_without_a_shared_cache(self) -> None:
        """Without a shared cache, a note is on stderr, the command succeeds, and other states are "unknown"."""
        out, err, status = ran()
        assert "pypi: breaker unknown | gate unknown |" in out
        assert err == (
            "No shared cache is configured (shared_cache in OUTBOUND_HTTP): only the state of this process is shown.\n"
        )
        assert status == 0
        assert json.loads(ran("--json")[0])["shared"] is False

    def test_a_cache_that_cannot_be_read_is_a_failure(self, share: Callable[[FakeCache], None]) -> None:
        """Exit status 1, the reason on stderr and in the JSON, and no secret in it."""
        cache = FakeCache()
        cache.error = ConnectionError("Error 111 connecting to redis://:s3cret@127.0.0.1:6379")
        share(cache)
        out, err, status = ran("--json")
        assert json.loads(out)["problem"] == "ConnectionError: Error 111 connecting to redis:***127.0.0.1:6379"
        assert err.startswith("The shared cache cannot be read (ConnectionError: Error 111 ")
        assert "s3cret" not in out + err
        assert status == 1

    def test_it_reads_the_state_of_other_processes(self, share: Callable[[FakeCache], None]) -> None:
        """A process without calls of its own shows the state in the cache."""
        cache = FakeCache()
        share(cache)
        now = status_report(process.current()).at
        cache.values = {
            key_of("pypi"): (now, now, now + 60.0, 0.0, 0.0, 0.0),
            news_of("pypi"): ({}, {"": (now, 60, 7, None)}, {}),
        }
        out, _, status = ran()
        assert "pypi: breaker open since " in out
        assert "| quota 7 of 60 left 0 s ago |" in out
        assert status == 0


class TestPage:
    """The page in the admin."""

    PAGE = "/admin/upstreams/"

    @pytest.mark.usefixtures("shown")
    def test_shows_the_same_texts_as_the_command(self, admin_client: Client) -> None:
        """The page has the texts of the command, escaped, with a heading for each row and column."""
        page = admin_client.get(self.PAGE)
        assert page.status_code == 200
        for row in rows(SHOWN):
            for text in (row.upstream, row.breaker, row.gate, *row.quotas, row.last_error, row.request):
                assert text in page.text
        table = page.text[page.text.index("<caption>Upstreams at 2023-11-14 22:13:20 UTC</caption>") :]
        assert table.count('scope="col"') == 5
        assert table.count('scope="row"') == 3
        assert table.count('class="trouble"') == 1

    def test_escapes_data_of_servers(self, admin_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        """HTML in a path is escaped."""
        error = ERROR._replace(path="/<script>")
        found = StatusReport(NOW, True, None, (UpstreamStatus(**{**HEALTHY, "last_error": error}),))
        monkeypatch.setattr("core.http.django.admin.status_report", lambda registry: found)
        assert "/&lt;script&gt;" in admin_client.get(self.PAGE).text

    def test_says_that_nothing_is_shared(self, admin_client: Client) -> None:
        """Without a shared cache, the page says that other processes may know more."""
        assert "No shared cache is configured" in admin_client.get(self.PAGE).text

    def test_works_while_the_cache_is_away(self, admin_client: Client, share: Callable[[FakeCache], None]) -> None:
        """The page works while the cache is unavailable."""
        cache = FakeCache()
        cache.error = OSError("down")
        share(cache)
        page = admin_client.get(self.PAGE)
        assert page.status_code == 200
        assert "The shared cache cannot be read (OSError: down)" in page.text

    def test_shows_the_state_of_this_process(self, admin_client: Client, outbound_http: Any, settings: Any) -> None:
        """Without a cache, the page shows the results of this process's calls."""
        with responses_library.RequestsMock() as responses:
            responses.get("https://pypi.test/simple/?token=secret", status=503)
            http.get("https://pypi.test/simple/?token=secret")
        page = admin_client.get(self.PAGE).text
        assert "http_5xx (503) at " in page
        assert "GET https://pypi.test/simple/<" in page
        assert "secret" not in page

    @pytest.mark.django_db
    def test_is_for_staff(self, client: Client) -> None:
        """Users have to log in, and users who are not staff are refused."""
        login = f"{reverse('admin:login')}?next={self.PAGE}"
        assert client.get(self.PAGE).headers["Location"] == login
        client.force_login(User.objects.create_user("visitor"))
        refused = client.get(self.PAGE, follow=True)
        assert "not authorized to access this page" in refused.text
        assert "Circuit breaker" not in refused.text
        client.force_login(User.objects.create_user("staff", is_staff=True))
        assert client.get(self.PAGE).status_code == 200

    def test_changes_nothing(self, admin_client: Client) -> None:
        """The page changes no state."""
        assert admin_client.post(self.PAGE).status_code == 405
        assert "no-store" in admin_client.get(self.PAGE).headers["Cache-Control"]

    def test_can_be_found(self, admin_client: Client) -> None:
        """The index of the admin has a link, and still all else."""
        index = admin_client.get(reverse("admin:index")).text
        assert f'href="{self.PAGE}"' in index
        assert "Packages" in index
