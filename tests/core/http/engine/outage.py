"""An upstream that is down, and calls to it: for the tests of the engine."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo

import responses as responses_library

from core.http import (
    CircuitBreaker,
    CircuitOpen,
    Policy,
    RateLimited,
    ResilientSession,
)
from core.http.engine.call import Call
from core.http.engine.response_classification import answered
from core.http.engine.steps import Send, Wait
from core.http.engine.upstream import Upstream
from core.http.events import (
    BreakerState,
    CallEnded,
    Target,
)
from core.http.outcome import Outcome
from tests.core.http.engine.world import BUSY, GET, POST, World

URL = "https://example.org/"
NAMED = {"upstreams": {"example": {"hosts": ["example.org"]}}}
NOW = datetime(2025, 6, 1, tzinfo=UTC)
FRAGILE = CircuitBreaker(failures_in_a_row=2)


class Today(datetime):
    """A `datetime` whose current time does not change."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Today:
        return cls.fromtimestamp(NOW.timestamp(), tz)


def answer(status: int, policy: Policy | None = None, **headers: str) -> Outcome:
    """Return the outcome of an answer; each _ in a header's name is replaced by -."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return answered(status, named, retry_statuses=(policy or Policy()).retry_statuses, now=NOW)


def once(upstream: Upstream, outcome: Outcome, target: Target = POST) -> None:
    """Make a call of one attempt (a POST that was sent is not repeated)."""
    call = Call(upstream, target)
    assert isinstance(call.begin(), Send)
    assert not call.end(outcome)


def broken(world: World) -> Upstream:
    """Return an upstream of which the breaker has just opened."""
    upstream = world.upstream
    assert upstream.breaker is not None
    while upstream.breaker.state is not BreakerState.OPEN:
        once(upstream, BUSY)
    return upstream


def waiting(upstream: Upstream) -> Call:
    """Return a call that has failed once and waits in backoff."""
    call = Call(upstream, GET)
    call.begin()
    assert call.end(BUSY)
    assert isinstance(call.begin(), Wait)
    return call


def ended(world: World) -> CallEnded:
    event = world.seen(CallEnded)[-1]
    assert isinstance(event, CallEnded)
    return event


def retry_in(error: CircuitOpen | RateLimited) -> timedelta:
    assert error.retry_at.utcoffset() == timedelta(0)
    return error.retry_at - datetime.now(UTC)


def value(name: str, **labels: str) -> float | None:
    from prometheus_client import REGISTRY  # noqa: PLC0415 - read once, here

    return REGISTRY.get_sample_value(f"outbound_http_{name}", labels)


def opened(session: ResilientSession, responses: responses_library.RequestsMock) -> None:
    """Open the breaker of example.org, as this session knows it."""
    responses.get(URL, status=503)
    for _ in range(10):
        session.get(URL)
