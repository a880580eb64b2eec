"""A body that was refused takes no memory, however long its error is kept."""

from __future__ import annotations

import gc
import gzip
import tracemalloc
from collections.abc import Iterator

import pytest

from core.http import Policy, ResponseTooLarge
from tests.core.http.conftest import Serve
from tests.core.http.httpx_driver.conftest import Caller
from tests.core.http.misbehave import Reply, reply

LIMIT = 16 * 2**20  # uvloop alone reads 2 MiB ahead
ENDLESS = Reply(b"HTTP/1.1 200 OK\r\n\r\n", repeat=b"x" * 65_536)
FINE = reply(200, b"fine")
BOMB = reply(200, gzip.compress(bytes(2 * LIMIT)), "Content-Encoding: gzip")


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Let the garbage collector free nothing."""
    gc.collect()
    gc.disable()
    yield
    tracemalloc.stop()
    gc.enable()


@pytest.mark.parametrize("answer", [ENDLESS, BOMB], ids=["endless", "bomb"])
@pytest.mark.usefixtures("uncollected")
def test_a_body_that_was_too_large_is_freed_at_once(caller: Caller, serve: Serve, answer: Reply) -> None:
    """The body is freed at once: neither the error that the caller keeps nor a reference cycle holds it."""
    server = serve(FINE, answer)
    policy = Policy(retries=0, attempt_timeout=60, max_response_bytes=LIMIT)
    caller(policy).get(server.url)  # runs the imports of a first call
    tracemalloc.start()
    with pytest.raises(ResponseTooLarge) as caught:
        caller(policy).get(server.url)
    assert caught.value.attempts
    assert tracemalloc.get_traced_memory()[0] < LIMIT / 2
