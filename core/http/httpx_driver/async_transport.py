"""The transport for event loops: asyncio, uvloop and trio."""

from __future__ import annotations

import inspect
import sys
import time
from contextlib import suppress
from functools import partial
from typing import Any, Self

import anyio
import anyio.lowlevel

from .. import fork
from ..engine.steps import Send, Stop, Wait
from ..outcome import Outcome
from ..wire.attempt_context import AttemptContext, Stage
from . import client_call, compat, exception_bases, instrumentation, response_body
from .async_backend import AsyncBackend, waker
from .client_call import ClientCall
from .transport import Transport
from .transport_call import TransportCall


class AsyncTransport(Transport):
    """A transport for event loops (asyncio, uvloop, trio) whose calls are resilient.

    `core.http.httpx_driver.transport.Transport` describes its parameters.
    """

    # `core.http.httpx` and `core.http.httpx2` derive a class from this one and from `AsyncBaseTransport`.

    kind = "AsyncHTTPTransport"
    method = "handle_async_request"
    _plain: dict[Any, Any]
    """For each event loop (by its token), the httpx transport that makes the attempts."""

    async def handle_async_request(self, request: Any) -> Any:
        """Send `request`, retry it as the policy allows, and return the last response.

        Raises the errors of httpx, and the errors of `core.http`, which are subclasses of those.
        """
        of_client = client_call.current()
        if of_client is not None and of_client.uses(self):
            return await self._call(of_client, request)
        try:
            return await self.traced(partial(self._call, None))(request)
        except exception_bases.NotSent as exc:
            raise exc.answer()  # noqa: B904 - it is the same error

    async def _call(self, of_client: ClientCall | None, request: Any) -> Any:
        transport_call = self.transport_call(request, of_client)
        call, extensions = transport_call.call, request.extensions
        answer: Any = None  # None before the first attempt only
        try:
            while not isinstance(step := transport_call.begin(), Stop):
                if isinstance(step, Wait):
                    await self._pause(step, transport_call)
                    continue
                answer, outcome = await self._attempt(request, transport_call, step)
                streams = transport_call.streams and not isinstance(answer, Exception) and answer.decoded is None
                if streams and not compat.is_read(answer):
                    timeout = self.library.errors.read_timeout
                    seconds = transport_call.read_seconds
                    answer.stream = self.library.async_body(answer.stream, call.keep_slot(), seconds, timeout)
                if not call.end(outcome):
                    break
                if streams:
                    await self._keep(answer, transport_call)
        except BaseException:
            call.cancel()
            raise
        finally:
            request.extensions = extensions
        if isinstance(answer, Exception):
            try:
                raise transport_call.final(answer, outcome)
            finally:
                del answer  # otherwise its traceback and this frame would keep each other alive
        return transport_call.finish(answer)

    async def aclose(self) -> None:
        """Close the connections. A transport that has its own breakers and limits discards them."""
        here = self._plain.pop(_loop(), None) if self.given is None else self.given
        self._plain.clear()  # connections of other loops cannot be closed from this loop
        if here is not None:
            await here.aclose()
        self.registries.forget()

    async def __aenter__(self) -> Self:
        if self.given is not None:
            await self.given.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self.given is None:
            await self.aclose()
        else:
            self.registries.forget()
            await self.given.__aexit__(*exc_info)

    def after_fork(self) -> None:
        super().after_fork()
        self._plain = {}

    async def _attempt(self, request: Any, transport_call: TransportCall, step: Send) -> tuple[Any, Outcome]:
        handled = sys.exception()
        context = transport_call.attempt(step)
        plain = self._pool()
        error: Exception | None = None
        whole = False
        request.extensions = transport_call.extensions(step.seconds, sockets_keep_time=False)
        with context, anyio.move_on_after(step.seconds) as scope:
            if self.given is None:
                context.read_limit, context.expire = transport_call.take_read_limit(), scope.cancel
            try:
                transport_call.check_target()
                if step.fresh:
                    await _close_idle(plain)
                response = transport_call.prepare(await instrumentation.method_of(plain, self.method)(request))
                if context.stage is not Stage.NONE:
                    context.stage = Stage.BODY
                if not transport_call.streams or response.has_redirect_location:
                    await response_body.aread(self.library, response, transport_call.max_bytes)
                whole = True
            except self.caught as exc:
                error = exc
            except Exception as exc:  # noqa: BLE001 - of_negotiation raises all other errors again
                error = transport_call.of_negotiation(exc, context)
            finally:
                if not whole:
                    await self._give_up(plain, request, context)
        try:
            if scope.cancelled_caught:
                error = TimeoutError("the time of the attempt has run out")
            if error is not None:
                return transport_call.failed(error, context, timed_out=scope.cancelled_caught, handled=handled)
            return response, transport_call.answered(response)
        finally:
            del error  # otherwise its traceback and this frame would keep each other alive

    async def _give_up(self, plain: Any, request: Any, context: AttemptContext) -> None:
        """Prevent other calls from using the connection of a failed attempt."""
        compat.retire(plain, self.library.httpcore, request.url)
        if context.negotiation is not None:  # httpcore does not close this connection
            with anyio.CancelScope(shield=True):
                await context.negotiation.aclose()

    def _pool(self) -> Any:
        if self.given is not None:
            return self.given
        loop = _loop()
        plain = self._plain.get(loop)
        if plain is None:
            for other in [other for other in self._plain if _is_over(other)]:
                del self._plain[other]
            plain = self.library.httpx.AsyncHTTPTransport(**self.options)
            compat.use_backend(plain, AsyncBackend(self.library.httpcore, self.socks_replies))
            self._plain[loop] = plain
            fork.renew_in_children(self)
        return plain

    async def _keep(self, response: Any, transport_call: TransportCall) -> None:
        """Read a response before a retry, for at most one second, and close it.

        The call returns this response if no retry is sent after all.
        """
        with anyio.move_on_after(1.0), suppress(Exception):
            await response_body.aread(self.library, response, transport_call.max_bytes)
        await response.stream.aclose()

    async def _pause(self, step: Wait, transport_call: TransportCall) -> None:
        """Wait until `step.seconds` have passed, or until the call is woken.

        With a custom `wait`, the call can be woken only while it waits for a slot or a probe election.
        """
        own = self.settings.wait or transport_call.registry.runtime.wait
        is_real_time = transport_call.registry.runtime.is_real
        if own is not time.sleep and not (step.for_turn and is_real_time):
            # With a fake clock, other tasks must run too, but before the wait. If they ran after it, they would move
            # the clock past the turn for which this call has waited.
            await anyio.lowlevel.checkpoint()
            await _waited(own(step.seconds))
            return
        woken = anyio.Event()
        seconds = step.seconds if own is not time.sleep else step.if_woken or step.seconds
        with transport_call.call.waking(waker(woken)), anyio.move_on_after(seconds):
            await woken.wait()
        if own is not time.sleep:
            await _waited(own(0.0))


async def _waited(result: object) -> None:
    if inspect.isawaitable(result):
        await result


async def _close_idle(plain: Any) -> None:
    for connection in compat.connections_of(plain):
        if connection.is_idle():
            await connection.aclose()


def _loop() -> Any:
    return anyio.lowlevel.current_token().native_token


def _is_over(loop: Any) -> bool:
    """Return whether an event loop has ended."""
    if hasattr(loop, "is_closed"):
        return bool(loop.is_closed())
    try:
        loop.run_sync_soon(int)
    except RuntimeError:
        return True
    return False
