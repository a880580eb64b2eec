"""Deadlines of attempts, and of calls with all their redirects, for any behavior of the server."""

from __future__ import annotations

import gzip
import random
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import anyio
import pytest

from core import http
from core.http import Policy
from core.http.testing import FakeClock
from tests.core.http.conftest import Serve
from tests.core.http.httpx_driver.conftest import Caller, Run
from tests.core.http.misbehave import HOLD, TLS, Reply, Then, reply, server_context

HASTY = 0.6
ALIVE = 5.0
"""Seconds on top of what is allowed, after which something hangs: no measure of precision."""
ENDLESS_CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
ONCE = Policy(retries=0, attempt_timeout=HASTY)

STAGES = {
    "silence": (HOLD, "headers"),
    "a head that drips": (Reply(b"HTTP/1.1 200 OK\r\nX: ", Then.HOLD, b"x", 0.02), "headers"),
    "an endless stream of 100s": (Reply(b"", Then.HOLD, b"HTTP/1.1 100 Continue\r\n\r\n" * 50, 0.005), "headers"),
    "a body that drips": (reply(200, b"", length=100_000, repeat=b"x", every=0.02), "body"),
    "an endless body of tiny chunks": (Reply(ENDLESS_CHUNKS, Then.HOLD, b"1\r\nx\r\n" * 200, 0.005), "body"),
    "a body that stops": (reply(200, b"half", length=8, then=Then.HOLD), "body"),
}


@pytest.mark.parametrize(("does", "reached"), STAGES.values(), ids=list(STAGES))
def test_an_attempt_ends_at_its_timeout(
    caller: Caller, serve: Serve, library: ModuleType, does: Reply, reached: str
) -> None:
    """The timeout of an attempt limits all of its operations together, and the error names the reached stage."""
    started = time.monotonic()
    with pytest.raises(http.AttemptTimeout) as raised:
        caller(ONCE).get(serve(does).url)
    assert time.monotonic() - started < HASTY + ALIVE
    assert isinstance(raised.value, library.ReadTimeout)
    assert raised.value.reached == reached
    assert f"timed out in stage {reached}" in str(raised.value)
    assert len(raised.value.attempts) == 1


def test_a_handshake_is_cut_off(caller: Caller, serve: Serve, library: ModuleType) -> None:
    """TLS that never comes about is a connect timeout: nothing was sent."""
    server = serve(context=server_context(), greetings=[Reply(b"", Then.DRAIN)])
    with pytest.raises(http.AttemptTimeout) as raised:
        caller(ONCE, verify=ssl.create_default_context(cafile=TLS / "ca.pem")).get(server.url)
    assert isinstance(raised.value, library.ConnectTimeout)
    assert raised.value.reached == "tls"


# httpcore 1.0 leaves the generator of the request's body to trio's garbage collection; httpcore2 does not.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_sending_is_cut_off(caller: Caller, serve: Serve, library: ModuleType) -> None:
    """A server that does not read the request delays the call no longer than one that does not answer."""
    server = serve(greetings=[Reply(b"", Then.IGNORE)])
    with pytest.raises(http.AttemptTimeout) as raised:
        caller(ONCE).request("PUT", server.url, content=b"x" * 30_000_000)
    assert isinstance(raised.value, library.WriteTimeout)
    assert raised.value.reached == "send"


