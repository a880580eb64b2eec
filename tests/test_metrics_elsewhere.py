"""docs/metrics-elsewhere.md maps the metrics that there are, to names that there are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import ModuleType

from opentelemetry.semconv._incubating.attributes import http_attributes as more_http_attributes
from opentelemetry.semconv._incubating.metrics import http_metrics
from opentelemetry.semconv.attributes import error_attributes, http_attributes, server_attributes
from opentelemetry.semconv.schemas import Schemas

from tests.pages import ROOT, table

PAGE = (ROOT / "docs" / "metrics-elsewhere.md").read_text(encoding="utf-8")
CONVENTIONS = (http_metrics, http_attributes, more_http_attributes, error_attributes, server_attributes)
OLD = {"http.client.duration"}
"""From before the conventions were stable, and no longer among them; the page says so."""


def constants(*modules: ModuleType) -> Iterator[str]:
    for module in modules:
        yield from (value for value in vars(module).values() if isinstance(value, str))


def test_every_metric_on_the_page_is_one_of_ours() -> None:
    """The first column has names from docs/metrics.md."""
    assert {f"outbound_http_{name}" for name in table("metrics-elsewhere.md")} <= set(table("metrics.md"))


def test_opentelemetry_knows_the_names() -> None:
    """The names of OpenTelemetry on the page are in the semantic conventions of the version that it names."""
    named = set(re.findall(r"`((?:http|server|error)\.[a-z_.]+)`", PAGE))
    assert "http.client.request.duration" in named
    assert named - OLD <= set(constants(*CONVENTIONS))
    (version,) = re.findall(r"semantic conventions (\d+\.\d+)", PAGE)
    assert f"V{version.replace('.', '_')}_0" in Schemas.__members__
