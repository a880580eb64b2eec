"""ResilientAdapter: the driver for requests, for mounting on any `requests.Session`."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Never, TypeVar
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.exceptions import InvalidHeader, InvalidURL
from requests.structures import CaseInsensitiveDict
from requests.utils import rewind_body
from urllib3.util import Timeout

from . import errors, total_deadline
from .argument_checks import check_function
from .client_registry import ClientRegistry
from .engine.call import Call
from .engine.steps import Stop, Wait
from .engine.upstream import Clock, Random, Upstream
from .events import OTHER, Target
from .origin import Origin, origin_of
from .outcome import Attempt, Outcome, Reason
from .policy import Policy, check_policy, refuse_options
from .registry import Registry
from .wire import compat, request_body, response_body, streaming_slot
from .wire.deadline_adapter import DeadlineAdapter
from .wire.requests_exceptions import CircuitOpen, DeadlineExceeded, RateLimited, not_sent
from .wire.timeout_argument import is_seconds

_E = TypeVar("_E", bound=requests.Response | requests.RequestException)

POOL_HOSTS = 32
"""Number of hosts whose connections are kept (requests: 10)."""
POOL_CONNECTIONS = 128
"""Number of connections kept per host (requests: 10), enough for 128 threads that share a session. They are opened when
they are needed, so a high number costs nothing."""
_MAX_PATH = 200
"""Maximum number of characters of a path in the log."""
_FORBIDDEN = re.compile(r"[\r\n\0]")


class ResilientAdapter(DeadlineAdapter):
    """An `HTTPAdapter` whose calls have retries, hard timeouts, a circuit breaker, a rate-limit gate and metrics.

    Without `policy`, the adapter uses the process-wide upstreams. With `policy`, `clock` or `random`, it has its own
    breakers, budgets, gates and limits. On a session that is not a `ResilientSession`, the total timeout limits each
    request of a chain of redirects, not the whole chain.

    :param policy: for all calls of the adapter; default: the policy of each upstream in the settings.
    :param clock: returns seconds that never decrease; default: the process's clock, `time.monotonic`.
    :param wait: waits the given number of seconds, for example before a retry; default: `time.sleep`. An exception that
        it raises ends the call and reaches the caller.
    :param random: returns a number in [0, 1), for jitter; default: `random.random`.
    :param pool_connections: number of hosts whose connections are kept; default: 32.
    :param pool_maxsize: number of connections kept for each host; default: 128.
    :param pool_block: whether to open at most `pool_maxsize` connections to a host. Waiting for a free connection
        counts towards the attempt timeout. Default: False.
    :raises TypeError: if an argument has the wrong type, or is a field of the policy.
    """

    __attrs__ = [*HTTPAdapter.__attrs__, "_policy", "_clock", "_wait", "_random"]  # noqa: RUF012 - what pickle keeps

    partition = ""
    """Name of the credential whose quota the calls use: see `ResilientSession`."""

    def __init__(
        self,
        policy: Policy | None = None,
        *,
        clock: Clock | None = None,
        wait: Callable[[float], object] | None = None,
        random: Random | None = None,
        pool_connections: int = POOL_HOSTS,
        pool_maxsize: int = POOL_CONNECTIONS,
        pool_block: bool = False,
        **unknown: Never,
    ) -> None:
        refuse_options(type(self), unknown)
        check_policy(policy)
        for name, value in (("clock", clock), ("wait", wait), ("random", random)):
            if value is not None:
                check_function(name, value, "a function, or None")
        super().__init__(pool_connections, pool_maxsize, pool_block=pool_block)
        self._policy = policy
        self._clock = clock
        self._wait = wait
        self._random = random
        self._start_afresh()

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._start_afresh()

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        """Send `request`, retry it as the policy allows, and return the last response.

        Raises the errors of requests, and the errors of `wire.requests_exceptions`, which are subclasses of those.
        """
        registry = self._registries.find()
        session_call = total_deadline.current(self)
        upstream, call = self._start(registry, session_call, request, timeout)
        answer: requests.Response | requests.RequestException | None = None  # None before the first attempt only
        try:
            while not isinstance(step := call.begin(), Stop):
                if isinstance(step, Wait):
                    self._pause(step, call, registry)
                    continue
                if answer is not None:
                    _rewind(request)
                answer, outcome = self.attempt(
                    request,
                    upstream.policy,
                    seconds=step.seconds,
                    configured=upstream.name != OTHER,
                    fresh=step.fresh,
                    stream=stream,
                    timeout=timeout,
                    verify=verify,
                    cert=cert,
                    proxies=proxies,
                )
                if stream and not isinstance(answer, requests.RequestException):
                    streaming_slot.keep_slot(answer, call)
                if not call.end(outcome):
                    break
                if not isinstance(answer, requests.RequestException):
                    response_body.keep(answer, self.max_bytes(upstream.policy))
        except (errors.NotSent, errors.DeadlineExceeded) as exc:
            raise _refused(exc, request, call, session_call) from None
        except BaseException:
            call.cancel()
            raise
        if isinstance(answer, requests.RequestException):
            try:
                raise _with_attempts(_final(answer, outcome, call, request), call, session_call)
            finally:
                del answer  # otherwise its traceback and this frame would keep each other alive
        assert answer is not None  # noqa: S101 - begin() returns Stop only after an attempt
        return _with_attempts(answer, call, session_call)

    def _start(
        self,
        registry: Registry,
        session_call: total_deadline.Scope | None,
        request: requests.PreparedRequest,
        timeout: Any,
    ) -> tuple[Upstream, Call]:
        where = request_origin(request)
        upstream = registry.upstream(where, untrusted=self.untrusted, partition=self.partition)
        path = (urlsplit(request.url or "").path or "/")[:_MAX_PATH]
        latest = upstream.clock() + upstream.policy.total_timeout
        return upstream, Call(
            upstream,
            Target(request.method or "GET", where.scheme, where.netloc, path, self.untrusted),
            attempt_timeout=_wall_clock(timeout),
            deadline=session_call.deadline(latest) if session_call else None,
            idempotent=True if "Idempotency-Key" in request.headers else None,
            replayable=request_body.replayable(request),
        )

    def after_fork(self) -> None:
        super().after_fork()
        self._start_afresh()

    def close(self) -> None:
        """Close the connections as requests does. An adapter that has its own breakers and limits discards them."""
        super().close()
        self._registries.forget()

    def _pause(self, step: Wait, call: Call, registry: Registry) -> None:
        """Wait until `step.seconds` have passed, or until the call is woken.

        With a custom `wait`, the call can be woken only while it waits for a slot or a probe election.
        """
        own = self._wait or registry.runtime.wait
        is_real_time = registry.runtime.is_real
        can_be_woken = own is time.sleep or (step.for_turn and is_real_time)
        if not can_be_woken:
            own(step.seconds)
            return
        woken: SimpleQueue[None] = SimpleQueue()
        with call.waking(lambda: woken.put(None)), suppress(Empty):
            # A custom `wait` may raise to end the call, so it must be called soon: after `seconds`, although the driver
            # could wait for the longer `if_woken`.
            woken.get(timeout=step.seconds if own is not time.sleep else step.if_woken or step.seconds)
        if own is not time.sleep:
            own(0.0)

    def _start_afresh(self) -> None:
        self._registries = ClientRegistry(self._policy, self._clock, self._random)


def request_origin(request: requests.PreparedRequest) -> Origin:
    """Return the origin of the URL of `request`.

    :raises InvalidURL: if the URL is invalid or contains a line break, which could inject a second request.
    :raises InvalidHeader: if a header contains a line break or a NUL.
    """
    headers: Any = request.headers
    pairs = list(headers.lower_items() if isinstance(headers, CaseInsensitiveDict) else headers.items())
    try:
        text = "".join([name + value for name, value in pairs])
    except TypeError:  # some are bytes
        text = "".join([_as_text(part) for pair in pairs for part in pair])
    if _FORBIDDEN.search(text):
        raise InvalidHeader("Invalid header: contains a line break or a NUL", request=request)
    url = request.url or ""
    if _FORBIDDEN.search(url):
        raise InvalidURL("Invalid URL: contains a line break or a NUL", request=request)
    try:
        return origin_of(url)
    except ValueError as exc:
        raise InvalidURL(f"Invalid URL: {exc}", request=request) from None


def _with_attempts(ending: _E, call: Call, session_call: total_deadline.Scope | None) -> _E:
    """Set `attempts` of a response or error to all attempts of the session's call, those before a redirect included."""
    attempts: tuple[Attempt, ...] = call.attempts
    if session_call is not None:
        session_call.attempts += attempts
        attempts = session_call.attempts
    ending.attempts = attempts  # type: ignore[union-attr]  # requests' own classes do not declare it
    return ending


