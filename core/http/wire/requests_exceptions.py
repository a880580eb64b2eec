"""The errors that the requests driver raises. Each derives from a class in `errors` and from requests' own classes.

requests.RequestException
├── requests.ConnectionError, requests.HTTPError
│   ├── CircuitOpen                has a response: 503 with Retry-After
│   └── RateLimited                has a response: 429 with Retry-After
├── requests.Timeout
│   ├── requests.ConnectTimeout
│   │   └── AttemptConnectTimeout  an attempt timed out before its connection was established
│   └── requests.ReadTimeout
│       ├── AttemptReadTimeout     an attempt timed out after its connection was established
│       │   └── AttemptBodyTimeout     … while reading the body; also a requests.ConnectionError, as in requests
│       └── DeadlineExceeded
├── requests.ConnectionError, requests.exceptions.ChunkedEncodingError
│   └── HeadTruncated              the server closed the connection in the middle of the headers
├── requests.ConnectionError
│   └── UnexpectedFailure          a library raised an error that requests does not translate: see `__cause__`
├── BlockedAddress
├── UnsupportedSocket              other code has installed sockets that cannot enforce deadlines
└── ResponseTooLarge

For all other failures, requests' own error is raised.
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
    """Base of CircuitOpen and RateLimited.

    These errors have a response with status 503 or 429, created by `answer`, so that code that handles such responses
    of a server handles these errors too.
    """

    _status: int
    _retry_after = 1
    """Retry-After of the response, in whole seconds."""

    def answer(self, request: requests.PreparedRequest, retry_after: int | None = None) -> Self:
        """Set `request`, and set `response` to a response like one that an upstream would send. Returns the error.

        :param retry_after: whole seconds; default: the seconds until `retry_at`, rounded up, at least 1.
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
        made.attempts = self.attempts  # type: ignore[attr-defined]  # as for every response of a session
        self.response = made
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep everything except the headers and the body of the request, which may contain credentials."""
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
    """An attempt timed out. `reached` is the stage that it had reached. `args` are those of the error of requests."""

    target: str = "The request"
    """Method and host, for the text. (They are not read from the request, which a copy of the error may not have.)"""

    def __str__(self) -> str:
        return f"{self.target} timed out in stage {self.reached}, with {self.received} bytes received"


class AttemptConnectTimeout(AttemptTimeout, requests.ConnectTimeout):
    """An attempt timed out in stage dns, connect or tls, before the connection was established. Nothing was sent."""


class AttemptReadTimeout(AttemptTimeout, requests.ReadTimeout):
    """An attempt timed out while sending or while waiting for the response."""


class AttemptBodyTimeout(AttemptReadTimeout, requests.ConnectionError):
    """An attempt timed out while reading the body, where requests raises a ConnectionError."""


class HeadTruncated(requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
    """The server closed the connection in the middle of the headers, which requests accepts as a complete response."""


class UnexpectedFailure(requests.ConnectionError):
    """A library raised an error that requests does not translate: see `__cause__`."""


class DeadlineExceeded(errors.DeadlineExceeded, requests.ReadTimeout):
    """The total timeout of the call expired."""


class BlockedAddress(errors.BlockedAddress, requests.RequestException):
    """An untrusted session refuses to send a request: the address, the port or the redirect is not allowed."""


class UnsupportedSocket(requests.RequestException):
    """Other code (pyOpenSSL, gevent patched too late) has installed sockets that cannot enforce a deadline."""


class ResponseTooLarge(errors.ResponseTooLarge, requests.RequestException):
    """The body exceeds `Policy.max_response_bytes`, or its JSON exceeds `Policy.max_json_nodes`."""


def not_sent(error: errors.NotSent | errors.DeadlineExceeded) -> requests.RequestException:
    """Return the error of this driver that corresponds to `error`, which the engine raised."""
    if isinstance(error, errors.NotSent):
        kind = CircuitOpen if isinstance(error, errors.CircuitOpen) else RateLimited
        return kind(str(error), error.retry_at)
    return DeadlineExceeded(str(error))
