"""The errors that the requests driver raises: each is the neutral one of `errors`, and in requests' families.

requests.RequestException
├── requests.ConnectionError
│   ├── CircuitOpen
│   └── RateLimited
├── requests.Timeout
│   ├── requests.ConnectTimeout
│   │   └── AttemptConnectTimeout  an attempt ran out of time before its connection was established
│   └── requests.ReadTimeout
│       ├── AttemptReadTimeout     … or later
│       │   └── AttemptBodyTimeout     … in the body: a requests.ConnectionError too, as requests raises there
│       └── DeadlineExceeded
├── requests.ConnectionError, requests.exceptions.ChunkedEncodingError
│   └── HeadTruncated              the server closed in the middle of its headers
├── BlockedAddress
└── ResponseTooLarge

Everything else that goes wrong is the error that requests itself raises for it.
"""

from __future__ import annotations

from typing import Any

import requests

from .. import errors


class _NotSent(errors.NotSent, requests.ConnectionError):
    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.retry_at), {"attempts": self.attempts}


class CircuitOpen(errors.CircuitOpen, _NotSent):
    """The circuit breaker of the upstream is open."""


class RateLimited(errors.RateLimited, _NotSent):
    """The upstream asked for a pause that is longer than the call may wait."""


class AttemptTimeout(errors.AttemptTimeout, requests.Timeout):
    """An attempt ran out of time; says how far it got. Its arguments are those of the error of requests."""

    def __str__(self) -> str:
        return f"Timed out in stage {self.reached}, with {self.received} bytes received"


class AttemptConnectTimeout(AttemptTimeout, requests.ConnectTimeout):
    """An attempt ran out of time before its connection was established: in dns, connect or tls. Nothing was sent."""


class AttemptReadTimeout(AttemptTimeout, requests.ReadTimeout):
    """An attempt ran out of time while sending, or waiting for the answer."""


class AttemptBodyTimeout(AttemptReadTimeout, requests.ConnectionError):
    """An attempt ran out of time in the body, where requests raises a ConnectionError."""


class HeadTruncated(requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
    """The server closed in the middle of its headers. For requests an answer, of which chunked ones fail to be read."""


class DeadlineExceeded(errors.DeadlineExceeded, requests.ReadTimeout):
    """The total timeout of the call expired."""


class BlockedAddress(errors.BlockedAddress, requests.RequestException):
    """A URL of an untrusted session leads to an address that it must not reach."""


class ResponseTooLarge(errors.ResponseTooLarge, requests.RequestException):
    """The body exceeds `Policy.max_response_bytes`."""


def not_sent(error: errors.NotSent | errors.DeadlineExceeded) -> requests.RequestException:
    """Return the error of this driver for one that the engine raised."""
    if isinstance(error, errors.NotSent):
        kind = CircuitOpen if isinstance(error, errors.CircuitOpen) else RateLimited
        return kind(str(error), error.retry_at)
    return DeadlineExceeded(str(error))
