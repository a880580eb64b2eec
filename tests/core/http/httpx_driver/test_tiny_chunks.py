"""Data that takes long to parse is handed to httpcore in pieces, so that a deadline is kept and other tasks run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import anyio
import httpcore
import pytest

from core.http import Policy
from core.http.httpx_driver.async_network_stream import AsyncStream
from core.http.testing import FakeClock
from core.http.wire.attempt_context import AttemptContext, Stage
from tests.core.http.conftest import Serve
from tests.core.http.httpx_driver.conftest import Run
from tests.core.http.misbehave import Reply, Then

CHUNKS = b"1\r\nx\r\n" * 10_000
PLAIN = b"x" * 65_536


class Network:
    """Stands in for a stream of anyio: each read calls `busy` and returns what has arrived."""

    def __init__(self, *arrived: bytes, busy: Callable[[], object] = bool) -> None:
        self.unread = list(arrived)
        self._busy = busy

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        self._busy()
        return self.unread.pop(0)


def made(network: Any) -> AsyncStream:
    return AsyncStream(network, httpcore)


def turns_during(run: Run, reading: Callable[[], Awaitable[None]]) -> int:
    """Return how often another task of the loop ran while `reading` did."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await anyio.lowlevel.checkpoint()
            turns += 1

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(count)
            await reading()
            tasks.cancel_scope.cancel()

    run(main)
    return turns


def test_tiny_chunks_are_handed_over_in_pieces(run: Run) -> None:
    """Nothing is lost, other tasks have a turn before each piece, and the connection is not idle before the last."""
    stream = made(Network(CHUNKS))
    received = b""

    async def reading() -> None:
        nonlocal received
        received = await stream.read(65_536)
        while len(received) < len(CHUNKS):
            piece = await stream.read(65_536)
            assert len(piece) <= 1024
            received += piece

    assert turns_during(run, reading) >= 40
    assert received == CHUNKS


def test_a_cancellation_arrives_between_two_pieces(run: Run) -> None:
    """A deadline that passes while chunks are parsed is noticed before the next piece."""
    stream = made(Network(CHUNKS, CHUNKS))

    async def main() -> bool:
        with anyio.CancelScope() as scope:
            await stream.read(65_536)
            scope.cancel()
            await stream.read(65_536)
        return scope.cancelled_caught

    assert run(main)


def test_a_deadline_that_has_passed_is_noticed_without_waiting(run: Run) -> None:
    """A server whose data never makes the task wait does not keep an attempt beyond its deadline."""
    network, attempt = Network(PLAIN), AttemptContext(-1)

    async def main() -> bool:
        with anyio.CancelScope() as scope, attempt:
            attempt.expire = scope.cancel
            await made(network).read(65_536)
        return scope.cancelled_caught

    assert run(main)
    assert network.unread == [PLAIN]
    assert attempt.stage is Stage.HEADERS  # the request was sent, so it is a read timeout


def test_other_tasks_run_while_data_that_takes_long_keeps_coming(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many small TLS records are such data: anyio returns one at each read, without waiting."""
    clock = FakeClock()
    monkeypatch.setattr("core.http.httpx_driver.async_network_stream.time", SimpleNamespace(monotonic=clock))
    stream = made(Network(*[b"x"] * 5, busy=lambda: clock.advance(0.02)))

    async def reading() -> None:
        for _ in range(5):
            await stream.read(65_536)

    assert turns_during(run, reading) >= 2


def test_other_data_is_handed_over_whole(run: Run) -> None:
    """Data other than tiny chunks is passed on at once."""

    async def main() -> bytes:
        return await made(Network(PLAIN)).read(65_536)

    assert run(main) == PLAIN


def test_a_body_of_tiny_chunks_is_read(run: Run, driver: ModuleType, serve: Serve) -> None:
    """Such a body is as good as another, and the next call on its connection too."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = Reply(head + CHUNKS + b"0\r\n\r\n", Then.KEEP)
    server = serve(answer, answer)

    async def main() -> list[bytes]:
        async with driver.AsyncResilientClient(Policy(attempt_timeout=60)) as client:
            return [(await client.get(server.url)).content for _ in range(2)]

    assert run(main) == [b"x" * 10_000] * 2
    assert server.connections == 1
