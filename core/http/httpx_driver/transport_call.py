"""One request that a transport sends: it holds the call of the engine, and translates responses and errors.

The synchronous and the asynchronous transport share this module. The loop of a transport is described in `engine.call`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from .. import errors, response_size_limits
from ..argument_checks import check_flag, check_partition, hint
from ..engine.call import Call
from ..engine.response_classification import answered
from ..engine.steps import Send, Stop, Wait
from ..events import OTHER, Target
from ..origin import Origin, origin_of
from ..outcome import Outcome, Reason
from ..registry import Registry
from ..wire import address_guard, classify_hook, content_decoder, redaction
from ..wire.attempt_context import AttemptContext, Stage
from ..wire.sockets import CannotKeepDeadline
from . import compat, request_body
from .client_call import ClientCall
from .diagnosis import diagnose
from .library import Library
from .settings import Settings

KEY = "core.http"
"""Key of this driver's options in the `extensions` of a request: ``{"stream": True, "partition": "token-2"}``."""
_MOST_PATH = 200
"""Maximum number of characters of a path in the log."""
_BLOCKED = "The URL leads to an address or port that untrusted calls must not reach"
_CREDENTIALS = ("authorization", "cookie", "proxy-authorization")


class TransportCall:
    """One request with all its attempts. Used by one thread or task."""

    def __init__(
        self, library: Library, settings: Settings, registry: Registry, request: Any, client_call: ClientCall | None
    ) -> None:
        self.registry = registry
        self._library = library
        self._settings = settings
        self._request = request
        self._client_call = client_call
        wanted = _wanted(request)
        self.streams = client_call.stream if client_call is not None else bool(wanted.get("stream"))
        """Whether the caller reads the body."""
        self.origin = _origin(library, request)
        partition = wanted.get("partition", settings.partition)
        self._upstream = upstream = registry.upstream(self.origin, untrusted=settings.untrusted, partition=partition)
        self.policy = upstream.policy
        self.max_bytes = self.policy.max_response_bytes
        if settings.untrusted:
            self.max_bytes = response_size_limits.of_untrusted(self.max_bytes, chosen=settings.policy is not None)
        self._timeouts: Mapping[str, float | None] = request.extensions.get("timeout") or {}
        _accept_what_is_decoded(library, request)
        url = request.url
        self.call = Call(
            upstream,
            Target(request.method, url.scheme, self.origin.netloc, url.path[:_MOST_PATH] or "/", settings.untrusted),
            attempt_timeout=_wall_clock(self._timeouts),
            deadline=self._deadline(upstream.clock() + self.policy.total_timeout),
            idempotent=True if "Idempotency-Key" in request.headers else None,
            replayable=request_body.replayable(library.httpx, request),
        )

    def begin(self) -> Send | Wait | Stop:
        """Return the next step: see `Call.begin`. Raises the errors of this driver."""
        try:
            return self.call.begin()
        except errors.NotSent as exc:
            kinds = self._library.errors
            kind = kinds.circuit_open if isinstance(exc, errors.CircuitOpen) else kinds.rate_limited
            raise self._with_attempts(kind(str(exc), exc.retry_at, request=self._request)) from None
        except errors.DeadlineExceeded as exc:
            error = self._library.errors.deadline_exceeded(str(exc), request=self._request)
            raise self._with_attempts(error) from None

    def attempt(self, step: Send) -> AttemptContext:
        """Return the context for an attempt."""
        return AttemptContext(
            step.seconds,
            configured=self._upstream.name != OTHER,
            untrusted=self._settings.untrusted,
            fresh=step.fresh,
        )

    def extensions(self, seconds: float, *, sockets_keep_time: bool) -> dict[str, Any]:
        """Return the extensions of the request for an attempt of `seconds`.

        :param sockets_keep_time: True to limit each operation to `seconds`. False if a cancel scope limits the attempt;
            then only the wait for a connection is limited to `seconds`, and other operations only to shorter limits
            that the caller has set.
        """
        given = {name: self._timeouts.get(name) for name in ("connect", "read", "write", "pool")}
        bounded: dict[str, float | None] = {}
        for name, limit in given.items():
            shorter = limit is not None and limit < seconds
            bounded[name] = limit if shorter else seconds if sockets_keep_time or name == "pool" else None
        return {**self._request.extensions, "timeout": bounded}

    def take_read_limit(self) -> float | None:
        """Return the read timeout, and remove it from the extensions of the attempt: see `AsyncStream`."""
        timeouts = self._request.extensions["timeout"]
        limit: float | None = timeouts["read"]
        timeouts["read"] = None
        return limit

    @property
    def read_seconds(self) -> float:
        """Maximum number of seconds that a caller who reads the body waits for the next chunk."""
        limit = self._timeouts.get("read")
        granted = self.call.granted
        return granted if limit is None else min(limit, granted)

    def check_target(self) -> None:
        """Check the URL if the transport is untrusted.

        :raises address_guard.Refused: if the port is not one of the usual ports.
        :raises BlockedAddress: if the client has blocked the redirect.
        """
        blocked = _wanted(self._request).get("blocked") if self._settings.untrusted else None
        if blocked is not None:
            raise self._library.errors.blocked_address(str(blocked), request=self._request)
        if self._settings.untrusted:
            default = {"http": 80, "https": 443}.get(self.origin.scheme)
            if default is None or (self.origin.port or default) not in address_guard.PORTS:
                raise address_guard.Refused

    def answered(self, response: Any) -> Outcome:
        """Return the outcome of an attempt that got a response."""
        policy = self.policy
        verdict = None
        if policy.classify is not None:
            content = None if response.decoded is None else response.decoded[0]
            if content is None and compat.is_read(response):
                content = response.content
            verdict = classify_hook.of(policy.classify, response.status_code, response.headers, content)
        return answered(
            response.status_code,
            response.headers,
            retry_statuses=policy.retry_statuses,
            now=datetime.now(UTC),
            verdict=verdict,
        )

    def failed(
        self, error: Exception, attempt: AttemptContext, *, timed_out: bool, handled: BaseException | None
    ) -> tuple[Exception, Outcome]:
        """Return the outcome of a failed attempt and its error, translated to an error of this driver or of httpx."""
        httpx = self._library.httpx
        if attempt.negotiation is not None:
            attempt.stage = Stage.CONNECT  # nothing was sent to the server
        timed_out = timed_out or (isinstance(error, TimeoutError) and not isinstance(error, httpx.HTTPError))
        if timed_out or (isinstance(error, httpx.TimeoutException) and attempt.stage is not Stage.NONE):
            error = self._timed_out(error, attempt)
        elif isinstance(error, address_guard.Refused):
            error = self._library.errors.blocked_address(_BLOCKED, request=self._request)
        elif not isinstance(error, httpx.HTTPError | httpx.InvalidURL):
            kind = httpx.LocalProtocolError if isinstance(error, CannotKeepDeadline) else httpx.NetworkError
            cause, error = error, kind(str(error), request=self._request)
            error.__cause__ = cause
        outcome = diagnose(httpx, error, attempt, handled)
        if outcome.transient and attempt.got_nothing:
            outcome = replace(outcome, stale=True)
        if outcome.reason is Reason.TIMEOUT:
            outcome = replace(outcome, patience=self._part_of_timeout(attempt.stage))
        headers = self._request.headers
        credentials = [headers[name] for name in _CREDENTIALS if name in headers]
        secrets = redaction.secrets_of(str(self._request.url), headers=credentials)
        redaction.error(error, secrets, handled)
        return error, outcome

    def of_negotiation(self, error: Exception, attempt: AttemptContext) -> Exception:
        """Return a `ProxyError` if `error` came from the negotiation with a SOCKS proxy; otherwise raise `error`."""
        if attempt.negotiation is None:
            raise error
        text = "The proxy does not speak SOCKS5"
        proxy_error: Exception = self._library.httpx.ProxyError(text, request=self._request)
        proxy_error.__cause__ = error
        return proxy_error

    def final(self, error: Exception, outcome: Outcome) -> Exception:
        """Return the error that a call raises if its last attempt failed with `error`."""
        if outcome.reason is Reason.TIMEOUT and self.call.is_over:
            text = f"{self._request.method} to {self.origin.netloc} was cut off: the total timeout expired"
            cut = self._library.errors.deadline_exceeded(text, request=self._request)
            cut.reached, cut.received = getattr(error, "reached", ""), getattr(error, "received", 0)
            cut.__cause__ = error
            error = cut
        ending: Exception = self._with_attempts(error)
        return ending

    def finish(self, response: Any) -> Any:
        """Return the final response of the call, with its attempts."""
        return self._with_attempts(response)

    def prepare(self, response: Any) -> Any:
        """Turn a response of httpx, or of a mock, into a `ResilientResponse`."""
        kind, base = self._library.response, type(response)
        if not issubclass(kind, base) and not issubclass(base, kind):  # a class of other code
            kind = type(f"Resilient{base.__name__}", (kind, base), {})
        ours = compat.become(response, kind if issubclass(kind, base) else base)
        ours.max_bytes, ours.max_json_nodes = self.max_bytes, self.policy.max_json_nodes
        return ours

    def _deadline(self, proposed: float) -> float | None:
        return None if self._client_call is None else self._client_call.deadline(proposed)

    def _with_attempts(self, ending: Any) -> Any:
        attempts = self.call.attempts
        if self._client_call is not None:
            self._client_call.attempts += attempts
            attempts = self._client_call.attempts
        ending.attempts = attempts
        return ending

    def _timed_out(self, error: Exception, attempt: AttemptContext) -> Exception:
        kinds = self._library.errors
        kind = kinds.read_timeout
        pool = isinstance(error, self._library.httpx.PoolTimeout) or (
            attempt.stage is Stage.NONE and self._settings.max_connections is not None
        )
        if pool:
            kind = kinds.pool_timeout
        elif Stage.NONE < attempt.stage < Stage.SEND:
            kind = kinds.connect_timeout
        elif attempt.stage is Stage.SEND:
            kind = kinds.write_timeout
        reached = "pool" if pool else attempt.stage.name.lower()
        where = f"{self._request.method} to {self.origin.netloc}"
        text = f"{where} timed out in stage {reached}, with {attempt.received} bytes received"
        timed_out: Exception = kind(text, request=self._request)
        timed_out.reached, timed_out.received = reached, attempt.received  # type: ignore[attr-defined]  # AttemptTimeout's
        timed_out.__cause__ = error
        return timed_out

    def _part_of_timeout(self, stage: Stage) -> float | None:
        """Return the part of the caller's timeout that applied in `stage`, in seconds; None if all parts are equal."""
        if _wall_clock(self._timeouts) is not None:
            return None  # the limit already applies to the whole attempt
        if stage < Stage.SEND:
            return self._timeouts.get("connect")
        return self._timeouts.get("write" if stage is Stage.SEND else "read")


