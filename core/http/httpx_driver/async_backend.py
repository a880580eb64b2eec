"""httpcore's network backend for event loops: asyncio, uvloop or trio.

DNS lookups run in the threads of `wire.resolver`, which notify the event loop. (Not in the loop's executor, because
`asyncio.run` waits for it at exit, and a hanging lookup would keep the program from ending.) A cancel scope enforces
the timeout of the whole attempt, so single operations have a timeout only if the caller sets one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import anyio
import anyio.lowlevel
from anyio.abc import ByteStream

from ..wire import address_guard, attempt_context, connect, resolver
from ..wire.attempt_context import AttemptContext, Stage
from ..wire.resolver import AddressInfo
from .async_network_stream import AsyncStream, extra, mapped, within


def waker(event: anyio.Event) -> Callable[[], None]:
    """Return a function that sets `event` from any thread or finalizer. It acquires no lock and raises nothing."""
    native: Any = anyio.lowlevel.current_token().native_token
    soon = (
        native.run_sync_soon if hasattr(native, "run_sync_soon") else native.call_soon_threadsafe
    )  # trio's, asyncio's

    def wake() -> None:
        with suppress(RuntimeError):  # the loop is closed, so no task is waiting
            soon(event.set)

    return wake


class AsyncBackend:
    """An `httpcore.AsyncNetworkBackend` that enforces attempts' deadlines."""

    def __init__(self, httpcore: Any, socks_replies: int = 0) -> None:
        """Create the backend.

        :param socks_replies: replies of the SOCKS proxy before the connection to the server is ready; 0: no proxy.
        """
        self._httpcore = httpcore
        self._socks_replies = socks_replies

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> Any:
        """Resolve `host` and connect to the first address that accepts; all addresses share the remaining time."""
        attempt = attempt_context.current() or AttemptContext(float("inf"))  # None if other code uses the pool
        attempt.connected = True
        try:
            addresses = await _resolve(attempt, host, port)
        except OSError as exc:
            raise self._httpcore.ConnectError(str(exc)) from exc
        if attempt.untrusted:
            address_guard.check_addresses(str(info[4][0]) for info in addresses)
        attempt.stage = Stage.CONNECT
        error: Exception = self._httpcore.ConnectError("the host name has no address")
        for tried, info in enumerate(addresses):
            share = attempt.left() / (len(addresses) - tried)
            try:
                with self._mapped(share if timeout is None else min(share, timeout)):
                    stream = await anyio.connect_tcp(
                        str(info[4][0]),
                        int(info[4][1]),  # from the lookup, because a test may resolve a name to its own server
                        local_host=local_address,
                    )
                    _set_options(stream, socket_options)
            except (self._httpcore.ConnectError, self._httpcore.ConnectTimeout) as exc:
                error = exc
            else:
                attempt.stage = Stage.SEND
                made = AsyncStream(stream, self._httpcore, self._socks_replies)
                attempt.negotiation = made if self._socks_replies else None
                return made
        raise error

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's
        socket_options: Iterable[Any] | None = None,
    ) -> Any:
        attempt = attempt_context.current()
        if attempt is not None:
            attempt.stage = Stage.CONNECT
        with self._mapped(timeout):
            stream = await anyio.connect_unix(path)
            _set_options(stream, socket_options)
        return AsyncStream(stream, self._httpcore)

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)

    @contextmanager
    def _mapped(self, timeout: float | None) -> Iterator[None]:
        with mapped(self._httpcore.ConnectTimeout, self._httpcore.ConnectError, OSError), within(timeout):
            yield


def _set_options(stream: ByteStream, options: Iterable[Any] | None) -> None:
    for option in options or ():
        extra(stream, "socket").setsockopt(*option)


async def _resolve(attempt: AttemptContext, host: str, port: int) -> Sequence[AddressInfo]:
    attempt.stage = Stage.DNS
    found = connect.literal(host, port)
    if found:
        return found
    names = connect.names(attempt)
    look_up = names.begin(host, port)
    done = anyio.Event()
    look_up.notify(waker(done))
    while not look_up.done:
        names.provide_thread(look_up)
        with anyio.move_on_after(resolver.CHECK_THREADS):
            await done.wait()
    return look_up.result()
