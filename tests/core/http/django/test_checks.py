"""`manage.py check`, and other checks of the settings."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import django
import pytest
from django.apps import AppConfig
from django.core.exceptions import ImproperlyConfigured

from core.http.django.checks import check_outbound_http
from tests.servers.preloaded import run_python

ROOT = Path(__file__).resolve().parents[4]


@pytest.mark.parametrize(
    ("value", "id_", "says"),
    [
        (None, "core.http.E001", "must be a dictionary"),
        ({"defaults": {}}, "core.http.E001", "did you mean 'default'"),
        ({"default": {"retries": -1}}, "core.http.E002", "retries=-1"),
        ({"default": {"retry": 1}}, "core.http.E002", "'retry'"),
        ({"upstreams": {"PyPI": {"hosts": ["pypi.test"]}}}, "core.http.E003", "'PyPI'"),
        ({"upstreams": {"pypi": {"hosts": ["https://pypi.test"]}}}, "core.http.E003", "without scheme"),
        (
            {"upstreams": {"a": {"hosts": ["x.test"]}, "b": {"hosts": ["x.test"]}}},
            "core.http.E004",
            "already belongs to 'a'",
        ),
        ({"user_agent": "two\nlines"}, "core.http.E005", "one line"),
        ({"shared_cache": "nowhere"}, "core.http.E006", "'nowhere'"),
        ({"shared_cache": "default"}, "core.http.W001", "a LocMemCache is not shared"),
    ],
)
def test_reports_mistakes_in_the_settings(settings: Any, value: Any, id_: str, says: str) -> None:
    """Each mistake in OUTBOUND_HTTP has an error of its own, with the value and the page of the documentation."""
    settings.OUTBOUND_HTTP = value
    [error] = check_outbound_http()
    assert error.id == id_
    assert says in error.msg
    assert "docs/settings.md" in str(error.hint)


@pytest.mark.parametrize(
    ("name", "value", "id_", "says"),
    [
        ("METRICS_TOKENS", "secret", "core.http.E007", "must be a list of strings"),
        ("METRICS_TOKENS", [None], "core.http.E007", "must be a list of strings"),
        ("BATCH_JOBS", ["nightly"], "core.http.E008", "must be a dictionary"),
        ("BATCH_JOBS", {"nightly": "24h"}, "core.http.E008", "BATCH_JOBS['nightly'] = '24h'"),
        ("BATCH_JOBS", {"nightly": 0}, "core.http.E008", "more than 0"),
    ],
)
def test_reports_mistakes_in_the_settings_of_metrics(settings: Any, name: str, value: Any, id_: str, says: str) -> None:
    """A mistake in the settings of /metrics has the name of the setting, and shows no token."""
    setattr(settings, name, value)
    [error] = check_outbound_http()
    assert (error.id, error.hint) == (id_, f"See docs/settings.md for what {name} may hold.")
    assert error.msg.startswith(name)
    assert says in error.msg
    assert "secret" not in error.msg


def test_says_everything_at_once(settings: Any) -> None:
    """Three mistakes take one run of the check to find, not three."""
    settings.OUTBOUND_HTTP = {"default": {"retries": -1}, "user_agent": 5, "upstream": {}}
    assert {error.id for error in check_outbound_http()} == {"core.http.E001", "core.http.E002", "core.http.E005"}


def test_nothing_is_wrong_with_ours() -> None:
    """The site's own settings pass."""
    assert check_outbound_http() == []


def manage_check(tmp_path: Path, *lines: str) -> subprocess.CompletedProcess[str]:
    """Run `manage.py check` with the tests' settings and `lines` after them."""
    (tmp_path / "own_settings.py").write_text("\n".join(["from tests.settings import *", *lines, ""]))
    variables = {"DJANGO_SETTINGS_MODULE": "own_settings", "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    return run_python(["manage.py", "check"], {**os.environ, **variables})


def test_the_command_reports_without_a_traceback(tmp_path: Path) -> None:
    """An operator with a typo in the settings reads which one it is, not how Django starts."""
    done = manage_check(
        tmp_path,
        "OUTBOUND_HTTP = {'default': {'retries': 'many'}, 'upstreams': {'pypi': {'hosts': []}}, 'user_agent': ''}",
    )
    assert done.returncode == 1
    assert all(f"core.http.E00{number}" in done.stderr for number in (2, 3, 5))
    assert "retries='many'" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_command_passes_the_settings_as_they_are(tmp_path: Path) -> None:
    """`manage.py check` succeeds with the settings of this repository."""
    done = manage_check(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_old_django_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """On Django 4.2, the error says which version to install."""
    monkeypatch.setattr(django, "VERSION", (4, 2, 30, "final", 0))
    with pytest.raises(
        ImproperlyConfigured, match=r"^Django 4\.2\.30 is too old for core\.http: install Django>=5\.2$"
    ):
        AppConfig.create("core.http.django")
