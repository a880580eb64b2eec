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


@pytest.hookimpl(tryfirst=True)  # before xdist looks for the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let each file run in one process. The slow ones begin, two at a time: most start many processes of their own."""
    slow = sorted({item.path for item in items if item.get_closest_marker("slow")})
    for item in items:
        group = f"slow-{slow.index(item.path) % 2}" if item.path in slow else item.location[0]
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: item.path not in slow)


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
