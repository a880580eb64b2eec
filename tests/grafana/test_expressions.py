"""A real Prometheus evaluates the expressions of dashboards and alerts, on a real scrape of the site."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
import yaml

from tests.grafana.expressions import ALERTING, RULES, Expression, everything, names
from tests.servers.common import LONGEST, free_port, wait_until
from tests.servers.prometheus import Prometheus, running_prometheus
from tests.servers.site import Site, database, make_tables
from tests.servers.web import gunicorn
from tests.upstreams.__main__ import world
from tests.upstreams.faults import Status
from tests.upstreams.server import serving

_TRAFFIC = """
import os
from concurrent.futures import ThreadPoolExecutor
import requests
from core.http import ResilientSession

session = ResilientSession()

def get(url):
    try:
        session.get(url)
    except requests.RequestException:
        pass

with ThreadPoolExecutor(8) as pool:
    # For fewer than 1000 calls, the dashboard does not show the rest of their error budget.
    pool.map(get, [os.environ["GITLAB_URL"] + "/api/v4/none"] * 1050)
    pool.map(get, [os.environ["PYPI_URL"] + "/pypi/none/json"] * 24)
"""
each = pytest.mark.parametrize("expression", everything(), ids=lambda expression: expression.where)


class Scraped(NamedTuple):
    prometheus: Prometheus
    at: float
    """When a scrape was done: on a busy machine a later one may fail, and then there is no gauge."""


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory, django_db_blocker: Any) -> Iterator[Scraped]:
    """Scrape a site that runs a command and makes calls, some of them while PyPI is broken."""
    directory = tmp_path_factory.mktemp("site")
    port = free_port()
    url = f"sqlite:///{directory}/site.sqlite3"
    with serving(world()) as upstreams, django_db_blocker.unblock(), database(url):
        site = Site(
            upstreams,
            directory,
            url,
            DJANGO_SETTINGS_MODULE="config.settings",
            EXPECTED_JOBS="cleanup_github_projects=24h",
            METRICS_TOKENS="secret",
            GITHUB_TOKEN="t0ken",  # whose quota is a partition
            PROMETHEUS_MULTIPROC_DIR=str(directory / "metrics"),
        )
        make_tables()
        site.run("load_sample")
        with (
            gunicorn(site, port, workers=1),
            running_prometheus(
                directory, [f"127.0.0.1:{port}"], token="secret", interval=2.0, rules=_hurried(directory)
            ) as server,
        ):
            server.wait_for_scrape()
            site.run("cleanup_github_projects")
            upstreams.pypi.fault = Status(503)
            site.run("shell", "--command", _TRAFFIC)
            server.wait_for_scrape()
            wait_until(lambda: _evaluated(server), LONGEST, "every rule was evaluated")
            yield Scraped(server, server.wait_for_scrape())


@each
def test_prometheus_understands_it(scraped: Scraped, expression: Expression) -> None:
    """Each expression has no error or warning, at one time and over a range; those of the dashboard have results."""
    found = _ask(scraped, "query", query=expression.text, time=f"{scraped.at}")
    _ask(scraped, "query_range", query=expression.text, start=f"{scraped.at - 20}", end=f"{scraped.at}", step="5")
    assert found or expression.is_alert


@each
def test_its_metrics_and_labels_exist(scraped: Scraped, expression: Expression) -> None:
    """The metrics of each expression are scraped or recorded, and have the labels that it matches or groups by."""
    named = names(expression.text)
    labels = {metric: _labels(scraped, metric) for metric in named.metrics}
    assert [metric for metric, there in labels.items() if not there] == []
    assert {
        metric: matched - labels[metric] for metric, matched in named.metrics.items() if matched - labels[metric]
    } == {}
    assert named.grouped - set().union(*labels.values()) == set()


@pytest.mark.parametrize(
    ("expression", "metrics", "grouped"),
    [
        (
            'sum by (le, a) (rate(m_bucket{x="1", y!~"by (z)"}[5m] offset 1d)) > bool 0.5',
            {"m_bucket": {"x", "y"}},
            {"le", "a"},
        ),
        (
            '60 * m and on (a) (n{b=""} > +Inf) or label_replace(o, "c", "$1", "d", "(.*)")',
            {"m": set(), "n": {"b"}, "o": set()},
            {"a"},
        ),
        (
            "level:m:rate5m / (level:n:rate5m @ end()) - 1e-9 * time()",
            {"level:m:rate5m": set(), "level:n:rate5m": set()},
            set(),
        ),
        ('m{a="1"} - m{b="2"}', {"m": {"a", "b"}}, set()),
    ],
)
def test_names_are_found(expression: str, metrics: dict[str, set[str]], grouped: set[str]) -> None:
    """The parser returns all metrics and labels of an expression, and no functions, texts or numbers."""
    assert names(expression) == (metrics, grouped)


def test_rules_are_loaded() -> None:
    """There are alerts and recording rules, so that the tests above include both."""
    assert RULES
    assert ALERTING.exists()


def test_rules_are_well(scraped: Scraped) -> None:
    """Prometheus evaluates its rules without an error."""
    ill = [(rule["name"], rule["lastError"]) for rule in _rules(scraped.prometheus) if rule["health"] != "ok"]
    assert ill == []


def _hurried(directory: Path) -> list[Path]:
    """Return the rules as they are, but that they are evaluated as often as the site is scraped here."""
    copies = []
    for path in RULES:
        document = yaml.safe_load(path.read_text())
        for group in document["groups"]:
            group.pop("interval", None)
        copies.append(directory / path.name)
        copies[-1].write_text(yaml.safe_dump(document))
    return copies


def _ask(scraped: Scraped, path: str, **parameters: str) -> Any:
    with urlopen(f"{scraped.prometheus.url}/api/v1/{path}?{urlencode(parameters)}", timeout=LONGEST) as response:
        answer = json.load(response)
    assert answer.get("warnings", []) == []
    return answer["data"]["result"]


def _labels(scraped: Scraped, metric: str) -> set[str]:
    return {label for series in scraped.prometheus.ask("series", **{"match[]": metric}) for label in series}


def _rules(prometheus: Prometheus) -> list[dict[str, Any]]:
    return [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]


def _evaluated(prometheus: Prometheus) -> bool:
    return all(rule["health"] != "unknown" for rule in _rules(prometheus))
