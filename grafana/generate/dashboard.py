"""The dashboard for Grafana."""

from __future__ import annotations

import json

from grafana_foundation_sdk.builders.dashboard import Dashboard, DatasourceVariable, QueryVariable
from grafana_foundation_sdk.builders.dashboard import Row as Heading
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import (
    AnnotationQuery,
    DashboardCursorSync,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from grafana.generate.dashboard_calls import failures, now
from grafana.generate.dashboard_jobs import batch, meta
from grafana.generate.dashboard_panels import DATASOURCE
from grafana.generate.dashboard_queries import CONFIGURED, http
from grafana.generate.dashboard_requests import latency, quotas, retries

PATH = "grafana/dashboards/outbound-http.json"


def files() -> dict[str, str]:
    """Return the text of the generated file, by its path in the repository."""
    return {PATH: json.dumps(_dashboard().build(), cls=JSONEncoder, indent=2, ensure_ascii=False) + "\n"}


def _dashboard() -> Dashboard:
    dashboard = (
        Dashboard("Outbound HTTP")
        .uid("outbound-http")
        .description("The site's calls to PyPI, GitHub and other upstreams, and their results. Read it from the top.")
        .tags(["http", "upstreams"])
        .timezone("browser")
        .time("now-6h", "now")
        .refresh("30s")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
        .with_variable(_label("upstream"))
        .with_variable(_label("role"))
        .annotation(_Opened())
    )
    number = 0
    for row in (now(), failures(), retries(), latency(), quotas(), batch(), meta()):
        number += 1
        dashboard.with_row(Heading(row.title).id(number))
        for panel in row.panels:
            number += 1
            dashboard.with_panel(panel.id(number))
    return dashboard


def _label(name: str) -> QueryVariable:
    """Let users choose values of a label. "All" also includes series without the label."""
    return (
        QueryVariable(name)
        .label(name.capitalize())
        .datasource(DATASOURCE)
        .query(f"label_values(outbound_http_calls_total, {name})")
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(VariableOption(selected=True, text=["All"], value=["$__all"]))
    )


class _Titled(AnnotationQuery):
    """An annotation with a title, which grafana_foundation_sdk does not support for Prometheus."""

    def to_json(self) -> dict[str, object]:
        return {**super().to_json(), "titleFormat": "{{upstream}}: breaker opened"}


class _Opened(Builder[AnnotationQuery]):
    """Marks in all graphs when a breaker opened."""

    def build(self) -> AnnotationQuery:
        opened = http("breaker_transitions_total", CONFIGURED, state="open")
        expr = f"sum by (upstream) (increase({opened}[$__rate_interval])) > 0"
        return _Titled("Breaker opened", DATASOURCE, icon_color="red", expr=expr)
