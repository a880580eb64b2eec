"""The alerts: each can fire and be silent, each has a runbook, and the files in the repository are up to date."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from core.http.django.batch_job_metrics import BatchJobs
from core.http.events import QuotaSeen
from core.http.observers.prometheus import PrometheusObserver
from core.http.outcome import Quota
from grafana.generate import __main__ as generate
from grafana.generate.alerts import ALERTS, RUNBOOKS, Alert
from grafana.generate.prometheus import rule_files
from grafana.generate.recording import RULES, inlined
from tests.grafana.promtool import promtool
from tests.grafana.rule_tests import FILES, ROOT, in_parts, store

PAGES = ROOT / "docs" / "runbooks"
NAMES = {alert.name for alert in ALERTS}


def cases(path: Path) -> list[dict[str, Any]]:
    """Return the expressions that a file of rule tests looks at."""
    return [case for test in yaml.safe_load(path.read_text())["tests"] for case in test["promql_expr_test"]]


def looks(*, fires: bool) -> set[str]:
    """Return the alerts that a rule test sees firing, or not."""
    found = set()
    for case in (case for path in FILES for case in cases(path)):
        name = re.match(r'ALERTS\{alertname="(\w+)"', case["expr"])
        if name and bool(case.get("exp_samples")) is fires:
            found.add(name[1])
    return found


def test_generated_files_are_up_to_date() -> None:
    """The generated files equal the output of `python -m grafana.generate`."""
    assert generate.outdated() == []


def test_prometheus_accepts_the_rules() -> None:
    """Promtool has no objection to the rules."""
    done = promtool("check", "rules", *(ROOT / path for path in rule_files()))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_alerts_fire_when_they_should(path: Path, tmp_path: Path) -> None:
    """The rule tests of promtool pass."""
    done = promtool("test", "rules", *store(in_parts(path), tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr


def test_rule_tests_load_the_rules() -> None:
    """Each file of rule tests names the rule files and groups as they are, so it passes where a person runs it too."""
    shipped = [ROOT / path for path in rule_files()]
    groups = [group["name"] for path in shipped for group in yaml.safe_load(path.read_text())["groups"]]
    for path in FILES:
        content = yaml.safe_load(path.read_text())
        assert [(path.parent / file).resolve() for file in content["rule_files"]] == shipped
        assert content["group_eval_order"] == groups


def test_every_alert_is_seen_firing() -> None:
    """Each alert fires in a rule test."""
    assert looks(fires=True) == NAMES


def test_every_alert_is_seen_silent() -> None:
    """Each alert but the one that always fires is silent in a rule test; promtool would not mind a misspelt name."""
    assert looks(fires=False) == NAMES - {"Watchdog"}


def test_every_alert_has_a_runbook() -> None:
    """Each alert has a runbook, there are no other runbooks, and the list names all."""
    assert {path.stem for path in PAGES.glob("*.md")} == NAMES | {"README"}
    assert set(re.findall(r"\]\((\w+)\.md\)", (PAGES / "README.md").read_text())) == NAMES


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_runbooks_answer_the_same_questions(alert: Alert) -> None:
    """A runbook begins with the name of its alert, and has sections on its meaning, impact, diagnosis and remedy."""
    text = (PAGES / f"{alert.name}.md").read_text()
    assert text.startswith(f"# {alert.name}\n")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == [
        "What it means",
        "What users notice",
        "How to look",
        "What to do",
    ]
    assert alert.severity in text.splitlines()[2]


@pytest.mark.parametrize("page", sorted(PAGES.glob("*.md")), ids=lambda page: page.stem)
def test_links_of_runbooks_lead_somewhere(page: Path) -> None:
    """Relative links point to pages, and to headings in them, that exist."""
    for target, heading in re.findall(r"\]\((?!http)([^)#]+)#?([^)]*)\)", page.read_text()):
        text = (page.parent / target).read_text()
        headings = {line.strip("# ").lower().replace(" ", "-") for line in text.splitlines() if line.startswith("#")}
        assert not heading or heading in headings


@pytest.mark.parametrize("name", [name for rules in RULES.values() for name in rules])
def test_names_have_the_window(name: str) -> None:
    """A recorded series covers the time in its name."""
    expression = next(rules[name] for rules in RULES.values() if name in rules)
    windows = set(re.findall(r"\[(\w+)\]", expression)) or set(re.findall(r"\d+[mhd]\b", expression))
    assert windows == set(re.findall(r"\d+[mhd]$", name))


def test_alerts_have_no_windows_of_their_own() -> None:
    """All windows are in recording rules, so a test can shorten them and run the alerts as they are."""
    assert [alert.name for alert in ALERTS if "[" in alert.expression] == []


def test_metrics_and_labels_exist() -> None:
    """Alerts are made of metrics that the site shows, and of labels and values that these have."""
    registry = CollectorRegistry()
    observer = PrometheusObserver(registry, ())
    observer.prepare("pypi")
    observer(QuotaSeen("pypi", Quota(limit=1, remaining=1, reset=1.0, resource="core")))
    with BatchJobs(registry).run("update_packages"):
        pass
    samples = [sample for family in registry.collect() for sample in family.samples]
    metrics = {sample.name for sample in samples} | {"batch_job_expected_interval_seconds"}  # of none here
    labels = {pair for sample in samples for pair in sample.labels.items()} | {("upstream", "other"), ("job", "site")}

    expressions = " ".join(inlined(alert.expression) for alert in ALERTS)
    assert set(re.findall(r"\b(?:outbound_http|batch_job)_\w+", expressions)) <= metrics
    matched = re.findall(r'(\w+)(?:=~|!=|=)"([^"]*)"', expressions)
    assert {(label, value) for label, values in matched for value in values.split("|")} <= labels
    grouped = {label for some in re.findall(r"by \(([^)]*)\)", expressions) for label in some.split(", ")}
    assert grouped <= {label for label, _ in labels} | {"role"}


def test_times_can_be_shortened(tmp_path: Path) -> None:
    """With a scale, an hour takes a minute, and nothing else changes."""
    paths = []
    for path, text in rule_files(scale=60).items():
        paths.append(tmp_path / Path(path).name)
        paths[-1].write_text(text)
    done = promtool("check", "rules", *paths)
    assert done.returncode == 0, done.stdout + done.stderr
    recording, alerts = (yaml.safe_load(path.read_text())["groups"] for path in paths)
    recorded = {rule["record"]: rule["expr"] for group in recording for rule in group["rules"]}
    assert "[60000ms]" in recorded["upstream:outbound_http_calls:increase1h"]
    burning = alerts[0]["rules"][0]
    assert (burning["for"], burning["keep_firing_for"]) == ("2000ms", "10000ms")
    assert burning["expr"] == ALERTS[0].expression


def told(path: Path, directory: Path) -> str:
    """Return the texts of the alerts in the tests of a file: promtool prints them all, because none is expected."""
    parts = [part for part in in_parts(path) if " fires " in part["tests"][0]["name"]]
    for test in (part["tests"][0] for part in parts):
        test["alert_rule_test"] = [
            {"alertname": name[1], "eval_time": case["eval_time"], "exp_alerts": []}
            for case in test.pop("promql_expr_test")
            if case.get("exp_samples") and (name := re.match(r'ALERTS\{alertname="(\w+)"', case["expr"]))
        ]
    directory.mkdir()
    done = promtool("test", "rules", *store(parts, directory))
    return done.stdout + done.stderr


def test_texts_of_alerts_are_complete(tmp_path: Path) -> None:
    """No text of an alert lacks a name or a number."""
    texts = {path.stem: told(path, tmp_path / path.stem) for path in FILES}
    everything = "\n".join(texts.values())
    for alert in ALERTS:
        assert f'runbook_url="{RUNBOOKS}/{alert.name}.md"' in everything
    assert re.findall(r"error expanding|<no value>|\{\{|NaN|Inf", everything) == []
    assert 'summary="PyPI failure rate: 15% of calls failed over the last hour"' in texts["calls"]
    assert 'summary="github failure rate: 100% of calls failed over the last hour"' in texts["calls"]
    assert "Reasons within the last hour: timeout (120), breaker_open (60)" in texts["calls"]
