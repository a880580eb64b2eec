"""No test waits, and none shares the state of its upstreams with another."""

from __future__ import annotations

import gc
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadFileScheduling

from core.http import api
from core.http.requests import web

collect_ignore = ["recipes"]  # which have an environment of their own: make recipes
pytest_plugins = ["core.http.testing", "pytester", "tests.servers.redis"]

ROOT = Path(__file__).parents[1]
SLOW = sorted(
    str(path.relative_to(ROOT)) for path in ROOT.glob("tests/**/test_*.py") if "pytest.mark.slow" in path.read_text()
)

# The fixture below is made once for all examples of a property; properties use no state of the process.
settings.register_profile(
    "default", deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.load_profile("default")


class FilesAtOnce(LoadFileScheduling):
    """Each file runs in one process; of the slow ones, most of which start many processes, two at a time."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return f"slow-{SLOW.index(file) % 2}" if file in SLOW else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling | None:
    return FilesAtOnce(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Spend no time on garbage while the tests are collected, nor later on what was: all of it stays."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the slow ones, so that no process is left alone with one at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(autouse=True)
def _fake_time(outbound_http: object) -> Iterator[None]:
    yield
    for adapter in (api._adapter, web._adapter):
        adapter.close()  # its connections lead to servers of this test