def _accept_what_is_decoded(library: Library, request: Any) -> None:
    """Remove the codings that this driver cannot decode from httpx's default Accept-Encoding.

    (httpx decodes zstd with the package `zstandard`, this driver with other packages.)
    """
    default = compat.accept_encoding(library.httpx)
    if request.headers.get("Accept-Encoding") == default:
        known = ", ".join(coding for coding in default.split(", ") if content_decoder.is_known(coding))
        if known != default:
            request.headers["Accept-Encoding"] = known


def _wanted(request: Any) -> Mapping[str, Any]:
    wanted: Mapping[str, Any] = request.extensions.get(KEY) or {}
    for name, value in wanted.items():
        if name == "stream":
            check_flag('extensions["core.http"]["stream"]', value)
        elif name == "partition":
            check_partition(value)
        elif name != "blocked":
            raise TypeError(f'extensions["core.http"] has no {name!r}: {hint(name, ("stream", "partition"))}')
    return wanted


def origin_of_url(url: Any) -> Origin:
    """Return the origin of an `httpx.URL`. Raises the errors of `origin_of`."""
    return origin_of(f"{url.scheme}://{url.netloc.decode('ascii')}")


def _origin(library: Library, request: Any) -> Origin:
    try:
        return origin_of_url(request.url)
    except ValueError as exc:
        kind = library.httpx.ConnectError if request.url.raw_host else library.httpx.UnsupportedProtocol
        raise kind(f"Invalid URL: {exc}", request=request) from None


def _wall_clock(timeouts: Mapping[str, float | None]) -> float | None:
    """Return the seconds that a timeout allows for a whole attempt; None unless all parts of the timeout are equal."""
    parts = set(timeouts.values())
    only = parts.pop() if len(parts) == 1 else None
    return only if only is not None and only > 0 else None
