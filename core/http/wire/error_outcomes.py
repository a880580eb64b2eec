"""Maps an exception of requests or urllib3 to the outcome of an attempt.

The class of the exception is not enough: requests raises ConnectionError for a refused connection, for an unknown host
name and for an invalid certificate. The wrapped exceptions show which of them it was.
"""

from __future__ import annotations

import errno
import http.client
import re
import socket
import ssl
from collections.abc import Iterable
from dataclasses import replace

import requests
import urllib3.exceptions

from ..errors import BlockedAddress, ResponseTooLarge
from ..outcome import Outcome, Reason, failed
from .attempt_context import Stage
from .error_chain import chain
from .requests_exceptions import UnexpectedFailure, UnsupportedSocket
from .unexpected_errors import EXHAUSTED

# Classes, reason, whether the failure is transient, whether the request may have been sent. The first rule that matches
# an exception in the chain applies.
_RULES: tuple[tuple[tuple[type[BaseException], ...], Reason, bool, bool], ...] = (
    ((BlockedAddress,), Reason.BLOCKED, False, False),
    ((ResponseTooLarge,), Reason.TOO_LARGE, False, True),
    # about the response; requests' own InvalidHeader is about the request
    ((urllib3.exceptions.InvalidHeader,), Reason.OTHER, False, True),
    (
        (
            requests.exceptions.InvalidURL,
            requests.exceptions.InvalidSchema,
            requests.exceptions.MissingSchema,
            requests.exceptions.InvalidHeader,
            requests.exceptions.InvalidProxyURL,
            UnsupportedSocket,
        ),
        Reason.OTHER,
        False,
        False,
    ),
    ((UnexpectedFailure,), Reason.OTHER, False, True),
    ((ssl.SSLCertVerificationError, ssl.CertificateError), Reason.TLS, False, False),
    # before its base class ConnectTimeoutError
    ((urllib3.exceptions.NewConnectionError,), Reason.CONNECT, True, False),
    (
        (
            requests.ConnectTimeout,
            urllib3.exceptions.ConnectTimeoutError,
            urllib3.exceptions.EmptyPoolError,
        ),
        Reason.TIMEOUT,
        True,
        False,
    ),
    ((requests.Timeout, urllib3.exceptions.ReadTimeoutError, TimeoutError), Reason.TIMEOUT, True, True),
    ((ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError), Reason.TLS, True, True),
    ((requests.exceptions.SSLError, ssl.SSLError), Reason.TLS, False, True),
    (
        (
            requests.exceptions.ChunkedEncodingError,
            requests.exceptions.ContentDecodingError,
            urllib3.exceptions.DecodeError,
            urllib3.exceptions.IncompleteRead,
            http.client.IncompleteRead,
        ),
        Reason.TRUNCATED,
        True,
        True,
    ),
    ((requests.exceptions.ProxyError, ConnectionRefusedError), Reason.CONNECT, True, False),
    ((http.client.RemoteDisconnected,), Reason.CONNECT, True, True),
    ((http.client.HTTPException,), Reason.OTHER, False, True),
    ((requests.ConnectionError,), Reason.CONNECT, True, True),
    ((BaseException,), Reason.OTHER, False, True),
)
_OTHER_NUMBERS = (socket.gaierror, socket.herror, ssl.SSLError)
"""Classes whose `errno` is not a system error number."""
_REFUSED_BY_PROXY = re.compile(r"Tunnel connection failed: 4\d\d")


def diagnose(error: BaseException, reached: Stage = Stage.NONE, handled: BaseException | None = None) -> Outcome:
    """Return the outcome of an attempt that raised `error`.

    :param reached: the stage that the attempt had reached.
    :param handled: the exception that the caller was handling when the attempt began, which Python chains to `error`.
    """
    links = tuple(chain(error, handled))
    lack = machine_lacks(links) if reached < Stage.SEND else None
    if lack is not None:
        return lack
    outcome = _diagnose(links)
    return outcome if reached is Stage.NONE else replace(outcome, sent=outcome.sent and reached >= Stage.SEND)


def machine_lacks(links: Iterable[BaseException]) -> Outcome | None:
    """Return the outcome of an attempt that failed because this machine had no file descriptor, thread or buffer left.

    None: the attempt failed for another reason.

    :param links: the error that ended the attempt before anything was sent, and all errors that it wraps.
    """
    for link in links:
        if isinstance(link, OSError) and link.errno in EXHAUSTED and not isinstance(link, _OTHER_NUMBERS):
            return failed(Reason.OTHER, errno.errorcode[link.errno], transient=True, sent=False)
    return None


def _diagnose(links: tuple[BaseException, ...]) -> Outcome:
    detail = type(links[-1]).__name__
    for link in links:
        if isinstance(link, socket.gaierror):
            return failed(Reason.DNS, detail, transient=link.errno == socket.EAI_AGAIN, sent=False)
    _, reason, transient, sent = next(rule for rule in _RULES if any(isinstance(link, rule[0]) for link in links))
    if any(_REFUSED_BY_PROXY.search(str(link)) for link in links):
        transient = False
    return failed(reason, detail, transient=transient, sent=sent)
