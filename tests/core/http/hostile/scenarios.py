"""Scenarios: the behavior of a server and the expected result of a call; and a check that compares them."""

from __future__ import annotations

import ssl
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from core.http import Policy, ResilientSession
from core.http.events import CallEnded, Event
from core.http.outcome import Reason
from core.http.wire.requests_exceptions import AttemptTimeout
from tests.core.http.conftest import Serve
from tests.core.http.misbehave import MisbehavingServer, Reply, reply

TLS = Path(__file__).parent / "tls"
"""An authority of these tests, and servers' certificates: valid for 127.0.0.1 until 2120, and not valid at all."""
CA = str(TLS / "ca.pem")

PATIENT = 60.0
"""Seconds for an attempt that ends by itself, even on a machine that is busy."""
HASTY = 0.25
"""Seconds for an attempt that has to be cut off."""
ALIVE = 5.0
"""Seconds on top of what is allowed, after which something hangs: no measure of precision."""
SMALL = 2**20
"""The max_response_bytes of these calls."""

FINE = reply(200, b"fine")
SLOWLY = 0.02
"""Seconds between the pieces of a drip: as a server would do it that wants to hold a client for ever."""


@dataclass(frozen=True)
class Scenario:
    """`does` is the behavior of the server at each attempt; the other fields are the expected result."""

    name: str
    does: Reply
    error: type[requests.RequestException] | tuple[type[requests.RequestException], ...] | None = (
        requests.ConnectionError
    )
    """None: a response."""
    reason: Reason | None = None
    or_reason: Reason | None = None
    """Where it depends on the system which of the two it is."""
    transient: bool = False
    sent: bool = True
    reached: str = ""
    """The stage that a timeout names. Such an attempt has `HASTY` seconds."""
    status: int = 200
    content: bytes | None = None
    """The expected content of the response; None: any."""
    greeting: bool = False
    """It is done before the request is read, and before TLS."""

    def __str__(self) -> str:
        return self.name

    @property
    def seconds(self) -> float:
        return HASTY if self.reached else PATIENT

    def attempts(self, method: str) -> int:
        """Return the expected attempts of a call with one retry: 2 for a transient failure that is safe to repeat."""
        return 2 if self.transient and (method != "POST" or not self.sent) else 1


def each(*scenarios: Scenario) -> pytest.MarkDecorator:
    """Run a test for each of `scenarios`."""
    return pytest.mark.parametrize("scenario", scenarios, ids=str)


schemes = pytest.mark.parametrize("scheme", ["http", "https"])
methods = pytest.mark.parametrize("method", ["GET", "POST"])


def certificate(name: str = "valid") -> ssl.SSLContext:
    """Return the context of a server that shows this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(TLS / f"{name}.pem")
    return context


def start(scenario: Scenario, serve: Serve, scheme: str, attempts: int) -> MisbehavingServer:
    """Start a server that does it for as many attempts, and is fine afterwards."""
    bad = [scenario.does] * attempts
    context = certificate() if scheme == "https" else None
    if scenario.greeting:
        return serve(FINE, greetings=bad, context=context)
    return serve(*bad, FINE, context=context)


def session_for(seconds: float, retries: int = 1, max_response_bytes: int | None = SMALL) -> ResilientSession:
    """Make a session that trusts the authority of these tests."""
    session = ResilientSession(
        Policy(retries=retries, attempt_timeout=seconds, max_response_bytes=max_response_bytes, circuit_breaker=None),
    )
    session.trust_env = False
    session.verify = CA
    return session


def meet(scenario: Scenario, serve: Serve, events: list[Event], scheme: str = "http", method: str = "GET") -> None:
    """Make a call that meets `scenario`, check everything that came of it, and that the next call is unharmed."""
    attempts = scenario.attempts(method)
    server = start(scenario, serve, scheme, attempts)
    with session_for(scenario.seconds) as session:
        data = b"order" if method == "POST" else None
        began = time.monotonic()
        try:
            answer: requests.Response | requests.RequestException = session.request(method, server.url, data=data)
        except requests.RequestException as exc:
            answer = exc
        took = time.monotonic() - began
        check(scenario, answer, ended(events), attempts)
        assert took < attempts * scenario.seconds + ALIVE
        after = session.get(server.url, timeout=PATIENT) if not scenario.reached else later(session, server)
        assert (after.status_code, after.content) == (200, b"fine")


def later(session: ResilientSession, server: MisbehavingServer) -> requests.Response:
    """Make the next call, several times if need be: a busy machine may take longer than `HASTY` for an attempt."""
    server.script.extend([FINE] * 60)
    for _ in range(20):
        with suppress(AttemptTimeout):
            return session.get(server.url)
    return session.get(server.url)


def check(
    scenario: Scenario, answer: requests.Response | requests.RequestException, call: CallEnded, attempts: int
) -> None:
    """Compare the result of the call and of its last attempt with `scenario`."""
    outcome = call.attempts[-1].outcome
    if scenario.error is None:
        assert isinstance(answer, requests.Response)
        assert answer.status_code == scenario.status
        if scenario.content is not None:
            assert answer.content == scenario.content
    else:
        assert isinstance(answer, scenario.error)
        assert not outcome.status
    assert outcome.reason in {scenario.reason, scenario.or_reason or scenario.reason}
    assert outcome.transient == scenario.transient
    assert len(call.attempts) == attempts
    if scenario.transient:
        assert outcome.sent == scenario.sent
    if scenario.reached:
        assert isinstance(answer, AttemptTimeout)
        assert answer.reached == scenario.reached
        assert answer.received >= 0


def ended(events: list[Event]) -> CallEnded:
    """Return the event of the call that ended last."""
    return [event for event in events if isinstance(event, CallEnded)][-1]
