"""The errors that only this library raises, each in the family that existing ``except`` clauses catch.

requests.RequestException
├── requests.ConnectionError
│   └── NotSent
│       ├── CircuitOpen            the upstream is down: its circuit breaker is open
│       └── RateLimited            the upstream asked to be left alone for longer than the call may wait
├── requests.Timeout
│   ├── requests.ConnectTimeout
│   │   └── AttemptConnectTimeout  an attempt ran out of time before its connection stood
│   └── requests.ReadTimeout
│       ├── AttemptReadTimeout     … or later
│       │   └── AttemptBodyTimeout     … in the body: a requests.ConnectionError too, as requests raises there
│       └── DeadlineExceeded       the total deadline of the call cut it off
├── requests.ConnectionError, requests.exceptions.ChunkedEncodingError
│   └── HeadTruncated              the server closed in the middle of its headers
├── BlockedAddress                 a URL of an untrusted session leads where it must not
└── ResponseTooLarge               the body is larger than Policy.max_response_bytes

Everything else that goes wrong is the error that requests itself raises for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import requests


class AttemptTimeout(requests.Timeout):
    """An attempt ran out of time; says how far it got. Its arguments are those of the error of requests."""

    reached: str = ""
    """The last stage begun: dns, connect, tls, send, headers or body."""
    received: int = 0
    """Bytes of the answer."""

    def __str__(self) -> str:
        return f"Timed out in stage {self.reached}, with {self.received} bytes received"


class AttemptConnectTimeout(AttemptTimeout, requests.ConnectTimeout):
    """An attempt ran out of time before its connection stood: in dns, connect or tls. Nothing was sent."""


class AttemptReadTimeout(AttemptTimeout, requests.ReadTimeout):
    """An attempt ran out of time while sending, or waiting for the answer."""


class AttemptBodyTimeout(AttemptReadTimeout, requests.ConnectionError):
    """An attempt ran out of time in the body, where requests raises a ConnectionError."""


class HeadTruncated(requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
    """The server closed in the middle of its headers. For requests an answer, of which chunked ones fail to be read."""


class DeadlineExceeded(requests.ReadTimeout):
    """`Policy.total_timeout` cut the last attempt off, or passed before the first one could be sent."""


class NotSent(requests.ConnectionError):
    """Nothing was sent, because the upstream would not have answered. Never raised itself, only its kinds."""

    def __init__(self, message: str, retry_at: datetime) -> None:
        super().__init__(message)
        self.retry_at = retry_at
        """When another call may be sent; aware, in UTC."""

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (*self.args, self.retry_at)


class CircuitOpen(NotSent):
    """The upstream is down: its circuit breaker is open."""


class RateLimited(NotSent):
    """The upstream asked to be left alone for longer than the call may wait."""


class BlockedAddress(requests.RequestException):
    """A URL of an untrusted session leads where it must not. Says nothing of what is there."""


class ResponseTooLarge(requests.RequestException):
    """The body, decoded, is larger than `Policy.max_response_bytes`; what was read of it is thrown away."""


def chain(error: BaseException, handled: BaseException | None = None) -> Iterator[BaseException]:
    """Yield `error` and all that it wraps, outermost first: causes, contexts, arguments and reasons.

    `handled` and what that wraps stay out of it.
    """
    queue: list[object] = [error]
    seen = {id(handled)}
    while queue:
        link = queue.pop(0)
        if isinstance(link, BaseException) and id(link) not in seen:
            seen.add(id(link))
            yield link
            queue += [link.__cause__, link.__context__, getattr(link, "reason", None), *link.args]
