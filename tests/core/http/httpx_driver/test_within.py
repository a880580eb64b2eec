"""One deadline for several calls, and calls that are paced."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from inspect import isawaitable
from types import ModuleType
from typing import Any, TypeAlias

import anyio
import pytest

from core.http import DeadlineExceeded, Policy
from core.http.testing import FakeClock
from tests.core.http.conftest import Serve
from tests.core.http.httpx_driver.conftest import Caller, Run
from tests.core.http.misbehave import reply

Get: TypeAlias = Callable[[str], Awaitable[Any]]


def in_turn(caller: Caller, client: Any, steps: Callable[[Get], Any]) -> None:
    """Run ``steps(get)``, where ``await get(url)`` is a call of `client`, in a thread or on an event loop."""

    async def get(url: str) -> Any:
        answer = client.get(url)
        return await answer if isawaitable(answer) else answer

    def use(_: Any) -> Any:
        if not caller.is_sync:
            return steps(get)
        with pytest.raises(StopIteration):  # it awaits nothing
            steps(get).send(None)
        return None

    caller.on_client(client, use)


def test_calls_within_share_a_deadline(caller: Caller, serve: Serve, clock: FakeClock) -> None:
    """Calls in the block share its deadline; after the block, each call has the timeout of its policy."""
    server = serve(*[reply()] * 9, on_request=lambda: clock.advance(25))
    client = caller()._client

    async def steps(get: Get) -> None:
        with client.within(60):
            for _ in range(3):
                await get(server.url)
            with pytest.raises(DeadlineExceeded) as raised:
                await get(server.url)
        assert isinstance(raised.value, caller.library.ReadTimeout)
        assert len(server.requests) == 3
        assert (await get(server.url)).status_code == 200

    in_turn(caller, client, steps)


def test_retries_within_keep_the_deadline(caller: Caller, serve: Serve, clock: FakeClock) -> None:
    """A retry that would come after the deadline of the block is not made."""
    server = serve(*[reply(503)] * 9)
    client = caller()._client

    async def steps(get: Get) -> None:
        with client.within(4):
            assert (await get(server.url)).status_code == 503

    in_turn(caller, client, steps)
    assert clock.waits == [1, 2]


def test_within_lengthens_nothing(caller: Caller, serve: Serve, clock: FakeClock) -> None:
    """A call has no more time than its policy gives it."""
    server = serve(reply(503, b"", "Retry-After: 100"))
    client = caller()._client

    async def steps(get: Get) -> None:
        with client.within(1000):
            assert (await get(server.url)).status_code == 503

    in_turn(caller, client, steps)
    assert clock.waits == []


def test_the_shorter_of_two_deadlines_holds(caller: Caller, serve: Serve, clock: FakeClock) -> None:
    """One deadline inside another can only shorten it, and ends with its block, also where that raises."""
    server = serve(*[reply()] * 9, on_request=lambda: clock.advance(5))
    client = caller()._client

    async def steps(get: Get) -> None:
        with client.within(20):
            with client.within(5):
                await get(server.url)
                with pytest.raises(DeadlineExceeded):
                    await get(server.url)
            with pytest.raises(ZeroDivisionError), client.within(1000):
                raise ZeroDivisionError
            for _ in range(3):
                await get(server.url)
            with client.within(1000), pytest.raises(DeadlineExceeded):
                await get(server.url)

    in_turn(caller, client, steps)
    assert len(server.requests) == 4


def test_within_is_for_its_client(caller: Caller, serve: Serve, clock: FakeClock) -> None:
    """The deadline of a block applies only to its client, on that client's clock."""
    server = serve(*[reply()] * 9, on_request=lambda: clock.advance(5))
    own = FakeClock()
    client, other = caller(clock=own, wait=own.wait)._client, caller()._client

    async def steps(get: Get) -> None:
        with client.within(5), other.within(-1):
            assert (await get(server.url)).status_code == 200
            own.advance(5)
            with pytest.raises(DeadlineExceeded):
                await get(server.url)

    in_turn(caller, client, steps)


def test_within_holds_for_redirects(caller: Caller, serve: Serve, clock: FakeClock) -> None:
    """The requests of a redirect share the deadline of the block."""
    server = serve(*[reply(302, b"", "Location: /next")] * 9, on_request=lambda: clock.advance(5))
    client = caller(follow_redirects=True)._client

    async def steps(get: Get) -> None:
        with client.within(12), pytest.raises(DeadlineExceeded):
            await get(server.url)

    in_turn(caller, client, steps)
    assert len(server.requests) == 3


def test_tasks_that_are_started_within_share_it(run: Run, driver: ModuleType, serve: Serve, clock: FakeClock) -> None:
    """A task has the deadline of the block that it was started in, and one that was started before does not."""
    server = serve(*[reply()] * 9, on_request=lambda: clock.advance(5))
    statuses: list[int] = []

    async def main() -> None:
        async with driver.AsyncResilientClient() as client:
            begun, go = anyio.Event(), anyio.Event()

            async def before() -> None:
                begun.set()
                await go.wait()
                statuses.append((await client.get(server.url)).status_code)

            async def inside() -> None:
                with pytest.raises(DeadlineExceeded):
                    await client.get(server.url)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(before)
                await begun.wait()
                with client.within(0):
                    async with anyio.create_task_group() as inner:
                        inner.start_soon(inside)
                    go.set()

    run(main)
    assert statuses == [200]


def test_seconds_must_be_a_number(driver: ModuleType) -> None:
    """An invalid number of seconds raises an error with the name of the argument."""
    with pytest.raises(TypeError, match="seconds="), driver.ResilientClient() as client:
        client.within("5")


def test_calls_are_paced(caller: Caller, serve: Serve, clock: FakeClock) -> None:
    """With `requests_per_second` each call waits for its turn, on the clock of the fixture."""
    server = serve(*[reply()] * 9)
    client = caller(Policy(requests_per_second=2))._client

    async def steps(get: Get) -> None:
        for _ in range(4):
            await get(server.url)

    in_turn(caller, client, steps)
    assert clock.waits == [0.5, 0.5, 0.5]


def test_tasks_are_paced(run: Run, driver: ModuleType, serve: Serve, clock: FakeClock) -> None:
    """Tasks that call at the same time get their turns one after the other, and all are answered."""
    times: list[float] = []
    server = serve(*[reply()] * 9)

    async def main() -> None:
        async with driver.AsyncResilientClient(Policy(requests_per_second=2)) as client:

            async def get() -> None:
                response = await client.get(server.url)
                assert response.status_code == 200
                times.append(clock())

            async with anyio.create_task_group() as tasks:
                for _ in range(4):
                    tasks.start_soon(get)

    run(main)
    assert len(times) == 4
    assert clock() >= 1.5
