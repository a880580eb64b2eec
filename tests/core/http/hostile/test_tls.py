"""Servers with bad certificates, and handshakes that hang, drip, break off or are no TLS at all."""

from __future__ import annotations

import os
import select
import socket
import ssl
import struct

import pytest
import requests

from core.http.events import Event
from core.http.outcome import Reason
from core.http.testing import FakeClock
from core.http.wire import tls_contexts
from core.http.wire.requests_exceptions import AttemptConnectTimeout
from tests.core.http.conftest import Serve
from tests.core.http.hostile.scenarios import (
    FINE,
    HASTY,
    PATIENT,
    SLOWLY,
    TLS,
    Scenario,
    certificate,
    each,
    ended,
    later,
    methods,
    session_for,
)
from tests.core.http.misbehave import Reply, Then

SSLError = requests.exceptions.SSLError


@methods
@pytest.mark.parametrize("name", ["self_signed", "expired", "not_yet", "wrong_host"])
def test_a_bad_certificate(name: str, method: str, serve: Serve, events: list[Event], clock: FakeClock) -> None:
    """A certificate that is not to be trusted is an SSLError at once, for every method, and nothing was sent."""
    server = serve(context=certificate(name))
    with session_for(PATIENT) as session:
        with pytest.raises(SSLError):
            session.request(method, server.url)
        outcome = ended(events).attempts[-1].outcome
        assert (outcome.reason, outcome.transient, outcome.sent) == (Reason.TLS, False, False)
        assert (server.connections, server.requests, clock.waits) == (1, [], [])
        assert session.get(serve(FINE, context=certificate()).url).content == b"fine"


def test_a_certificate_for_another_of_the_hosts(serve: Serve) -> None:
    """A certificate that is valid by one name is refused by another, on the same session."""
    server = serve(FINE, FINE, context=certificate("wrong_host"))
    with session_for(PATIENT) as session, pytest.raises(SSLError):
        session.get(server.url.replace("127.0.0.1", "localhost"))


@methods
@each(
    Scenario("closes", Reply(b""), requests.ConnectionError, Reason.TLS, Reason.CONNECT, transient=True, sent=False),
    Scenario(
        "closes after half a record",
        Reply(b"\x16\x03\x03\0\x7a\x02\0\0"),
        requests.ConnectionError,
        Reason.TLS,
        Reason.CONNECT,
        transient=True,
        sent=False,
    ),
    Scenario("speaks plain HTTP", Reply(b"HTTP/1.1 400 Bad Request\r\n\r\n", Then.DRAIN), SSLError, Reason.TLS),
    Scenario("speaks SMTP", Reply(b"220 mail.example.org ESMTP ready\r\n", Then.DRAIN), SSLError, Reason.TLS),
    Scenario("speaks nonsense", Reply(bytes(range(255)), Then.DRAIN), SSLError, Reason.TLS),
    Scenario("sends an alert", Reply(b"\x15\x03\x03\0\x02\x02\x28", Then.DRAIN), SSLError, Reason.TLS),
    Scenario("sends nonsense without end", Reply(b"", Then.CLOSE, b"\0" * 4096), requests.ConnectionError, Reason.TLS),
)
def test_a_broken_handshake(scenario: Scenario, method: str, serve: Serve, events: list[Event]) -> None:
    """A TLS handshake that breaks off is retried; an invalid one is not. In both cases, no request was sent."""
    meet_in_handshake(scenario, serve, events, method)


def meet_in_handshake(scenario: Scenario, serve: Serve, events: list[Event], method: str) -> None:
    attempts = scenario.attempts(method)
    server = serve(FINE, greetings=[scenario.does] * attempts, context=certificate())
    with session_for(PATIENT) as session:
        with pytest.raises(scenario.error or ()) as raised:
            session.request(method, server.url)
        outcome = ended(events).attempts[-1].outcome
        assert outcome.reason in {scenario.reason, scenario.or_reason or scenario.reason}, raised.value
        assert (outcome.transient, outcome.sent) == (scenario.transient, False)
        assert len(ended(events).attempts) == attempts
        assert server.requests == []
        assert session.get(server.url).content == b"fine"


