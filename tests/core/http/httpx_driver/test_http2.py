"""HTTP/2, where it is switched on: calls share a connection, and one that is cut off harms no other."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import anyio
import pytest

from core import http
from core.http import Policy
from tests.core.http.http2_server import HTTP2Server
from tests.core.http.httpx_driver.conftest import Caller, Run
from tests.core.http.misbehave import TLS

pytest.importorskip("h2")
ONCE = Policy(retries=0, attempt_timeout=60)
HASTY = 0.3


@pytest.fixture
def server() -> Iterator[HTTP2Server]:
    with HTTP2Server() as server:
        yield server


def trusting() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=TLS / "ca.pem")


def test_a_call_over_http2(caller: Caller, server: HTTP2Server) -> None:
    """With `http2=True`, HTTP/2 is used if the server supports it."""
    response = caller(ONCE, http2=True, verify=trusting()).get(f"{server.url}/fine")
    assert (response.http_version, response.content) == ("HTTP/2", b"/fine")


def test_it_is_off_by_default(caller: Caller, server: HTTP2Server) -> None:
    """By default, an answer in HTTP/2 is an error."""
    with pytest.raises(caller.library.TransportError):
        caller(ONCE, verify=trusting()).get(f"{server.url}/fine")
    assert server.asked == []


def test_a_call_that_is_cut_off_leaves_its_siblings_alone(run: Run, driver: ModuleType, server: HTTP2Server) -> None:
    """If one of ten calls on an HTTP/2 connection hangs until its deadline, the others succeed."""
    ended: list[str] = []

    async def main() -> None:
        async with driver.AsyncResilientClient(ONCE, http2=True, verify=trusting()) as client:
            await client.get(f"{server.url}/first")

            async def get() -> None:
                response = await client.get(f"{server.url}/later")
                assert len(response.attempts) == 1
                ended.append(response.text)

            async with anyio.create_task_group() as tasks:
                for _ in range(9):
                    tasks.start_soon(get)
                with pytest.raises(http.AttemptTimeout) as raised:
                    await client.get(f"{server.url}/hang", timeout=HASTY)
                assert raised.value.reached in {"send", "headers"}  # another call may read for all
                server.release.set()
            assert ended == ["/later"] * 9
            assert server.connections == 1
            assert (await client.get(f"{server.url}/last")).text == "/last"

    run(main)
    assert server.connections == 2  # the first may be dead, so no new call is sent on it


def test_a_part_of_a_timeout_harms_no_sibling(
    run: Run, driver: ModuleType, library: ModuleType, server: HTTP2Server
) -> None:
    """A read timeout ends only the call that has it, not others on the same connection."""
    answers: list[Any] = []

    async def main() -> None:
        async with driver.AsyncResilientClient(ONCE, http2=True, verify=trusting()) as client:
            await client.get(f"{server.url}/first")

            async def get() -> None:
                answers.append(await client.get(f"{server.url}/later"))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(get)
                with pytest.raises(http.AttemptTimeout):
                    await client.get(f"{server.url}/hang", timeout=library.Timeout(None, read=HASTY))
                server.release.set()

    run(main)
    assert [len(answer.attempts) for answer in answers] == [1]
    assert server.connections == 1


def test_threads_share_no_connection(driver: ModuleType, server: HTTP2Server) -> None:
    """Threads of one client do not share a connection, so a call that hangs does not delay the others."""
    ended: list[Any] = []
    with driver.ResilientClient(ONCE, http2=True, verify=trusting()) as client:

        def get() -> None:
            ended.append(client.get(f"{server.url}/later"))

        threads = [threading.Thread(target=get) for _ in range(3)]
        for thread in threads:
            thread.start()
        with pytest.raises(http.AttemptTimeout):
            client.get(f"{server.url}/hang", timeout=HASTY)
        assert ended == []  # it waited for none of them
        server.release.set()
        for thread in threads:
            thread.join(30)
        assert client.get(f"{server.url}/last").text == "/last"
    assert [(response.text, len(response.attempts)) for response in ended] == [("/later", 1)] * 3
