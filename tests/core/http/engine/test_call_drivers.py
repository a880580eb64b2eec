"""One engine under two drivers: threads, and an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

import pytest
import requests
import responses as responses_library

from core.http import ResilientSession
from core.http.engine.call import Call
from core.http.engine.steps import Stop, Wait
from core.http.engine.upstream import Upstream
from core.http.events import (
    Event,
    Target,
)
from core.http.testing import FakeClock
from core.http.wire.error_outcomes import diagnose
from tests.core.http.engine.call_helpers import answer
from tests.core.http.engine.world import GET, World


@dataclass(frozen=True)
class Answer:
    status: int
    retry_after: str | None = None


Reaction = Answer | type[requests.RequestException]
Transport = Callable[[str], Awaitable[Answer]]


async def asynchronous_driver(
    upstream: Upstream, target: Target, transport: Transport, sleep: Callable[[float], Awaitable[None]]
) -> Answer:
    """Send a call through an asynchronous client: all that a second driver needs."""
    call = Call(upstream, target)
    try:
        while not isinstance(step := call.begin(), Stop):
            if isinstance(step, Wait):
                await sleep(step.seconds)
                continue
            error: Exception | None = None
            try:
                got = await transport(target.method)
                outcome = answer(got.status, got.retry_after)
            except requests.RequestException as exc:
                error, outcome = exc, diagnose(exc)
            if not call.end(outcome):
                break
    except BaseException:
        call.cancel()
        raise
    if error is not None:
        raise error
    return got


@dataclass
class Told:
    """The calls that a driver made for a script of reactions."""

    end: int | type[BaseException]
    attempts: int
    waits: list[float]
    events: list[tuple[str, ...]]


def summarize(events: list[Event]) -> list[tuple[str, ...]]:
    return [(type(event).__name__, str(getattr(event, "reason", getattr(event, "source", "")))) for event in events]


def through_asyncio(method: str, script: list[Reaction]) -> Told:
    world, left = World(), iter(script)
    attempts = 0

    async def transport(method: str) -> Answer:
        nonlocal attempts
        attempts += 1
        reaction = next(left)
        if isinstance(reaction, Answer):
            return reaction
        raise reaction

    async def sleep(seconds: float) -> None:
        world.clock.wait(seconds)

    target = Target(method, "https", "example.org", "/")
    try:
        end: int | type[BaseException] = asyncio.run(
            asynchronous_driver(world.upstream, target, transport, sleep)
        ).status
    except requests.RequestException as exc:
        end = type(exc)
    return Told(end, attempts, world.clock.waits, summarize(world.events))


@pytest.fixture
def through_requests(
    clock: FakeClock, events: list[Event], responses: responses_library.RequestsMock, session: ResilientSession
) -> Iterator[Callable[[str, list[Reaction]], Told]]:
    def tell(method: str, script: list[Reaction]) -> Told:
        for reaction in script:
            if isinstance(reaction, Answer):
                headers = {"Retry-After": reaction.retry_after} if reaction.retry_after else {}
                responses.add(method, "https://example.org/", status=reaction.status, headers=headers)
            else:
                responses.add(method, "https://example.org/", body=reaction())
        try:
            end: int | type[BaseException] = session.request(method, "https://example.org/").status_code
        except requests.RequestException as exc:
            end = type(exc)
        return Told(end, len(responses.calls), clock.waits, summarize(events))

    return tell


@pytest.mark.parametrize(
    ("method", "script", "end", "waits"),
    [
        ("GET", [Answer(200)], 200, []),
        ("GET", [Answer(503), Answer(200)], 200, [1]),
        ("GET", [Answer(503), requests.ConnectionError, requests.ReadTimeout, Answer(404)], 404, [1, 2, 4]),
        ("GET", [Answer(500)] * 4, 500, [1, 2, 4]),
        ("GET", [requests.ConnectionError] * 4, requests.ConnectionError, [1, 2, 4]),
        ("GET", [requests.exceptions.SSLError], requests.exceptions.SSLError, []),
        ("GET", [Answer(429, "9"), Answer(200)], 200, [9]),
        ("GET", [Answer(503), Answer(429, "3600")], 429, [1]),
        ("POST", [Answer(503)], 503, []),
        ("POST", [requests.ConnectTimeout, Answer(201)], 201, [1]),
        ("POST", [requests.ReadTimeout], requests.ReadTimeout, []),
    ],
)
def test_two_drivers_decide_alike(
    method: str,
    script: list[Reaction],
    end: int | type[BaseException],
    waits: list[float],
    through_requests: Callable[[str, list[Reaction]], Told],
) -> None:
    """Threads and asyncio tasks make the same decisions for the same answers."""
    told = through_requests(method, script)
    assert (told.end, told.attempts, told.waits) == (end, len(script), waits)
    assert told == through_asyncio(method, script)


def test_a_cancelled_task_ends_its_attempt() -> None:
    """Cancelling an asyncio task in the middle of an attempt ends the attempt."""
    world = World()

    async def transport(method: str) -> Answer:
        await asyncio.Event().wait()
        raise AssertionError

    async def cancel_in_the_middle() -> None:
        task = asyncio.create_task(asynchronous_driver(world.upstream, GET, transport, asyncio.sleep))
        await asyncio.sleep(0)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancel_in_the_middle())
    assert summarize(world.events) == [("AttemptStarted", ""), ("AttemptEnded", "")]
