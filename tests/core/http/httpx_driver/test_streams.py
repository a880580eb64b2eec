"""Bodies that the caller reads."""

from __future__ import annotations

import gzip
from types import ModuleType
from typing import Any

import anyio
import pytest

from core import http
from core.http import Policy
from core.http.testing import OutboundHTTP
from tests.core.http.conftest import Serve
from tests.core.http.httpx_driver.conftest import Caller, Run
from tests.core.http.misbehave import Reply, Then, reply


def streamed(caller: Caller, client: Any, url: str, **how: Any) -> list[bytes]:
    """Return the chunks of a streamed answer."""

    async def aread(client: Any) -> list[bytes]:
        async with client.stream("GET", url, **how) as response:
            return [chunk async for chunk in response.aiter_bytes(4)]

    def read(client: Any) -> Any:
        if not caller.is_sync:
            return aread(client)
        with client.stream("GET", url, **how) as response:
            return list(response.iter_bytes(4))

    chunks: list[bytes] = caller.on_client(client, read)
    return chunks


def test_a_client_streams(caller: Caller, serve: Serve) -> None:
    """The attempt ends with the headers; the body, such as server-sent events, is read as it arrives."""
    server = serve(reply(503), Reply(b"HTTP/1.1 200 OK\r\n\r\n", repeat=b"data", every=0.05, times=3))
    assert streamed(caller, caller()._client, server.url) == [b"data"] * 3


def test_a_stream_is_decoded(caller: Caller, serve: Serve) -> None:
    """A stream is decoded like a body that is read at once, in chunks of the requested size."""
    server = serve(reply(200, gzip.compress(b"abcdefghij"), "Content-Encoding: gzip"))
    assert streamed(caller, caller()._client, server.url) == [b"abcd", b"efgh", b"ij"]


@pytest.mark.parametrize(
    ("body", "coding"),
    [(b"abcdefghij", "aws-chunked"), (gzip.compress(b"abcdefghij"), "aws-chunked, gzip")],
    ids=["alone", "with gzip"],
)
def test_unknown_codings_are_ignored(body: bytes, coding: str, caller: Caller, serve: Serve) -> None:
    """As in httpx: object stores keep codings of uploads, such as "aws-chunked", in the header."""
    server = serve(reply(200, body, f"Content-Encoding: {coding}"))
    assert streamed(caller, caller()._client, server.url) == [b"abcd", b"efgh", b"ij"]


def test_reading_all_of_a_stream_is_bounded(caller: Caller, serve: Serve) -> None:
    """`read` obeys max_response_bytes."""
    server = serve(reply(200, b"x" * 2000))

    async def aread(client: Any) -> None:
        async with client.stream("GET", server.url) as response:
            await response.aread()

    def read(client: Any) -> Any:
        if not caller.is_sync:
            return aread(client)
        with client.stream("GET", server.url) as response:
            return response.read()

    with pytest.raises(http.ResponseTooLarge):
        caller.on_client(caller(Policy(max_response_bytes=1000))._client, read)


def test_a_stream_that_stops_is_given_up(caller: Caller, serve: Serve, library: ModuleType) -> None:
    """Each wait for more is bounded by the timeout of an attempt; the error has the attempts of the call."""
    server = serve(reply(200, b"half", length=8, then=Then.HOLD))
    with pytest.raises(library.ReadTimeout) as raised:
        streamed(caller, caller(Policy(attempt_timeout=0.25))._client, server.url)
    assert [attempt.outcome.status for attempt in raised.value.attempts] == [200]


def test_the_last_answer_can_be_read(caller: Caller, serve: Serve) -> None:
    """After failed retries, the caller can read the body of the last answer."""
    server = serve(*[reply(503, b"down")] * 4)
    assert streamed(caller, caller()._client, server.url) == [b"down"]


def test_a_transport_reads_bodies_by_default(caller: Caller, serve: Serve, library: ModuleType) -> None:
    """A transport does not know if its client streams, so it reads bodies, unless an extension says otherwise."""
    kind, transport = library.AsyncClient, caller.driver.AsyncResilientTransport
    if caller.is_sync:
        kind, transport = library.Client, caller.driver.ResilientTransport
    server = serve(reply(200, b"half", length=8), reply(200, b"whole"), reply(200, b"half", length=8))
    assert streamed(caller, kind(transport=transport()), server.url) == [b"whol", b"e"]
    with pytest.raises(library.RemoteProtocolError):
        streamed(caller, kind(transport=transport()), server.url, extensions={"core.http": {"stream": True}})


def test_a_stream_holds_its_slot_until_it_is_closed(
    run: Run, driver: ModuleType, serve: Serve, outbound_http: OutboundHTTP
) -> None:
    """A streamed call keeps its slot until its body was read or closed."""
    server = serve(reply(200, b"12345678", then=Then.KEEP), reply(200, b"fine"))
    policy = Policy(max_concurrency=1, total_timeout=20)

    async def main() -> Any:
        async with driver.AsyncResilientClient(policy) as client:
            async with client.stream("GET", server.url):
                with pytest.raises(http.DeadlineExceeded):
                    await client.get(server.url)
            return (await client.get(server.url)).content

    assert run(main) == b"fine"


def test_a_cancelled_reader_closes_the_connection(run: Run, driver: ModuleType, serve: Serve) -> None:
    """The connection of a stream whose reader was cancelled is closed."""
    server = serve(reply(200, b"half", length=8, then=Then.HOLD))

    async def main() -> None:
        async with driver.AsyncResilientClient() as client:
            with anyio.move_on_after(0.2):
                async with client.stream("GET", server.url) as response:
                    await response.aread()

    run(main)
    assert server.hung_up.wait(5)
