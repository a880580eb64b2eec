"""Which exceptions that requests does not expect the server or the machine caused, and which the caller did.

requests and urllib3 translate the errors that they expect. An error of another kind, which ssl, http.client or a codec
raises, would leave the session as it is, and pass every ``except requests.RequestException``. The caller's arguments,
hooks, bodies of requests, signal handlers and mocks raise exceptions too, and those have to pass. How far the attempt
got and whose code raised the error tell the two apart.
"""

from __future__ import annotations

import errno
import socket
import ssl
import sys
from http.client import HTTPException
from traceback import walk_tb

import requests
import urllib3.exceptions
from requests.auth import HTTPDigestAuth
from requests.exceptions import InvalidHeader, SSLError

from .attempt_context import Stage
from .requests_exceptions import UnexpectedFailure
from .supported_versions import PATCHERS

EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EAGAIN})
"""The machine has no more file descriptors, buffers, memory or (EAGAIN) threads."""
_UNREACHABLE = {errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH}
_CONNECTION = (ConnectionError, TimeoutError, ssl.SSLError, socket.gaierror, socket.herror)
_WIRE = (urllib3.exceptions.HTTPError, HTTPException)
_OURS = f"{__name__.rpartition('.')[0].rpartition('.')[0]}."
_LIBRARIES = (
    sys.stdlib_module_names
    | PATCHERS
    | {"brotli", "brotlicffi", "backports", "chardet", "charset_normalizer", "idna", "requests", "socks", "urllib3"}
    | {"zstandard"}
) - {"unittest"}  # a mock raises what a test tells it to
_DIGEST = HTTPDigestAuth.build_digest_header.__code__


def of_attempt(error: Exception, reached: Stage, request: requests.PreparedRequest) -> requests.RequestException | None:
    """Return the error of requests for `error`, which ended an attempt at that stage; None: the caller caused it."""
    kind: type[requests.RequestException] = requests.ConnectionError
    if isinstance(error, OSError):
        # Before a socket is touched, the files that the caller names are looked at.
        if reached is Stage.NONE and not _is_of_network(error):
            return None
        if isinstance(error, ssl.SSLError):
            kind = SSLError
    elif not isinstance(error, _WIRE):
        # Until then, what raises is about an argument; while the request is sent, about its headers and its body.
        if reached in {Stage.NONE, Stage.SEND} or not is_of_library(error):
            return None
        kind = UnexpectedFailure
    translated = kind(error, request=request)
    translated.__cause__ = error
    return translated


def of_challenge(error: Exception, request: requests.PreparedRequest | None) -> InvalidHeader | None:
    """Return the error of requests for `error` if requests' digest authentication raised it over a bad challenge.

    None: something else did. (Of other authentication handlers only their authors can tell whom to blame.)
    """
    if isinstance(error, UnicodeError) or not is_of_library(error):  # text that cannot be encoded is the caller's
        return None
    if all(frame.f_code is not _DIGEST for frame, _ in walk_tb(error.__traceback__)):
        return None
    translated = InvalidHeader(f"WWW-Authenticate of the server is no valid challenge: {error!r}", request=request)
    translated.__cause__ = error
    return translated


def is_of_library(error: Exception) -> bool:
    """Say whether a library (Python's, requests and what it needs, this one) both defines and raised `error`."""
    if isinstance(error, MemoryError | Warning):  # the caller turned warnings into errors
        return False
    if isinstance(error, _WIRE):
        return True
    *_, (innermost, _) = walk_tb(error.__traceback__)
    return _is_library(type(error).__module__) and _is_library(innermost.f_globals.get("__name__") or "")


def _is_library(module: str) -> bool:
    return module.startswith(_OURS) or module.partition(".")[0] in _LIBRARIES


def _is_of_network(error: OSError) -> bool:
    return isinstance(error, _CONNECTION) or error.errno in EXHAUSTED | _UNREACHABLE
