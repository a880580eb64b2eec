"""The transport for threads."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Self

from .. import fork
from ..engine.steps import Send, Stop, Wait
from ..outcome import Outcome
from ..wire.attempt_context import AttemptContext, Stage
from . import client_call, compat, exception_bases, instrumentation, response_body
from .client_call import ClientCall
from .sync_backend import SyncBackend
from .transport import Transport
from .transport_call import TransportCall


class SyncTransport(Transport):
    """A transport for threads whose calls are resilient.

    `core.http.httpx_driver.transport.Transport` describes its parameters.
    """

    # `core.http.httpx` and `core.http.httpx2` derive a class from this one and from `BaseTransport`.

    kind = "HTTPTransport"
    method = "handle_request"
    _plain: dict[Any, Any]
    """The httpx transport that makes the attempts, under the key None; with HTTP/2, one for each thread.

    On a shared HTTP/2 connection, one thread would read for all, and the others would wait for it without a limit.
    """

    def handle_request(self, request: Any) -> Any:
        """Send `request`, retry it as the policy allows, and return the last response.

        Raises the errors of httpx, and the errors of `core.http`, which are subclasses of those.
        """
        of_client = client_call.current()
        if of_client is not None and of_client.uses(self):
            return self._call(of_client, request)
        try:
            return self.traced(partial(self._call, None))(request)
        except exception_bases.NotSent as exc:
            raise exc.answer()  # noqa: B904 - it is the same error

    def _call(self, of_client: ClientCall | None, request: Any) -> Any:
        transport_call = self.transport_call(request, of_client)
        call, extensions = transport_call.call, request.extensions
        answer: Any = None  # None before the first attempt only
        try:
            while not isinstance(step := transport_call.begin(), Stop):
                if isinstance(step, Wait):
                    self._pause(step, transport_call)
                    continue
                answer, outcome = self._attempt(request, transport_call, step)
                streams = transport_call.streams and not isinstance(answer, Exception) and answer.decoded is None
                if streams and not compat.is_read(answer):
                    answer.stream = self.library.sync_body(answer.stream, call.keep_slot())
                if not call.end(outcome):
                    break
                if streams:
                    self._keep(answer, transport_call)
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

    def close(self) -> None:
        """Close the connections. A transport that has its own breakers and limits discards them."""
        if self.given is not None:
            self.given.close()
        for key in list(self._plain):
            self._plain.pop(key).close()
        self.registries.forget()

    def __enter__(self) -> Self:
        if self.given is not None:
            self.given.__enter__()
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self.given is None:
            self.close()
        else:
            self.registries.forget()
            self.given.__exit__(*exc_info)

    def after_fork(self) -> None:
        super().after_fork()
        self._plain = {}

    def _attempt(self, request: Any, transport_call: TransportCall, step: Send) -> tuple[Any, Outcome]:
        handled = sys.exception()
        context = transport_call.attempt(step)
        plain = self._pool()
        if step.fresh:
            for connection in compat.connections_of(plain):
                if connection.is_idle():
                    connection.close()
        request.extensions = transport_call.extensions(step.seconds, sockets_keep_time=True)
        try:
            with context:
                transport_call.check_target()
                response = transport_call.prepare(instrumentation.method_of(plain, self.method)(request))
                if context.stage is not Stage.NONE:
                    context.stage = Stage.BODY
                if not transport_call.streams or response.has_redirect_location:
                    response_body.read(self.library, response, transport_call.max_bytes)
        except self.caught as exc:
            return transport_call.failed(exc, context, timed_out=False, handled=handled)
        except Exception as exc:  # noqa: BLE001 - of_negotiation raises all other errors again
            return transport_call.failed(
                transport_call.of_negotiation(exc, context), context, timed_out=False, handled=handled
            )
        finally:
            if context.negotiation is not None:  # httpcore does not close this connection
                context.negotiation.close()
        return response, transport_call.answered(response)

    def _pool(self) -> Any:
        if self.given is not None:
            return self.given
        key = threading.current_thread() if self.options.get("http2") else None
        plain = self._plain.get(key)
        if plain is None:
            for other in [other for other in list(self._plain) if not (other is None or other.is_alive())]:
                self._plain.pop(other).close()
            plain = self.library.httpx.HTTPTransport(**self.options)
            compat.use_backend(plain, SyncBackend(self.library.httpcore, self.socks_replies))
            self._plain[key] = plain
            fork.renew_in_children(self)
        return plain

    def _keep(self, response: Any, transport_call: TransportCall) -> None:
        """Read a response before a retry, for at most one second, and close it.

        The call returns this response if no retry is sent after all.
        """
        with suppress(Exception), AttemptContext(1.0):
            response_body.read(self.library, response, transport_call.max_bytes)
        response.stream.close()

    def _pause(self, step: Wait, transport_call: TransportCall) -> None:
        """Wait until `step.seconds` have passed, or until the call is woken.

        With a custom `wait`, the call can be woken only while it waits for a slot or a probe election.
        """
        own = self.settings.wait or transport_call.registry.runtime.wait
        is_real_time = transport_call.registry.runtime.is_real
        if own is not time.sleep and not (step.for_turn and is_real_time):
            own(step.seconds)
            return
        woken: SimpleQueue[None] = SimpleQueue()
        with transport_call.call.waking(lambda: woken.put(None)), suppress(Empty):
            woken.get(timeout=step.seconds if own is not time.sleep else step.if_woken or step.seconds)
        if own is not time.sleep:
            own(0.0)
