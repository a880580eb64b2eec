"""Makes one attempt with requests and urllib3, with a hard timeout. Errors are those of requests, without secrets."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3.exceptions

from ..engine.response_classification import answered
from ..origin import origin_of
from ..outcome import Outcome, Reason
from ..policy import Policy
from . import (
    address_guard,
    classify_hook,
    redaction,
    response_body,
    timeout_argument,
    unexpected_errors,
)
from .attempt_context import AttemptContext, Stage
from .error_chain import chain
from .error_outcomes import diagnose
from .pooling_adapter import PoolingAdapter
from .requests_exceptions import (
    AttemptBodyTimeout,
    AttemptConnectTimeout,
    AttemptReadTimeout,
    AttemptTimeout,
    BlockedAddress,
    HeadTruncated,
    UnsupportedSocket,
)
from .requests_response import ResilientResponse
from .response_head import HeadCutShort
from .sockets import CannotKeepDeadline

BLOCKED = "The URL leads to an address or port that untrusted calls must not reach"
_CREDENTIALS = ("Authorization", "Cookie", "Proxy-Authorization")


class DeadlineAdapter(PoolingAdapter):
    """An `HTTPAdapter` whose sockets all enforce the deadline of their attempt."""

    untrusted = False
    """Whether users submit the URLs, so that only public addresses may be reached."""

    def attempt(
        self,
        request: requests.PreparedRequest,
        policy: Policy,
        *,
        seconds: float,
        configured: bool,
        fresh: bool,
        stream: bool,
        timeout: Any,
        verify: Any,
        cert: Any,
        proxies: Any,
    ) -> tuple[requests.Response | requests.RequestException, Outcome]:
        """Make one attempt, and read the body unless `stream` is True.

        Returns the response or the error, and the outcome.
        """
        handled = sys.exception()
        context = AttemptContext(seconds, configured=configured, untrusted=self.untrusted, fresh=fresh)
        try:
            with context:
                bounded = timeout_argument.bounded(timeout, seconds)
                response = self._send_once(request, policy, stream, bounded, verify, cert, proxies)
        except address_guard.Refused:
            error: requests.RequestException = BlockedAddress(BLOCKED, request=request)
        except CannotKeepDeadline as exc:
            error = UnsupportedSocket(str(exc), request=request)
        except requests.RequestException as exc:
            error = exc
        except Exception as exc:
            if (translated := unexpected_errors.of_attempt(exc, context.stage, request)) is None:
                raise
            error = translated
            del translated  # as below
        else:
            return response, answered(
                response.status_code,
                response.headers,
                retry_statuses=policy.retry_statuses,
                now=datetime.now(UTC),
                verdict=classify_hook.of_requests(policy.classify, response, stream=stream),
            )
        outcome = diagnose(error, context.stage, handled)
        if outcome.transient and context.got_nothing:
            outcome = replace(outcome, stale=True)
        if outcome.reason is Reason.TIMEOUT:
            outcome = replace(outcome, patience=timeout_argument.part_of(timeout, context.stage))
        redaction.error(error, _secrets(request, proxies), handled)
        try:
            return _refined(error, outcome, context, handled, request)
        finally:
            del error  # otherwise its traceback and this frame would keep each other and the body alive

    def _send_once(
        self, request: requests.PreparedRequest, policy: Policy, stream: bool, *how: Any
    ) -> requests.Response:
        if self.untrusted:
            address_guard.check_port(urlsplit(request.url or ""))
        # Looked up at each attempt: `responses` and others patch HTTPAdapter.send on the class.
        response = super().send(request, stream, *how)
        limit = self.max_bytes(policy)
        if isinstance(response, ResilientResponse):
            response.max_bytes, response.max_json_nodes = limit, policy.max_json_nodes
        if response.is_redirect:
            response_body.read_of_redirect(response, limit)
        elif not stream:
            response_body.read(response, limit)
        return response

    def max_bytes(self, policy: Policy) -> int | None:
        """Return the maximum number of bytes of a body; None: no limit."""
        return policy.max_response_bytes


def _refined(
    error: requests.RequestException,
    outcome: Outcome,
    context: AttemptContext,
    handled: BaseException | None,
    request: requests.PreparedRequest,
) -> tuple[requests.RequestException, Outcome]:
    """Return the error, replaced by a more specific subclass if there is one, and the outcome with more details."""
    if outcome.reason is Reason.TIMEOUT:
        error = _timed_out(error, context, request)
        if isinstance(error, AttemptTimeout):
            outcome = replace(outcome, detail=f"{error.reached}, {error.received} bytes")
    elif any(isinstance(link, HeadCutShort) for link in chain(error, handled)):
        cause, error = error, HeadTruncated(*error.args, request=request)
        error.__cause__ = cause
    return error, outcome


def _timed_out(
    error: requests.RequestException, context: AttemptContext, request: requests.PreparedRequest
) -> requests.RequestException:
    """Return the error for an attempt that timed out, with the stage that it had reached."""
    pool = any(isinstance(link, urllib3.exceptions.EmptyPoolError) for link in chain(error))
    if context.stage is Stage.NONE and not pool:
        error.reached, error.received = "", 0  # type: ignore[attr-defined]  # raised by a mock
        return error
    kind: type[AttemptTimeout] = AttemptReadTimeout
    if context.stage < Stage.SEND:
        kind = AttemptConnectTimeout
    elif context.stage is Stage.BODY:
        kind = AttemptBodyTimeout
    reached = "pool" if pool else context.stage.name.lower()
    timed_out = kind(*error.args, request=request)
    timed_out.reached, timed_out.received = reached, context.received
    timed_out.target = f"{request.method} to {origin_of(request.url or '').netloc}"
    timed_out.__cause__ = error
    return timed_out


def _secrets(request: requests.PreparedRequest, proxies: Any) -> set[str]:
    credentials = [value for name in _CREDENTIALS if isinstance(value := request.headers.get(name), str)]
    return redaction.secrets_of(request.url, *(proxies or {}).values(), headers=credentials)
