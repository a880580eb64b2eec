"""The dashboard is up to date, has the panels that operators need, and each panel has a description."""

from __future__ import annotations

import json
import re
from itertools import combinations
from typing import Any

import pytest

from grafana.generate import dashboard
from grafana.generate.__main__ import generated
from grafana.generate.alerts import RUNBOOKS
from tests.grafana.expressions import DASHBOARDS, GRAFANA, names, panels
from tests.pages import ROOT

DOCUMENT: dict[str, Any] = json.loads((ROOT / dashboard.PATH).read_text())
PANELS = panels(DOCUMENT)
ROWS = ["Now", "Failures", "Retries", "Latency", "Quotas and saturation", "Batch", "Meta"]
NOW = [
    "Calls that succeeded, last hour",
    "Error budget left, 30 days",
    "Upstreams with an open breaker",
    "Requests sent",
    "95 % of calls took less than",
    "Jobs overdue",
]
each = pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])


def test_the_file_is_up_to_date() -> None:
    """The dashboard in the repository equals the output of `python -m grafana.generate`."""
    assert {path: (ROOT / path).read_text() for path in dashboard.files()} == dashboard.files()


def test_the_generator_knows_of_it() -> None:
    """`python -m grafana.generate` writes it, besides the rules."""
    assert set(dashboard.files()) <= set(generated())


def test_generating_it_again_gives_the_same() -> None:
    """Generating the file again gives the same content."""
    assert dashboard.files() == dashboard.files()


def test_rows_have_their_order() -> None:
    """The order is: the extent of failures, their causes, and last the quality of the data."""
    assert [panel["title"] for panel in DOCUMENT["panels"] if panel["type"] == "row"] == ROWS


def test_the_first_row_answers_the_first_questions() -> None:
    """The first row has six numbers, side by side."""
    assert [panel["title"] for panel in PANELS[:6]] == NOW
    assert {panel["type"] for panel in PANELS[:6]} == {"stat"}
    assert {panel["gridPos"]["y"] for panel in PANELS[:6]} == {1}


@each
def test_a_panel_explains_itself(panel: dict[str, Any]) -> None:
    """Each has a title, a description in whole sentences, a unit, and words for when there is nothing to show."""
    defaults = panel["fieldConfig"]["defaults"]
    assert panel["title"]
    assert re.search(r"[.)]$", panel["description"])
    assert defaults["unit"]
    assert defaults["noValue"] not in {"", "No data"}


@each
def test_runbooks_of_panels_exist(panel: dict[str, Any]) -> None:
    """Each runbook that a panel links to exists."""
    named = re.findall(rf"\[(\w+)\]\({RUNBOOKS}/(\w+)\.md\)", panel["description"])
    assert len(named) == panel["description"].count("[")
    assert [page for text, page in named if text != page or not (ROOT / f"docs/runbooks/{page}.md").exists()] == []


def test_panels_do_not_overlap() -> None:
    """No panel covers another one, and none is wider than the page."""
    taken = [(panel["title"], panel["gridPos"]) for panel in DOCUMENT["panels"]]
    assert [title for title, at in taken if at["x"] + at["w"] > 24] == []
    assert [(one, other) for (one, a), (other, b) in combinations(taken, 2) if _overlap(a, b)] == []


def test_panels_have_numbers_of_their_own() -> None:
    """Links to a panel lead to that one."""
    numbers = [panel["id"] for panel in DOCUMENT["panels"]]
    assert len(set(numbers)) == len(numbers)


def test_variables_are_used_and_known() -> None:
    """Upstreams and roles can be selected, and no expression has an undefined variable."""
    defined = {variable["name"] for variable in DOCUMENT["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(DOCUMENT)))
    assert defined == {"datasource", "upstream", "role"}
    assert used == defined | {"__all", "__rate_interval", "__range"}


def test_a_site_of_one_process_has_no_role() -> None:
    """The value for all roles includes series without a role, as of a site without PROMETHEUS_MULTIPROC_DIR."""
    role = next(variable for variable in DOCUMENT["templating"]["list"] if variable["name"] == "role")
    assert (role["includeAll"], role["allValue"], role["current"]["value"]) == (True, ".*", ["$__all"])
    matchers = re.findall(r'\brole\s*(\W+)"', " ".join(_expressions()))
    assert set(matchers) == {"=~"}


def test_every_panel_asks_the_chosen_server() -> None:
    """No panel is bound to one Prometheus: another one can be chosen at the top."""
    assert {panel["datasource"]["uid"] for panel in PANELS} == {"${datasource}"}


def test_openings_of_breakers_are_marked() -> None:
    """Each is a line through all graphs, with the name of the upstream."""
    (annotation,) = DOCUMENT["annotations"]["list"]
    assert names(annotation["expr"]).metrics.keys() == {"outbound_http_breaker_transitions_total"}
    assert "{{upstream}}" in annotation["titleFormat"]


def test_every_metric_is_documented() -> None:
    """docs/metrics.md describes each metric of the dashboard, except Prometheus' own."""
    text = (ROOT / "docs" / "metrics.md").read_text()
    documented = set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))
    shown = {
        re.sub("_(bucket|count|sum)$", "", metric)
        for expression in _expressions()
        for metric in names(expression).metrics
        if not metric.startswith("scrape_")
    }
    assert sorted(shown - documented) == []


def test_provisioning_finds_the_dashboards() -> None:
    """Grafana takes them from a directory of files, and from this one there is something to take."""
    provisioned = (GRAFANA / "provisioning" / "dashboards" / "dashboards.yaml").read_text()
    assert "type: file" in provisioned
    assert [path.name for path in DASHBOARDS] == ["outbound-http.json"]


def _expressions() -> list[str]:
    return [target["expr"] for panel in PANELS for target in panel["targets"]]


def _overlap(a: dict[str, int], b: dict[str, int]) -> bool:
    return (
        a["x"] < b["x"] + b["w"] and b["x"] < a["x"] + a["w"] and a["y"] < b["y"] + b["h"] and b["y"] < a["y"] + a["h"]
    )
