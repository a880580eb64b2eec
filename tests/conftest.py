"""No test waits, and none shares the state of its upstreams with another."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from core.http import api
from core.http.requests import web

collect_ignore = ["recipes"]  # which have an environment of their own: make recipes
pytest_plugins = ["core.http.testing", "pytester", "tests.servers.redis"]

# The fixture below is made once for all examples of a property; properties use no state of the process.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
settings.load_profile("default")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the slowest files, so that no process is left alone with one at the end."""
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
