"""The errors that the requests driver raises: each is the neutral one of `errors`, and in requests' families.

requests.RequestException
├── requests.ConnectionError, requests.HTTPError
│   ├── CircuitOpen                has a response: 503 with Retry-After
│   └── RateLimited                has a response: 429 with Retry-After
├── requests.Timeout
│   ├── requests.ConnectTimeout
│   │   └── AttemptConnectTimeout  an attempt ran out of time before its connection was established
│   └── requests.ReadTimeout
│       ├── AttemptReadTimeout     … or later
│       │   └── AttemptBodyTimeout     … in the body: a requests.ConnectionError too, as requests raises there
│       └── DeadlineExceeded
├── requests.ConnectionError, requests.exceptions.ChunkedEncodingError
│   └── HeadTruncated              the server closed in the middle of its headers
├── requests.ConnectionError
│   └── UnexpectedFailure          a library raised an error that requests does not expect, which is the cause
├── BlockedAddress
├── UnsupportedSocket              no socket could be had that keeps deadlines: says what is in the way
└── ResponseTooLarge

Everything else that goes wrong is the error that requests itself raises for it.
"""

from __future__ import annotations

import io
import math
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import requests
import urllib3
from requests.structures import CaseInsensitiveDict

from .. import errors
from ..outcome import Attempt

if TYPE_CHECKING:
    from typing import Self


class _NotSent(errors.NotSent, requests.ConnectionError, requests.HTTPError):
    """Caught by whatever catches the 503 or the 429 of a server: `answer` makes the response that goes with it."""

    _status: int
    _retry_after = 1
    """Seconds, whole."""

    def answer(self, request: requests.PreparedRequest, retry_after: int | None = None) -> Self:
        """Set `request`, and `response` to one made here, as the upstream would have sent it. Returns the error.

        :param retry_after: whole seconds; default: until `retry_at`, rounded up, at least 1.
        """
        if retry_after is None:
            retry_after = max(math.ceil((self.retry_at - datetime.now(UTC)).total_seconds()), 1)
        self.request = request
        self._retry_after = retry_after
        made = requests.Response()
        made.status_code, made.reason = self._status, HTTPStatus(self._status).phrase
        made.headers["Retry-After"] = str(retry_after)
        made.headers["Content-Length"] = "0"
        made.url, made.request = str(request.url), request
        made.raw = urllib3.HTTPResponse(io.BytesIO(), made.headers, made.status_code, preload_content=False)
        made.attempts = self.attempts  # type: ignore[attr-defined]  # as every response of a session has them
        self.response = made
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep everything but what else the request holds: its headers may be credentials."""
        asked = None if self.request is None else (self.request.method, self.request.url, self._retry_after)
        return _restored, (type(self), str(self), self.retry_at, self.attempts, asked)


class CircuitOpen(errors.CircuitOpen, _NotSent):
    """The circuit breaker of the upstream is open."""

    _status = 503


class RateLimited(errors.RateLimited, _NotSent):
    """The upstream asked for a pause that is longer than the call may wait."""

    _status = 429


def _restored(
    kind: type[_NotSent],
    text: str,
    retry_at: datetime,
    attempts: tuple[Attempt, ...],
    asked: tuple[str, str, int] | None,
) -> _NotSent:
    error = kind(text, retry_at)
    error.attempts = attempts
    if asked is not None:
        request = requests.PreparedRequest()
        request.method, request.url, retry_after = asked
        request.headers = CaseInsensitiveDict()
        error.answer(request, retry_after)
    return error


class AttemptTimeout(errors.AttemptTimeout, requests.Timeout):
    """An attempt ran out of time; says how far it got. Its arguments are those of the error of requests."""

    target: str = "The request"
    """Method and host. (Not read off the request, which a copy may lack.)"""

    def __str__(self) -> str:
        return f"{self.target} timed out in stage {self.reached}, with {self.received} bytes received"


class AttemptConnectTimeout(AttemptTimeout, requests.ConnectTimeout):
    """An attempt ran out of time before its connection was established: in dns, connect or tls. Nothing was sent."""


class AttemptReadTimeout(AttemptTimeout, requests.ReadTimeout):
    """An attempt ran out of time while sending, or waiting for the answer."""


class AttemptBodyTimeout(AttemptReadTimeout, requests.ConnectionError):
    """An attempt ran out of time in the body, where requests raises a ConnectionError."""


class HeadTruncated(requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
    """The server closed in the middle of its headers. For requests an answer, of which chunked ones fail to be read."""


class UnexpectedFailure(requests.ConnectionError):
    """A library failed on an answer, or on the way to it, in a way that requests does not expect: see `__cause__`."""


class DeadlineExceeded(errors.DeadlineExceeded, requests.ReadTimeout):
    """The total timeout of the call expired."""


class BlockedAddress(errors.BlockedAddress, requests.RequestException):
    """A URL of an untrusted session leads to an address that it must not reach."""


class UnsupportedSocket(requests.RequestException):
    """Something (pyOpenSSL, gevent patched too late) has put sockets in place that cannot keep a deadline."""


class ResponseTooLarge(errors.ResponseTooLarge, requests.RequestException):
    """The body exceeds `Policy.max_response_bytes`, or its JSON `Policy.max_json_nodes`."""


def not_sent(error: errors.NotSent | errors.DeadlineExceeded) -> requests.RequestException:
    """Return the error of this driver for one that the engine raised."""
    if isinstance(error, errors.NotSent):
        kind = CircuitOpen if isinstance(error, errors.CircuitOpen) else RateLimited
        return kind(str(error), error.retry_at)
    return DeadlineExceeded(str(error))