def _refused(
    error: errors.NotSent | errors.DeadlineExceeded,
    request: requests.PreparedRequest,
    call: Call,
    session_call: total_deadline.Scope | None,
) -> requests.RequestException:
    """Return the error for a call that was not sent. `ResilientSession.send` sets its `response` later."""
    refused = _with_attempts(not_sent(error), call, session_call)
    refused.request = request
    if session_call is None and isinstance(refused, CircuitOpen | RateLimited):
        refused.answer(request)
    return refused


def _as_text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _wall_clock(timeout: Any) -> float | None:
    """Return the seconds that `timeout=` allows for the whole attempt; requests applies its connect and read parts."""
    seconds: Any = timeout.total if isinstance(timeout, Timeout) else timeout
    return seconds if is_seconds(seconds) and seconds > 0 else None


def _rewind(request: requests.PreparedRequest) -> None:
    if compat.file_position(request) is not None:
        rewind_body(request)


def _final(
    error: requests.RequestException, outcome: Outcome, call: Call, request: requests.PreparedRequest
) -> requests.RequestException:
    if outcome.reason is not Reason.TIMEOUT or not call.is_over:
        return error
    host = origin_of(request.url or "").netloc
    cut = DeadlineExceeded(f"{request.method} to {host} was cut off: the total timeout expired", request=request)
    cut.reached, cut.received = getattr(error, "reached", ""), getattr(error, "received", 0)
    cut.__cause__ = error
    return cut
