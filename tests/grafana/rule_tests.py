"""Promtool's tests of the rules, each with only the rules that it is about.

Promtool evaluates all loaded rules for every minute of a test, and some tests last days.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from grafana.generate.prometheus import rule_files

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "grafana" / "prometheus"
FILES = sorted((PROMETHEUS / "tests").glob("*.yml"))

Content = dict[str, Any]


def in_parts(path: Path) -> list[Content]:
    """Return the tests of a file, each as the content of a file of its own, without the rules."""
    content = yaml.load(path.read_text(), Loader=yaml.BaseLoader)  # as texts: 0x10 is ten zeros, not sixteen
    for test in content["tests"]:
        for case in test["promql_expr_test"]:
            for sample in case.get("exp_samples", ()):
                sample["value"] = float(sample["value"])
    return [{**content, "tests": [test]} for test in content["tests"]]


def store(parts: list[Content], directory: Path) -> list[Path]:
    """Write these contents, and the rules that each needs, to files. Returns the paths of the tests."""
    paths = []
    for number, part in enumerate(parts):
        groups = _needed(yaml.safe_dump(part["tests"]))
        rules = directory / f"rules-{number}.yml"
        rules.write_text(yaml.safe_dump({"groups": groups}))
        order = [name for name in part["group_eval_order"] if name in {group["name"] for group in groups}]
        paths.append(directory / f"test-{number}.yml")
        paths[-1].write_text(yaml.safe_dump({**part, "rule_files": [rules.name], "group_eval_order": order}))
    return paths


def _needed(text: str) -> list[dict[str, Any]]:
    """Return the groups of the shipped rules with the rules that `text` names, and those that these are made of."""
    rules = {_name(rule): rule for group in _groups() for rule in group["rules"]}
    names, new = set[str](), {text}
    while new:
        new = {word for each in new for word in re.findall(r"[\w:]+", str(rules.get(each, each))) if word in rules}
        new -= names
        names |= new
    kept = [{**group, "rules": [rule for rule in group["rules"] if _name(rule) in names]} for group in _groups()]
    return [group for group in kept if group["rules"]]


@cache
def _groups() -> list[dict[str, Any]]:
    return [group for text in rule_files().values() for group in yaml.safe_load(text)["groups"]]


def _name(rule: dict[str, Any]) -> str:
    return str(rule.get("alert") or rule["record"])
