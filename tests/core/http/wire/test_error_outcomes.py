"""Errors of requests and urllib3: their reason, whether they are transient, and whether the request was sent."""

from __future__ import annotations

import errno
import http.client
import socket
import ssl

import pytest
import requests
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.exceptions import (
    IncompleteRead,
    LocationParseError,
    MaxRetryError,
    NameResolutionError,
    NewConnectionError,
    ProtocolError,
    ReadTimeoutError,
)

from core.http.outcome import Reason, Result
from core.http.wire.attempt_context import Stage
from core.http.wire.error_outcomes import diagnose
from core.http.wire.requests_exceptions import DeadlineExceeded, ResponseTooLarge

POOL = HTTPConnectionPool("example.org")
CONNECTION = HTTPConnection("example.org")
BAD_CERTIFICATE = ssl.SSLCertVerificationError(1, "certificate verify failed")


def unresolved(code: int) -> requests.ConnectionError:
    reason = NameResolutionError("example.org", CONNECTION, socket.gaierror(code, "no"))
    reason.__cause__ = socket.gaierror(code, "no")
    return requests.ConnectionError(MaxRetryError(POOL, "/", reason))


def refused() -> requests.ConnectionError:
    return requests.ConnectionError(MaxRetryError(POOL, "/", NewConnectionError(CONNECTION, "refused")))


def tunnel(status: int) -> requests.exceptions.ProxyError:
    return requests.exceptions.ProxyError("no", OSError(f"Tunnel connection failed: {status} No"))


@pytest.mark.parametrize(
    ("error", "reason", "transient", "sent"),
    [
        (refused(), Reason.CONNECT, True, False),
        (requests.ConnectionError(ConnectionResetError(104, "reset")), Reason.CONNECT, True, True),
        (requests.ConnectionError(http.client.RemoteDisconnected("closed")), Reason.CONNECT, True, True),
        (requests.ConnectionError(), Reason.CONNECT, True, True),
        (unresolved(socket.EAI_AGAIN), Reason.DNS, True, False),
        (unresolved(socket.EAI_NONAME), Reason.DNS, False, False),
        (requests.ConnectTimeout(), Reason.TIMEOUT, True, False),
        (requests.ReadTimeout(), Reason.TIMEOUT, True, True),
        (DeadlineExceeded(), Reason.TIMEOUT, True, True),
        (requests.ConnectionError(ReadTimeoutError(POOL, "/", "slow")), Reason.TIMEOUT, True, True),
        (requests.ConnectionError(ProtocolError("aborted", TimeoutError())), Reason.TIMEOUT, True, True),
        (requests.exceptions.SSLError(BAD_CERTIFICATE), Reason.TLS, False, False),
        (requests.exceptions.SSLError(ssl.SSLEOFError(8, "EOF")), Reason.TLS, True, True),
        (requests.exceptions.SSLError(ssl.SSLError(1, "wrong version")), Reason.TLS, False, True),
        (requests.exceptions.ChunkedEncodingError(IncompleteRead(1, 2)), Reason.TRUNCATED, True, True),
        (requests.exceptions.ContentDecodingError(), Reason.TRUNCATED, True, True),
        (requests.ConnectionError(http.client.BadStatusLine("?")), Reason.OTHER, False, True),
        (requests.exceptions.ProxyError(), Reason.CONNECT, True, False),
        (tunnel(403), Reason.CONNECT, False, False),
        (tunnel(407), Reason.CONNECT, False, False),
        (tunnel(503), Reason.CONNECT, True, False),
        (ResponseTooLarge(), Reason.TOO_LARGE, False, True),
        (requests.exceptions.InvalidURL(), Reason.OTHER, False, False),
        (requests.exceptions.InvalidHeader(), Reason.OTHER, False, False),
        (LocationParseError("x"), Reason.OTHER, False, True),
        (requests.RequestException(), Reason.OTHER, False, True),
    ],
    ids=repr,
)
def test_reason_and_retry_of_an_error(error: Exception, reason: Reason, transient: bool, sent: bool) -> None:
    """The reason and the retry depend on the wrapped error, not only on the class."""
    outcome = diagnose(error)
    assert (outcome.result, outcome.reason) == (Result.FAILURE, reason)
    assert (outcome.transient, outcome.sent) == (transient, sent)
    assert outcome.status is None


@pytest.mark.parametrize(
    "error",
    [
        requests.ConnectionError(ProtocolError("aborted", OSError(errno.ENOBUFS, "no buffers"))),
        requests.ConnectionError(ProtocolError("aborted", TimeoutError())),
        requests.ConnectionError(ProtocolError("aborted", ConnectionResetError(104, "reset"))),
    ],
    ids=repr,
)
@pytest.mark.parametrize("reached", [Stage.DNS, Stage.CONNECT, Stage.TLS, Stage.SEND, Stage.HEADERS, Stage.BODY])
def test_a_request_counts_as_sent_from_its_first_byte(error: Exception, reached: Stage) -> None:
    """After the first byte was sent, any failure counts as sent, because the server may have acted on the request."""
    outcome = diagnose(error, reached)
    assert (outcome.transient, outcome.sent) == (True, reached >= Stage.SEND)


def test_the_detail_is_the_kind_of_error_only() -> None:
    """The detail for the log is the class of the innermost error, without its text, which may contain the URL."""
    assert diagnose(unresolved(socket.EAI_AGAIN)).detail == "gaierror"
    assert diagnose(requests.ConnectionError("https://user:secret@example.org/")).detail == "ConnectionError"


def test_errors_that_wrap_each_other_end() -> None:
    """A cycle of causes does not cause an endless loop."""
    one, two = requests.ConnectionError(), requests.ConnectionError()
    one.__cause__, two.__cause__ = two, one
    assert diagnose(one).reason is Reason.CONNECT
