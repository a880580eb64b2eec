"""The settings of calls to an upstream: frozen, keyword-only, and checked on creation."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .argument_checks import (
    NamedFields,
    call_of,
    check_flag,
    check_integer,
    check_number,
    check_part,
    check_seconds,
    hint,
    shown,
)
from .verdict import Classify

_T = TypeVar("_T")
_METHOD = re.compile(r"[A-Z][A-Z-]{0,31}\Z")


def _members(name: str, value: Any, allowed: str) -> Iterable[Any]:
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise TypeError(f"{name}={value!r}: must be a collection of {allowed}")
    return value


def _statuses(value: Any) -> frozenset[int]:
    allowed = "HTTP statuses (whole numbers from 100 to 599)"
    statuses = set()
    for status in _members("retry_statuses", value, allowed):
        if isinstance(status, bool) or not isinstance(status, int):
            raise TypeError(f"retry_statuses contains {status!r}: must be {allowed}")
        if not 100 <= status <= 599:
            raise ValueError(f"retry_statuses contains {shown(status)}: must be {allowed}")
        statuses.add(int(status))
    return frozenset(statuses)


def _methods(value: Any) -> frozenset[str]:
    allowed = "HTTP methods in capital letters, such as 'GET'"
    methods = set()
    for method in _members("retry_methods", value, allowed):
        if not isinstance(method, str):
            raise TypeError(f"retry_methods contains {method!r}: must be {allowed}")
        if not _METHOD.match(method):
            raise ValueError(f"retry_methods contains {method!r}: must be {allowed}")
        methods.add(method)
    return frozenset(methods)


if TYPE_CHECKING:

    class FrozenSetOf(Generic[_T]):
        """A field that accepts any collection and is read as a frozenset."""

        def __init__(self, values: Iterable[_T]) -> None: ...
        def __get__(self, instance: object, owner: Any) -> frozenset[_T]: ...
        def __set__(self, instance: object, value: Iterable[_T]) -> None: ...
else:
    FrozenSetOf = frozenset


@dataclass(frozen=True, kw_only=True, slots=True)
class CircuitBreaker(NamedFields):
    """When the circuit breaker opens, and for how long. The pattern is from Nygard's "Release It!".

    Times are in seconds. Raises `TypeError` and `ValueError` for wrong values, as `Policy` does.
    """

    failures_in_a_row: int = 10
    """The breaker opens after this many failed attempts without a success between them, each at most `window` seconds
    after the failure before it. A whole number from 1 to 10,000."""
    failure_rate: float = 0.8
    """The breaker opens when this fraction of the attempts within `window` has failed, if there were at least
    `minimum_attempts`. The default is high, because retries still help when half of the attempts fail. Above 0, up
    to 1."""
    minimum_attempts: int = 20
    """The number of attempts within `window` that is required for `failure_rate` to apply. From 1 to 1,000,000."""
    window: float = 30.0
    """Seconds for which an attempt counts. From 1 to 3,600."""
    open_for: float = 15.0
    """Seconds for which nothing is sent after the breaker has opened. Then one probe is sent. Each time that the probe
    fails, the seconds until the next probe double, up to `open_max`. Exception: if the probe timed out because its
    caller had shortened the timeout, the next probe is sent after `open_for` seconds. Above 0, up to 86,400."""
    open_max: float = 300.0
    """Maximum number of seconds until the next probe. Not below `open_for`, up to 86,400."""

    def __post_init__(self) -> None:
        check_integer("failures_in_a_row", self.failures_in_a_row, 1, 10_000)
        check_number("failure_rate", self.failure_rate, "a number above 0, up to 1", math.nextafter(0, 1), 1)
        check_integer("minimum_attempts", self.minimum_attempts, 1, 1_000_000)
        check_number("window", self.window, "a number of seconds from 1 to 3600", 1, 3600)
        check_seconds("open_for", self.open_for)
        check_seconds("open_max", self.open_max)
        if self.open_for > self.open_max:
            raise ValueError(f"open_for={self.open_for!r}: must not be longer than open_max={self.open_max!r}")


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryBudget(NamedFields):
    """How many retries are allowed: at most ``minimum + ratio * attempts`` within the last `window` seconds.

    The model and the defaults of `ratio` and `window` are those of Finagle's RetryBudget. There are two differences:
    Finagle's minimum is ten times as high (10 per second), and its ratio applies to requests, not to attempts. Raises
    `TypeError` and `ValueError` for wrong values, as `Policy` does.
    """

    ratio: float = 0.2
    """Fraction of the attempts that may be retries. From 0 to 1."""
    minimum: int = 10
    """Retries within `window` that are allowed in addition, for times with few calls. A whole number from 0 to
    1,000,000."""
    window: float = 10.0
    """Seconds for which attempts and retries count. From 1 to 3,600."""

    def __post_init__(self) -> None:
        check_number("ratio", self.ratio, "a number from 0 to 1", 0, 1)
        check_integer("minimum", self.minimum, 0, 1_000_000)
        check_number("window", self.window, "a number of seconds from 1 to 3600", 1, 3600)


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy(NamedFields):
    """The retries, deadlines, limits and other settings of calls to an upstream. Times are in seconds, sizes in bytes.

    Raises `TypeError` for a value of the wrong type, and `ValueError` for a value that is out of range or contradicts
    another value. The message contains the field, its value and the allowed values.
    """

    retries: int = 3
    """Maximum number of attempts after the first one. A whole number from 0 to 100."""
    backoff: float = 1.0
    """Seconds before the first retry. The delay before retry n is ``min(backoff * 2**(n - 1), backoff_max)``: 1, 2, 4 s
    by default. This is truncated binary exponential backoff, but without the random choice of IEEE 802.3: see `jitter`.
    (RFC 9110 specifies no delay for responses without Retry-After.) From 0 to 86,400."""
    backoff_max: float = 30.0
    """Maximum number of seconds before a retry, without jitter. Jitter is added after the limit, so that delays at the
    limit still vary. Not below `backoff`, up to 86,400."""
    jitter: float = 0.0
    """The largest fraction of the delay that is added to it at random: with 0.5, a delay of 2 s becomes 2 to 3 s. From
    0 to 1."""
    attempt_timeout: float = 10.0
    """Seconds of wall-clock time that one attempt may take, from the name look-up to the last byte of the body."""
    total_timeout: float = 60.0
    """Seconds that the whole call may take: attempts, delays, waiting and redirects. Not below `attempt_timeout`."""
    retry_statuses: FrozenSetOf[int] = FrozenSetOf(  # noqa: RUF009 - a frozenset
        {
            408,  # the server gave up waiting for the request
            425,  # the server wants the request again, outside TLS early data
            429,  # rate limited: later, as Retry-After says
            500,  # usually the failure of a single worker
            502,  # a proxy got no usable answer from the server behind it
            503,  # overloaded or restarting
            504,  # a proxy waited too long for the server behind it
        }
    )
    """HTTP statuses after which the request is retried: 408, 425, 429, 500, 502, 503, 504."""
    retry_methods: FrozenSetOf[str] = FrozenSetOf({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})  # noqa: RUF009 - a frozenset
    """HTTP methods whose requests may be sent twice, because they are idempotent by RFC 9110, section 9.2.2. A request
    with another method is retried only if it certainly was not sent, or if it has an ``Idempotency-Key`` header."""
    max_response_bytes: int | None = 32 * 2**20
    """Maximum size of a body that is read into memory, after decoding: 32 MiB by default; None: no limit."""
    max_json_nodes: int | None = 500_000
    """Maximum number of values and keys that ``response.json()`` may create. They are counted before parsing: each of
    ``[ { , :`` outside of strings counts as one. 500,000 values take up to 45 MiB; PyPI's largest documents have
    200,000. None: no limit."""
    max_concurrency: int | None = None
    """Maximum number of concurrent attempts of this process to the upstream; None: no limit. The time that a call waits
    for other attempts to end counts towards `total_timeout`."""
    requests_per_second: float | None = None
    """Maximum number of attempts that this process starts per second, evenly spaced; None: no limit. The time that a
    call waits counts towards `total_timeout`."""
    circuit_breaker: CircuitBreaker | None = CircuitBreaker()
    """When calls are rejected because the upstream is down; None: never."""
    retry_budget: RetryBudget | None = RetryBudget()
    """Which fraction of the attempts may be retries; None: any."""
    rate_limit_gate: bool = True
    """Whether all calls wait, or are rejected, while the upstream asks for a pause. False: only the call whose response
    asked for the pause waits."""
    classify: Classify | None = None
    """A function that returns a `Verdict`, for upstreams whose statuses do not say enough. It is called with the
    status, the headers and the first 64 KiB of the body (None with ``stream=True``). Its verdict takes precedence over
    `retry_statuses`; if it returns None, the status decides. It runs for every response, so it should be fast. If it
    raises, the exception is logged and the status decides. None: the status always decides."""

    def __post_init__(self) -> None:
        check_integer("retries", self.retries, 0, 100)
        check_seconds("backoff", self.backoff, zero=True)
        check_seconds("backoff_max", self.backoff_max, zero=True)
        check_number("jitter", self.jitter, "a number from 0 to 1", 0, 1)
        check_seconds("attempt_timeout", self.attempt_timeout)
        check_seconds("total_timeout", self.total_timeout)
        if self.max_response_bytes is not None:
            check_integer("max_response_bytes", self.max_response_bytes, 0, 2**63)
        if self.max_json_nodes is not None:
            check_integer("max_json_nodes", self.max_json_nodes, 0, 2**63)
        if self.max_concurrency is not None:
            check_integer("max_concurrency", self.max_concurrency, 1, 10_000)
        if self.requests_per_second is not None:
            allowed = "a number above 0, up to 10000"
            check_number("requests_per_second", self.requests_per_second, allowed, math.nextafter(0, 1), 10_000)
        check_part("circuit_breaker", self.circuit_breaker, CircuitBreaker)
        check_part("retry_budget", self.retry_budget, RetryBudget)
        if self.classify is not None and not callable(self.classify):
            path = " (a dotted path is allowed only in OUTBOUND_HTTP)" if isinstance(self.classify, str) else ""
            allowed = f"a function of status, headers and body{path}, or None"
            raise TypeError(f"classify={self.classify!r}: must be {allowed}")
        check_flag("rate_limit_gate", self.rate_limit_gate)
        object.__setattr__(self, "retry_statuses", _statuses(self.retry_statuses))
        object.__setattr__(self, "retry_methods", _methods(self.retry_methods))
        if self.backoff > self.backoff_max:
            raise ValueError(f"backoff={self.backoff!r}: must not be longer than backoff_max={self.backoff_max!r}")
        if self.attempt_timeout > self.total_timeout:
            raise ValueError(
                f"attempt_timeout={self.attempt_timeout!r}: "
                f"must not be longer than total_timeout={self.total_timeout!r}, so set both"
            )


WEB_REQUEST = Policy(retries=1, backoff=0.5, attempt_timeout=2.0, total_timeout=5.0)
"""For code that runs inside a web request: two attempts, 5 s in total.

A visitor waits for the response, and gunicorn kills a worker of its default class, sync, when a request takes longer
than 30 s. So a call must end long before that: two attempts of 2 s and a delay of 0.5 s fit into 5 s.
"""


def check_policy(value: object) -> None:
    """Raise `TypeError` unless `value` is a `Policy` or None, as ``policy=`` requires."""
    if value is None or isinstance(value, Policy):
        return
    given = f"a {type(value).__name__}" if isinstance(value, str | bytes) else repr(value)  # a text may be a secret
    instead = ""
    if isinstance(value, Mapping):
        instead = f": write {call_of(Policy, value)}"
    elif isinstance(value, CircuitBreaker | RetryBudget):
        field = "circuit_breaker" if isinstance(value, CircuitBreaker) else "retry_budget"
        instead = f": write Policy({field}={value!r})"
    elif value is Policy:
        instead = ": write Policy()"
    elif isinstance(value, str):
        instead = "; the host of a call's URL determines its upstream"
    raise TypeError(f"policy={given}: must be a Policy or None{instead}")


def refuse_options(owner: type, options: Mapping[str, Any]) -> None:
    """Raise `TypeError` unless `options`, the keyword arguments that `owner` does not accept, is empty."""
    known = [field.name for field in fields(Policy)]
    for name in options:
        if name in known:
            raise TypeError(f"{name}= is a field of the policy: write {owner.__name__}(Policy({name}=…))")
        if name == "untrusted":
            raise TypeError(f"{owner.__name__} does not accept untrusted=: use ResilientSession(untrusted=True)")
        raise TypeError(f"{owner.__name__} does not accept {name}=, and Policy has no such field; {hint(name, known)}")