def test_a_handshake_that_is_reset(serve: Serve, events: list[Event]) -> None:
    """A reset in the handshake is tried again, a POST too: nothing was sent."""
    for method in ("GET", "POST"):
        server = serve(FINE, FINE, greetings=[Reply(b"", Then.RESET)], context=certificate())
        with session_for(PATIENT) as session:
            assert session.request(method, server.url).content == b"fine"
            first = ended(events).attempts[0].outcome
            assert (first.transient, first.sent) == (True, False)
            assert session.get(server.url).content == b"fine"


@methods
@each(
    Scenario("hangs", Reply(b"", Then.DRAIN)),
    Scenario("hangs in a record", Reply(b"\x16\x03\x03\0\x7a\x02\0\0", Then.DRAIN)),
    Scenario("drips", Reply(b"\x16\x03\x03\x3f\xff\x02\0\x3f\xfb\x03\x03", Then.CLOSE, b"\0", SLOWLY)),
)
def test_a_slow_handshake(scenario: Scenario, method: str, serve: Serve, events: list[Event]) -> None:
    """A handshake that does not get done is a ConnectTimeout, and tried again for every method: nothing was sent."""
    server = serve(greetings=[scenario.does] * 2, context=certificate())
    with session_for(HASTY) as session:
        with pytest.raises(requests.ConnectTimeout) as raised:
            session.request(method, server.url)
        assert isinstance(raised.value, AttemptConnectTimeout)
        assert raised.value.reached == "tls"
        assert [attempt.outcome.sent for attempt in ended(events).attempts] == [False, False]
        assert server.requests == []
        assert later(session, server).content == b"fine"


def test_tls_on_a_plain_port(serve: Serve, events: list[Event]) -> None:
    """A server that answers in plain HTTP to an https URL is an SSLError, not tried again."""
    server = serve(FINE, greetings=[Reply(FINE.data, Then.DRAIN)])
    with session_for(PATIENT) as session:
        with pytest.raises(SSLError):
            session.get(server.url.replace("http:", "https:"))
        assert len(ended(events).attempts) == 1
        assert session.get(server.url).content == b"fine"


def test_plain_http_on_a_tls_port(serve: Serve) -> None:
    """A plain request to a TLS port, whose server hangs up or sends an alert, is a ConnectionError."""
    server = serve(context=certificate())
    with session_for(PATIENT) as session, pytest.raises(requests.ConnectionError):
        session.get(server.url.replace("https:", "http:"))


def test_an_old_protocol(serve: Serve, clock: FakeClock) -> None:
    """A server that knows no TLS of this decade is an SSLError, not tried again."""
    context = certificate()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with session_for(PATIENT) as session, pytest.raises(SSLError):
        session.get(serve(context=context).url)
    assert clock.waits == []


def test_a_certificate_that_is_refused_leaves_others_alone(serve: Serve) -> None:
    """Servers with good and bad certificates in turns, on one session: each is judged by its own."""
    good = serve(*[FINE] * 3, context=certificate())
    bad = serve(context=certificate("self_signed"))
    with session_for(PATIENT) as session:
        for _ in range(3):
            with pytest.raises(SSLError):
                session.get(bad.url)
            assert session.get(good.url).content == b"fine"
        assert session.get(serve(FINE, context=certificate("self_signed")).url, verify=str(TLS / "self_signed.pem")).ok


def test_a_reset_before_the_handshake_leaves_no_socket_open() -> None:
    """Python's ssl forgets the socket whose peer hung up before the handshake began; it is closed all the same."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close() resets
    server.close()
    select.select([client], [], [])
    descriptor = client.fileno()
    with pytest.raises(ConnectionResetError):
        tls_contexts.context(False, None).wrap_socket(client)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
