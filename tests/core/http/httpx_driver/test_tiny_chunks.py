"""Data that takes long to parse is handed to httpcore in pieces, so that a deadline is kept and other tasks run."""

from __future__ import annotations

import time
from types import ModuleType

import anyio

from core.http import Policy
from core.http.httpx_driver.async_backend import AsyncStream
from core.http.wire.attempt_context import AttemptContext
from tests.core.http.conftest import Serve
from tests.core.http.httpx_driver.conftest import Run
from tests.core.http.misbehave import Reply, Then

CHUNKS = b"1\r\nx\r\n" * 10_000
PLAIN = b"x" * 65_536


class Network:
    """A fake stream of httpcore: each read keeps the loop busy for `seconds` and returns all data that has arrived."""

    def __init__(self, *arrived: bytes, seconds: float = 0.0) -> None:
        self.unread = list(arrived)
        self._seconds = seconds

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - httpcore's
        time.sleep(self._seconds)  # noqa: ASYNC251 - that is the point
        return self.unread.pop(0)


def test_tiny_chunks_are_handed_over_in_pieces(run: Run) -> None:
    """Tiny chunks arrive in larger pieces, other tasks run before each, and the connection is busy until the last."""
    stream = AsyncStream(Network(CHUNKS))
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await anyio.lowlevel.checkpoint()
            turns += 1

    async def main() -> bytes:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(count)
            received = await stream.read(65_536)
            while len(received) < len(CHUNKS):
                piece = await stream.read(65_536)
                assert len(piece) <= 1024
                received += piece
            tasks.cancel_scope.cancel()
        return received

    assert run(main) == CHUNKS
    assert turns >= 40


def test_a_cancellation_arrives_between_two_pieces(run: Run) -> None:
    """A deadline that passes while chunks are parsed is noticed before the next piece."""
    stream = AsyncStream(Network(CHUNKS, CHUNKS))

    async def main() -> bool:
        with anyio.CancelScope() as scope:
            await stream.read(65_536)
            scope.cancel()
            await stream.read(65_536)
        return scope.cancelled_caught

    assert run(main)


def test_a_deadline_that_has_passed_is_noticed_without_waiting(run: Run) -> None:
    """A server whose data never makes the task wait does not keep an attempt beyond its deadline."""
    network = Network(PLAIN)

    async def main() -> bool:
        with anyio.CancelScope() as scope, AttemptContext(-1) as attempt:
            attempt.expire = scope.cancel
            await AsyncStream(network).read(65_536)
        return scope.cancelled_caught

    assert run(main)
    assert network.unread == [PLAIN]


def test_other_tasks_run_while_data_that_takes_long_keeps_coming(run: Run) -> None:
    """Many small TLS records are such data: anyio returns one at each read, without waiting."""
    stream = AsyncStream(Network(*[b"x"] * 5, seconds=0.02))
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await anyio.lowlevel.checkpoint()
            turns += 1

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(count)
            for _ in range(5):
                await stream.read(65_536)
            tasks.cancel_scope.cancel()

    run(main)
    assert turns >= 4


def test_other_data_is_handed_over_whole(run: Run) -> None:
    """Bodies that are no such chunks are not made slower."""

    async def main() -> bytes:
        return await AsyncStream(Network(PLAIN)).read(65_536)

    assert run(main) == PLAIN


def test_a_body_of_tiny_chunks_is_read(run: Run, driver: ModuleType, serve: Serve) -> None:
    """A body of tiny chunks is read, and its connection is used for the next call."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = Reply(head + CHUNKS + b"0\r\n\r\n", Then.KEEP)
    server = serve(answer, answer)

    async def main() -> list[bytes]:
        async with driver.AsyncResilientClient(Policy(attempt_timeout=60)) as client:
            return [(await client.get(server.url)).content for _ in range(2)]

    assert run(main) == [b"x" * 10_000] * 2
    assert server.connections == 1
