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
from . import body, client_call, compat, exceptions, instrumentation
from .client_call import ClientCall
from .outgoing import Outgoing
from .sync_backend import SyncBackend
from .transport import Transport


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
        except exceptions.NotSent as exc:
            raise exc.answer()  # noqa: B904 - it is the same error

    def _call(self, of_client: ClientCall | None, request: Any) -> Any:
        outgoing = self.outgoing(request, of_client)
        call, extensions = outgoing.call, request.extensions
        answer: Any = None  # None before the first attempt only
        try:
            while not isinstance(step := outgoing.begin(), Stop):
                if isinstance(step, Wait):
                    self._pause(step, outgoing)
                    continue
                answer, outcome = self._attempt(request, outgoing, step)
                streams = outgoing.streams and not isinstance(answer, Exception) and answer.decoded is None
                if streams and not compat.is_read(answer):
                    answer.stream = self.library.sync_body(answer.stream, call.keep_slot())
                if not call.end(outcome):
                    break
                if streams:
                    self._keep(answer, outgoing)
        except BaseException:
            call.cancel()
            raise
        finally:
            request.extensions = extensions
        if isinstance(answer, Exception):
            try:
                raise outgoing.final(answer, outcome)
            finally:
                del answer  # otherwise its traceback and this frame would keep each other alive
        return outgoing.finish(answer)

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

    def _attempt(self, request: Any, outgoing: Outgoing, step: Send) -> tuple[Any, Outcome]:
        handled = sys.exception()
        context = outgoing.attempt(step)
        plain = self._pool()
        if step.fresh:
            for connection in compat.connections_of(plain):
                if connection.is_idle():
                    connection.close()
        request.extensions = outgoing.extensions(step.seconds, sockets_keep_time=True)
        try:
            with context:
                outgoing.check_target()
                response = outgoing.prepare(instrumentation.method_of(plain, self.method)(request))
                if context.stage is not Stage.NONE:
                    context.stage = Stage.BODY
                if not outgoing.streams or response.has_redirect_location:
                    body.read(self.library, response, outgoing.max_bytes)
        except self.caught as exc:
            return outgoing.failed(exc, context, timed_out=False, handled=handled)
        except Exception as exc:  # noqa: BLE001 - of_negotiation raises all other errors again
            return outgoing.failed(outgoing.of_negotiation(exc, context), context, timed_out=False, handled=handled)
        finally:
            if context.negotiation is not None:  # httpcore does not close this connection
                context.negotiation.close()
        return response, outgoing.answered(response)

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

    def _keep(self, response: Any, outgoing: Outgoing) -> None:
        """Read a response before a retry, for at most one second, and close it.

        The call returns this response if no retry is sent after all.
        """
        with suppress(Exception), AttemptContext(1.0):
            body.read(self.library, response, outgoing.max_bytes)
        response.stream.close()

    def _pause(self, step: Wait, outgoing: Outgoing) -> None:
        """Wait until `step.seconds` have passed, or until the call is woken.

        With a custom `wait`, the call can be woken only while it waits for a slot or a probe election.
        """
        own = self.settings.wait or outgoing.registry.runtime.wait
        is_real_time = outgoing.registry.runtime.is_real
        if own is not time.sleep and not (step.for_turn and is_real_time):
            own(step.seconds)
            return
        woken: SimpleQueue[None] = SimpleQueue()
        with outgoing.call.waking(lambda: woken.put(None)), suppress(Empty):
            woken.get(timeout=step.seconds if own is not time.sleep else step.if_woken or step.seconds)
        if own is not time.sleep:
            own(0.0)
