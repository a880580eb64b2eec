"""The files that Grafana reads at its start, checked against its documentation, as the tests have no Grafana."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from grafana.generate.alerts import ALERTS
from tests.grafana.promtool import promtool
from tests.pages import ROOT

SCHEMAS = Path(__file__).parent / "schemas"
PROVISIONING = ROOT / "grafana" / "provisioning"
RULES_FILE = PROVISIONING / "alerting" / "rules.yaml"
SCHEMA_OF = {
    RULES_FILE: "alert-rules",
    PROVISIONING / "alerting" / "contact-points.yaml": "contact-points",
    PROVISIONING / "dashboards" / "dashboards.yaml": "dashboards",
    PROVISIONING / "datasources" / "prometheus.yaml": "datasources",
}


def document(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text())


def rules() -> list[dict[str, Any]]:
    return [rule for group in document(RULES_FILE)["groups"] for rule in group["rules"]]


def expressions() -> list[str]:
    return [rule["data"][0]["model"]["expr"] for rule in rules()]


def validator(name: str) -> Draft202012Validator:
    schema = document(SCHEMAS / f"{name}.yaml")
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


@pytest.mark.parametrize("path", SCHEMA_OF, ids=lambda path: path.name)
def test_files_have_the_form_that_grafana_reads(path: Path) -> None:
    """Every name in a provisioning file is one that Grafana knows, and none that it needs is missing."""
    assert [error.message for error in validator(SCHEMA_OF[path]).iter_errors(document(path))] == []


def test_every_file_is_looked_at() -> None:
    """There is no provisioning file without a schema."""
    assert {path for kind in PROVISIONING.iterdir() for path in kind.glob("*.y*ml")} == set(SCHEMA_OF)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"keep_firing_for": "10m"}, "keep_firing_for"),
        ({"uid": "x" * 41}, "does not match"),
        ({"noDataState": "Ok"}, "is not one of"),
        ({"labels": {"severity": "$SEVERITY"}}, "should not be valid"),
        ({"annotations": {"summary": "${SUMMARY}"}}, "should not be valid"),
        ({"notification_settings": {}}, "receiver"),
    ],
)
def test_the_schema_finds_mistakes(change: dict[str, Any], complaint: str) -> None:
    """A rule with a mistake that Grafana would overlook, or would not start with, is found here."""
    content = document(RULES_FILE)
    content["groups"][0]["rules"][0] |= change
    (error,) = validator("alert-rules").iter_errors(content)
    assert complaint in error.message


def test_grafana_has_the_alerts_of_prometheus() -> None:
    """Each alert is there once, with the severity, the texts and the times that it has in Prometheus."""
    found = {rule["title"]: rule for rule in rules()}
    assert len(rules()) == len(found) == len({rule["uid"] for rule in rules()})
    assert set(found) == {alert.name for alert in ALERTS}
    for alert in ALERTS:
        rule = found[alert.name]
        assert rule["labels"] == {"severity": alert.severity}
        assert rule["annotations"]["summary"] == alert.summary.replace("$value", "$values.query.Value")
        assert (rule["for"], rule.get("keepFiringFor", "")) == (alert.pending or "0s", alert.keep_firing)


def test_nodes_lead_from_the_query_to_the_condition() -> None:
    """Each rule has a query, a reduction to 1 and a condition."""
    for rule in rules():
        query, found, firing = rule["data"]
        assert [node["model"]["refId"] for node in rule["data"]] == [node["refId"] for node in rule["data"]]
        assert found["model"]["expression"] == f"is_number(${query['refId']})"
        assert firing["model"]["expression"] == found["refId"]
        assert rule["condition"] == firing["refId"]


def test_grafana_asks_the_data_source_that_is_there() -> None:
    """Rules refer to the data source by the uid that it is given."""
    (source,) = document(PROVISIONING / "datasources" / "prometheus.yaml")["datasources"]
    assert {node["datasourceUid"] for rule in rules() for node in rule["data"]} == {source["uid"], "__expr__"}


def test_every_receiver_exists() -> None:
    """Each receiver of a rule exists, because Grafana does not start otherwise."""
    points = {point["name"] for point in document(PROVISIONING / "alerting" / "contact-points.yaml")["contactPoints"]}
    assert {rule["notification_settings"]["receiver"] for rule in rules()} == points


def test_grafana_needs_no_recording_rules() -> None:
    """The expressions do not need recording rules, because Grafana would not alert without their data."""
    assert [expression for expression in expressions() if re.search(r"\w:\w", expression)] == []


def test_promtool_accepts_grafanas_expressions(tmp_path: Path) -> None:
    """Promtool accepts the expressions of Grafana's rules."""
    asked = [{"record": f"asked_{number}", "expr": expression} for number, expression in enumerate(expressions())]
    path = tmp_path / "asked.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "asked", "rules": asked}]}))
    done = promtool("check", "rules", path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_file_replaces_notification_policies() -> None:
    """No file has notification policies, because it would replace those of the whole organization."""
    assert [path for path in SCHEMA_OF if "policies" in document(path)] == []
