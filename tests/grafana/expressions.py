"""Every expression in grafana/, with its metrics and labels."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

GRAFANA = Path(__file__).parents[2] / "grafana"
DASHBOARDS = sorted((GRAFANA / "dashboards").glob("*.json"))
RULES = sorted((GRAFANA / "prometheus" / "rules").glob("*.yml"))
ALERTING = GRAFANA / "alerting" / "rules.yaml"

_CHOSEN = {
    "$upstream": ".*",
    "$role": ".*",
    "$__rate_interval": "1m",
    "$__range": "5m",
}
"""What Grafana puts in for its variables."""


class Expression(NamedTuple):
    where: str
    text: str
    is_alert: bool = False
    """Whether it finds something only where something is wrong."""


def panels(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the panels of a dashboard that show something: all but the headings."""
    return [panel for panel in document["panels"] if panel["type"] != "row"]


def of_dashboards() -> Iterator[Expression]:
    for path in DASHBOARDS:
        document = json.loads(path.read_text())
        for panel in panels(document):
            for target in panel["targets"]:
                yield Expression(f"{path.name}: {panel['title']}: {target['refId']}", chosen(target["expr"]))
        for annotation in document["annotations"]["list"]:
            yield Expression(f"{path.name}: {annotation['name']}", chosen(annotation["expr"]))


def of_rules() -> Iterator[Expression]:
    """Return those that Prometheus evaluates."""
    for path in RULES:
        for group in yaml.safe_load(path.read_text())["groups"]:
            for rule in group["rules"]:
                name = rule.get("alert") or rule["record"]
                yield Expression(f"{path.name}: {name}", rule["expr"], "alert" in rule)


def of_alerting() -> Iterator[Expression]:
    """Return those that Grafana asks Prometheus for, to see whether to alert."""
    if ALERTING.exists():
        for group in yaml.safe_load(ALERTING.read_text())["groups"]:
            for rule in group["rules"]:
                for node in rule["data"]:
                    if "expr" in node["model"]:
                        yield Expression(
                            f"{ALERTING.name}: {rule['title']}: {node['refId']}", node["model"]["expr"], True
                        )


def everything() -> list[Expression]:
    return [*of_dashboards(), *of_rules(), *of_alerting()]


def chosen(expression: str) -> str:
    """Replace Grafana's variables as for all upstreams and roles."""
    for variable, value in _CHOSEN.items():
        expression = expression.replace(variable, value)
    return expression


class Names(NamedTuple):
    metrics: dict[str, set[str]]
    """With the labels that are matched."""
    grouped: set[str]
    """Labels by which series are added up or brought together."""


def names(expression: str) -> Names:
    """Return the metrics and labels of an expression.

    Prometheus returns no parsed expressions before its version 3. This parser is enough for ours.
    """
    text = _STRING.sub('""', re.sub(r"#.*", "", expression))
    grouped = {label for labels in _GROUPING.findall(text) for label in re.findall(r"\w+", labels)}
    text = re.sub(r"\[[^]]*\]", "", _GROUPING.sub(" ", text))
    metrics: dict[str, set[str]] = {}
    for metric, matchers in _METRIC.findall(text):
        if metric not in _KEYWORDS:
            metrics.setdefault(metric, set()).update(re.findall(r"(\w+)\s*[=!]", matchers))
    return Names(metrics, grouped)


_STRING = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""")
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_METRIC = re.compile(
    r"(?<![\w:.])([a-zA-Z_:][\w:]*)\b(?!\s*\()(?:\s*\{([^}]*)\})?"
)  # a name before a parenthesis is a function
_KEYWORDS = frozenset({"and", "or", "unless", "bool", "offset", "Inf", "NaN", "group_left", "group_right"})
