"""Every test of the driver runs with httpx and with httpx2, and most in a thread, on asyncio, uvloop or trio."""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from types import ModuleType
from typing import Any, TypeAlias

import anyio
import pytest

Run: TypeAlias = Callable[[Callable[[], Awaitable[Any]]], Any]
HAS_HTTPX2 = find_spec("httpx2") is not None
"""httpx2 needs a newer idna than the lowest versions that are supported."""
LEFT_OUT = (frozenset({"httpx", "uvloop"}), frozenset({"httpx2", "trio"})) if HAS_HTTPX2 else ()
"""Each library and each loop is in other pairs, and the two know nothing of each other."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the pairs of `LEFT_OUT`; where there is no httpx2, httpx runs on every loop."""
    left_out = {item for item in items if any(pair <= _parameters(item) for pair in LEFT_OUT)}
    if left_out:
        config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]


def _parameters(item: pytest.Item) -> frozenset[str]:
    found = getattr(item, "callspec", None)
    return frozenset(value for value in found.params.values() if isinstance(value, str)) if found else frozenset()


@pytest.fixture(params=["httpx", "httpx2"] if HAS_HTTPX2 else ["httpx"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def driver(name: str) -> ModuleType:
    """Return core.http.httpx or core.http.httpx2."""
    return importlib.import_module(f"core.http.{name}")


@pytest.fixture
def library(name: str) -> ModuleType:
    """Return httpx or httpx2 themselves."""
    return importlib.import_module(name)


def _run_on(loop: str) -> Run:
    if loop == "trio":
        return lambda main: anyio.run(main, backend="trio")
    return lambda main: anyio.run(main, backend="asyncio", backend_options={"use_uvloop": loop == "uvloop"})


@pytest.fixture(params=["asyncio", "uvloop", "trio"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run a function in each event loop."""
    return _run_on(request.param)


class Caller:
    """Makes a client, with it the calls of a test one after the other, and closes it."""

    def __init__(self, driver: ModuleType, kind: str) -> None:
        self.driver = driver
        self.library = importlib.import_module(driver.__name__.rpartition(".")[2])
        self.is_sync = kind == "threads"
        self._kind = kind

    def __call__(self, *args: Any, **options: Any) -> _Calls:
        return _Calls(self, args, options)

    def on_client(self, client: Any, use: Callable[[Any], Any]) -> Any:
        """Call ``use(client)``, and await its result."""
        if self.is_sync:
            with client:
                return use(client)

        async def main() -> Any:
            async with client:
                return await use(client)

        return _run_on(self._kind)(main)


class _Calls:
    def __init__(self, caller: Caller, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        self._caller = caller
        driver = caller.driver
        kind = driver.ResilientClient if caller.is_sync else driver.AsyncResilientClient
        self._client = kind(*args, **options)

    def get(self, url: str, **options: Any) -> Any:
        return self.request("GET", url, **options)

    def request(self, method: str, url: str, **options: Any) -> Any:
        return self._caller.on_client(self._client, lambda client: client.request(method, url, **options))


@pytest.fixture(params=["threads", "asyncio", "uvloop", "trio"])
def caller(driver: ModuleType, request: pytest.FixtureRequest) -> Caller:
    """Make calls: ``caller(policy).get(url)``, by the client for threads and by the one for event loops."""
    return Caller(driver, request.param)
