"""The documentation lists exactly the existing settings, metrics, options and values."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import responses as responses_library
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families

from core.http import CircuitBreaker, Policy, ResilientSession, RetryBudget, process
from core.http.django import batch_job_metrics
from core.http.events import BackoffSource, BreakerState, QuotaSeen, Suppression
from core.http.outcome import Quota, Reason, Rejection, Result
from core.http.testing import OutboundHTTP
from tests.pages import ROOT, examples, table


def test_every_field_of_a_policy_is_documented() -> None:
    """docs/settings.md lists the fields of Policy."""
    kinds = (Policy, CircuitBreaker, RetryBudget)
    assert {field.name for kind in kinds for field in dataclasses.fields(kind)} <= set(table("settings.md"))


def test_every_documented_default_is_the_real_one() -> None:
    """Numbers in docs/settings.md are those of Policy()."""
    rows = table("settings.md")
    for field in dataclasses.fields(Policy):
        default = getattr(Policy(), field.name)
        shown = rows[field.name][0].removesuffix(" s")
        if dataclasses.is_dataclass(default):
            assert shown == "on"
            continue
        if default is None:
            assert shown == "none"
            continue
        if isinstance(default, bool):
            assert shown == ("on" if default else "off")
            continue
        if isinstance(default, frozenset):
            assert set(shown.split(", ")) == {str(value) for value in default}
        else:
            assert float(shown) == default


def test_every_variable_of_the_settings_is_documented() -> None:
    """docs/settings.md lists the variables that config/settings.py reads."""
    settings = (ROOT / "config" / "settings.py").read_text()
    read = set(re.findall(r"(?:env\.\w+|_flag|_list|_server)\(\s*\"([A-Z_]+)\"", settings))
    documented = {name for name in table("settings.md", "## The site") if name != "PROMETHEUS_MULTIPROC_DIR"}
    assert read == documented


def test_every_check_is_documented() -> None:
    """docs/settings.md lists the ids that manage.py check can print."""
    raised = {
        f"core.http.{number}"
        for path in (ROOT / "core/http/django").glob("*.py")
        for number in re.findall(r"\b[EW]\d{3}\b", path.read_text())
    }
    assert raised == {name for name in table("settings.md") if name.startswith("core.http.")}


def test_the_documented_metrics_are_those_of_a_scrape(client: Client, settings: Any) -> None:
    """docs/metrics.md lists the metrics of /metrics, with name, type and labels."""
    settings.DEBUG = True
    process.current().emit(QuotaSeen("pypi", Quota(limit=1, remaining=1, reset=1.0, resource=None)))
    batch_job_metrics.jobs().know("plan", 300.0)
    with batch_job_metrics.jobs().run("plan"):
        pass
    shown = {}
    for family in text_string_to_metric_families(client.get("/metrics").text):
        if family.name.startswith(("outbound_http_", "batch_job_")) and not family.name.endswith("_created"):
            name = family.name + ("_total" if family.type == "counter" else "")
            labels = {label for sample in family.samples for label in sample.labels} - {"le"}
            shown[name] = (family.type, labels)
    documented = {name: (cells[0], set(cells[1].split(", "))) for name, cells in table("metrics.md").items()}
    assert documented == shown


@pytest.mark.parametrize("values", [Result, Reason, Rejection, Suppression, BackoffSource, BreakerState])
def test_every_value_of_a_label_is_documented(values: type[Result]) -> None:
    """docs/metrics.md lists the outcomes, reasons and sources."""
    text = (ROOT / "docs" / "metrics.md").read_text()
    assert [value for value in values if f"`{value}`" not in text] == []


@pytest.mark.parametrize("page", [*(ROOT / "docs").glob("*.md"), *ROOT.glob("*.md")], ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Relative links in the documentation point to files that exist."""
    links = re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_examples_of_attempts_and_observers_work(
    outbound_http: OutboundHTTP, capsys: pytest.CaptureFixture[str]
) -> None:
    """The examples in docs/calls.md print each attempt of a call, and collect slow calls."""
    attempts, observer = examples("calls.md")
    url = "https://example.org/data.json"
    names: dict[str, Any] = {"session": ResilientSession()}
    with responses_library.RequestsMock() as responses:
        for status in (503, 503, 200, 503, 503, 503, 200):
            responses.get(url, status=status)
        exec(attempts, names)
        exec(observer, names)
        names["session"].get(url)
    assert capsys.readouterr().out.splitlines() == [
        "503 http_5xx 0.0 0.0",
        "503 http_5xx 0.0 1.0",
        "200 None 0.0 2.0",
    ]
    assert names["slow"] == ["GET example.org: success, 4 attempts"]
