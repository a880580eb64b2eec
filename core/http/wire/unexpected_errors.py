"""Translates unexpected exceptions that the server or the machine caused, but not those that the caller caused.

requests and urllib3 translate the errors that they expect. Other errors, from ssl, http.client or a codec, would leave
the session untranslated, and no ``except requests.RequestException`` would catch them. The caller's arguments,
hooks, request bodies, signal handlers and mocks raise exceptions too, which must reach the caller unchanged. The stage
of the attempt and the module that raised the error tell the two kinds apart.
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
"""The machine has run out of file descriptors, buffers, memory or (EAGAIN) threads."""
_UNREACHABLE = {errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH}
_CONNECTION = (ConnectionError, TimeoutError, ssl.SSLError, socket.gaierror, socket.herror)
_WIRE = (urllib3.exceptions.HTTPError, HTTPException)
_OURS = f"{__name__.rpartition('.')[0].rpartition('.')[0]}."
_LIBRARIES = (
    sys.stdlib_module_names
    | PATCHERS
    | {"brotli", "brotlicffi", "backports", "chardet", "charset_normalizer", "idna", "requests", "socks", "urllib3"}
    | {"zstandard"}
) - {"unittest"}  # errors from a mock are the caller's
_DIGEST = HTTPDigestAuth.build_digest_header.__code__


def of_attempt(error: Exception, reached: Stage, request: requests.PreparedRequest) -> requests.RequestException | None:
    """Return requests' error for `error`, which ended an attempt at that stage; None if the caller caused it."""
    kind: type[requests.RequestException] = requests.ConnectionError
    if isinstance(error, OSError):
        # Before a socket is used, an OSError may be about a file that the caller named.
        if reached is Stage.NONE and not _is_of_network(error):
            return None
        if isinstance(error, ssl.SSLError):
            kind = SSLError
    elif not isinstance(error, _WIRE):
        # Before that, errors are about an argument; while the request is sent, about its headers or body.
        if reached in {Stage.NONE, Stage.SEND} or not is_of_library(error):
            return None
        kind = UnexpectedFailure
    translated = kind(error, request=request)
    translated.__cause__ = error
    return translated


def of_challenge(error: Exception, request: requests.PreparedRequest | None) -> InvalidHeader | None:
    """Return requests' error for `error` if requests' digest authentication raised it for an invalid challenge.

    None for other causes. (For other authentication handlers, this module cannot tell whether the server is at fault.)
    """
    if isinstance(error, UnicodeError) or not is_of_library(error):  # a password that cannot be encoded is the caller's
        return None
    if all(frame.f_code is not _DIGEST for frame, _ in walk_tb(error.__traceback__)):
        return None
    translated = InvalidHeader(f"The WWW-Authenticate header is not a valid challenge: {error!r}", request=request)
    translated.__cause__ = error
    return translated


def is_of_library(error: Exception) -> bool:
    """Return whether a library (Python's, requests, its dependencies or this one) both defines and raised `error`."""
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