def test_connecting_is_cut_off(
    caller: Caller, library: ModuleType, black_hole: Callable[[], tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Addresses that answer no attempt to connect share the time of the attempt, however many there are."""
    real = socket.getaddrinfo
    holes = [black_hole() for _ in range(2)]

    def getaddrinfo(host: str, port: Any, *args: Any, **kwargs: Any) -> Any:
        if host == "holes.test":
            return [info for hole in holes for info in real("127.0.0.1", hole[1], *args, **kwargs)]
        return real(host, port, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    for host, seconds in (("127.0.0.1", HASTY), ("holes.test", 1.0)):
        started = time.monotonic()
        with pytest.raises(http.AttemptTimeout) as raised:
            caller(Policy(retries=0, attempt_timeout=seconds)).request("POST", f"http://{host}:{holes[0][1]}/")
        assert seconds <= time.monotonic() - started < seconds + ALIVE
        assert isinstance(raised.value, library.ConnectTimeout)
        assert raised.value.reached == "connect"
        assert not raised.value.attempts[0].outcome.sent


def test_an_address_that_is_dead_leaves_time_for_the_next(
    caller: Caller, serve: Serve, black_hole: Callable[[], tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If one address of a host does not answer, the same attempt reaches the other."""
    server = serve(reply(200, b"fine"))
    real = socket.getaddrinfo
    port = int(server.netloc.rpartition(":")[2])
    hole = socket.socket()
    hole.bind(("127.0.0.2", port))
    hole.listen(0)
    fillers = []
    while True:  # until the backlog is full
        fillers.append(socket.socket())
        fillers[-1].settimeout(0.05)
        try:
            fillers[-1].connect(hole.getsockname())
        except TimeoutError:
            break

    def getaddrinfo(host: str, *args: Any, **kwargs: Any) -> Any:
        if host == "two.test":
            return [info for address in ("127.0.0.2", "127.0.0.1") for info in real(address, *args, **kwargs)]
        return real(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    try:
        response = caller(Policy(retries=0, attempt_timeout=1)).get(f"http://two.test:{port}/")
    finally:
        for each in (hole, *fillers):
            each.close()
    assert (response.content, len(response.attempts)) == (b"fine", 1)


def test_a_look_up_is_cut_off(caller: Caller, library: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """A resolver that hangs delays neither the call nor the end of its event loop, unlike one in an executor."""
    release = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: release.wait(30))
    started = time.monotonic()
    url = (
        f"http://hanging-{time.monotonic_ns()}.test/"  # the look-up of the test before this one may not have ended yet
    )
    try:
        with pytest.raises(http.AttemptTimeout) as raised:
            caller(ONCE).get(url)
    finally:
        release.set()
    assert time.monotonic() - started < HASTY + ALIVE
    assert isinstance(raised.value, library.ConnectTimeout)
    assert raised.value.reached == "dns"


def test_calls_share_a_look_up(run: Run, driver: ModuleType, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks that ask for a name at the same time have it looked up once, and all get its addresses."""
    server = serve(*[reply(200, b"fine")] * 3)
    asked, real = [], socket.getaddrinfo

    def getaddrinfo(host: str, *args: Any, **kwargs: Any) -> Any:
        if host != "shared.test":
            return real(host, *args, **kwargs)
        asked.append(host)
        everyone_asks.wait(5)
        return real("127.0.0.1", *args, **kwargs)

    everyone_asks = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    bodies = []

    async def main() -> None:
        async with driver.AsyncResilientClient() as client, anyio.create_task_group() as tasks:

            async def get() -> None:
                bodies.append((await client.get(server.url.replace("127.0.0.1", "shared.test"))).content)

            for _ in range(3):
                tasks.start_soon(get)
            await anyio.wait_all_tasks_blocked()  # each waits for the look-up
            everyone_asks.set()

    run(main)
    assert bodies == [b"fine"] * 3
    assert len(asked) == 1


def test_a_timeout_of_the_call_shortens_the_attempt(caller: Caller, serve: Serve) -> None:
    """A number as timeout limits the whole attempt; without one, the policy's applies, not httpx's 5 s."""
    server = serve(reply(200, b"", length=100_000, repeat=b"x", every=0.02), HOLD)
    with pytest.raises(http.AttemptTimeout):
        caller(Policy(retries=0)).get(server.url, timeout=HASTY)
    client = caller()._client
    assert client.timeout.read is None


def test_one_part_of_a_timeout_bounds_each_read(caller: Caller, serve: Serve, library: ModuleType) -> None:
    """A timeout with parts is as in httpx, within the attempt."""
    with pytest.raises(library.ReadTimeout):
        caller(Policy(retries=0)).get(serve(HOLD).url, timeout=library.Timeout(None, read=HASTY))


def test_the_total_deadline_cuts_the_last_attempt(caller: Caller, serve: Serve, library: ModuleType) -> None:
    """The last attempt ends at the total timeout, even if its own timeout is longer."""
    with pytest.raises(http.DeadlineExceeded) as raised:
        caller(Policy(attempt_timeout=0.3, total_timeout=0.3, retries=0), clock=time.monotonic).get(serve(HOLD).url)
    assert isinstance(raised.value, library.ReadTimeout)
    assert raised.value.reached == "headers"


def test_hops_share_the_total_deadline(caller: Caller, serve: Serve, clock: FakeClock) -> None:
    """Each hop of a redirect is a call on its own upstream, within one deadline."""
    first = serve(reply(302, b"", "Location: /next"), on_request=lambda: clock.advance(61))
    with pytest.raises(http.DeadlineExceeded) as raised:
        caller().get(first.url, follow_redirects=True)
    assert len(first.requests) == 1
    assert len(raised.value.attempts) == 1


def test_a_request_that_is_sent_again_has_a_deadline_of_its_own(caller: Caller, serve: Serve, clock: FakeClock) -> None:
    """A request object that is sent again has the deadline of the new call."""
    server = serve(reply(200, b"one"), reply(200, b"two"))
    client = caller()._client
    request = client.build_request("GET", server.url)

    async def alater() -> Any:
        await client.send(request)
        clock.advance(100)
        return await client.send(request)

    def later(_: Any) -> Any:
        if not caller.is_sync:
            return alater()
        client.send(request)
        clock.advance(100)
        return client.send(request)

    assert caller.on_client(client, later).content == b"two"


@pytest.fixture(scope="module")
def bomb() -> bytes:
    return gzip.compress(bytes(64 * 2**20))


def test_a_bomb_is_decoded_no_further_than_its_limit(caller: Caller, serve: Serve, bomb: bytes) -> None:
    """A body of 64 KiB that would decompress to 64 MiB is an error at the limit."""
    server = serve(reply(200, bomb, "Content-Encoding: gzip"))
    with pytest.raises(http.ResponseTooLarge):
        caller(Policy(max_response_bytes=2**20)).get(server.url)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "gzip, gzip"])
def test_a_compressed_body(caller: Caller, serve: Serve, coding: str) -> None:
    """Every coding that urllib3 knows is decoded, in several pieces, and a truncated body is an error."""
    text = random.Random(1).randbytes(150_000).hex().encode()  # it stays large when compressed
    body = _encoded(text, coding)
    server = serve(
        reply(200, body, f"Content-Encoding: {coding}"), reply(200, body[:-9], f"Content-Encoding: {coding}")
    )
    response = caller(Policy(retries=0)).get(server.url)
    assert response.content == text
    assert response.num_bytes_downloaded == len(body)
    with pytest.raises(caller.library.DecodingError):
        caller(Policy(retries=0)).get(server.url)


def _encoded(body: bytes, coding: str) -> bytes:
    if coding == "deflate":
        return zlib.compress(body)
    if coding == "br":
        return bytes(pytest.importorskip("brotli").compress(body))
    if coding == "zstd":
        return bytes(pytest.importorskip("backports.zstd").compress(body))
    for _ in coding.split(","):
        body = gzip.compress(body)
    return body
