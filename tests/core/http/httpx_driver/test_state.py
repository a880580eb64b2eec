"""State that requests and httpx, threads and event loops share in a process; and waits in event loops."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
from types import ModuleType
from typing import Any

import anyio
import pytest
import requests

from core import http
from core.http import CircuitBreaker, Policy, ResilientSession, RetryBudget, Verdict, process
from core.http.registry import Config, Runtime
from core.http.testing import FakeClock, OutboundHTTP
from tests.core.http.conftest import Serve
from tests.core.http.httpx_driver.conftest import Caller, Run
from tests.core.http.misbehave import HOLD, Reply, Then, reply

OPENS_AT_ONCE = CircuitBreaker(failures_in_a_row=1)


@pytest.fixture
def real_time() -> Any:
    """Run the upstreams on the real clock, for waits that are woken in real time."""
    with process.on(Runtime()):
        yield


def upstream(name: str, server: Any, policy: Policy) -> None:
    """Let the process have one upstream."""
    process.use(lambda: process.ProcessRegistry(Config(upstreams={name: policy}, hosts={server.netloc: name})))


def test_a_breaker_that_requests_opened_refuses_httpx(caller: Caller, closed_port: str) -> None:
    """The breaker that a requests session opened refuses an httpx client of the process at once."""
    for _ in range(3):
        with pytest.raises(requests.ConnectionError):
            ResilientSession().get(f"http://{closed_port}/")
    with pytest.raises(http.CircuitOpen) as raised:
        caller().get(f"http://{closed_port}/")
    assert raised.value.attempts == ()


def test_and_the_other_way_round(caller: Caller, closed_port: str, library: ModuleType) -> None:
    """The breaker that an httpx client opened refuses a requests session."""
    for _ in range(3):
        with pytest.raises(library.ConnectError):
            caller().get(f"http://{closed_port}/")
    with pytest.raises(http.CircuitOpen) as raised:
        ResilientSession().get(f"http://{closed_port}/")
    assert isinstance(raised.value, requests.ConnectionError)


def test_a_policy_of_its_own_shares_nothing(caller: Caller, serve: Serve) -> None:
    """As for a session: state is shared by clients without a policy."""
    server = serve(reply(503), reply(200))
    assert caller(Policy(retries=0, circuit_breaker=OPENS_AT_ONCE)).get(server.url).status_code == 503
    assert caller().get(server.url).status_code == 200


def test_a_partition_has_a_quota_of_its_own(caller: Caller, serve: Serve) -> None:
    """A credential without quota does not close the gate for another, set for a client or for a call."""
    server = serve(reply(429, b"", "Retry-After: 600"), reply(200), reply(200))
    assert caller(partition="token-1").get(server.url).status_code == 429
    with pytest.raises(http.RateLimited):
        caller().get(server.url, extensions={"core.http": {"partition": "token-1"}})
    assert caller(partition="token-2").get(server.url).status_code == 200
    assert caller().get(server.url).status_code == 200


def test_wrong_extensions_are_refused(caller: Caller, serve: Serve) -> None:
    """A mistake in the extensions raises an error instead of being ignored."""
    with pytest.raises(TypeError, match="did you mean 'partition'"):
        caller().get(serve(reply()).url, extensions={"core.http": {"partitions": "x"}})
    with pytest.raises(ValueError, match="partition= must be a name"):
        caller().get(serve(reply()).url, extensions={"core.http": {"partition": "to ken"}})


def test_classify_sees_the_body(caller: Caller, serve: Serve, clock: FakeClock) -> None:
    """`Policy.classify` can read the body, as for requests."""

    def classify(status: int, _: Any, body: bytes | None) -> Verdict | None:
        return Verdict.transient() if body == b"not yet" else None

    server = serve(reply(200, b"not yet"), reply(200, b"fine"))
    assert caller(Policy(classify=classify)).get(server.url).content == b"fine"


def test_fields_of_the_policy_are_no_options(driver: ModuleType) -> None:
    """Policy fields as options of a client raise an error that says where they belong."""
    with pytest.raises(TypeError, match=r"write ResilientClient\(Policy\(retries=…\)\)"):
        driver.ResilientClient(retries=3)
    with pytest.raises(TypeError, match=r"write AsyncResilientTransport\(Policy\(retries=…\)\)"):
        driver.AsyncResilientTransport(retries=3)
    with pytest.raises(TypeError, match="must be a Policy or None"):
        driver.AsyncResilientClient({"retries": 3})


def test_tasks_wait_for_a_slot_without_blocking_the_loop(
    run: Run, driver: ModuleType, serve: Serve, real_time: None
) -> None:
    """With one slot, ten tasks get their answers one after the other, without blocking the event loop."""
    server = serve(*[reply(200, b"fine")] * 10)
    upstream("one", server, Policy(max_concurrency=1, attempt_timeout=30))

    async def main() -> list[int]:
        statuses: list[int] = []
        async with driver.AsyncResilientClient() as client, anyio.create_task_group() as tasks:

            async def get() -> None:
                statuses.append((await client.get(server.url)).status_code)

            for _ in range(10):
                tasks.start_soon(get)
        return statuses

    assert run(main) == [200] * 10


def test_a_cancelled_task_gives_back_its_slot(run: Run, driver: ModuleType, serve: Serve, real_time: None) -> None:
    """A task that is cancelled in an attempt or in the queue releases slot, permit and connection."""
    server = serve(HOLD, HOLD, HOLD, reply(200, b"fine"))
    upstream("one", server, Policy(max_concurrency=1, attempt_timeout=30, retries=0))

    async def main() -> bytes:
        async with driver.AsyncResilientClient() as client:
            for _ in range(3):
                with anyio.move_on_after(0.1):
                    async with anyio.create_task_group() as tasks:
                        for _ in range(3):
                            tasks.start_soon(client.get, server.url)
            while len(server.requests) < 3:
                with anyio.move_on_after(0.1):
                    await client.get(server.url)
            with anyio.fail_after(20):
                content: bytes = (await client.get(server.url)).content
                return content

    assert run(main) == b"fine"


def test_backoff_ends_when_the_breaker_opens(
    run: Run, driver: ModuleType, serve: Serve, library: ModuleType, real_time: None
) -> None:
    """Tasks in a long backoff are woken when the breaker opens, here by a thread."""
    server = serve(*[reply(503)] * 20)
    breaker = CircuitBreaker(failures_in_a_row=4)
    budget = RetryBudget(minimum=100)
    upstream("one", server, Policy(backoff=30, circuit_breaker=breaker, retry_budget=budget))

    def fail() -> None:
        with ResilientSession() as session:
            session.trust_env = False
            session.get(server.url)

    thread = threading.Thread(target=fail, daemon=True)

    async def main() -> list[int]:
        statuses: list[int] = []
        async with driver.AsyncResilientClient() as client:
            with anyio.fail_after(20):
                async with anyio.create_task_group() as tasks:

                    async def get() -> None:
                        statuses.append((await client.get(server.url)).status_code)

                    for _ in range(3):
                        tasks.start_soon(get)
                    while len(server.requests) < 3:  # noqa: ASYNC110 - of a server in a thread
                        await anyio.sleep(0.02)
                    await anyio.wait_all_tasks_blocked()
                    thread.start()
        return statuses

    assert run(main) == [503] * 3
    thread.join(20)  # its call ends before its server does


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_one_client_on_two_loops_in_turn(run: Run, driver: ModuleType, serve: Serve) -> None:
    """A client that is used in two event loops in turn has a pool in each, unlike in httpx."""
    server = serve(reply(200, b"one", then=Then.KEEP), reply(200, b"two", then=Then.KEEP))
    client = driver.AsyncResilientClient()

    async def get() -> bytes:
        content: bytes = (await client.get(server.url)).content
        return content

    async def get_and_close() -> bytes:
        try:
            return await get()
        finally:
            await client.aclose()

    assert (run(get), run(get_and_close)) == (b"one", b"two")
    gc.collect()  # a warning about sockets of the first loop belongs to this test, and not to a later one


def test_a_connection_is_used_again(caller: Caller, serve: Serve) -> None:
    """A connection is reused for the next call."""
    server = serve(reply(200, b"one", then=Then.KEEP), reply(200, b"two", then=Then.KEEP))

    async def atwice(client: Any) -> Any:
        return [await client.get(server.url), await client.get(server.url)]

    def twice(client: Any) -> Any:
        return [client.get(server.url), client.get(server.url)] if caller.is_sync else atwice(client)

    first, second = caller.on_client(caller()._client, twice)
    assert (first.content, second.content, server.connections) == (b"one", b"two", 1)


def test_a_silent_connection_is_replaced_at_once(caller: Caller, serve: Serve, clock: FakeClock) -> None:
    """A timeout on a stale connection is retried at once on a new one, and does not count as a failure."""
    server = serve(reply(200, b"one", then=Then.KEEP), Reply(b"", Then.HOLD), reply(200, b"two"))
    policy = Policy(attempt_timeout=1)

    async def atwice(client: Any) -> Any:
        return [await client.get(server.url), await client.get(server.url)]

    def twice(client: Any) -> Any:
        return [client.get(server.url), client.get(server.url)] if caller.is_sync else atwice(client)

    _, second = caller.on_client(caller(policy)._client, twice)
    assert second.content == b"two"
    assert [attempt.outcome.stale for attempt in second.attempts] == [True, False]
    assert clock.waits == []


def test_a_full_pool_says_nothing_of_the_upstream(
    run: Run, driver: ModuleType, library: ModuleType, serve: Serve, outbound_http: OutboundHTTP
) -> None:
    """Waiting for a connection of a pool that is full opens no breaker."""
    server = serve(reply(200, b"12345678", then=Then.KEEP), reply(200, b"fine"))
    policy = Policy(retries=0, attempt_timeout=1, circuit_breaker=OPENS_AT_ONCE)
    limits = library.Limits(max_connections=1)

    async def main() -> bytes:
        async with driver.AsyncResilientClient(policy, limits=limits) as client:
            async with client.stream("GET", server.url):
                with pytest.raises(library.PoolTimeout) as raised:
                    await client.get(server.url)
                assert raised.value.reached == "pool"
            content: bytes = (await client.get(server.url)).content
            return content

    assert run(main) == b"fine"


def test_the_program_ends_with_its_loop(driver: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """`asyncio.run` returns in time although a look-up still hangs: an executor would be waited for."""
    release = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: release.wait(30))

    async def main() -> None:
        async with driver.AsyncResilientClient(Policy(retries=0, attempt_timeout=0.2)) as client:
            with pytest.raises(http.AttemptTimeout):
                await client.get("http://hanging.test/")

    done = threading.Event()
    thread = threading.Thread(target=lambda: (asyncio.run(main()), done.set()), daemon=True)
    thread.start()
    try:
        assert done.wait(10)
    finally:
        release.set()
        thread.join(10)
