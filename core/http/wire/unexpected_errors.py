"""Translates unexpected exceptions that the server or the machine caused, but not those that the caller caused.

requests and urllib3 translate the errors that they expect. Other errors, from ssl, http.client or a codec, would reach
the caller, and ``except requests.RequestException`` would not catch them. Exceptions from the caller's own arguments,
hooks, request bodies, signal handlers and mocks must reach the caller unchanged. The stage of the attempt and the
module that raised the error show which of the two kinds an exception is.
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
"""Error numbers that mean that the machine has no file descriptors, buffers, memory or (EAGAIN) threads left."""
_UNREACHABLE = {errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH}
_CONNECTION = (ConnectionError, TimeoutError, ssl.SSLError, socket.gaierror, socket.herror)
_WIRE = (urllib3.exceptions.HTTPError, HTTPException)
_OURS = f"{__name__.rpartition('.')[0].rpartition('.')[0]}."
_LIBRARIES = (
    sys.stdlib_module_names
    | PATCHERS
    | {"brotli", "brotlicffi", "backports", "chardet", "charset_normalizer", "idna", "requests", "socks", "urllib3"}
    | {"zstandard"}
) - {"unittest"}  # the caller caused the errors of a mock
_DIGEST = HTTPDigestAuth.build_digest_header.__code__


def of_attempt(error: Exception, reached: Stage, request: requests.PreparedRequest) -> requests.RequestException | None:
    """Return the error of requests for `error`, which ended an attempt; None if the caller caused `error`.

    :param reached: the stage that the attempt had reached.
    """
    kind: type[requests.RequestException] = requests.ConnectionError
    if isinstance(error, OSError):
        # Before a socket is used, an OSError may concern a file that the caller named.
        if reached is Stage.NONE and not _is_of_network(error):
            return None
        if isinstance(error, ssl.SSLError):
            kind = SSLError
    elif not isinstance(error, _WIRE):
        # Before a socket is used, errors concern an argument; while the request is sent, its headers or body.
        if reached in {Stage.NONE, Stage.SEND} or not is_of_library(error):
            return None
        kind = UnexpectedFailure
    translated = kind(error, request=request)
    translated.__cause__ = error
    return translated


def of_challenge(error: Exception, request: requests.PreparedRequest | None) -> InvalidHeader | None:
    """Return an error of requests if `error` was raised by digest authentication because of an invalid challenge.

    None: there was another cause. (For other authentication handlers, this function cannot tell whether the server
    caused the error.)
    """
    if isinstance(error, UnicodeError) or not is_of_library(error):  # UnicodeError: the password cannot be encoded
        return None
    if all(frame.f_code is not _DIGEST for frame, _ in walk_tb(error.__traceback__)):
        return None
    translated = InvalidHeader(f"The WWW-Authenticate header is not a valid challenge: {error!r}", request=request)
    translated.__cause__ = error
    return translated


def is_of_library(error: Exception) -> bool:
    """Return whether a library (Python's, requests, its dependencies or this one) both defines and raised `error`."""
    if isinstance(error, MemoryError | Warning):  # Warning: the caller has turned warnings into errors
        return False
    if isinstance(error, _WIRE):
        return True
    *_, (innermost, _) = walk_tb(error.__traceback__)
    return _is_library(type(error).__module__) and _is_library(innermost.f_globals.get("__name__") or "")


def _is_library(module: str) -> bool:
    return module.startswith(_OURS) or module.partition(".")[0] in _LIBRARIES


def _is_of_network(error: OSError) -> bool:
    return isinstance(error, _CONNECTION) or error.errno in EXHAUSTED | _UNREACHABLE
