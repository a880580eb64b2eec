"""Generates the rule files for Prometheus."""

from __future__ import annotations

import re
from typing import Any

from grafana.generate.alerts import ALERTS, Alert
from grafana.generate.recording import RULES, SLOW_INTERVAL
from grafana.generate.text import document

RULES_DIRECTORY = "grafana/prometheus/rules"
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def rule_files(scale: int = 1) -> dict[str, str]:
    """Return the text of each file by its path.

    :param scale: all times are divided by this number, for tests that cannot wait for days.
    """
    return {
        f"{RULES_DIRECTORY}/recording.yml": document({"groups": [_group(name, scale) for name in RULES]}),
        f"{RULES_DIRECTORY}/alerts.yml": document(
            {"groups": [{"name": "alerts", "rules": [_alert(alert, scale) for alert in ALERTS]}]}
        ),
    }


def _group(name: str, scale: int) -> dict[str, Any]:
    interval = {"interval": _divided(SLOW_INTERVAL, scale)} if name == "long_windows" else {}
    rules = [{"record": record, "expr": _scaled(expression, scale)} for record, expression in RULES[name].items()]
    return {"name": name, **interval, "rules": rules}


def _alert(alert: Alert, scale: int) -> dict[str, Any]:
    times = {"for": alert.pending, "keep_firing_for": alert.keep_firing}
    return {
        "alert": alert.name,
        "expr": alert.expression,
        **{key: _divided(duration, scale) for key, duration in times.items() if duration},
        "labels": {"severity": alert.severity},
        "annotations": alert.annotations(alert.details),
    }


def _scaled(expression: str, scale: int) -> str:
    return re.sub(r"\[(\w+)\]", lambda found: f"[{_divided(found[1], scale)}]", expression)


def _divided(duration: str, scale: int) -> str:
    if scale == 1:
        return duration
    return f"{int(duration[:-1]) * _SECONDS[duration[-1]] * 1000 // scale}ms"
