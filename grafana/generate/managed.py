"""Generates the same alerts as rules that Grafana evaluates itself, for sites without Alertmanager.

Each rule requests the series of an alert from Prometheus (`query`), maps the value of each series to 1 (`found`), and
fires for each series (`firing`). If there are no series, the alert does not fire. Names of recording rules are replaced
by their expressions, because Prometheus may have no recording rules.
"""

from __future__ import annotations

import re
from typing import Any

from grafana.generate.alerts import ALERTS, Alert
from grafana.generate.recording import inlined
from grafana.generate.text import document

PATH = "grafana/alerting/rules.yaml"
_DATASOURCE = "prometheus"  # grafana/provisioning/datasources/prometheus.yaml
_EXPRESSION = "__expr__"
_FOLDER = "djangopackages"


def files() -> dict[str, str]:
    """Return the text of the file by its path."""
    groups = {"alerts": "1m", "days": "5m"}
    of_group = {name: [alert for alert in ALERTS if _group(alert) == name] for name in groups}
    return {
        PATH: document(
            {
                "apiVersion": 1,
                "groups": [
                    {
                        "orgId": 1,
                        "name": name,
                        "folder": _FOLDER,
                        "interval": interval,
                        "rules": [_rule(alert) for alert in of_group[name]],
                    }
                    for name, interval in groups.items()
                ],
            }
        )
    }


def _group(alert: Alert) -> str:
    """Return the rule's group. Rules with windows of days are evaluated less often."""
    return "days" if re.search(r"\dd\b", alert.expression) else "alerts"


def _rule(alert: Alert) -> dict[str, Any]:
    annotations = {  # Grafana's $value is a text with the values of all nodes
        key: text.replace("$value", "$values.query.Value") for key, text in alert.annotations().items()
    }
    return {
        "uid": alert.slug,
        "title": alert.name,
        "condition": "firing",
        "data": [
            _query(inlined(alert.expression)),
            _node("found", type="math", expression="is_number($query)"),
            _node("firing", type="threshold", expression="found", conditions=[{"evaluator": _above(0)}]),
        ],
        "noDataState": "OK",
        "execErrState": "Error",
        "for": alert.pending or "0s",
        **({"keepFiringFor": alert.keep_firing} if alert.keep_firing else {}),
        "labels": {"severity": alert.severity},
        "annotations": annotations,
        # A file of notification policies would replace the policies that were configured by hand.
        "notification_settings": {"receiver": alert.receiver},
    }


def _query(expression: str) -> dict[str, Any]:
    return {
        "refId": "query",
        "relativeTimeRange": {"from": 600, "to": 0},
        "datasourceUid": _DATASOURCE,
        "model": {
            "refId": "query",
            "datasource": {"type": "prometheus", "uid": _DATASOURCE},
            "expr": expression,
            "instant": True,
            "range": False,
        },
    }


def _node(name: str, **model: Any) -> dict[str, Any]:
    return {
        "refId": name,
        "relativeTimeRange": {"from": 0, "to": 0},
        "datasourceUid": _EXPRESSION,
        "model": {"refId": name, "datasource": {"type": _EXPRESSION, "uid": _EXPRESSION}, **model},
    }


def _above(limit: float) -> dict[str, Any]:
    return {"type": "gt", "params": [limit]}
