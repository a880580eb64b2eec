"""The alerts that operators get, by the rules as shipped, when PyPI goes down under a site with visitors and recovers.

Only the windows of the rules and the waits of Alertmanager are shorter, all by the same factor.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import yaml

from grafana.generate.prometheus import rule_files
from tests.servers.alertmanager import running_alertmanager
from tests.servers.common import LONGEST, free_port, wait_until
from tests.servers.program import ROOT
from tests.servers.prometheus import Prometheus, running_prometheus
from tests.servers.site import database
from tests.servers.web import TOKEN, Visitor, gunicorn, measured_site
from tests.servers.webhook import Webhook, receiving
from tests.upstreams.faults import Status
from tests.upstreams.server import Upstreams, serving
from tests.upstreams.world import World

pytestmark = pytest.mark.slow

SCALE = 60
"""Hours are minutes, and minutes seconds."""
NAME = "UpstreamErrorBudgetBurnFast"
PATIENCE = 300.0
"""Seconds for an alert to come; it takes some ten. To be resolved takes some thirty: breakers have to cool down."""


def alerting(webhook: Webhook) -> dict[str, Any]:
    """Return the configuration as shipped, but that all goes to `webhook`, and soon."""
    config: dict[str, Any] = yaml.safe_load((ROOT / "grafana" / "prometheus" / "alertmanager.yml").read_text())
    del config["global"]
    config["route"] |= {"group_wait": "100ms", "group_interval": "500ms"}
    to_webhook = [{"url": webhook.url, "send_resolved": True}]
    config["receivers"] = [{"name": each["name"], "webhook_configs": to_webhook} for each in config["receivers"]]
    return config


@contextmanager
def visits(port: int, slugs: Sequence[str]) -> Iterator[None]:
    """Let visitors refresh packages continuously, a few at once."""
    visitor, turns, lock, stop = Visitor(port), cycle(slugs), threading.Lock(), threading.Event()

    def go_on() -> None:
        while not stop.wait(0.2):
            with lock:
                slug = next(turns)
            visitor.fetch(slug)

    threads = [threading.Thread(target=go_on, name=f"visits-{number}") for number in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@pytest.fixture
def upstreams() -> Iterator[Upstreams]:
    with serving(World(12, shares={"gitlab": 1.0}), latency=0.01) as upstreams:
        yield upstreams


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    with receiving() as webhook:
        yield webhook


@pytest.fixture
def prometheus(upstreams: Upstreams, webhook: Webhook, tmp_path: Path, django_db_blocker: Any) -> Iterator[Prometheus]:
    """Run Prometheus with the rules for a site with visitors; its alerts are sent to the webhook."""
    port = free_port()
    rules = []
    for path, text in rule_files(SCALE).items():
        rules.append(tmp_path / Path(path).name)
        rules[-1].write_text(text)
    with ExitStack() as stack:
        stack.enter_context(django_db_blocker.unblock())
        stack.enter_context(database(f"sqlite:///{tmp_path / 'site.sqlite3'}"))
        stack.enter_context(gunicorn(measured_site(upstreams, tmp_path), port, workers=2))
        alertmanager = stack.enter_context(running_alertmanager(tmp_path, alerting(webhook)))
        options = {"rules": rules, "alertmanagers": [alertmanager.address]}
        prometheus = stack.enter_context(running_prometheus(tmp_path, [f"127.0.0.1:{port}"], token=TOKEN, **options))
        stack.enter_context(visits(port, [package.slug for package in upstreams.world.packages]))
        yield prometheus


def test_an_outage_of_pypi(prometheus: Prometheus, upstreams: Upstreams, webhook: Webhook) -> None:
    """Operators hear that PyPI fails, how often, and where to read on; nothing of others; and when it is over."""
    calls = 'upstream:outbound_http_calls:increase1h{upstream="pypi"} >= 20'
    wait_until(lambda: prometheus.query(calls), LONGEST, "there were enough calls to judge by")
    webhook.wait_for("Watchdog", "firing", PATIENCE)
    assert not [alert for alert in webhook.alerts if alert["labels"]["alertname"] == NAME]

    upstreams.pypi.fault = Status(503)
    alert = webhook.wait_for(NAME, "firing", PATIENCE)
    assert prometheus.query('upstream:outbound_http_calls_bad:increase1h{upstream="pypi"} >= 10')
    assert alert["labels"] == {"alertname": NAME, "upstream": "pypi", "severity": "critical"}
    told = re.fullmatch(
        r"PyPI failure rate: ([\d.]+)% of calls failed over the last hour", alert["annotations"]["summary"]
    )
    assert told, alert
    assert 14.4 < float(told[1]) <= 100
    assert alert["annotations"]["description"].startswith(f"Of the calls to pypi, {told[1]}% failed or were rejected")
    assert "http_5xx (" in alert["annotations"]["description"]
    assert alert["annotations"]["runbook_url"].endswith(f"/docs/runbooks/{NAME}.md")

    upstreams.pypi.fault = None
    webhook.wait_for(NAME, "resolved", PATIENCE, upstream="pypi")
    assert {each["labels"]["upstream"] for each in webhook.alerts if each["labels"]["alertname"] == NAME} == {"pypi"}
