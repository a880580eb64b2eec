"""Maps an exception of httpx to the outcome of an attempt."""

from __future__ import annotations

import socket
import ssl
from dataclasses import replace
from functools import cache
from typing import Any, TypeAlias

from ..errors import BlockedAddress, ResponseTooLarge
from ..outcome import Outcome, Reason, failed
from ..wire.attempt_context import AttemptContext, Stage
from ..wire.error_chain import chain
from ..wire.error_outcomes import machine_lacks

_Rule: TypeAlias = tuple[tuple[type[BaseException], ...], Reason, bool, bool]


@cache
def _rules(httpx: Any) -> tuple[_Rule, ...]:
    """Return the rules. The first rule that matches an exception in the chain applies.

    A rule consists of classes, a reason, whether the failure is transient, and whether the request may have been sent.
    """
    return (
        ((BlockedAddress,), Reason.BLOCKED, False, False),
        ((ResponseTooLarge,), Reason.TOO_LARGE, False, True),
        # not Reason.TIMEOUT: a pool of this process was full, which is not a failure of the server
        ((httpx.PoolTimeout,), Reason.OTHER, True, False),
        ((ssl.SSLCertVerificationError,), Reason.TLS, False, False),
        ((httpx.ConnectTimeout,), Reason.TIMEOUT, True, False),
        ((httpx.TimeoutException, TimeoutError), Reason.TIMEOUT, True, True),
        ((ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError), Reason.TLS, True, True),
        ((ssl.SSLError,), Reason.TLS, False, True),
        ((httpx.UnsupportedProtocol, httpx.LocalProtocolError, httpx.InvalidURL), Reason.OTHER, False, False),
        ((httpx.DecodingError,), Reason.TRUNCATED, True, True),
        ((httpx.ProxyError, httpx.ConnectError), Reason.CONNECT, True, False),
        ((httpx.RemoteProtocolError,), Reason.OTHER, False, True),  # the response is not valid HTTP
        ((httpx.NetworkError,), Reason.CONNECT, True, True),
        ((BaseException,), Reason.OTHER, False, True),
    )


def diagnose(
    httpx: Any, error: BaseException, attempt: AttemptContext, handled: BaseException | None = None
) -> Outcome:
    """Return the outcome of an attempt that raised `error`.

    :param handled: the exception that the caller was handling when the attempt began, which Python chains to `error`.
    """
    links = tuple(chain(error, handled))
    lack = machine_lacks(links) if attempt.stage < Stage.SEND else None
    if lack is not None:
        return lack
    detail = type(links[-1]).__name__
    for link in links:
        if isinstance(link, socket.gaierror):
            return failed(Reason.DNS, detail, transient=link.errno == socket.EAI_AGAIN, sent=False)
    rules = _rules(httpx)
    _, reason, transient, sent = next(rule for rule in rules if any(isinstance(link, rule[0]) for link in links))
    if reason is Reason.TIMEOUT:
        detail = f"{attempt.stage.name.lower()}, {attempt.received} bytes"
    if isinstance(error, httpx.ProxyError) and str(error).startswith("4"):  # the proxy refuses the connection
        transient = False
    outcome = failed(reason, detail, transient=transient, sent=sent)
    if attempt.stage is Stage.NONE:  # the error is from a mock, or came before the attempt used the network
        return outcome
    outcome = replace(outcome, sent=sent and attempt.stage >= Stage.SEND)
    if isinstance(error, httpx.RemoteProtocolError) and attempt.hung_up:
        return replace(outcome, reason=Reason.TRUNCATED if attempt.received else Reason.CONNECT, transient=True)
    if reason is Reason.CONNECT and attempt.stage is Stage.BODY:
        return replace(outcome, reason=Reason.TRUNCATED)
    return outcome
